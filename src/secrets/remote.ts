/**
 * Calls to services that keep secrets or give tokens: bounded in time and size, tried again when it
 * may help, with errors that say who failed and never what was sent or answered.
 */
import { backoffMs } from "../core/backoff.ts";
import { sleep } from "../core/clock.ts";
import { AppError, errorMessage } from "../core/errors.ts";
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject, parseJson } from "../core/json.ts";

export interface RemoteRequest {
  /** For messages: `Vault`, `the token endpoint https://…`. */
  readonly who: string;
  readonly url: string;
  readonly method: "GET" | "POST";
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /** PEM of the authority that signed the service's certificate. */
  readonly ca?: string | undefined;
}

export interface RemoteAnswer {
  readonly status: number;
  readonly body: JsonObject;
}

const TIMEOUT_MS = 5000;
const TRIES = 3;
const BACKOFF = { minMs: 100, maxMs: 1000 };
const ANSWER_BYTES_MAX = 1024 * 1024;

/**
 * The answer, of whatever status below 500 but 429.
 *
 * @throws AppError unavailable SECRET_SOURCE_UNAVAILABLE after {@link TRIES} tries.
 */
export async function callRemote(request: RemoteRequest): Promise<RemoteAnswer> {
  for (let attempt = 1; ; attempt++) {
    const outcome = await tryRemote(request);
    if (!("problem" in outcome)) {
      return outcome;
    }
    if (attempt >= TRIES) {
      throw unavailable(`${request.who} ${outcome.problem} (${TRIES} tries)`);
    }
    await sleep(backoffMs(attempt, BACKOFF));
  }
}

type Outcome = RemoteAnswer | { readonly problem: string };

async function tryRemote({ url, method, headers, body, ca }: RemoteRequest): Promise<Outcome> {
  try {
    const response = await fetch(url, {
      method,
      headers,
      signal: AbortSignal.timeout(TIMEOUT_MS),
      // A redirect would carry the secret to whoever it names.
      redirect: "manual",
      ...(body === undefined ? {} : { body }),
      ...(ca === undefined ? {} : { tls: { ca } }),
    });
    const text = await readText(response);
    const { status } = response;
    if (status === 429 || status >= 500) {
      return { problem: `answers HTTP ${status}` };
    }
    return text === undefined
      ? { problem: `answers more than ${ANSWER_BYTES_MAX} bytes` }
      : { status, body: readBody(text) };
  } catch (error) {
    const isLate = error instanceof Error && error.name === "TimeoutError";
    return {
      problem: isLate
        ? `does not answer within ${TIMEOUT_MS / 1000} s`
        : `cannot be reached: ${errorMessage(error)}`,
    };
  }
}

/** Undefined, and the rest is not read, if it is too long. */
async function readText({ body }: Response): Promise<string | undefined> {
  const pieces: Uint8Array[] = [];
  let byteCount = 0;
  for await (const piece of body ?? []) {
    byteCount += piece.length;
    if (byteCount > ANSWER_BYTES_MAX) {
      return undefined;
    }
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString();
}

function readBody(text: string): JsonObject {
  try {
    const value = parseJson(text);
    return isJsonObject(value) ? value : {};
  } catch {
    // An answer that is no JSON has no fields; the caller says which one it misses.
    return {};
  }
}

/** @throws AppError forbidden SECRET_DENIED, not_found SECRET_NOT_FOUND, invalid SECRET_REFUSED. */
export function refusal(who: string, what: string, { status, body }: RemoteAnswer): AppError {
  const reason = describeReason(body);
  const text = `${who} answers HTTP ${status} for ${what}${reason === "" ? "" : `: ${reason}`}`;
  if (status === 401 || status === 403) {
    return new AppError("forbidden", "SECRET_DENIED", text);
  }
  return status === 404
    ? new AppError("not_found", "SECRET_NOT_FOUND", text)
    : new AppError("invalid", "SECRET_REFUSED", text);
}

const REASON_LENGTH_MAX = 200;

/** What error answers say by custom: OAuth's, Vault's, Google's and Kubernetes' fields. */
function describeReason(body: JsonObject): string {
  const { error } = body;
  const inner = isJsonObject(error) ? [error["message"]] : [error];
  const errors: Json = body["errors"] ?? null;
  const list: readonly Json[] = Array.isArray(errors) ? errors : [];
  return [...inner, body["error_description"], body["message"], ...list]
    .filter((text) => typeof text === "string")
    .join(", ")
    .slice(0, REASON_LENGTH_MAX);
}

export function unavailable(message: string): AppError {
  return new AppError("unavailable", "SECRET_SOURCE_UNAVAILABLE", message);
}

/** A secret source that this server was not told how to use. */
export function notConfigured(message: string, cause?: unknown): AppError {
  return new AppError("conflict", "SECRET_SOURCE_NOT_CONFIGURED", message, { cause });
}
