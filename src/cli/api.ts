/** The public HTTP API, as the client commands use it. */
import { AppError, errorMessage } from "../core/errors.ts";
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject, parseJson } from "../core/json.ts";
import { readServerEvents } from "./server-events.ts";

export interface ApiOptions {
  /** For example `http://127.0.0.1:8082`. */
  readonly url: string;
  readonly token: string | undefined;
  /** PEM text of who signed the server's certificate; default: known authorities. */
  readonly authority?: string | undefined;
  readonly signal: AbortSignal;
}

/** A message of a live stream. */
export interface LiveMessage {
  /** `message`, or `end` for the last one. */
  readonly event: string;
  readonly data: JsonObject;
}

export const DEFAULT_SERVER_URL = "http://127.0.0.1:8082";
/** Tries to go on with a live stream that broke, before it is given up. */
const STREAM_TRIES = 20;
const STREAM_WAIT_MS = 500;
/** Of Bun and OpenSSL, when a certificate is not what it should be. */
const CERTIFICATE = /CERT|SIGNATURE|ISSUER|SELF_SIGNED|ALTNAME/;

export class Api {
  readonly url: string;
  readonly #token: string | undefined;
  readonly #tls: { readonly tls?: { readonly ca: string } };
  readonly #signal: AbortSignal;

  constructor({ url, token, authority, signal }: ApiOptions) {
    this.url = url.replace(/\/+$/, "");
    this.#token = token;
    this.#tls = authority === undefined ? {} : { tls: { ca: authority } };
    this.#signal = signal;
  }

  /**
   * @throws AppError `SERVER_UNREACHABLE`, or the server's own error with its code and details.
   */
  async get(path: string): Promise<Json> {
    return await this.#call(path, { method: "GET" });
  }

  async post(path: string, body: Json): Promise<Json> {
    return await this.#call(path, { method: "POST", body: JSON.stringify(body) });
  }

  async delete(path: string): Promise<Json> {
    return await this.#call(path, { method: "DELETE" });
  }

  async putObject(path: string, body: Json): Promise<JsonObject> {
    return asObject(await this.#call(path, { method: "PUT", body: JSON.stringify(body) }), path);
  }

  /** Like {@link get}, for answers that are objects. */
  async getObject(path: string): Promise<JsonObject> {
    return asObject(await this.get(path), path);
  }

  async postObject(path: string, body: Json): Promise<JsonObject> {
    return asObject(await this.post(path, body), path);
  }

  /**
   * Messages of a stream up to its `end`. A connection that breaks is made again and goes on behind
   * the last message that had an id; the others of its group may come twice. Ends early, without an
   * error, when the command is stopped.
   */
  async *live(path: string): AsyncGenerator<LiveMessage> {
    let lastId: string | undefined;
    for (let tries = 0; !this.#signal.aborted; tries++) {
      try {
        const response = await this.fetch(path, streamHeaders(lastId));
        for await (const message of readServerEvents(response)) {
          tries = 0;
          lastId = message.id ?? lastId;
          yield { event: message.event, data: asObject(parseJson(message.data), path) };
          if (message.event === "end") {
            return;
          }
        }
      } catch (error) {
        if (this.#signal.aborted) {
          return;
        }
        if (!isBroken(error) || tries >= STREAM_TRIES) {
          throw error;
        }
      }
      await Bun.sleep(STREAM_WAIT_MS);
    }
  }

  async #call(path: string, init: RequestInit): Promise<Json> {
    const response = await this.fetch(path, init);
    const text = await response.text();
    return text === "" ? null : parseJson(text);
  }

  /** The answer to a request of any kind, not read yet. */
  async fetch(path: string, init: RequestInit): Promise<Response> {
    const headers = new Headers(init.headers);
    if (!headers.has("content-type")) {
      headers.set("content-type", "application/json");
    }
    if (this.#token !== undefined) {
      headers.set("authorization", `Bearer ${this.#token}`);
    }
    let response: Response;
    try {
      const request = { ...init, ...this.#tls, headers, signal: this.#signal };
      response = await fetch(`${this.url}${path}`, request);
    } catch (error) {
      throw unreachable(this.url, error);
    }
    if (!response.ok) {
      throw await serverError(response);
    }
    return response;
  }
}

function streamHeaders(lastId: string | undefined): RequestInit {
  return lastId === undefined ? {} : { headers: { "last-event-id": lastId } };
}

/** A stream that the server or the network cut; not an answer that says no. */
function isBroken(error: unknown): boolean {
  return !(error instanceof AppError) || error.code === "SERVER_UNREACHABLE";
}

function unreachable(url: string, cause: unknown): AppError {
  const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
  const reason = typeof code === "string" ? code : errorMessage(cause);
  if (CERTIFICATE.test(reason)) {
    return new AppError(
      "unavailable",
      "SERVER_UNREACHABLE",
      `The certificate of ${url} is not accepted (${reason}).\n` +
        "Name the file of the authority that signed it with --ca-file or NOETL_CA_FILE, or correct the server's name.",
      { cause },
    );
  }
  return new AppError(
    "unavailable",
    "SERVER_UNREACHABLE",
    `No noetl server answers at ${url} (${reason}).\n` +
      "Start one with `noetl up`, or name another with --server-url or NOETL_SERVER_URL.",
    { cause },
  );
}

async function serverError(response: Response): Promise<AppError> {
  const text = await response.text();
  const body = readBody(text);
  const code = typeof body["code"] === "string" ? body["code"] : `HTTP_${response.status}`;
  const message = typeof body["error"] === "string" ? body["error"] : text.slice(0, 500);
  const kind = response.status === 404 ? "not_found" : "invalid";
  return new AppError(kind, code, message || `HTTP ${response.status}`, { details: body });
}

function readBody(text: string): JsonObject {
  try {
    const body = parseJson(text);
    return isJsonObject(body) ? body : {};
  } catch {
    // Something other than a noetl server.
    return {};
  }
}

function asObject(value: Json, path: string): JsonObject {
  if (isJsonObject(value)) {
    return value;
  }
  throw new AppError("internal", "ANSWER_UNEXPECTED", `${path} did not answer with an object`);
}
