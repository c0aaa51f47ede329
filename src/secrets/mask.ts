/** Hides known secret values wherever they turn up, by value and not by guessing at key names. */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";

export const MASK = "***";

/** Shorter values would hide ordinary text: a password `a` would mask every a. */
const SECRET_LENGTH_MIN = 4;

export interface Mask {
  text(value: string): string;
  /** The same value if nothing had to be hidden. Keys of objects are left alone. */
  json(value: Json): Json;
}

/** @param secrets the values; their base64 and URL-encoded forms are hidden too. */
export function createMask(secrets: Iterable<string>): Mask {
  const forms = new Set(
    [...secrets].filter((each) => each.length >= SECRET_LENGTH_MIN).flatMap(formsOf),
  );
  if (forms.size === 0) {
    return { text: (value) => value, json: (value) => value };
  }
  // Longest first: a secret that contains another must not leave its rest behind.
  const longestFirst = [...forms].sort((a, b) => b.length - a.length);
  const pattern = new RegExp(longestFirst.map((each) => RegExp.escape(each)).join("|"), "g");
  const text = (value: string): string => value.replace(pattern, MASK);
  return { text, json: (value) => maskJson(value, text) };
}

function formsOf(secret: string): readonly string[] {
  return [secret, encodeURIComponent(secret), Buffer.from(secret).toString("base64")];
}

function maskJson(value: Json, text: (value: string) => string): Json {
  if (typeof value === "string") {
    return text(value);
  }
  if (Array.isArray(value)) {
    const items = value.map((item: Json) => maskJson(item, text));
    return items.some((item, index) => item !== value[index]) ? items : value;
  }
  return isJsonObject(value) ? maskObject(value, text) : value;
}

function maskObject(value: JsonObject, text: (value: string) => string): JsonObject {
  let isChanged = false;
  const entries = Object.entries(value).map(([key, inner]): [string, Json] => {
    const masked = maskJson(inner, text);
    isChanged ||= masked !== inner;
    return [key, masked];
  });
  return isChanged ? Object.fromEntries(entries) : value;
}

/** Fields of credentials that say where and who, not how to get in. */
const PUBLIC_FIELDS: ReadonlySet<string> = new Set([
  "host",
  "db_host",
  "hostname",
  "port",
  "db_port",
  "user",
  "username",
  "db_user",
  "database",
  "dbname",
  "db_name",
  "schema",
  "sslmode",
  "ssl",
  "type",
  "region",
  "endpoint",
  "bucket",
  "scheme",
  "header",
  "account",
  "warehouse",
  "role",
  "service",
]);

/** The values of a credential that must be hidden: every text that is not one of the public fields. */
export function secretValues(data: Json): readonly string[] {
  if (typeof data === "string") {
    return [data];
  }
  if (Array.isArray(data)) {
    return data.flatMap((item: Json) => secretValues(item));
  }
  return isJsonObject(data)
    ? Object.entries(data).flatMap(([key, value]) =>
        PUBLIC_FIELDS.has(key.toLowerCase()) && typeof value !== "object"
          ? []
          : secretValues(value),
      )
    : [];
}
