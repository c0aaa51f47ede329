/** PostgreSQL values as JSON and back. All values travel in PostgreSQL's text format. */
import type { Json } from "../../core/json.ts";
import { parseJson } from "../../core/json.ts";

/** Object ids of types; see `pg_type.dat` in PostgreSQL's source. */
const OID = {
  bool: 16,
  bytea: 17,
  int8: 20,
  int2: 21,
  int4: 23,
  oid: 26,
  json: 114,
  float4: 700,
  float8: 701,
  timestamp: 1114,
  timestamptz: 1184,
  numeric: 1700,
  jsonb: 3802,
} as const;

const DECODERS: Readonly<Record<number, (text: string) => Json>> = {
  [OID.bool]: (text) => text === "t",
  [OID.bytea]: decodeBytes,
  [OID.int8]: decodeInteger,
  [OID.int2]: Number,
  [OID.int4]: Number,
  [OID.oid]: Number,
  [OID.json]: parseJson,
  [OID.float4]: decodeFloat,
  [OID.float8]: decodeFloat,
  [OID.timestamp]: decodeTimestamp,
  [OID.timestamptz]: decodeTimestampWithZone,
  [OID.numeric]: decodeNumeric,
  [OID.jsonb]: parseJson,
};

/** Array type -> type of its elements; 25 (text) stands for all that stay text. */
const ELEMENT: Readonly<Record<number, number>> = {
  199: OID.json,
  651: 25,
  1000: OID.bool,
  1001: OID.bytea,
  1002: 25,
  1003: 25,
  1005: OID.int2,
  1007: OID.int4,
  1009: 25,
  1014: 25,
  1015: 25,
  1016: OID.int8,
  1021: OID.float4,
  1022: OID.float8,
  1028: OID.oid,
  1040: 25,
  1041: 25,
  1115: OID.timestamp,
  1182: 25,
  1183: 25,
  1185: OID.timestamptz,
  1187: 25,
  1231: OID.numeric,
  1270: 25,
  2951: 25,
  3807: OID.jsonb,
};

/** Types whose parameters are JSON text. */
export const JSON_OIDS: readonly number[] = [OID.json, OID.jsonb];
/** Types whose parameters may be lists. */
export const ARRAY_OIDS: readonly number[] = Object.keys(ELEMENT).map(Number);

/**
 * The JSON form of a value: numbers where a double holds them exactly and else decimal text, JSON
 * parsed, times in ISO 8601 (`timestamptz` in UTC), `bytea` in base64, arrays as lists, the rest text.
 */
export function decodeValue(oid: number, text: string): Json {
  const element = ELEMENT[oid];
  if (element !== undefined) {
    return decodeArray(text, DECODERS[element] ?? ((item) => item));
  }
  return DECODERS[oid]?.(text) ?? text;
}

/** A number where a double holds it exactly, else its text. */
export function decodeInteger(text: string): Json {
  const number = Number(text);
  return Number.isSafeInteger(number) ? number : text;
}

/** A number, or `NaN` and the infinities as text. */
export function decodeFloat(text: string): Json {
  const number = Number(text);
  return Number.isFinite(number) ? number : text;
}

/** As a number if it has at most the 15 significant digits that a double always keeps. */
export function decodeNumeric(text: string): Json {
  const digits = text.replace(/^-?0*\.?0*/, "").replace(/(\.\d*?)0+$/, "$1");
  const isExact = /^-?\d/.test(text) && digits.replace(".", "").length <= 15;
  return isExact ? Number(text) : decodeInteger(text);
}

function decodeBytes(text: string): Json {
  return Buffer.from(text.slice(2), "hex").toString("base64");
}

function decodeTimestamp(text: string): Json {
  return /^\d{4}-\d\d-\d\d \d/.test(text) && !text.endsWith("BC") ? text.replace(" ", "T") : text;
}

const ZONED =
  /^(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(\.\d+)?([+-])(\d\d)(?::(\d\d))?(?::(\d\d))?$/;

function decodeTimestampWithZone(text: string): Json {
  const parts = ZONED.exec(text);
  if (parts === null) {
    return text;
  }
  const [year, month, day, hour, minute, second] = parts.slice(1, 7).map(Number);
  const [hours, minutes, seconds] = parts.slice(9, 12).map((part) => Number(part ?? 0));
  const offset = ((hours ?? 0) * 60 + (minutes ?? 0)) * 60 + (seconds ?? 0);
  const local = Date.UTC(year ?? 0, (month ?? 1) - 1, day, hour, minute, second);
  const utc = new Date(local - (parts[8] === "-" ? -offset : offset) * 1000);
  return `${utc.toISOString().slice(0, 19)}${parts[7] ?? ""}Z`;
}

/** Parses an array literal such as `{1,NULL,"a b",{…}}`, with or without bounds in front. */
function decodeArray(text: string, decode: (text: string) => Json): Json {
  let position = text.indexOf("{") + 1;
  const parse = (): Json[] => {
    const items: Json[] = [];
    while (position < text.length) {
      const char = text[position];
      if (char === "}") {
        position++;
        return items;
      }
      if (char === "{") {
        position++;
        items.push(parse());
      } else if (char === ",") {
        position++;
      } else {
        items.push(item());
      }
    }
    return items;
  };
  const item = (): Json => {
    const pattern = /"((?:[^"\\]|\\[\s\S])*)"|[^,{}]+/y;
    pattern.lastIndex = position;
    const found = pattern.exec(text);
    position = found === null ? text.length : pattern.lastIndex;
    if (found?.[1] !== undefined) {
      return decode(found[1].replace(/\\([\s\S])/g, "$1"));
    }
    const bare = found?.[0] ?? "";
    return bare.toUpperCase() === "NULL" ? null : decode(bare);
  };
  return parse();
}

/** A list, map or truth value bound to `$n`; what it becomes depends on the parameter's type. */
export class Parameter {
  readonly value: Json;

  constructor(value: Json) {
    this.value = value;
  }

  /** For every type that has no form of its own below. */
  toString(): string {
    return encodePlain(this.value);
  }
}

/** Numbers and text pass as they are: PostgreSQL knows the type that it wants. */
export function toParameter(value: Json): null | string | Parameter {
  if (value === null || typeof value === "string") {
    return value;
  }
  return typeof value === "number" ? String(value) : new Parameter(value);
}

/** For `json` and `jsonb`: text that is JSON already is taken as it is. */
export function encodeJson(value: unknown): string {
  const plain = value instanceof Parameter ? value.value : value;
  if (typeof plain !== "string") {
    return JSON.stringify(plain);
  }
  try {
    JSON.parse(plain);
    return plain;
  } catch {
    return JSON.stringify(plain);
  }
}

export function encodePlain(value: unknown): string {
  const plain = value instanceof Parameter ? value.value : value;
  if (Array.isArray(plain)) {
    return encodeArray(plain);
  }
  return typeof plain === "object" ? JSON.stringify(plain) : String(plain);
}

function encodeArray(items: readonly Json[]): string {
  return `{${items.map(encodeItem).join(",")}}`;
}

function encodeItem(item: Json): string {
  if (item === null) {
    return "NULL";
  }
  if (Array.isArray(item)) {
    return encodeArray(item);
  }
  const text = typeof item === "object" ? JSON.stringify(item) : String(item);
  return `"${text.replace(/["\\]/g, "\\$&")}"`;
}
