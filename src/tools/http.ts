/** Calls an HTTP service. */
import { parseDuration } from "../core/duration.ts";
import { errorMessage } from "../core/errors.ts";
import type { Json, JsonObject } from "../core/json.ts";
import type { Failure } from "../engine/failure.ts";
import { failure } from "../engine/failure.ts";
import type { Answer } from "./http/answer.ts";
import { httpMeta, readAnswer, statusFailure, TooLargeError, withoutQuery } from "./http/answer.ts";
import { HTTP } from "./http/description.ts";
import { walkPages } from "./http/pages.ts";
import { readPaging } from "./http/paging.ts";
import type { HttpRequest } from "./http/request.ts";
import { buildRequest, urlOf, withoutAuth } from "./http/request.ts";
import { stoppedFailure } from "./stopped.ts";
import { TaskError } from "./task-error.ts";
import type { Tool, ToolContext, ToolModule, ToolOutcome } from "./tool.ts";
import { CredentialError } from "./tool.ts";

/** Limit of a call whose task sets none. */
const TIMEOUT_MS = 30_000;
/** The same of a call that reads all pages. */
const PAGES_TIMEOUT_MS = 600_000;

export interface HttpToolOptions {
  /** Largest answer that is read, bytes. */
  readonly maxOutputBytes: number;
}

export const httpModule: ToolModule = {
  descriptions: [HTTP],
  create: (parts) => [createHttpTool(parts)],
};

export function createHttpTool(options: HttpToolOptions): Tool {
  return {
    description: HTTP,
    run: (call, context) => runCall(call.config, options, context),
  };
}

/** One call under way: what its requests share. */
interface Exchange {
  readonly config: JsonObject;
  readonly request: HttpRequest;
  readonly maxBytes: number;
  readonly context: ToolContext;
  readonly signal: AbortSignal;
  readonly startedMs: number;
}

async function runCall(
  config: JsonObject,
  options: HttpToolOptions,
  context: ToolContext,
): Promise<ToolOutcome> {
  const limit = AbortSignal.timeout(limitMs(config, context));
  const signal = AbortSignal.any([context.signal, limit]);
  const startedMs = performance.now();
  let address = String(urlOf(config));
  try {
    const request = await buildRequest(config, context);
    address = request.url;
    const maxBytes = options.maxOutputBytes;
    const exchange = { config, request, maxBytes, context, signal, startedMs };
    return config["paginate"] ? await runPages(exchange) : await runOnce(exchange);
  } catch (error) {
    return { ok: false, failure: failureOf(error, address, context.signal, limit) };
  }
}

/** The executor enforces the task's limit by signal; here it only replaces the default. */
function limitMs(config: JsonObject, context: ToolContext): number {
  const own = parseDuration(config["timeout"] ?? config["timeout_seconds"]);
  return own ?? context.timeoutMs ?? (config["paginate"] ? PAGES_TIMEOUT_MS : TIMEOUT_MS);
}

async function runOnce(exchange: Exchange): Promise<ToolOutcome> {
  const answer = await send(exchange, exchange.request);
  const value = answerValue(exchange, answer, answer.data);
  const http = httpMeta(answer);
  return answer.status < 400
    ? { ok: true, value, http }
    : { ok: false, value, http, failure: statusFailure(answer) };
}

async function runPages(exchange: Exchange): Promise<ToolOutcome> {
  const { config, request, maxBytes, context, signal } = exchange;
  const { url } = request;
  const paging = readPaging(config["paginate"]);
  if (paging === undefined) {
    return await runOnce(exchange);
  }
  const { origin } = new URL(url);
  const pages = await walkPages({
    paging,
    url,
    maxBytes,
    signal,
    send: (address) => {
      const isSame = new URL(address).origin === origin;
      return send(exchange, { ...(isSame ? request : withoutAuth(request, config)), url: address });
    },
    log: (line) => context.log("stdout", line),
  });
  const { answer, items, pageCount, isCut } = pages;
  const value = { ...answerValue(exchange, answer, items), pages: pageCount, is_cut: isCut };
  const http = httpMeta(answer);
  return pages.failure === undefined
    ? { ok: true, value, http }
    : { ok: false, value, http, failure: pages.failure };
}

async function send(exchange: Exchange, { url, ...request }: HttpRequest): Promise<Answer> {
  const { config, maxBytes, signal } = exchange;
  signal.throwIfAborted();
  const proxy = config["proxy"];
  const response = await fetch(url, {
    ...request,
    signal,
    redirect: config["follow_redirects"] === false ? "manual" : "follow",
    ...(typeof proxy === "string" && proxy !== "" ? { proxy } : {}),
    ...(config["verify_ssl"] === false ? { tls: { rejectUnauthorized: false } } : {}),
  });
  return await readAnswer(response, config, maxBytes);
}

function answerValue({ startedMs }: Exchange, answer: Answer, data: Json): JsonObject {
  return {
    status_code: answer.status,
    headers: answer.headers,
    data,
    body: data,
    url: answer.url,
    elapsed: Math.round(performance.now() - startedMs) / 1000,
  };
}

function failureOf(
  error: unknown,
  address: string,
  signal: AbortSignal,
  limit: AbortSignal,
): Failure {
  const where = withoutQuery(address);
  if (error instanceof CredentialError || error instanceof TaskError) {
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
