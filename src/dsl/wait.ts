/** How the fields of a `kind: wait` task go together. */
import type { Fields } from "./report.ts";

export const WAIT_KIND = "wait";

const SOURCES = ["duration", "until", "signal"] as const;

/** Reports WAIT_INVALID and FIELD_IGNORED. */
export function checkWait(fields: Fields): void {
  const given = SOURCES.filter((key) => fields.has(key));
  if (given.length > 1) {
    const message = `a wait takes one of ${SOURCES.join(", ")}, not ${given.join(" and ")}`;
    fields.error("WAIT_INVALID", given[1] ?? "duration", message);
  }
  if (fields.has("on_timeout") && !given.includes("signal")) {
    fields.warn("FIELD_IGNORED", "on_timeout", "on_timeout has no effect without a signal");
  }
}
