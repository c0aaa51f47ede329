/** What went wrong in DuckDB, as a task's failure. */
import type { Failure, FailureKind } from "../../engine/failure.ts";
import { failure } from "../../engine/failure.ts";
import type { RunnerError } from "./protocol.ts";

/** Another process has the file open. */
export const LOCKED_CODE = "DATABASE_LOCKED";
const LOCKED = "Could not set lock on file";
const EXTENSION = /extension "(\w+)"|requires the extension (\w+)/i;

/** DuckDB's messages begin with the kind of the error. */
export function duckdbFailure({ message, code }: RunnerError): Failure {
  switch (code) {
    case "PARAMETER_MISSING":
      return failure("schema", message, { code });
    case "RESULT_TOO_LARGE":
      return failure("limit", message, { code });
    default:
      break;
  }
  if (message.includes(LOCKED)) {
    return failure("db_deadlock", lockMessage(message), { code: LOCKED_CODE });
  }
  const kind = /([A-Z][\w ]*?) Error:/.exec(message)?.[1] ?? "";
  const name = kind.replaceAll(" ", "_").toUpperCase();
  const isExtension = message.includes("Failed to download extension");
  const text = isExtension ? `${message}\n${extensionHint(message)}` : message;
  return failure(kindOf(kind, message), text, { code: name === "" ? "DUCKDB" : name });
}

function kindOf(name: string, message: string): FailureKind {
  switch (name) {
    case "Constraint":
      return "db_constraint";
    case "TransactionContext":
      return /conflict/i.test(message) ? "db_deadlock" : "db_error";
    case "Out of Memory":
      return "oom_host";
    case "HTTP":
      return "connection";
    case "Permission":
      return "auth";
    default:
      return "db_error";
  }
}

function lockMessage(message: string): string {
  return `another process has the database open: ${message.split("\n")[0]}`;
}

function extensionHint(message: string): string {
  const found = EXTENSION.exec(message);
  return installHint(found?.[1] ?? found?.[2] ?? "NAME");
}

/** How to get an extension onto a worker's machine. */
export function installHint(extension: string): string {
  return (
    `Run a duckdb task with INSTALL ${extension} where the worker can reach extensions.duckdb.org, or ` +
    "copy the extension's file for this version of DuckDB into ~/.duckdb/extensions of the worker's user."
  );
}
