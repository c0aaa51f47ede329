/** Turns an http task's fields into a request. */
import type { Json, JsonObject } from "../../core/json.ts";
import { isJsonObject } from "../../core/json.ts";
import type { Credential, ToolContext } from "../tool.ts";
import { multipartBody } from "./multipart.ts";

export interface HttpRequest {
  readonly url: string;
  readonly method: string;
  readonly headers: Headers;
  readonly body: HttpBody | undefined;
}

export type HttpBody = string | FormData | Uint8Array<ArrayBuffer>;

/** `url` or its older name. */
export function urlOf(config: JsonObject): Json | undefined {
  return config["url"] ?? config["endpoint"];
}

/**
 * @throws TypeError if the address is not a URL or a header is malformed; CredentialError if the
 * task names a credential that it cannot have.
 */
export async function buildRequest(config: JsonObject, context: ToolContext): Promise<HttpRequest> {
  const method = String(config["method"] ?? "GET").toUpperCase();
  const headers = new Headers(headerPairs(config["headers"]));
  applyAuth(headers, await findAuth(config, context));
  if (context.traceparent !== undefined && !namesHeader(config, "traceparent")) {
    headers.set("traceparent", context.traceparent);
  }
  const canHaveBody = method !== "GET" && method !== "HEAD";
  const body = canHaveBody ? await encodeBody(config, headers, context) : undefined;
  return { url: addParams(String(urlOf(config)), config["params"]), method, headers, body };
}

/** Also one that is to be left out. */
function namesHeader({ headers }: JsonObject, name: string): boolean {
  return isJsonObject(headers) && Object.keys(headers).some((key) => key.toLowerCase() === name);
}

function headerPairs(headers: Json | undefined): [string, string][] {
  return Object.entries(isJsonObject(headers) ? headers : {}).flatMap(([name, value]) =>
    value === null ? [] : [[name, textOf(value)] satisfies [string, string]],
  );
}

/** Adds query parameters: nulls are dropped, a list repeats its name. */
function addParams(address: string, params: Json | undefined): string {
  const url = new URL(address);
  for (const [name, value] of Object.entries(isJsonObject(params) ? params : {})) {
    for (const item of Array.isArray(value) ? value : [value]) {
      if (item !== null) {
        url.searchParams.append(name, textOf(item));
      }
    }
  }
  return url.toString();
}

/**
 * `files` (with `form`) before `json` before `form` before `body_base64` before `body`, `data` and
 * `payload`; text goes as it is, the rest as JSON.
 */
async function encodeBody(
  config: JsonObject,
  headers: Headers,
  context: ToolContext,
): Promise<HttpBody | undefined> {
  if (present(config["files"])) {
    headers.delete("content-type");
    return await multipartBody(config["files"], config["form"], context);
  }
  if (present(config["json"])) {
    return jsonBody(config["json"], headers);
  }
  const form = config["form"];
  if (isJsonObject(form)) {
    setDefault(headers, "content-type", "application/x-www-form-urlencoded");
    return formBody(form);
  }
  const encoded = config["body_base64"];
  if (typeof encoded === "string") {
    setDefault(headers, "content-type", "application/octet-stream");
    return Uint8Array.from(Buffer.from(encoded, "base64"));
  }
  const body = [config["body"], config["data"], config["payload"]].find(present);
  if (!present(body)) {
    return undefined;
  }
  if (typeof body === "string") {
    return body;
  }
  const isForm = headers.get("content-type")?.startsWith("application/x-www-form-urlencoded");
  return isForm && isJsonObject(body) ? formBody(body) : jsonBody(body, headers);
}

function jsonBody(value: Json, headers: Headers): string {
  setDefault(headers, "content-type", "application/json");
  return JSON.stringify(value);
}

function formBody(form: JsonObject): string {
  const fields = new URLSearchParams();
  for (const [name, value] of Object.entries(form)) {
    for (const item of Array.isArray(value) ? value : [value]) {
      if (item !== null) {
        fields.append(name, textOf(item));
      }
    }
  }
  return fields.toString();
}

/** The same request without what proves who asks: for an address that another service gave. */
export function withoutAuth({ headers, ...request }: HttpRequest, config: JsonObject): HttpRequest {
  const kept = new Headers(headerPairs(config["headers"]));
  const type = headers.get("content-type");
  if (type !== null) {
    kept.set("content-type", type);
  }
  for (const name of ["authorization", "cookie", "proxy-authorization", "x-api-key"]) {
    kept.delete(name);
  }
  return { ...request, headers: kept };
}

/** The credential that `auth` or `credential` names, or an explicit map with the fields of one. */
async function findAuth(
  config: JsonObject,
  context: ToolContext,
): Promise<Omit<Credential, "name"> | undefined> {
  const auth = config["auth"] ?? config["credential"];
  if (typeof auth === "string" && auth !== "") {
    return await context.credential(auth);
  }
  if (!isJsonObject(auth)) {
    return undefined;
  }
  const named = auth["credential"];
  if (typeof named === "string" && named !== "") {
    const { type, data } = await context.credential(named);
    return { type: String(auth["type"] ?? type), data: { ...data, ...auth } };
  }
  return { type: String(auth["type"] ?? "bearer"), data: auth };
}

function applyAuth(headers: Headers, auth: Omit<Credential, "name"> | undefined): void {
  if (auth === undefined) {
    return;
  }
  const { data } = auth;
  const field = (...names: readonly string[]): string | undefined => {
    const value = names.map((name) => data[name]).find(present);
    return value === undefined ? undefined : textOf(value);
  };
  switch (auth.type.toLowerCase()) {
    case "basic":
    case "http_basic": {
      const pair = `${field("username", "user") ?? ""}:${field("password") ?? ""}`;
      headers.set("authorization", `Basic ${Buffer.from(pair).toString("base64")}`);
      return;
    }
    case "api_key":
    case "apikey":
      headers.set(
        field("header", "header_name") ?? "X-API-Key",
        field("api_key", "key", "token", "value") ?? "",
      );
      return;
    default: {
      const token = field("token", "access_token", "bearer_token", "api_key");
      if (token !== undefined) {
        headers.set("authorization", `Bearer ${token}`);
      }
    }
  }
}

function setDefault(headers: Headers, name: string, value: string): void {
  if (!headers.has(name)) {
    headers.set(name, value);
  }
}

function present(value: Json | undefined): value is Exclude<Json, null> {
  return value !== undefined && value !== null;
}

function textOf(value: Json): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}
