/** Durations as people write them in playbooks and options: `30`, `"30s"`, `"5m"`, `"1h30m"`. */

const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
const PART = /(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)/gy;

/**
 * Milliseconds of a number of seconds or of a text such as `500ms`, `30s`, `2h` or `1h30m`;
 * undefined for anything else, negative numbers included.
 */
export function parseDuration(value: unknown): number | undefined {
  if (typeof value === "number") {
    return Number.isFinite(value) && value >= 0 ? value * 1000 : undefined;
  }
  if (typeof value !== "string" || value.trim() === "") {
    return undefined;
  }
  const text = value.trim();
  if (/^\d+(\.\d+)?$/.test(text)) {
    return Number(text) * 1000;
  }
  PART.lastIndex = 0;
  let total = 0;
  while (PART.lastIndex < text.length) {
    const part = PART.exec(text);
    if (part === null) {
      return undefined;
    }
    total += Number(part[1]) * (UNIT_MS[part[2] ?? ""] ?? 0);
  }
  return total;
}
