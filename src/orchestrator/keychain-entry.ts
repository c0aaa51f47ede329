/** What each kind of keychain entry comes to, once its templates are rendered. */
import { AppError } from "../core/errors.ts";
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { keychainKind } from "../dsl/keychain.ts";
import { withCanonicalFields } from "../secrets/credential-type.ts";
import type { Reference } from "../secrets/reference.ts";
import { isReference, PROVIDERS, parseReference, providerName } from "../secrets/reference.ts";
import { fetchGoogleToken, serviceAccount } from "../secrets/token/google.ts";
import { fetchOauth2Token } from "../secrets/token/oauth2.ts";
import { readToken, requestToken } from "../secrets/token/token.ts";
import type { FetchedValue } from "./keychain-cache.ts";
import type { OpenedCredential, SecretSource } from "./secret-source.ts";
import { unrevealing } from "./secret-source.ts";

/** How long secrets that do not say so themselves are kept. */
export const SECRET_LIFETIME_MS = 600_000;

/**
 * Fetches the value of a rendered entry.
 *
 * @param kept what the value before left behind.
 * @throws AppError that says why not.
 */
export async function fetchEntry(
  source: SecretSource,
  entry: JsonObject,
  kept: JsonObject | undefined,
): Promise<FetchedValue> {
  return await unrevealing(entry, async () => {
    const value = await fetchKind(source, entry, kept);
    return { ...value, data: mapped(entry, value.data) };
  });
}

async function fetchKind(
  source: SecretSource,
  entry: JsonObject,
  kept: JsonObject | undefined,
): Promise<FetchedValue> {
  switch (keychainKind(entry)) {
    case "secrets":
      return { data: await readSecrets(source, entry), lifetimeMs: SECRET_LIFETIME_MS };
    case "oauth2":
      return await fetchOauth2(source, entry, kept);
    case "google_id_token":
      return await fetchIdToken(source, entry, kept);
    case "credential":
      return await fetchCredential(source, credentialName(entry), kept);
    case "bearer":
      return await fetchBearer(source, entry, kept);
    case "static":
      return { data: staticFields(entry), lifetimeMs: SECRET_LIFETIME_MS };
    case undefined: {
      const kind = entry["kind"] === undefined ? "none" : `"${String(entry["kind"])}"`;
      throw invalid(`its kind is ${kind}, which is not known`);
    }
  }
}

function invalid(message: string): AppError {
  return new AppError("invalid", "KEYCHAIN_ENTRY_INVALID", message);
}

/** Whom `credential`, or the older `auth` and `ref`, names. */
function credentialName(entry: JsonObject): string {
  const name = [entry["credential"], entry["auth"], entry["ref"]].find(isName);
  if (name === undefined) {
    throw invalid("it names no `credential`");
  }
  return name;
}

function isName(value: Json | undefined): value is string {
  return typeof value === "string" && value !== "";
}

async function readSecrets(source: SecretSource, entry: JsonObject): Promise<JsonObject> {
  const provider = providerName(entry["provider"] ?? "gcp");
  if (provider === undefined) {
    const message = `provider "${String(entry["provider"])}" is not one of this platform: ${PROVIDERS.join(", ")}`;
    throw invalid(message);
  }
  const auth: JsonObject = isName(entry["auth"]) ? { auth: entry["auth"] } : {};
  const referenceOf = (place: Json): Reference => {
    const reference = isJsonObject(place)
      ? { ...place, provider }
      : parseReference(provider, String(place));
    return provider === "gcp" ? { ...reference, ...auth } : reference;
  };
  if (isJsonObject(entry["map"])) {
    const pairs = Object.entries(entry["map"]).map(
      async ([key, place]): Promise<[string, Json]> => [key, await source.read(referenceOf(place))],
    );
    return Object.fromEntries(await Promise.all(pairs));
  }
  const { name: _name, kind: _kind, scope: _scope, auto_renew: _renew, ...rest } = entry;
  const whole: JsonObject = { ...rest, name: rest["secret"] ?? rest["variable"] ?? "", provider };
  const value = await source.read(referenceOf(whole));
  return isJsonObject(value) ? value : { value };
}

async function fetchOauth2(
  source: SecretSource,
  entry: JsonObject,
  kept: JsonObject | undefined,
): Promise<FetchedValue> {
  const named = [entry["credential"], entry["auth"]].find(isName);
  const url = [entry["endpoint"], entry["token_url"], entry["url"]].find(isName);
  if (named !== undefined && url === undefined) {
    return await fetchCredential(source, named, kept);
  }
  if (url === undefined) {
    throw invalid("it needs `endpoint`, the address that gives tokens");
  }
  const body = [entry["data"], entry["form"], entry["json"], entry["params"]].find(isJsonObject);
  if (named === undefined && body !== undefined) {
    return await requestOauth2(entry, url, body);
  }
  const { data } = named === undefined ? { data: {} } : await source.open(named);
  const { scope: _scope, ...fields } = entry;
  const scopes: JsonObject =
    entry["scopes"] === undefined ? {} : { scope: entry["scopes"] ?? null };
  return await fetchOauth2Token({ ...data, ...fields, ...scopes, token_url: url }, kept);
}

/** The request as the entry has it: `endpoint`, `method`, `headers`, `data`. */
async function requestOauth2(
  entry: JsonObject,
  url: string,
  body: JsonObject,
): Promise<FetchedValue> {
  const given = isJsonObject(entry["headers"]) ? Object.entries(entry["headers"]) : [];
  const headers = Object.fromEntries(
    given.map(([name, value]) => [name.toLowerCase(), String(value)]),
  );
  const isJson = headers["content-type"]?.includes("json") === true || isJsonObject(entry["json"]);
  const isGet = String(entry["method"] ?? "POST").toUpperCase() === "GET";
  const form = new URLSearchParams(
    Object.entries(body).map(([name, value]): [string, string] => [name, textOf(value)]),
  ).toString();
  const nowMs = Date.now();
  const answer = await requestToken({
    url: isGet ? `${url}${url.includes("?") ? "&" : "?"}${form}` : url,
    method: isGet ? "GET" : "POST",
    headers: {
      accept: "application/json",
      "content-type": isJson ? "application/json" : "application/x-www-form-urlencoded",
      ...headers,
    },
    ...(isGet ? {} : { body: isJson ? JSON.stringify(body) : form }),
  });
  return readToken(answer, url, nowMs);
}

async function fetchIdToken(
  source: SecretSource,
  entry: JsonObject,
  kept: JsonObject | undefined,
): Promise<FetchedValue> {
  const audience = entry["target_audience"] ?? entry["audience"];
  if (!isName(audience)) {
    throw invalid("it needs `target_audience`, the address that the token is for");
  }
  const account = await accountOf(source, entry);
  return await fetchGoogleToken({ ...account, target_audience: audience }, kept);
}

/** The service account: in the entry, in a secret manager, or in a credential. */
async function accountOf(source: SecretSource, entry: JsonObject): Promise<JsonObject> {
  const given = entry["service_account"] ?? entry["service_account_secret"];
  if (isJsonObject(given)) {
    return isReference(given) ? serviceAccount(await source.read(given)) : given;
  }
  if (isName(given) && given.trimStart().startsWith("{")) {
    return serviceAccount(given);
  }
  if (isName(given) && given.includes("/")) {
    const provider = providerName(entry["provider"] ?? "gcp") ?? "gcp";
    const auth: JsonObject = isName(entry["auth"]) ? { auth: entry["auth"] } : {};
    const reference = parseReference(provider, given);
    return serviceAccount(await source.read({ ...reference, ...(provider === "gcp" ? auth : {}) }));
  }
  const { data } = await source.open(isName(given) ? given : credentialName(entry));
  return { ...data, ...serviceAccount(data["service_account"]) };
}

/** A credential's fields; with the token, if it is exchanged for one. */
async function fetchCredential(
  source: SecretSource,
  name: string,
  kept: JsonObject | undefined,
): Promise<FetchedValue> {
  const opened = await source.open(name);
  return await unrevealing(opened.data, async () => await exchanged(opened, kept));
}

async function exchanged(
  { data, token }: OpenedCredential,
  kept: JsonObject | undefined,
): Promise<FetchedValue> {
  if (token === undefined) {
    return { data, lifetimeMs: 0 };
  }
  const value = await token.fetch(kept);
  return { ...value, data: { ...data, ...value.data } };
}

async function fetchBearer(
  source: SecretSource,
  entry: JsonObject,
  kept: JsonObject | undefined,
): Promise<FetchedValue> {
  if (entry["provider"] !== undefined) {
    const data = await readSecrets(source, entry);
    const [first] = Object.values(data);
    const token = data["token"] ?? data["access_token"] ?? first ?? "";
    return { data: { ...data, token, access_token: token }, lifetimeMs: SECRET_LIFETIME_MS };
  }
  if (isName(entry["credential"]) || isName(entry["auth"])) {
    const value = await fetchCredential(source, credentialName(entry), kept);
    return { ...value, data: withToken(withCanonicalFields("bearer", value.data)) };
  }
  return { data: withToken(staticFields(entry)), lifetimeMs: SECRET_LIFETIME_MS };
}

function withToken(data: JsonObject): JsonObject {
  const token = data["token"] ?? data["access_token"] ?? data["value"];
  if (token === undefined || token === null || token === "") {
    throw invalid("it has no `token`");
  }
  return { ...data, token, access_token: token };
}

/** Fields that describe the entry, not its value. */
const OWN_FIELDS: ReadonlySet<string> = new Set([
  "name",
  "kind",
  "scope",
  "auto_renew",
  "region",
  "residency",
  "allowed_regions",
  "no_broker_fallback",
  "token_type",
  "description",
  "map",
  "data",
  "values",
]);

function staticFields(entry: JsonObject): JsonObject {
  const parts = [entry["data"], entry["values"], entry["map"], entry["value"]].filter(isJsonObject);
  const own = Object.entries(entry).filter(([key]) => !OWN_FIELDS.has(key));
  return Object.assign(Object.fromEntries(own), ...parts);
}

/** `map` of tokens and credentials: which of their fields the entry has, under which names. */
function mapped(entry: JsonObject, data: JsonObject): JsonObject {
  const { map } = entry;
  const kind = keychainKind(entry);
  if (!isJsonObject(map) || kind === "secrets" || kind === "static" || kind === "bearer") {
    return data;
  }
  const picked = Object.entries(map).map(([key, field]): [string, Json] => {
    const name = String(field);
    if (!Object.hasOwn(data, name)) {
      throw invalid(`its map asks for the field ${name}, which is not there`);
    }
    return [key, data[name] ?? null];
  });
  return Object.fromEntries(picked);
}

function textOf(value: Json): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}
