/** What went wrong in the database, as a task's failure. */
import postgres from "postgres";
import { errorMessage } from "../../core/errors.ts";
import type { Failure, FailureKind } from "../../engine/failure.ts";
import { failure } from "../../engine/failure.ts";

/** Text shown around the place of a syntax error. Characters. */
const EXCERPT_LENGTH_MAX = 80;

/** Codes of postgres.js for a statement that never reached the server. */
const UNSENT = new Set(["MAX_PARAMETERS_EXCEEDED", "UNDEFINED_VALUE", "COPY_IN_PROGRESS"]);

/** @param statement the text that was sent: the server gives a position in it. */
export function databaseFailure(error: unknown, statement: string): Failure {
  if (error instanceof postgres.PostgresError) {
    return serverFailure(error, statement);
  }
  const code = codeOf(error);
  if (UNSENT.has(code)) {
    return failure("db_error", errorMessage(error), { code });
  }
  return failure("db_connection", `cannot reach the database: ${errorMessage(error)}`, { code });
}

function serverFailure(error: postgres.PostgresError, statement: string): Failure {
  const lines = [
    error.message + placeOf(Number(error.position), statement),
    ...(error.detail ? [`DETAIL: ${error.detail}`] : []),
    ...(error.hint ? [`HINT: ${error.hint}`] : []),
    ...(error.where ? [`CONTEXT: ${error.where}`] : []),
  ];
  return failure(kindOf(error.code), lines.join("\n"), { code: error.code });
}

/** See appendix A of the PostgreSQL manual. */
function kindOf(sqlstate: string): FailureKind {
  switch (sqlstate) {
    case "40001":
    case "40P01":
    case "55P03":
      return "db_deadlock";
    case "57014":
      return "timeout";
    case "53300":
    case "57P01":
    case "57P02":
    case "57P03":
      return "db_connection";
    default:
      break;
  }
  switch (sqlstate.slice(0, 2)) {
    case "08":
      return "db_connection";
    case "23":
      return "db_constraint";
    case "28":
      return "auth";
    default:
      return "db_error";
  }
}

function placeOf(position: number, statement: string): string {
  if (!(position > 0)) {
    return "";
  }
  const before = [...statement].slice(0, position - 1).join("");
  const line = before.split("\n").length;
  const rest = statement.slice(before.lastIndexOf("\n") + 1).split("\n")[0] ?? "";
  return ` (line ${line}: ${rest.trim().slice(0, EXCERPT_LENGTH_MAX)})`;
}

function codeOf(error: unknown): string {
  const isCoded = typeof error === "object" && error !== null && "code" in error;
  return isCoded && typeof error.code === "string" ? error.code : "DB_CONNECTION";
}
