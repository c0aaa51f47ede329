/**
 * One conversation with a server of the Model Context Protocol over HTTP ("streamable HTTP"): each
 * message is a POST, answered by JSON or by a stream of events that ends with the answer.
 */
import { errorMessage } from "../../core/errors.ts";
import type { Json, JsonObject } from "../../core/json.ts";
import { isJsonObject, parseJson } from "../../core/json.ts";
import type { FailureKind } from "../../engine/failure.ts";
import { failure } from "../../engine/failure.ts";
import { kindOfStatus, parseRetryAfter } from "../http/answer.ts";
import { TaskError, taskError } from "../task-error.ts";
import { readEvents, StreamTooLargeError } from "./sse.ts";

export interface SessionOptions {
  readonly url: string;
  /** Of the task and its credential. */
  readonly headers: Headers;
  readonly protocolVersion: string;
  /** Largest answer, bytes. */
  readonly bytesMax: number;
  readonly signal: AbortSignal;
  /** Log messages of the server. */
  readonly log: (line: string) => void;
}

const EXCERPT_LENGTH_MAX = 300;
/** For saying goodbye. */
const FAREWELL_MS = 1000;
const METHOD_NOT_FOUND = -32_601;

export class McpSession {
  readonly #options: SessionOptions;
  #sessionId: string | undefined;
  #version: string | undefined;
  #lastId = 0;
  /** The request under way. */
  #openId: Json | undefined;

  constructor(options: SessionOptions) {
    this.#options = options;
  }

  /**
   * The handshake; gives what the server says about itself, empty when it knows none.
   *
   * @throws TaskError
   */
  async open(): Promise<JsonObject> {
    const { protocolVersion } = this.#options;
    const params = {
      protocolVersion,
      capabilities: {},
      clientInfo: { name: "noetl", version: "1" },
    };
    try {
      const { protocolVersion: version, serverInfo } = await this.request("initialize", params);
      this.#version = typeof version === "string" ? version : protocolVersion;
      await this.#notify("notifications/initialized");
      return isJsonObject(serverInfo) ? serverInfo : {};
    } catch (error) {
      if (error instanceof TaskError && error.failure.code === rpcCode(METHOD_NOT_FOUND)) {
        return {};
      }
      throw error;
    }
  }

  /** @throws TaskError with what the server or the way to it says. */
  async request(method: string, params: JsonObject, id?: Json): Promise<JsonObject> {
    this.#openId = id ?? ++this.#lastId;
    const message = { jsonrpc: "2.0", id: this.#openId, method, params };
    const answer = await this.#answerTo(await this.#post(message), this.#openId);
    this.#openId = undefined;
    const { error, result } = answer;
    if (isJsonObject(error)) {
      throw rpcError(method, error);
    }
    return isJsonObject(result) ? result : { result: result ?? null };
  }

  /** Ends the session, and tells of a request that nobody waits for any more. Never rejects. */
  async close(): Promise<void> {
    const signal = AbortSignal.timeout(FAREWELL_MS);
    try {
      if (this.#openId !== undefined && this.#version !== undefined) {
        const params = { requestId: this.#openId };
        await this.#send({ jsonrpc: "2.0", method: "notifications/cancelled", params }, signal);
      }
      if (this.#sessionId !== undefined) {
        await fetch(this.#options.url, { method: "DELETE", headers: this.#headers(), signal });
      }
    } catch {
      // The server forgets it by itself.
    }
  }

  async #notify(method: string): Promise<void> {
    const response = await this.#post({ jsonrpc: "2.0", method });
    await response.body?.cancel();
  }

  async #post(message: JsonObject): Promise<Response> {
    const { url, signal } = this.#options;
    let response: Response;
    try {
      response = await this.#send(message, signal);
    } catch (error) {
      throw this.#lost(`cannot reach ${withoutQuery(url)}`, error);
    }
    this.#sessionId = response.headers.get("mcp-session-id") ?? this.#sessionId;
    if (response.status >= 400) {
      throw await statusError(response, url);
    }
    return response;
  }

  async #send(message: JsonObject, signal: AbortSignal): Promise<Response> {
    const body = JSON.stringify(message);
    return await fetch(this.#options.url, {
      method: "POST",
      headers: this.#headers(),
      body,
      signal,
    });
  }

  #headers(): Headers {
    const headers = new Headers(this.#options.headers);
    headers.set("content-type", "application/json");
    headers.set("accept", "application/json, text/event-stream");
    if (this.#sessionId !== undefined) {
      headers.set("mcp-session-id", this.#sessionId);
    }
    if (this.#version !== undefined) {
      headers.set("mcp-protocol-version", this.#version);
    }
    return headers;
  }

  async #answerTo(response: Response, id: Json): Promise<JsonObject> {
    const isStream = response.headers.get("content-type")?.includes("text/event-stream") === true;
    try {
      const answer = isStream
        ? await this.#answerInStream(response, id)
        : answerIn(parseJson(await this.#readText(response)), id);
      if (answer !== undefined) {
        return answer;
      }
    } catch (error) {
      throw this.#lost("the answer was cut off", error);
    }
    const message = "the server ended its answer without a response to the request";
    throw taskError("connection", "MCP_NO_ANSWER", message);
  }

  async #answerInStream(response: Response, id: Json): Promise<JsonObject | undefined> {
    const stream = response.body ?? new ReadableStream();
    for await (const event of readEvents(stream, this.#options.bytesMax)) {
      const message = parseJson(event.data);
      const answer = answerIn(message, id);
      if (answer !== undefined) {
        return answer;
      }
      await this.#hear(message);
    }
    return undefined;
  }

  /** What the server says before it answers. */
  async #hear(message: Json): Promise<void> {
    if (!isJsonObject(message)) {
      return;
    }
    const { id, method, params } = message;
    if (id !== undefined && method !== undefined) {
      const error = { code: METHOD_NOT_FOUND, message: `noetl does not do ${String(method)}` };
      const reply = method === "ping" ? { result: {} } : { error };
      const response = await this.#post({ jsonrpc: "2.0", id, ...reply });
      await response.body?.cancel();
    } else if (method === "notifications/message" && isJsonObject(params)) {
      this.#options.log(`[${params["level"] ?? "info"}] ${textOf(params["data"])}`);
    }
  }

  async #readText(response: Response): Promise<string> {
    const parts: Uint8Array[] = [];
    let size = 0;
    for await (const part of response.body ?? []) {
      size += part.length;
      if (size > this.#options.bytesMax) {
        throw new StreamTooLargeError();
      }
      parts.push(part);
    }
    return Buffer.concat(parts).toString("utf8");
  }

  #lost(what: string, error: unknown): unknown {
    const { signal, bytesMax } = this.#options;
    if (signal.aborted || error instanceof TaskError) {
      return error;
    }
    if (error instanceof StreamTooLargeError) {
      const message = `the answer is larger than ${bytesMax} bytes`;
      return taskError("limit", "RESPONSE_TOO_LARGE", message);
    }
    return error instanceof SyntaxError
      ? taskError("parse", "MCP_ANSWER_INVALID", `the answer is no JSON: ${error.message}`)
      : taskError("connection", "MCP_UNREACHABLE", `${what}: ${errorMessage(error)}`);
  }
}

/** Servers of the first version may answer with a list. */
function answerIn(message: Json, id: Json): JsonObject | undefined {
  const all: readonly Json[] = Array.isArray(message) ? message : [message];
  return all.find(
    (each): each is JsonObject =>
      isJsonObject(each) && each["id"] === id && ("result" in each || "error" in each),
  );
}

function rpcError(method: string, error: JsonObject): TaskError {
  const code = typeof error["code"] === "number" ? error["code"] : 0;
  const more = error["data"] === undefined ? "" : ` (${excerpt(textOf(error["data"]))})`;
  const message = `${method}: ${textOf(error["message"] ?? "")}${more}`;
  return taskError(kindOfCode(code), rpcCode(code), message);
}

function rpcCode(code: number): string {
  return `JSONRPC_${code}`;
}

/** See section 5.1 of JSON-RPC 2.0; -32001 and -32002 are of the protocol's own servers. */
function kindOfCode(code: number): FailureKind {
  switch (code) {
    case -32_700:
    case -32_600:
    case METHOD_NOT_FOUND:
    case -32_602:
      return "client_error";
    case -32_001:
      return "timeout";
    case -32_002:
      return "not_found";
    default:
      return "server_error";
  }
}

async function statusError(response: Response, url: string): Promise<TaskError> {
  const text = excerpt(await response.text().catch(() => ""));
  const { status } = response;
  const message = `HTTP ${status} from ${withoutQuery(url)}${text === "" ? "" : `: ${text}`}`;
  const retryAfterMs = parseRetryAfter(response.headers.get("retry-after"));
  return new TaskError(
    failure(kindOfStatus(status), message, {
      code: `HTTP_${status}`,
      status,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    }),
  );
}

function textOf(value: Json | undefined): string {
  return typeof value === "string" ? value : JSON.stringify(value ?? null);
}

function excerpt(text: string): string {
  return text.slice(0, EXCERPT_LENGTH_MAX);
}

/** Query strings may hold secrets. */
function withoutQuery(address: string): string {
  return address.split("?")[0] ?? address;
}
