/** Snowflake's values as JSON and back. They travel as text, see `resultSetMetaData` of its SQL API. */
import type { Json, JsonObject } from "../../core/json.ts";
import { isJsonObject, parseJson } from "../../core/json.ts";

export interface Column {
  readonly name: string;
  /** In lower case: `fixed`, `text`, `timestamp_ntz`, … */
  readonly type: string;
  /** Digits behind the point. */
  readonly scale: number;
}

const NANOS = 1_000_000_000n;
const MS_PER_DAY = 86_400_000;
/** Offsets of `timestamp_tz` are minutes, plus this. */
const OFFSET_ZERO = 1440;

/**
 * Numbers where a double holds them exactly and else decimal text, JSON parsed, times in ISO 8601
 * (`timestamp_ltz` in UTC), binary in hexadecimal, the rest text.
 */
export function decodeValue(text: string | null, { type, scale }: Column): Json {
  if (text === null) {
    return null;
  }
  switch (type) {
    case "fixed":
      return scale === 0 ? exactNumber(text) : text;
    case "real":
      return Number.isFinite(Number(text)) ? Number(text) : text;
    case "boolean":
      return text === "true" || text === "1";
    case "date":
      return new Date(Number(text) * MS_PER_DAY).toISOString().slice(0, 10);
    case "time":
      return isoTime(text).slice(11);
    case "timestamp_ntz":
      return isoTime(text);
    case "timestamp_ltz":
      return `${isoTime(text)}Z`;
    case "timestamp_tz":
      return withOffset(text);
    case "variant":
    case "object":
    case "array":
      return jsonOrText(text);
    default:
      return text;
  }
}

function exactNumber(text: string): Json {
  return Number.isSafeInteger(Number(text)) ? Number(text) : text;
}

/** @param seconds since 1970, with a fraction; negative ones are earlier as a whole. */
function isoTime(seconds: string): string {
  const [whole = "0", fraction = ""] = seconds.replace("-", "").split(".");
  const size = BigInt(whole) * NANOS + BigInt(fraction.padEnd(9, "0").slice(0, 9));
  const nanos = seconds.startsWith("-") ? -size : size;
  const rest = ((nanos % NANOS) + NANOS) % NANOS;
  const ms = Number((nanos - rest) / (NANOS / 1000n));
  const digits = String(rest).padStart(9, "0").replace(/0+$/, "");
  const date = new Date(ms).toISOString().slice(0, 19);
  return digits === "" ? date : `${date}.${digits}`;
}

function withOffset(text: string): string {
  const [seconds = "0", shifted = String(OFFSET_ZERO)] = text.split(" ");
  const minutes = Number(shifted) - OFFSET_ZERO;
  const [whole = "0", fraction] = seconds.split(".");
  const local = `${Number(whole) + minutes * 60}${fraction === undefined ? "" : `.${fraction}`}`;
  const size = Math.abs(minutes);
  const pad = (value: number): string => String(value).padStart(2, "0");
  const sign = minutes < 0 ? "-" : "+";
  return `${isoTime(local)}${sign}${pad(Math.trunc(size / 60))}:${pad(size % 60)}`;
}

function jsonOrText(text: string): Json {
  try {
    return parseJson(text);
  } catch {
    return text;
  }
}

/** Values for `?` in the order of a list, or of a map's entries. */
export function encodeBindings(params: Json | undefined): JsonObject | undefined {
  if (params === undefined || params === null) {
    return undefined;
  }
  const one: readonly Json[] = Array.isArray(params) ? params : [params];
  const list = isJsonObject(params) ? Object.values(params) : one;
  return list.length === 0
    ? undefined
    : Object.fromEntries(list.map((value, index) => [String(index + 1), encodeBinding(value)]));
}

/** `{type, value}` as Snowflake takes it stays so. */
function encodeBinding(value: Json): JsonObject {
  if (isJsonObject(value) && typeof value["type"] === "string" && "value" in value) {
    return value;
  }
  if (typeof value === "number") {
    return { type: Number.isInteger(value) ? "FIXED" : "REAL", value: String(value) };
  }
  if (typeof value === "boolean") {
    return { type: "BOOLEAN", value: String(value) };
  }
  const text = typeof value === "object" ? JSON.stringify(value) : value;
  return { type: "TEXT", value: value === null ? null : text };
}
