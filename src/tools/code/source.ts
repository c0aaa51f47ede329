/** Where the code of a task is, as its fields say. */
import type { Json, JsonObject } from "../../core/json.ts";
import { isJsonObject } from "../../core/json.ts";
import { onlyGiven } from "../layers.ts";

export type CodeSource =
  | { readonly type: "inline"; readonly code: string }
  /** On the worker. */
  | { readonly type: "file"; readonly path: string }
  /** Fields of an http task. */
  | { readonly type: "http"; readonly url: string; readonly request: JsonObject }
  /** `s3://bucket/key`, with the fields that say where and who. */
  | { readonly type: "s3"; readonly uri: string; readonly fields: JsonObject }
  | { readonly type: "unknown"; readonly problem: string };

const GCS_PROBLEM =
  "`gcs` is no source: Google Cloud Storage speaks S3, so use type s3 with `endpoint: https://storage.googleapis.com` and a credential with its HMAC key";

/** Sentences about what is missing; empty when the code can be looked for. */
export function checkCode(config: JsonObject): readonly string[] {
  const source = findCode(config);
  return source.type === "unknown" ? [source.problem] : [];
}

/** `code`, else `script`, else `source`. */
export function findCode(config: JsonObject): CodeSource {
  const { code, script, source } = config;
  if (typeof code === "string") {
    return { type: "inline", code };
  }
  if (script !== undefined) {
    return sourceOf(script, config);
  }
  if (typeof source === "string") {
    return { type: "inline", code: source };
  }
  if (isJsonObject(source)) {
    return sourceOf({ uri: config["uri"] ?? null, source }, config);
  }
  return unknown("`code` is missing (or `script`)");
}

/** Name of the file or object, for its extension; undefined for inline code. */
export function codeName(source: CodeSource): string | undefined {
  switch (source.type) {
    case "file":
      return source.path;
    case "http":
      return URL.parse(source.url)?.pathname ?? source.url;
    case "s3":
      return source.uri;
    default:
      return undefined;
  }
}

function sourceOf(script: Json, config: JsonObject): CodeSource {
  if (typeof script === "string") {
    return script.includes("\n")
      ? { type: "inline", code: script }
      : byType(typeOf(script), { uri: script }, config);
  }
  if (!isJsonObject(script)) {
    return unknown("`script` must be a map or text");
  }
  const source = isJsonObject(script["source"]) ? script["source"] : {};
  const inline = script["code"] ?? script["content"] ?? source["code"] ?? source["content"];
  if (typeof inline === "string") {
    return { type: "inline", code: inline };
  }
  const fields = { ...script, ...source, uri: script["uri"] ?? script["path"] ?? source["path"] };
  const type = source["type"] ?? script["type"] ?? typeOf(fields.uri);
  return byType(type, onlyGiven(fields), config);
}

function typeOf(uri: Json | undefined): string {
  const scheme = /^([a-z0-9]+):\/\//i.exec(typeof uri === "string" ? uri : "")?.[1] ?? "file";
  return scheme.toLowerCase() === "https" ? "http" : scheme.toLowerCase();
}

function byType(type: Json, fields: JsonObject, config: JsonObject): CodeSource {
  const uri = fields["uri"];
  const auth = fields["auth"] ?? config["auth"] ?? config["credential"];
  const known = { ...fields, ...(auth === undefined ? {} : { auth }) };
  switch (type) {
    case "file":
    case "local":
      return typeof uri === "string" && uri !== ""
        ? { type: "file", path: uri.replace(/^file:\/\//, "") }
        : unknown("`script.uri` is missing");
    case "http":
    case "https":
      return httpSource(known);
    case "s3":
      return s3Source(known);
    case "gcs":
    case "gs":
      return unknown(GCS_PROBLEM);
    case "inline":
      return unknown("`script.content` is missing");
    default:
      return unknown(
        `\`script.source.type\` ${JSON.stringify(type)} is not supported, use inline, file, http or s3`,
      );
  }
}

/** A `uri` without a host is below `endpoint`. */
function httpSource(fields: JsonObject): CodeSource {
  const { uri, endpoint, url } = fields;
  const base = endpoint ?? url;
  const address =
    typeof base === "string" && typeof uri === "string" && !URL.canParse(uri)
      ? `${base.replace(/\/$/, "")}/${uri.replace(/^\//, "")}`
      : (uri ?? base);
  if (typeof address !== "string" || !URL.canParse(address)) {
    return unknown("`script.uri` (or `source.endpoint`) must be the address of the code");
  }
  const { method, headers, params, timeout, auth } = fields;
  const request = onlyGiven({ method, headers, params, timeout, auth });
  return { type: "http", url: address, request };
}

function s3Source(fields: JsonObject): CodeSource {
  const { uri, bucket, key } = fields;
  const address = uri ?? (bucket === undefined ? undefined : `s3://${bucket}/${key}`);
  return typeof address === "string" && /^s3:\/\/[^/]+\/.+/.test(address)
    ? { type: "s3", uri: address, fields }
    : unknown("`script.uri` must be s3://BUCKET/KEY");
}

function unknown(problem: string): CodeSource {
  return { type: "unknown", problem };
}
