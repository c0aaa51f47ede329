/** JSON values as they travel through playbooks, events and messages. */

export type Json = null | boolean | number | string | readonly Json[] | JsonObject;

export interface JsonObject {
  readonly [key: string]: Json;
}

/** A plain object: not null, not a list. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Sixteen or more digits in a row: the only texts in which a number could lose digits. */
const LONG_DIGITS = /\d{16}/;

/**
 * Parses JSON text without losing digits: an integer that a double cannot hold becomes a decimal
 * string, as ids are everywhere (invariant 10 of src/README.md).
 *
 * @throws SyntaxError on malformed text.
 */
export function parseJson(text: string): Json {
  return LONG_DIGITS.test(text)
    ? (JSON.parse(text, keepDigits) as Json)
    : (JSON.parse(text) as Json);
}

function keepDigits(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  return typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value)
    ? (context?.source ?? value)
    : value;
}
