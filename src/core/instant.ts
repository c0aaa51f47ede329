/** Points in time as people write them in playbooks: RFC 3339 texts and seconds since 1970. */

const RFC_3339 =
  /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)(Z|[+-]\d{2}:?\d{2})?)?$/i;
const SECONDS = /^\d+(\.\d+)?$/;

/** For example `2026-01-31T08:00:00.000Z`. */
export function formatInstant(timeMs: number): string {
  return new Date(timeMs).toISOString();
}

/**
 * Milliseconds since 1970 of `2026-01-31T08:00:00Z`, `2026-01-31 08:00` (UTC), `2026-01-31` or a
 * number of seconds; undefined for anything else.
 */
export function parseInstant(value: unknown): number | undefined {
  if (typeof value === "number") {
    return Number.isFinite(value) && value >= 0 ? value * 1000 : undefined;
  }
  if (typeof value !== "string") {
    return undefined;
  }
  const text = value.trim();
  if (SECONDS.test(text)) {
    return Number(text) * 1000;
  }
  const match = RFC_3339.exec(text);
  if (match === null) {
    return undefined;
  }
  const [, date, time = "00:00", zone = "Z"] = match;
  const milliseconds = Date.parse(`${date}T${time}${zone.toUpperCase()}`);
  return Number.isNaN(milliseconds) ? undefined : milliseconds;
}
