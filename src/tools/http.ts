/** Calls an HTTP service. */
import { parseDuration } from "../core/duration.ts";
import { errorMessage } from "../core/errors.ts";
import type { Json, JsonObject } from "../core/json.ts";
import { parseJson } from "../core/json.ts";
import type { Failure, FailureKind } from "../engine/failure.ts";
import { failure } from "../engine/failure.ts";
import { buildRequest, urlOf } from "./http-request.ts";
import { stoppedFailure } from "./stopped.ts";
import type { HttpMeta, Tool, ToolContext, ToolOutcome } from "./tool.ts";
import { CredentialError } from "./tool.ts";

/** Limit of a call whose task sets none. */
const TIMEOUT_MS = 30_000;
/** Text of an error answer that goes into the failure's message. Characters. */
const EXCERPT_LENGTH_MAX = 300;

export interface HttpToolOptions {
  /** Largest answer that is read, bytes. */
  readonly maxOutputBytes: number;
}

export function createHttpTool(options: HttpToolOptions): Tool {
  return {
    kind: "http",
    summary: "calls `url`; gives status_code, headers, and the parsed body as data and body",
    check: (config) => {
      const url = urlOf(config);
      return typeof url === "string" && url.trim() !== "" ? [] : ["`url` is missing"];
    },
    run: (call, context) => runCall(call.config, options, context),
  };
}

async function runCall(
  config: JsonObject,
  options: HttpToolOptions,
  context: ToolContext,
): Promise<ToolOutcome> {
  const startedMs = performance.now();
  const limit = AbortSignal.timeout(limitMs(config, context));
  const signal = AbortSignal.any([context.signal, limit]);
  let address = String(urlOf(config));
  try {
    const { url, ...request } = await buildRequest(config, context);
    address = url;
    const response = await fetch(url, {
      ...request,
      signal,
      redirect: config["follow_redirects"] === false ? "manual" : "follow",
      ...(config["verify_ssl"] === false ? { tls: { rejectUnauthorized: false } } : {}),
    });
    const bytes = await readBody(response, options.maxOutputBytes);
    return outcomeOf(response, decodeBody(bytes, response, config), startedMs);
  } catch (error) {
    return { ok: false, failure: failureOf(error, address, context.signal, limit) };
  }
}

/** The executor enforces the task's limit by signal; here it only replaces the default. */
function limitMs(config: JsonObject, context: ToolContext): number {
  const own = parseDuration(config["timeout"] ?? config["timeout_seconds"]);
  return own ?? context.timeoutMs ?? TIMEOUT_MS;
}

class TooLargeError extends Error {
  override readonly name = "TooLargeError";
}

/** @throws TooLargeError past `limit` bytes. */
async function readBody(response: Response, limit: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of response.body ?? []) {
    size += part.length;
    if (size > limit) {
      throw new TooLargeError(`the answer is larger than ${limit} bytes`);
    }
    parts.push(part);
  }
  return parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
}

/** JSON when it is JSON, else text; `binary` gives `{base64, size}`. */
function decodeBody(bytes: Uint8Array, response: Response, config: JsonObject): Json {
  const wanted = config["response_type"];
  if (wanted === "binary") {
    return { base64: Buffer.from(bytes).toString("base64"), size: bytes.length };
  }
  const text = new TextDecoder(charsetOf(response)).decode(bytes);
  if (wanted === "text" || (text === "" && wanted !== "json")) {
    return text;
  }
  try {
    return parseJson(text);
  } catch {
    return text;
  }
}

function charsetOf(response: Response): "utf-8" | "latin1" {
  const type = response.headers.get("content-type")?.toLowerCase() ?? "";
  return /charset=["']?(iso-8859-1|latin1|windows-1252)/.test(type) ? "latin1" : "utf-8";
}

function outcomeOf(response: Response, data: Json, startedMs: number): ToolOutcome {
  const headers: Record<string, string> = {};
  for (const [name, text] of response.headers) {
    const before = headers[name];
    headers[name] = before === undefined ? text : `${before}, ${text}`;
  }
  const http: HttpMeta = { status: response.status, headers };
  const value = {
    status_code: response.status,
    headers,
    data,
    body: data,
    url: response.url,
    elapsed: Math.round(performance.now() - startedMs) / 1000,
  };
  return response.status < 400
    ? { ok: true, value, http }
    : { ok: false, value, http, failure: statusFailure(response, data) };
}

function statusFailure(response: Response, data: Json): Failure {
  const { status } = response;
  const text = typeof data === "string" ? data : JSON.stringify(data);
  const excerpt = text.slice(0, EXCERPT_LENGTH_MAX);
  const message = `HTTP ${status} from ${withoutQuery(response.url)}${excerpt === "" ? "" : `: ${excerpt}`}`;
  const retryAfterMs = parseRetryAfter(response.headers.get("retry-after"));
  return failure(kindOfStatus(status), message, {
    code: `HTTP_${status}`,
    status,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

export function kindOfStatus(status: number): FailureKind {
  switch (status) {
    case 401:
    case 403:
      return "auth";
    case 404:
      return "not_found";
    case 408:
      return "timeout";
    case 429:
      return "rate_limit";
    default:
      return status >= 500 ? "server_error" : "client_error";
  }
}

/** Seconds or a date, in milliseconds from now. See RFC 9110, section 10.2.3. */
export function parseRetryAfter(value: string | null): number | undefined {
  if (value === null) {
    return undefined;
  }
  if (/^\s*\d+(\.\d+)?\s*$/.test(value)) {
    return Number(value) * 1000;
  }
  const dateMs = Date.parse(value);
  return Number.isNaN(dateMs) ? undefined : Math.max(0, dateMs - Date.now());
}

function failureOf(
  error: unknown,
  address: string,
  signal: AbortSignal,
  limit: AbortSignal,
): Failure {
  const where = withoutQuery(address);
  if (error instanceof CredentialError) {
    return error.failure;
  }
  if (signal.aborted) {
    return stoppedFailure(signal);
  }
  if (limit.aborted) {
    return failure("timeout", `no answer from ${where} within the time limit of the call`);
  }
  if (error instanceof TooLargeError) {
    return failure("limit", `${error.message} (${where})`, { code: "RESPONSE_TOO_LARGE" });
  }
  if (error instanceof TypeError && !URL.canParse(address)) {
    return failure("schema", `"${address}" is not a URL`, { code: "URL_INVALID" });
  }
  return failure("connection", `cannot reach ${where}: ${errorMessage(error)}`, {
    code: codeOf(error),
  });
}

function codeOf(error: unknown): string {
  const isCoded = typeof error === "object" && error !== null && "code" in error;
  return isCoded && typeof error.code === "string" ? error.code : "CONNECTION";
}

/** Query strings may hold secrets. */
function withoutQuery(address: string): string {
  return address.split("?")[0] ?? address;
}
