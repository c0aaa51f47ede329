/** What can be known of a `kind: wait` task when its document is read. */
import { parseDuration } from "../core/duration.ts";
import { parseInstant } from "../core/instant.ts";
import type { Json } from "../core/json.ts";
import { isTemplate } from "../template/lexer.ts";
import type { Fields } from "./report.ts";

export const WAIT_KIND = "wait";

const SOURCES = ["duration", "until", "signal"] as const;
const ON_TIMEOUT = ["fail", "continue"];

/** Reports WAIT_INVALID, DURATION_INVALID, TIME_INVALID and FIELD_IGNORED. */
export function checkWait(fields: Fields): void {
  const given = SOURCES.filter((key) => fields.has(key));
  if (given.length > 1) {
    const message = `a wait takes one of ${SOURCES.join(", ")}, not ${given.join(" and ")}`;
    fields.error("WAIT_INVALID", given[1] ?? "duration", message);
  }
  checkLiteral(fields, "duration", parseDuration, "DURATION_INVALID", "seconds, or 30s, 5m, 2h");
  checkLiteral(fields, "until", parseInstant, "TIME_INVALID", TIME_TEXT);
  checkLiteral(fields, "deadline", parseDeadline, "TIME_INVALID", `a duration or ${TIME_TEXT}`);
  checkOnTimeout(fields, given.includes("signal"));
}

const TIME_TEXT = "a time such as 2026-01-31T08:00:00Z, or seconds since 1970";

/** A deadline is a duration from the begin of the wait, or a point in time. */
function parseDeadline(value: Json): number | undefined {
  return parseDuration(value) ?? parseInstant(value);
}

function checkLiteral(
  fields: Fields,
  key: string,
  parse: (value: Json) => number | undefined,
  code: string,
  expected: string,
): void {
  const value = fields.get(key);
  const isLiteral = value !== undefined && !(typeof value === "string" && isTemplate(value));
  if (isLiteral && parse(value) === undefined) {
    fields.error(code, key, `${key} must be ${expected}`);
  }
}

function checkOnTimeout(fields: Fields, isSignal: boolean): void {
  const value = fields.get("on_timeout");
  if (value === undefined) {
    return;
  }
  if (typeof value !== "string" || !(ON_TIMEOUT.includes(value) || isTemplate(value))) {
    fields.error("WAIT_INVALID", "on_timeout", `on_timeout is one of ${ON_TIMEOUT.join(", ")}`);
  }
  if (!isSignal) {
    fields.warn("FIELD_IGNORED", "on_timeout", "on_timeout has no effect without a signal");
  }
}
