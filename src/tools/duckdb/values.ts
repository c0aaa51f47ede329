/** DuckDB's values as JSON, in the forms that the postgres tool gives. */
import type { DuckDBType, DuckDBValue } from "@duckdb/node-api";
import type { Json } from "../../core/json.ts";
import { parseJson } from "../../core/json.ts";
import { decodeFloat, decodeInteger, decodeNumeric } from "../postgres/values.ts";
import type { DuckdbApi } from "./library.ts";

export type Decode = (value: DuckDBValue, type: DuckDBType) => Json;

/**
 * Numbers where a double holds them exactly and else decimal text, JSON parsed, times in ISO 8601
 * (`TIMESTAMPTZ` in UTC), blobs in base64, lists as lists, structs and maps as maps, the rest text.
 */
export function createDecoder(api: DuckdbApi): Decode {
  const decode: Decode = (value, type) => {
    if (value === null || value === undefined) {
      return null;
    }
    switch (typeof value) {
      case "boolean":
        return value;
      case "number":
        return decodeFloat(type.typeId === api.DuckDBTypeId.FLOAT ? shortFloat(value) : `${value}`);
      case "bigint":
        return decodeInteger(String(value));
      case "string":
        return type.alias === "JSON" ? parseJson(value) : value;
      default:
        return decodeObject(api, decode, value, type);
    }
  };
  return decode;
}

function decodeObject(
  api: DuckdbApi,
  decode: Decode,
  value: DuckDBValue & object,
  type: DuckDBType,
): Json {
  if (value instanceof api.DuckDBListValue || value instanceof api.DuckDBArrayValue) {
    const item = "valueType" in type ? type.valueType : api.ANY;
    return value.items.map((each) => decode(each, item));
  }
  if (value instanceof api.DuckDBStructValue) {
    return decodeStruct(api, decode, value.entries, type);
  }
  if (value instanceof api.DuckDBMapValue) {
    const [key, item] = type instanceof api.DuckDBMapType ? [type.keyType, type.valueType] : [];
    const pairs = value.entries.map((entry) => [
      keyText(decode(entry.key, key ?? api.ANY)),
      decode(entry.value, item ?? api.ANY),
    ]);
    return Object.fromEntries(pairs) as Json;
  }
  if (value instanceof api.DuckDBUnionValue) {
    const member = type instanceof api.DuckDBUnionType ? type.memberTypeForTag(value.tag) : api.ANY;
    return decode(value.value, member);
  }
  if (value instanceof api.DuckDBVariantValue) {
    return decode(value.value, value.type ?? api.ANY);
  }
  if (value instanceof api.DuckDBBlobValue) {
    return Buffer.from(value.bytes).toString("base64");
  }
  return value instanceof api.DuckDBDecimalValue
    ? decodeNumeric(value.toString())
    : timeText(api, value);
}

function decodeStruct(
  api: DuckdbApi,
  decode: Decode,
  entries: Readonly<Record<string, DuckDBValue>>,
  type: DuckDBType,
): Json {
  const typeOf = (name: string): DuckDBType =>
    type instanceof api.DuckDBStructType ? (type.typeForEntry(name) ?? api.ANY) : api.ANY;
  return Object.fromEntries(
    Object.entries(entries).map(([name, value]) => [name, decode(value, typeOf(name))]),
  );
}

function keyText(key: Json): string {
  return typeof key === "string" ? key : JSON.stringify(key);
}

const TIMESTAMP = /^(\d{4,}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?)$/;

/** Timestamps as `2026-01-02T03:04:05`, with `Z` where they have a zone; all else in DuckDB's text. */
function timeText(api: DuckdbApi, value: DuckDBValue & object): string {
  const isZoned = value instanceof api.DuckDBTimestampTZValue;
  // Its own text is in the zone of this process.
  const text = (isZoned ? new api.DuckDBTimestampValue(value.micros) : value).toString();
  const [, date, time] = TIMESTAMP.exec(text) ?? [];
  return date === undefined ? text : `${date}T${time}${isZoned ? "Z" : ""}`;
}

/** The shortest decimal that is the same 32-bit float. */
function shortFloat(value: number): string {
  for (let digits = 6; digits < 9; digits++) {
    const text = value.toPrecision(digits);
    if (Math.fround(Number(text)) === value) {
      return String(Number(text));
    }
  }
  return String(value);
}
