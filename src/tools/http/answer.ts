/** One answer of an HTTP service: read within a limit, decoded, and judged by its status. */
import type { Json, JsonObject } from "../../core/json.ts";
import { parseJson } from "../../core/json.ts";
import type { Failure, FailureKind } from "../../engine/failure.ts";
import { failure } from "../../engine/failure.ts";
import type { HttpMeta } from "../tool.ts";

/** Text of an error answer that goes into the failure's message. Characters. */
const EXCERPT_LENGTH_MAX = 300;

export interface Answer {
  readonly status: number;
  /** Names in lower case; repeated ones joined with a comma. */
  readonly headers: Readonly<Record<string, string>>;
  readonly data: Json;
  /** Of the body, bytes. */
  readonly size: number;
  /** After redirects. */
  readonly url: string;
}

export class TooLargeError extends Error {
  override readonly name = "TooLargeError";
}

/** @throws TooLargeError past `limit` bytes. */
export async function readAnswer(
  response: Response,
  config: JsonObject,
  limit: number,
): Promise<Answer> {
  const bytes = await readBody(response, limit);
  return {
    status: response.status,
    headers: headersOf(response),
    data: decodeBody(bytes, response, config["response_type"]),
    size: bytes.length,
    url: response.url,
  };
}

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
function decodeBody(bytes: Uint8Array, response: Response, wanted: Json | undefined): Json {
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

function headersOf(response: Response): Readonly<Record<string, string>> {
  const headers: Record<string, string> = {};
  for (const [name, text] of response.headers) {
    const before = headers[name];
    headers[name] = before === undefined ? text : `${before}, ${text}`;
  }
  return headers;
}

export function httpMeta({ status, headers }: Answer): HttpMeta {
  return { status, headers };
}

/** Why an answer with a status of 400 or more fails the task. */
export function statusFailure({ status, headers, data, url }: Answer): Failure {
  const text = typeof data === "string" ? data : JSON.stringify(data);
  const excerpt = text.slice(0, EXCERPT_LENGTH_MAX);
  const message = `HTTP ${status} from ${withoutQuery(url)}${excerpt === "" ? "" : `: ${excerpt}`}`;
  const retryAfterMs = parseRetryAfter(headers["retry-after"]);
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
export function parseRetryAfter(value: string | null | undefined): number | undefined {
  if (value === null || value === undefined) {
    return undefined;
  }
  if (/^\s*\d+(\.\d+)?\s*$/.test(value)) {
    return Number(value) * 1000;
  }
  const dateMs = Date.parse(value);
  return Number.isNaN(dateMs) ? undefined : Math.max(0, dateMs - Date.now());
}

/** Query strings may hold secrets. */
export function withoutQuery(address: string): string {
  return address.split("?")[0] ?? address;
}
