/**
 * A request to a hook: who calls is verified over the raw body before anything else is looked at, then
 * it is filtered, and starts an execution. It is answered once that is durable, so that a sender that
 * gets no answer sends again, and the dedup key makes it the same execution.
 */

import { parseDuration } from "../core/duration.ts";
import { AppError, errorMessage } from "../core/errors.ts";
import type { ExecutionId } from "../core/ids.ts";
import type { Subscription } from "../dsl/subscription.ts";
import type { WebhookSource } from "../dsl/subscription-source.ts";
import type { SubscriptionRow } from "../store/subscription.ts";
import { findHook, takeToken } from "../store/subscription.ts";
import { addDeadLetter, addStarted, countOpenDispatches } from "../store/subscription-dispatch.ts";
import { TemplateError } from "../template/error.ts";
import { dedupKey, isWanted, planStart, usedControls } from "./dispatch-plan.ts";
import { CONCURRENCY_LIMIT } from "./fire.ts";
import type { Message } from "./message.ts";
import { decodeData } from "./message.ts";
import type { TriggerOptions } from "./options.ts";
import { verifyCall } from "./signature.ts";

export interface HookRequest {
  /** Behind `/hooks/`. */
  readonly path: string;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, string>>;
  /** The body; undefined when it is larger than `bytesMax`, which is not read on. */
  readonly readBody: (bytesMax: number) => Promise<Uint8Array | undefined>;
}

export type HookAnswer =
  | { readonly status: "filtered" }
  | {
      readonly status: "started" | "queued" | "duplicate";
      readonly executionId: ExecutionId;
      /** How long the caller wants to wait for the end; 0: not at all. */
      readonly waitMs: number;
    };

/** Headers that hold secrets of the caller. */
const SECRET_HEADERS: ReadonlySet<string> = new Set([
  "authorization",
  "cookie",
  "proxy-authorization",
]);
const DEDUP_WINDOW_MS = 24 * 60 * 60_000;

/**
 * @throws AppError not_found HOOK_NOT_FOUND; forbidden HOOK_REFUSED; invalid REQUEST_TOO_LARGE,
 *   WAIT_INVALID, and what cannot be dispatched, which becomes a dead letter; unavailable HOOK_PAUSED,
 *   RATE_LIMITED (with `details.retry_after_ms`), and what a repetition may cure.
 */
export async function receiveHook(
  options: TriggerOptions,
  request: HookRequest,
): Promise<HookAnswer> {
  const { metrics } = options;
  const row = await findHook(options.store.durable, request.path);
  if (row?.spec.source.kind !== "webhook") {
    throw new AppError("not_found", "HOOK_NOT_FOUND", `There is no hook ${request.path}`);
  }
  const { source } = row.spec;
  const body = await request.readBody(source.bytesMax);
  if (body === undefined) {
    const message = `The body is larger than ${source.bytesMax} bytes`;
    throw new AppError("invalid", "REQUEST_TOO_LARGE", message);
  }
  await checkCaller(options, source, request, body);
  const waitMs = readWait(source, request.query["wait"]);
  metrics.subscriptionReceived.inc("webhook");
  checkState(row);
  const message = toMessage(source, request, body, await options.orchestrator.newId());
  return await dispatch(options, row, message, waitMs);
}

async function checkCaller(
  options: TriggerOptions,
  source: WebhookSource,
  { headers, path }: HookRequest,
  body: Uint8Array,
): Promise<void> {
  const credential = await options.orchestrator
    .openCredential(source.verify.credential)
    .catch((error: unknown) => {
      options.log.error("hook without its credential", { path, error: errorMessage(error) });
      throw new AppError("unavailable", "HOOK_MISCONFIGURED", "The hook lacks its credential");
    });
  const reason = verifyCall(source.verify, credential.data, { headers, body, nowMs: Date.now() });
  if (reason !== undefined) {
    throw new AppError("forbidden", "HOOK_REFUSED", `The call is not verified: ${reason}`);
  }
}

function checkState({ state, path }: SubscriptionRow): void {
  if (state !== "active") {
    throw new AppError("unavailable", "HOOK_PAUSED", `Subscription ${path} is ${state}`);
  }
}

function readWait(source: WebhookSource, text: string | undefined): number {
  if (text === undefined) {
    return 0;
  }
  const ms = parseDuration(text);
  if (ms === undefined) {
    throw new AppError("invalid", "WAIT_INVALID", "wait must be a duration such as 30s");
  }
  return Math.min(ms, source.waitMsMax);
}

function toMessage(
  source: WebhookSource,
  { path, headers, query }: HookRequest,
  body: Uint8Array,
  id: string,
): Message {
  const isShown = (name: string): boolean =>
    source.headers?.includes(name) ??
    (!SECRET_HEADERS.has(name) &&
      !(source.verify.type === "hmac_sha256" && name === source.verify.header));
  return {
    id,
    source: "webhook",
    subject: path,
    headers: Object.fromEntries(Object.entries(headers).filter(([name]) => isShown(name))),
    ...decodeData(body),
    time: new Date().toISOString(),
    query,
  };
}

async function dispatch(
  options: TriggerOptions,
  row: SubscriptionRow,
  message: Message,
  waitMs: number,
): Promise<HookAnswer> {
  const { metrics } = options;
  const { spec } = row;
  try {
    if (!isWanted(spec, message)) {
      metrics.subscriptionExecutions.inc("webhook", "filtered");
      return { status: "filtered" };
    }
    for (const controls of usedControls(spec, message)) {
      metrics.subscriptionDirectives.inc(controls);
    }
    await checkLimits(options, row);
    const { executionId, status } = await start(options, row, message);
    metrics.subscriptionExecutions.inc("webhook", status);
    return { status, executionId, waitMs };
  } catch (error) {
    if (!(error instanceof AppError && error.code === "RATE_LIMITED")) {
      metrics.subscriptionExecutions.inc("webhook", "error");
    }
    if (error instanceof AppError && error.code === CONCURRENCY_LIMIT) {
      metrics.subscriptionRateLimited.inc("webhook", "in_flight");
      throw rateLimited(error.message, IN_FLIGHT_RETRY_MS);
    }
    throw await buried(options, row, message, error);
  }
}

async function start(
  { orchestrator, store, log }: TriggerOptions,
  { subscriptionId, spec }: SubscriptionRow,
  message: Message,
) {
  const key = dedupKey(spec, message);
  const windowMs = spec.dedup?.windowMs ?? DEDUP_WINDOW_MS;
  const dedup = { key: `subscription:${subscriptionId}:${key ?? message.id}`, windowMs };
  const started = await orchestrator.start({ ...planStart(spec, [message]), dedup });
  if (started.status === "started") {
    const isCounted = spec.limits.maxInFlight !== undefined;
    const { executionId } = started;
    // For people and for max_in_flight: the execution stands whether or not this is written.
    await addStarted(store.quick, {
      dispatchId: message.id,
      subscriptionId,
      executionId,
      isCounted,
    }).catch((error: unknown) =>
      log.warn("call of a hook not noted", { error: errorMessage(error) }),
    );
  }
  return started;
}

async function checkLimits(
  { store, metrics }: TriggerOptions,
  { subscriptionId, spec }: SubscriptionRow,
): Promise<void> {
  const { maxInFlight, maxDispatchPerSecond } = spec.limits;
  if (maxInFlight !== undefined) {
    const openCount = await countOpenDispatches(store.quick, subscriptionId);
    if (openCount >= maxInFlight) {
      metrics.subscriptionRateLimited.inc("webhook", "in_flight");
      throw rateLimited(`${openCount} executions still run`, IN_FLIGHT_RETRY_MS);
    }
  }
  const waitMs =
    maxDispatchPerSecond === undefined
      ? 0
      : await takeToken(store.quick, subscriptionId, maxDispatchPerSecond);
  if (waitMs > 0) {
    metrics.subscriptionRateLimited.inc("webhook", "rate");
    throw rateLimited(`at most ${maxDispatchPerSecond} a second`, waitMs);
  }
}

const IN_FLIGHT_RETRY_MS = 1000;

function rateLimited(reason: string, retryAfterMs: number): AppError {
  const details = { retry_after_ms: retryAfterMs };
  return new AppError("unavailable", "RATE_LIMITED", `Too many calls: ${reason}`, { details });
}

/** What no repetition cures is kept as a dead letter, so that it can be replayed when it is mended. */
async function buried(
  { store, metrics, log }: TriggerOptions,
  { subscriptionId, spec }: { readonly subscriptionId: string; readonly spec: Subscription },
  message: Message,
  cause: unknown,
): Promise<unknown> {
  const isPassing =
    cause instanceof AppError ? cause.isRetryable : !(cause instanceof TemplateError);
  if (isPassing) {
    return cause;
  }
  const error = errorMessage(cause).replaceAll("\0", "");
  const letter = { dispatchId: message.id, subscriptionId, text: JSON.stringify(message), error };
  try {
    await addDeadLetter(store.durable, letter);
    metrics.subscriptionDeadLettered.inc("webhook");
    log.warn("call of a hook is a dead letter", { subscription: spec.path, error });
  } catch (problem) {
    log.error("dead letter lost", { subscription: spec.path, error: errorMessage(problem) });
    return problem;
  }
  const code = cause instanceof AppError ? cause.code : "TEMPLATE_ERROR";
  const details = { dead_letter_id: message.id };
  return new AppError("invalid", code, `Cannot start: ${error}`, { cause, details });
}
