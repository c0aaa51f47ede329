/** Registering documents, for the routes that take some. */
import { AppError } from "../core/errors.ts";
import type { Diagnostic } from "../dsl/diagnostic.ts";
import type { RegisteredPlaybook } from "./backend.ts";
import type { RouteContext } from "./route-context.ts";
import { countWrite } from "./route-context.ts";

export interface RegisterRequest {
  /** YAML, or YAML in base64. */
  readonly content: string;
  readonly isStrict: boolean;
}

/** @throws AppError invalid with all diagnostics, in its text too: most clients show only that. */
export async function registerDocument(
  { orchestrator, triggers, metrics }: RouteContext,
  { content, isStrict }: RegisterRequest,
) {
  return await countWrite(metrics, "catalog_register", async () => {
    const request = { content: readContent(content), isStrict };
    try {
      return viewRegistered(
        await (triggers === undefined
          ? orchestrator.registerPlaybook(request)
          : triggers.register(request)),
      );
    } catch (error) {
      throw explain(error);
    }
  });
}

/** Base64 has no colon, and no playbook is without one. */
export function readContent(content: string): string {
  return content.includes(":") ? content : Buffer.from(content, "base64").toString("utf8");
}

function explain(error: unknown): unknown {
  const diagnostics = error instanceof AppError ? error.details?.["diagnostics"] : undefined;
  if (!(error instanceof AppError) || !Array.isArray(diagnostics)) {
    return error;
  }
  const list: readonly Diagnostic[] = diagnostics;
  const errorCount = list.filter(({ severity }) => severity === "error").length;
  const count = errorCount > 0 ? `${errorCount} error(s)` : `${list.length} warning(s)`;
  const lines = [
    `Cannot register the ${error.code.replace("_INVALID", "").toLowerCase()}: ${count}`,
    ...list.map(diagnosticLine),
  ];
  return new AppError(error.kind, error.code, lines.join("\n"), {
    cause: error,
    details: { diagnostics },
  });
}

function diagnosticLine({ severity, line, column, path, message }: Diagnostic): string {
  const place = path === "" ? "" : ` ${path}:`;
  return `  ${severity} at line ${line}, column ${column}:${place} ${message}`;
}

function viewRegistered({
  catalogId,
  path,
  version,
  warnings,
  kind = "playbook",
}: RegisteredPlaybook & { readonly kind?: string }) {
  return {
    status: "success",
    message: `Registered ${path} version ${version}`,
    path,
    version,
    catalog_id: catalogId,
    kind,
    warnings,
  };
}
