/**
 * Starts the executions of accepted messages: as many at a time as the subscription allows, no faster
 * than it says, and not at all for a while after too many failures in a row. Each start has a dedup
 * key of its own, so that a dispatch which two servers have starts one execution.
 *
 * A dispatch is queued, started, waiting for its next try, or gone: started, or a dead letter.
 */
import { backoffMs } from "../core/backoff.ts";
import { AppError, errorMessage } from "../core/errors.ts";
import type { ExecutionId } from "../core/ids.ts";
import { parseJson } from "../core/json.ts";
import type { Subscription } from "../dsl/subscription.ts";
import { createCoalescer } from "../orchestrator/coalescer.ts";
import type { CircuitState } from "../store/subscription.ts";
import { noteCondition } from "../store/subscription.ts";
import type { AcceptedDispatch, StartedDispatch } from "../store/subscription-dispatch.ts";
import { countOpenDispatches, markFailed, markStarted } from "../store/subscription-dispatch.ts";
import { TemplateError } from "../template/error.ts";
import { Breaker } from "./breaker.ts";
import { planStart } from "./dispatch-plan.ts";
import { CONCURRENCY_LIMIT, DEDUP_WINDOW_MS } from "./fire.ts";
import type { Message } from "./message.ts";
import type { TriggerOptions } from "./options.ts";
import { RateLimit } from "./rate-limit.ts";

/** Starts under way at most, of one subscription. */
const STARTS_AT_ONCE = 64;
const RETRY_BACKOFF = { minMs: 1000, maxMs: 30_000 };
/** How soon the ends of executions are looked for: when that is all that is waited for, and else. */
const OPEN_POLL_MS = { full: 250, otherwise: 5000 };

export interface DispatcherOptions extends TriggerOptions {
  readonly subscriptionId: string;
  readonly spec: Subscription;
  /** Something has changed: there may be room again. */
  readonly onChange: () => void;
  /** Told of each dead letter, after its commit. */
  readonly onDeadLetter: (dispatch: AcceptedDispatch, error: string) => void;
  /** Characters that it keeps, more or less. */
  readonly onSpool: (change: number) => void;
}

export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #breaker: Breaker;
  readonly #rate: RateLimit | undefined;
  readonly #mark: (started: StartedDispatch) => Promise<void>;
  readonly #queue: AcceptedDispatch[] = [];
  /** Characters of all that it has: queued, under way, or waiting for the next try. */
  readonly #known = new Map<string, number>();
  readonly #timers = new Set<Timer>();
  readonly #active = new Set<Promise<void>>();
  /** Started executions that count for max_in_flight. */
  #openCount = 0;
  #openTimer: Timer | undefined;
  #wakeTimer: Timer | undefined;
  #isStopped = false;

  constructor(options: DispatcherOptions) {
    const { spec, metrics, store, subscriptionId, log } = options;
    this.#options = options;
    this.#mark = createCoalescer(
      async (started) => {
        await markStarted(store.quick, started);
        return started.map(() => undefined);
      },
      { max: STARTS_AT_ONCE, concurrency: 2 },
    );
    const { maxDispatchPerSecond } = spec.limits;
    this.#rate =
      maxDispatchPerSecond === undefined ? undefined : new RateLimit(maxDispatchPerSecond);
    this.#breaker = new Breaker(spec.breaker, (circuit: CircuitState) => {
      metrics.subscriptionCircuit.inc("dispatch", circuit);
      log.warn("circuit of a subscription", { subscription: spec.path, circuit });
      noteCondition(store.quick, subscriptionId, { circuit }).catch(() => undefined);
    });
  }

  /** Executions that it could start or keep waiting, beyond what it has. */
  get room(): number {
    const { maxInFlight, maxDispatchPerSecond } = this.#options.spec.limits;
    const atOnce = Math.min(
      STARTS_AT_ONCE * 4,
      Math.max(1, Math.ceil(maxDispatchPerSecond ?? 256)),
    );
    const limit = Math.min(atOnce, maxInFlight ?? Number.POSITIVE_INFINITY);
    const room = limit - this.#known.size - (maxInFlight === undefined ? 0 : this.#openCount);
    if (this.isOpen) {
      this.#wakeAfter(this.#breaker.waitMs(Date.now()));
      return 0;
    }
    return Math.max(0, this.#breaker.state === "half_open" ? Math.min(1, room) : room);
  }

  /** Nothing is left to be started. */
  get isIdle(): boolean {
    return this.#known.size === 0;
  }

  /** True while the circuit keeps it from trying. */
  get isOpen(): boolean {
    return this.#breaker.waitMs(Date.now()) > 0;
  }

  /** @returns how many of them are new. */
  add(dispatches: readonly AcceptedDispatch[]): number {
    const countBefore = this.#known.size;
    for (const dispatch of dispatches) {
      if (!this.#known.has(dispatch.dispatchId)) {
        this.#known.set(dispatch.dispatchId, dispatch.messages.length);
        this.#options.onSpool(dispatch.messages.length);
        this.#queueAfter(dispatch, dispatch.delayMs);
      }
    }
    const addedCount = this.#known.size - countBefore;
    this.#pump();
    return addedCount;
  }

  /** Counts what earlier holders have started. */
  async begin(): Promise<void> {
    if (this.#options.spec.limits.maxInFlight !== undefined) {
      await this.#countOpen();
    }
  }

  /** Starts nothing more and waits for what is under way; the rest stays in the table. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#openTimer);
    clearTimeout(this.#wakeTimer);
    for (const timer of this.#timers) {
      clearTimeout(timer);
    }
    this.#queue.length = 0;
    await Promise.all(this.#active);
    for (const length of this.#known.values()) {
      this.#options.onSpool(-length);
    }
  }

  #queueAfter(dispatch: AcceptedDispatch, delayMs: number): void {
    if (delayMs <= 0) {
      this.#queue.push(dispatch);
      return;
    }
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#queue.push(dispatch);
      this.#pump();
    }, delayMs);
    this.#timers.add(timer);
  }

  #pump(): void {
    while (!this.#isStopped && this.#queue.length > 0 && this.#isAllowed()) {
      const dispatch = this.#queue.shift();
      if (dispatch !== undefined) {
        const done = this.#dispatch(dispatch).finally(() => {
          this.#active.delete(done);
          this.#pump();
          this.#options.onChange();
        });
        this.#active.add(done);
      }
    }
  }

  #isAllowed(): boolean {
    const { spec, metrics } = this.#options;
    const atOnce = this.#breaker.state === "half_open" ? 1 : STARTS_AT_ONCE;
    const { maxInFlight } = spec.limits;
    if (this.#active.size >= atOnce) {
      return false;
    }
    const restMs = this.#breaker.waitMs(Date.now());
    if (restMs > 0) {
      this.#wakeAfter(restMs);
      return false;
    }
    if (maxInFlight !== undefined && this.#openCount + this.#active.size >= maxInFlight) {
      metrics.subscriptionRateLimited.inc(spec.source.kind, "in_flight");
      return false;
    }
    const waitMs = this.#rate?.take(Date.now()) ?? 0;
    if (waitMs > 0) {
      metrics.subscriptionRateLimited.inc(spec.source.kind, "rate");
      this.#wakeAfter(waitMs);
    }
    return waitMs === 0;
  }

  #wakeAfter(ms: number): void {
    clearTimeout(this.#wakeTimer);
    this.#wakeTimer = setTimeout(() => {
      this.#pump();
      this.#options.onChange();
    }, ms);
  }

  async #dispatch(dispatch: AcceptedDispatch): Promise<void> {
    const { orchestrator, metrics, spec } = this.#options;
    try {
      const messages = parseJson(dispatch.messages) as readonly Message[];
      const { executionId } = await orchestrator.start({
        ...planStart(spec, messages),
        dedup: { key: `subscription:${dispatch.dispatchId}`, windowMs: DEDUP_WINDOW_MS },
      });
      this.#breaker.success();
      await this.#end(dispatch, executionId);
      metrics.subscriptionExecutions.inc(spec.source.kind, "started");
    } catch (error) {
      await this.#fail(dispatch, error);
    }
  }

  /** A mark that fails is made by whoever finds the row: the start then gives the same execution. */
  async #end(dispatch: AcceptedDispatch, executionId: ExecutionId): Promise<void> {
    const { spec } = this.#options;
    const isCounted = spec.limits.maxInFlight !== undefined;
    const started: StartedDispatch = { dispatchId: dispatch.dispatchId, executionId, isCounted };
    await this.#mark(started);
    this.#forget(dispatch);
    if (isCounted) {
      this.#openCount++;
      this.#watchOpen();
    }
  }

  #forget(dispatch: AcceptedDispatch): void {
    if (this.#known.delete(dispatch.dispatchId)) {
      this.#options.onSpool(-dispatch.messages.length);
    }
  }

  async #fail(dispatch: AcceptedDispatch, error: unknown): Promise<void> {
    const { spec, store, metrics, log, onDeadLetter } = this.#options;
    const { dispatchId } = dispatch;
    const message = errorMessage(error).replaceAll("\0", "");
    const attempts = dispatch.attempts + (isPassing(error) ? 0 : 1);
    const isHopeless = isBadMessage(error) || attempts >= spec.deadLetter.attempts;
    const delayMs = isHopeless ? undefined : backoffMs(attempts + 1, RETRY_BACKOFF);
    if (!isBadMessage(error) && !isAtLimit(error)) {
      this.#breaker.failure(Date.now());
    }
    metrics.subscriptionExecutions.inc(spec.source.kind, "error");
    log.warn("dispatch failed", { subscription: spec.path, dispatchId, attempts, error: message });
    try {
      await markFailed(store.durable, { dispatchId, attempts, error: message, delayMs });
      if (delayMs === undefined) {
        this.#forget(dispatch);
        metrics.subscriptionDeadLettered.inc(spec.source.kind);
        onDeadLetter(dispatch, message);
        return;
      }
    } catch (cause) {
      log.warn("failure not noted", { dispatchId, error: errorMessage(cause) });
    }
    if (!this.#isStopped) {
      this.#queueAfter({ ...dispatch, attempts }, delayMs ?? RETRY_BACKOFF.minMs);
    }
  }

  /** Looks soon for ends of executions when nothing can start before. */
  #watchOpen(): void {
    const { maxInFlight = 0 } = this.#options.spec.limits;
    const isFull = this.#openCount + this.#known.size >= maxInFlight;
    if (this.#isStopped || (this.#openTimer !== undefined && !isFull)) {
      return;
    }
    clearTimeout(this.#openTimer);
    const delayMs = isFull ? OPEN_POLL_MS.full : OPEN_POLL_MS.otherwise;
    this.#openTimer = setTimeout(() => void this.#countOpen(), delayMs);
  }

  async #countOpen(): Promise<void> {
    const { store, subscriptionId, log, onChange } = this.#options;
    this.#openTimer = undefined;
    const startedCount = this.#openCount;
    try {
      const count = await countOpenDispatches(store.quick, subscriptionId);
      // What was marked meanwhile may or may not be in it; counted twice it is corrected next time.
      this.#openCount = count + (this.#openCount - startedCount);
    } catch (error) {
      log.warn("open executions not counted", { subscriptionId, error: errorMessage(error) });
    }
    if (this.#openCount > 0) {
      this.#watchOpen();
    }
    this.#pump();
    onChange();
  }
}

/** True if a repetition may cure it, however often it takes. */
function isPassing(error: unknown): boolean {
  return error instanceof AppError
    ? error.isRetryable || isAtLimit(error)
    : !(error instanceof TemplateError);
}

/** The playbook's own limit of executions. */
function isAtLimit(error: unknown): boolean {
  return error instanceof AppError && error.code === CONCURRENCY_LIMIT;
}

/** No repetition cures what the message itself makes fail. */
function isBadMessage(error: unknown): boolean {
  return error instanceof TemplateError || (error instanceof AppError && error.kind === "invalid");
}
