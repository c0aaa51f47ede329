/**
 * One server's work on one subscription, as its row was when the work began; a changed row gets a new
 * runner.
 *
 *   fetching: the consumer is open and asked for what there is room for;
 *   resting:  paused, drained, inactive, or the circuit is open: nothing is fetched, but what was
 *             accepted is dispatched all the same.
 *
 * Messages wait in memory only between their arrival and the commit that accepts them; until then the
 * source has them.
 */
import type { IncomingMessage } from "../bus/message.ts";
import type { MessageBroker } from "../bus/message-source.ts";
import type { Consumer } from "../bus/pull-consumer.ts";
import { backoffMs } from "../core/backoff.ts";
import { errorMessage } from "../core/errors.ts";
import type { NatsSource } from "../dsl/subscription-source.ts";
import type { SubscriptionRow } from "../store/subscription.ts";
import { changeState, noteCondition } from "../store/subscription.ts";
import type { AcceptedDispatch } from "../store/subscription-dispatch.ts";
import { loadAccepted } from "../store/subscription-dispatch.ts";
import { openBroker } from "./broker.ts";
import { Dispatcher } from "./dispatcher.ts";
import type { TriggerOptions } from "./options.ts";
import { takeIn } from "./take-in.ts";

/** Accepted rows that are read at a time. */
const LOAD_MAX = 1000;
/** Messages that are committed at a time. */
const TAKE_MAX = 1000;
const AGAIN_BACKOFF = { minMs: 500, maxMs: 15_000 };

export interface RunnerOptions extends TriggerOptions {
  /** Characters more or less that this server keeps. */
  readonly onSpool: (change: number) => void;
}

export class SubscriptionRunner {
  readonly row: SubscriptionRow;
  readonly #options: RunnerOptions;
  readonly #stop = new AbortController();
  readonly #dispatcher: Dispatcher;
  /** Of the platform's own NATS, or its own. */
  #broker: MessageBroker | undefined;
  #ownBroker: MessageBroker | undefined;
  #consumer: Consumer | undefined;
  /** What is under way: opening or closing the consumer, reading rows, committing messages. */
  #busy: Promise<void> | undefined;
  #failureCount = 0;
  /** After a failure nothing is tried before. */
  #restUntilMs = 0;
  #timer: Timer | undefined;
  readonly #waiting: IncomingMessage[] = [];
  #waitingSinceMs = 0;
  #hasBegun = false;
  /** False: the table may have accepted dispatches that the dispatcher does not. */
  #isLoaded = false;
  #isDrained = false;

  constructor(options: RunnerOptions, row: SubscriptionRow) {
    this.row = row;
    this.#options = options;
    this.#dispatcher = new Dispatcher({
      ...options,
      subscriptionId: row.subscriptionId,
      spec: row.spec,
      onChange: () => this.#turn(),
      onDeadLetter: (dispatch, error) => this.#announce(dispatch, error),
      onSpool: options.onSpool,
    });
  }

  start(): void {
    this.#turn();
  }

  /** True when no server is needed: nothing to fetch, nothing to dispatch. */
  get isIdle(): boolean {
    const { state, spec } = this.row;
    const isFetched = spec.source.kind === "nats" && (state === "active" || state === "draining");
    return !isFetched && this.#isLoaded && this.#isEmpty;
  }

  /** Gives back what was not accepted, and waits for what is under way. */
  async stop(): Promise<void> {
    this.#stop.abort();
    clearTimeout(this.#timer);
    await this.#busy;
    await this.#closeConsumer();
    await this.#dispatcher.stop();
    await this.#ownBroker?.[Symbol.asyncDispose]();
  }

  get #isEmpty(): boolean {
    return this.#waiting.length === 0 && this.#busy === undefined && this.#dispatcher.isIdle;
  }

  /** Does the next thing that is due, one at a time; called whenever anything has changed. */
  #turn(): void {
    const restMs = this.#restUntilMs - performance.now();
    if (this.#busy !== undefined || this.#stop.signal.aborted || restMs > 0) {
      return;
    }
    const work = this.#next();
    if (work === undefined) {
      this.#ask();
      return;
    }
    clearTimeout(this.#timer);
    this.#busy = work().then(
      () => this.#ended(undefined),
      (error: unknown) => this.#ended(error),
    );
  }

  #next(): (() => Promise<void>) | undefined {
    if (!this.#hasBegun) {
      return () => this.#begin();
    }
    if (!this.#isLoaded && this.#dispatcher.room > 0) {
      return () => this.#load();
    }
    if (this.#isBatchDue) {
      return () => this.#take();
    }
    if (this.#isFetching && this.#consumer === undefined) {
      return () => this.#openConsumer();
    }
    if (!this.#isFetching && this.#consumer !== undefined) {
      return () => this.#closeConsumer();
    }
    if (this.row.state === "draining" && !this.#isDrained && this.#isLoaded && this.#isEmpty) {
      return () => this.#noteDrained();
    }
    return undefined;
  }

  #ended(error: unknown): void {
    this.#busy = undefined;
    if (error === undefined) {
      this.#failureCount = 0;
      this.#turn();
      return;
    }
    const { log, store } = this.#options;
    const { path, subscriptionId } = this.row;
    this.#failureCount++;
    const problem = errorMessage(error);
    log.warn("subscription does not get on", { subscription: path, problem });
    noteCondition(store.quick, subscriptionId, { problem }).catch(() => undefined);
    const restMs = backoffMs(this.#failureCount, AGAIN_BACKOFF);
    this.#restUntilMs = performance.now() + restMs;
    this.#turnAfter(restMs + 1);
  }

  #turnAfter(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#turn(), ms);
  }

  get #isFetching(): boolean {
    const { state, spec } = this.row;
    return spec.source.kind === "nats" && state === "active" && !this.#dispatcher.isOpen;
  }

  /** Its own circuit is closed, whatever the last holder's was. */
  async #begin(): Promise<void> {
    await this.#dispatcher.begin();
    if (this.row.circuit !== "closed") {
      const { store } = this.#options;
      await noteCondition(store.quick, this.row.subscriptionId, { circuit: "closed" });
    }
    this.#hasBegun = true;
  }

  /** What the last holder had accepted, or this one without knowing, or a person wants to be tried again. */
  async #load(): Promise<void> {
    const rows = await loadAccepted(this.#options.store.durable, this.row.subscriptionId, LOAD_MAX);
    const addedCount = this.#dispatcher.add(rows);
    this.#isLoaded = rows.length < LOAD_MAX || addedCount === 0;
  }

  async #openConsumer(): Promise<void> {
    const { source } = this.row.spec;
    if (source.kind !== "nats") {
      return;
    }
    const broker = await this.#connect(source);
    const { store, log } = this.#options;
    this.#consumer = await broker.consume({
      ...source,
      stream: source.stream,
      onMessages: (messages) => this.#receive(messages),
      log,
    });
    if (this.row.problem !== null || this.#failureCount > 0) {
      await noteCondition(store.quick, this.row.subscriptionId, { problem: null });
    }
  }

  async #connect(source: NatsSource): Promise<MessageBroker> {
    if (this.#broker === undefined) {
      const opened = await openBroker(this.#options, source, this.#stop.signal);
      this.#broker = opened.broker;
      this.#ownBroker = opened.isShared ? undefined : opened.broker;
    }
    return this.#broker;
  }

  /** What was not accepted comes again. */
  async #closeConsumer(): Promise<void> {
    const consumer = this.#consumer;
    this.#consumer = undefined;
    for (const message of this.#waiting.splice(0)) {
      message.nak(0);
    }
    await consumer?.close();
  }

  #receive(messages: readonly IncomingMessage[]): void {
    if (this.#consumer === undefined) {
      for (const message of messages) {
        message.nak(0);
      }
      return;
    }
    if (this.#waiting.length === 0) {
      this.#waitingSinceMs = performance.now();
    }
    this.#waiting.push(...messages);
    this.#turn();
  }

  get #isBatchDue(): boolean {
    const { isBatch, batchMax } = this.row.spec.dispatch;
    const count = this.#waiting.length;
    return count > 0 && (!isBatch || count >= batchMax || this.#batchRestMs <= 0);
  }

  get #batchRestMs(): number {
    return this.#waitingSinceMs + this.row.spec.dispatch.batchWaitMs - performance.now();
  }

  async #take(): Promise<void> {
    const { source } = this.row.spec;
    const messages = this.#waiting.splice(0, TAKE_MAX);
    this.#waitingSinceMs = performance.now();
    // A plain message that is not kept is lost: it is kept trying to until the end.
    const isRepeated = source.kind === "nats" && source.isJetStream;
    const patience = isRepeated
      ? AbortSignal.any([this.#stop.signal, AbortSignal.timeout(source.ackWaitMs / 2)])
      : this.#stop.signal;
    const onDoubt = (): void => {
      this.#isLoaded = false;
    };
    const options = { ...this.#options, patience, onDoubt };
    const { dispatches } = await takeIn(options, this.row, messages);
    this.#dispatcher.add(dispatches);
  }

  /** Tells the source how many more may come, and itself when a batch is due that is not full. */
  #ask(): void {
    const { isBatch, batchMax } = this.row.spec.dispatch;
    const perDispatch = isBatch ? batchMax : 1;
    const room = this.#dispatcher.room * perDispatch - this.#waiting.length;
    this.#consumer?.want(Math.max(0, Math.min(TAKE_MAX, room)));
    if (this.#waiting.length > 0) {
      this.#turnAfter(Math.max(1, this.#batchRestMs));
    }
  }

  async #noteDrained(): Promise<void> {
    const { subscriptionId } = this.row;
    await changeState(this.#options.store.durable, subscriptionId, {
      from: ["draining"],
      to: "inactive",
      eventType: "subscription.drained",
    });
    this.#isDrained = true;
  }

  #announce({ dispatchId, messages }: AcceptedDispatch, error: string): void {
    const { subject } = this.row.spec.deadLetter;
    if (subject !== undefined) {
      (this.#broker ?? this.#options.bus).announce(subject, messages, {
        "Noetl-Subscription": this.row.path,
        "Noetl-Dead-Letter": dispatchId,
        "Noetl-Error": error.replaceAll(/[\r\n]+/g, " ").slice(0, ERROR_CHARS_MAX),
      });
    }
  }
}

/** Of an error in a header. */
const ERROR_CHARS_MAX = 1000;
