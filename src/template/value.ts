/** Values as templates see and print them. */
import type { Json } from "../core/json.ts";

/** Texts that a guard takes for false, in lower case. */
const FALSE_TEXTS = new Set(["", "false", "off", "no", "none", "null", "0", "{}", "[]"]);

/**
 * What a value prints as in the middle of a text: null and undefined as nothing, booleans as `true`
 * and `false` (SQL and JSON read them; Python would print `True`), lists and maps as compact JSON.
 */
export function toText(value: unknown): string {
  switch (typeof value) {
    case "string":
      return value;
    case "object":
      return value === null ? "" : JSON.stringify(value);
    case "undefined":
      return "";
    default:
      return String(value);
  }
}

/** Python's truth: empty texts, lists and maps, zero, null and undefined are false. */
export function isTrue(value: unknown): boolean {
  if (typeof value === "object" && value !== null) {
    return Array.isArray(value) ? value.length > 0 : Object.keys(value).length > 0;
  }
  return Boolean(value);
}

/** Python's truth, and texts that mean no (`false`, `off`, `0`, `None` …) are false too. */
export function isGuardTrue(value: Json): boolean {
  return typeof value === "string" ? !FALSE_TEXTS.has(value.trim().toLowerCase()) : isTrue(value);
}

/**
 * JSON of what MiniJinja or a filter gave: maps become objects, undefined null, integers that a
 * double cannot hold decimal strings.
 */
export function toJson(value: unknown): Json {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value;
    case "number":
      return Number.isFinite(value) ? value : null;
    case "bigint":
      return toSafeInteger(value);
    case "object":
      return value === null ? null : toJsonContainer(value);
    default:
      return null;
  }
}

function toJsonContainer(value: object): Json {
  if (Array.isArray(value)) {
    return value.map(toJson);
  }
  const entries = value instanceof Map ? [...value] : Object.entries(value);
  return Object.fromEntries(entries.map(([key, child]) => [String(key), toJson(child)]));
}

/** A number where a double holds it exactly, else a decimal string. */
export function toSafeInteger(value: bigint): number | string {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : String(value);
}
