/** Documents with errors are refused with all of them, as playbooks are. */
import { AppError } from "../core/errors.ts";
import type { Diagnostic } from "../dsl/diagnostic.ts";
import type { DocumentResult } from "../dsl/document.ts";

/** @throws AppError invalid SCHEDULE_INVALID or SUBSCRIPTION_INVALID with `details.diagnostics`. */
export function acceptDocument<T>(
  kind: "schedule" | "subscription",
  { document, diagnostics }: DocumentResult<T>,
  { isStrict }: { readonly isStrict: boolean },
): { readonly document: T; readonly warnings: readonly Diagnostic[] } {
  const faults = isStrict
    ? diagnostics
    : diagnostics.filter(({ severity }) => severity === "error");
  if (document === undefined || faults.length > 0) {
    const texts = faults.map(({ path, message }) =>
      path === "" ? message : `${path}: ${message}`,
    );
    throw new AppError(
      "invalid",
      `${kind.toUpperCase()}_INVALID`,
      `The ${kind} is not valid: ${texts.join("; ")}`,
      {
        details: { diagnostics },
      },
    );
  }
  return { document, warnings: diagnostics };
}
