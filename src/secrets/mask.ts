/**
 * Hides known secret values wherever they turn up, by value and not by guessing at key names.
 *
 * A secret is every text of a credential or keychain entry that is not one of its public fields
 * (host, user, …), of at least {@link SECRET_LENGTH_MIN} characters. It is hidden as it is and as it
 * comes out of JSON, URLs and forms, base64 (also inside a longer base64 text, such as that of basic
 * auth) and hexadecimal; of a secret with several lines each long line. Numbers are not hidden.
 *
 * Messages and log lines lose it wherever it stands. Data loses a short secret only where it stands
 * as a word of its own: a password `demo` must not turn `democracy` into `***cracy`.
 */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";

export const MASK = "***";

/** Shorter values would hide ordinary text: a password `a` would mask every a. */
const SECRET_LENGTH_MIN = 4;
/** Shorter ones are hidden in data only as whole words. */
const DISTINCT_LENGTH_MIN = 8;
/** Shorter encoded pieces and lines could be anything. */
const PIECE_LENGTH_MIN = 8;

export interface Mask {
  /** For messages and log lines. */
  text(value: string): string;
  /** For data. The same value if nothing had to be hidden. Keys of objects are hidden too. */
  json(value: Json): Json;
}

export const NO_MASK: Mask = { text: (value) => value, json: (value) => value };

/** @param secrets the values, as {@link secretValues} gives them. */
export function createMask(secrets: Iterable<string>): Mask {
  const values = [...new Set(secrets)].filter((each) => each.length >= SECRET_LENGTH_MIN);
  if (values.length === 0) {
    return NO_MASK;
  }
  const [short, distinct] = [true, false].map((isShort) =>
    values
      .filter((value) => value.length < DISTINCT_LENGTH_MIN === isShort)
      .flatMap((value) => formsOf(value)),
  );
  const everywhere = pattern([...(short ?? []), ...(distinct ?? [])], []);
  const inData = pattern(distinct ?? [], short ?? []);
  const text = (value: string): string => value.replace(everywhere, MASK);
  const word = (value: string): string => value.replace(inData, MASK);
  return { text, json: (value) => maskJson(value, word) };
}

/** All texts that give one of the secrets away; in no particular order. */
export function secretForms(secrets: Iterable<string>): readonly string[] {
  const values = [...new Set(secrets)].filter((each) => each.length >= SECRET_LENGTH_MIN);
  return [...new Set(values.flatMap(formsOf))];
}

/** Longest first: a secret that contains another must not leave its rest behind. */
function pattern(anywhere: readonly string[], words: readonly string[]): RegExp {
  const sources = [
    ...anywhere.map((form) => [form, RegExp.escape(form)] as const),
    ...words.map(
      (form) => [form, `(?<![\\p{L}\\p{N}_])${RegExp.escape(form)}(?![\\p{L}\\p{N}_])`] as const,
    ),
  ];
  const sorted = [...new Map(sources)].sort(([a], [b]) => b.length - a.length);
  return new RegExp(sorted.map(([, source]) => source).join("|"), "gu");
}

function formsOf(secret: string): readonly string[] {
  const bytes = Buffer.from(secret);
  const percent = encodeURIComponent(secret.toWellFormed());
  const strict = percent.replaceAll(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16)}`);
  const pieces = [
    ...base64Pieces(bytes),
    bytes.toString("hex"),
    bytes.toString("hex").toUpperCase(),
  ];
  const lines = secret.includes("\n") ? secret.split(/\r?\n/) : [];
  return [
    secret,
    secret.trim(),
    JSON.stringify(secret).slice(1, -1),
    percent,
    strict,
    strict.replaceAll("%20", "+"),
    new URLSearchParams({ "": secret }).toString().slice(1),
    bytes.toString("base64"),
    bytes.toString("base64url"),
    ...[...pieces, ...lines.filter((line) => !line.startsWith("-----"))].filter(
      (piece) => piece.length >= PIECE_LENGTH_MIN,
    ),
  ].filter((form) => form.length >= SECRET_LENGTH_MIN);
}

/**
 * What a longer base64 text that holds the secret has in common with every other: its characters
 * depend on where among three bytes the secret begins, and the first and last also on its neighbours.
 */
function base64Pieces(secret: Buffer): readonly string[] {
  return [0, 1, 2].flatMap((offset) => {
    const bytes = Buffer.concat([Buffer.alloc(offset), secret]);
    const from = Math.ceil((offset * 8) / 6);
    const to = Math.floor((bytes.length * 8) / 6);
    return (["base64", "base64url"] as const).map((kind) => bytes.toString(kind).slice(from, to));
  });
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
    const name = text(key);
    isChanged ||= masked !== inner || name !== key;
    return [name, masked];
  });
  return isChanged ? Object.fromEntries(entries) : value;
}

/** Fields of credentials that say where and who, not how to get in. */
const PUBLIC_FIELDS: ReadonlySet<string> = new Set([
  "account",
  "algorithm",
  "audience",
  "auth_style",
  "auth_uri",
  "bucket",
  "client_email",
  "client_id",
  "database",
  "db",
  "db_host",
  "db_name",
  "db_port",
  "db_schema",
  "db_sslmode",
  "db_user",
  "dbname",
  "endpoint",
  "endpoint_url",
  "expires_at",
  "expires_in",
  "grant_type",
  "header",
  "header_name",
  "host",
  "hostname",
  "nats_user",
  "port",
  "project_id",
  "provider",
  "region",
  "role",
  "schema",
  "scheme",
  "scope",
  "scopes",
  "search_path",
  "service",
  "sf_account",
  "sf_database",
  "sf_role",
  "sf_schema",
  "sf_user",
  "sf_warehouse",
  "ssl",
  "sslmode",
  "target_audience",
  "token_endpoint",
  "token_type",
  "token_uri",
  "token_url",
  "type",
  "user",
  "username",
  "warehouse",
]);

const USER_FIELDS = ["user", "username", "db_user", "nats_user", "client_id"];

/**
 * The values of a credential that must be hidden: every text that is not a public field, nor the same
 * as one (a password that is the user's name hides nothing), the password inside an address, and the
 * pairs that basic auth makes.
 */
export function secretValues(data: Json): readonly string[] {
  const known = new Set<string>();
  const found: string[] = [];
  collect(data, known, found);
  const secrets = found.filter((value) => !known.has(value));
  const users = isJsonObject(data) ? USER_FIELDS.map((name) => data[name]) : [];
  const pairs = users
    .filter((user) => typeof user === "string" && user !== "")
    .flatMap((user) => secrets.map((secret) => `${String(user)}:${secret}`));
  return [...new Set([...secrets, ...pairs.filter((pair) => pair.length <= PAIR_LENGTH_MAX)])];
}

/** Keys and certificates are nobody's password. */
const PAIR_LENGTH_MAX = 512;

function collect(data: Json, known: Set<string>, found: string[]): void {
  if (typeof data === "string") {
    found.push(...addressSecrets(data, known));
  } else if (Array.isArray(data)) {
    for (const item of data as readonly Json[]) {
      collect(item, known, found);
    }
  } else if (isJsonObject(data)) {
    for (const [key, value] of Object.entries(data)) {
      if (PUBLIC_FIELDS.has(key.toLowerCase()) && typeof value !== "object") {
        known.add(String(value));
      } else {
        collect(value, known, found);
      }
    }
  }
}

/** Addresses of databases and buses are public but for their passwords; others may be secrets. */
const ADDRESS = /^(postgres|postgresql|nats|tls|redis|amqp|amqps|mysql|sftp|ssh):\/\//i;

function addressSecrets(text: string, known: Set<string>): readonly string[] {
  if (!ADDRESS.test(text) || !URL.canParse(text)) {
    return [text];
  }
  const { username, password, search } = new URL(text);
  if (password === "") {
    return username === "" && search === "" ? [] : [text];
  }
  known.add(decodeURIComponent(username));
  return [text, decodeURIComponent(password)];
}
