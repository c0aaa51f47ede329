/**
 * Pulls messages of a durable consumer, exactly as many as their taker has room for: a worker its
 * slots, a subscription what it may have in flight.
 *
 * States: starting → pulling ⇄ repairing → closed.
 *
 * - starting, repairing: makes the stream and the durable consumer where they are missing, with
 *   back-off, for as long as it takes. Then opens a fresh inbox and pulls.
 * - pulling: `outstanding` counts the messages asked for and not yet delivered. A pull stays open at
 *   the server until it is filled or expires, so an idle worker costs one request per
 *   {@link PULL_EXPIRES_MS} and a message arrives without a round trip. When half of what is wanted
 *   is asked for or less, the rest is asked for: few requests in a burst, and never a free slot that
 *   nothing was asked for.
 * - repairing follows a consumer or stream that is gone, a reconnect (requests die with the
 *   connection), a status that this file does not know, or {@link SILENCE_MS} without any sign of
 *   life although a pull is open.
 *
 * Nothing here survives a crash, and nothing needs to: what was delivered and not acknowledged is
 * delivered again, and PostgreSQL decides who gets a command.
 *
 * The client's own `consume()` keeps a fixed number of messages requested whatever the slots do, and
 * stays silent for ever once its stream is gone, so the documented pull request is sent as it is:
 * https://docs.nats.io/reference/reference-protocols/nats_api_reference.
 */
import type { Msg, NatsConnection, Subscription } from "nats";
import { createInbox, nanos } from "nats";
import { retry } from "../core/backoff.ts";
import { sleep } from "../core/clock.ts";
import { errorMessage } from "../core/errors.ts";
import type { Logger } from "../observability/log.ts";

/** How a message is answered. */
export interface Answers {
  /** The message is dealt with. */
  ack(): void;
  /** Delivers it again, to anyone, after `delayMs`. */
  nak(delayMs: number): void;
}

export interface Consumer {
  /** States how many messages the taker can take from now on, beyond those it was given. */
  want(count: number): void;
  /** Milliseconds since the server last answered a pull; 0 while nothing is asked for. */
  readonly silenceMs: number;
  /** Stops pulling; messages that are on their way are given back. */
  close(): Promise<void>;
}

export interface PullConsumerOptions<Item> {
  readonly connection: NatsConnection;
  readonly stream: string;
  readonly durableName: string;
  /** Makes stream and durable consumer. Idempotent. */
  readonly ensure: () => Promise<void>;
  /** Pulls open at the durable consumer, of all workers; undefined when it is gone. */
  readonly countPulls: () => Promise<number | undefined>;
  /** Undefined for a message that no repetition can cure. */
  readonly read: (message: Msg, answers: Answers) => Item | undefined;
  /** Takes at least one message; called with everything that arrived together. */
  readonly onMessages: (messages: readonly Item[]) => void;
  /** A message that no repetition can cure was removed. */
  readonly onUndecodable: () => void;
  /** Stream or consumer had to be made again. */
  readonly onRepaired: () => void;
  readonly log: Logger;
}

/** Shown to be enough: an idle worker then costs two requests a minute. */
const PULL_EXPIRES_MS = 30_000;
/** The server's sign of life on an open pull; at most half of the expiry. */
const HEARTBEAT_MS = 10_000;
const SILENCE_MS = 2.5 * HEARTBEAT_MS;
const WATCH_INTERVAL_MS = 5000;
const REPAIR_BACKOFF = { minMs: 50, maxMs: 500 };
/** While the server is away only every so many tries are logged. */
const LOG_EVERY_TRIES = 20;
/**
 * The server announces a deletion before it is done with it: what is made again at once may be
 * deleted with the rest, and a pull that arrives in between is swallowed without an answer.
 */
const DELETION_WAIT_MS = 100;
const VERIFY_AFTER_MS = 1000;
/** How long closing waits for messages that are on their way. */
const CLOSE_WAIT_MS = 1000;

const STATUS_HEARTBEAT = 100;
const STATUS_EXPIRED = 408;
const STATUS_CONFLICT = 409;
const PENDING_MESSAGES_HEADER = "Nats-Pending-Messages";

const ACK = "+ACK";
const TERM = "+TERM";

export interface PullingConsumer extends Consumer {
  /** Told by the owner of the connection. */
  handleReconnect(): void;
}

export function createPullConsumer<Item>(options: PullConsumerOptions<Item>): PullingConsumer {
  return new PullConsumer(options);
}

class PullConsumer<Item> implements PullingConsumer {
  readonly #options: PullConsumerOptions<Item>;
  readonly #pullSubject: string;
  readonly #stopped = new AbortController();
  readonly #watch: Timer;
  #state: "repairing" | "pulling" | "closed" = "pulling";
  #inbox = "";
  #subscription: Subscription | undefined;
  #wanted = 0;
  #outstanding = 0;
  #lastAnswerMs = Date.now();
  #arrived: Item[] = [];

  constructor(options: PullConsumerOptions<Item>) {
    this.#options = options;
    this.#pullSubject = `$JS.API.CONSUMER.MSG.NEXT.${options.stream}.${options.durableName}`;
    this.#watch = setInterval(() => this.#checkSilence(), WATCH_INTERVAL_MS);
    this.#watch.unref();
    this.#repair("start");
  }

  want(count: number): void {
    this.#wanted = Math.max(0, count - this.#arrived.length);
    this.#topUp();
  }

  get silenceMs(): number {
    const isIdle = this.#wanted === 0 && this.#outstanding === 0;
    return isIdle ? 0 : Date.now() - this.#lastAnswerMs;
  }

  handleReconnect(): void {
    this.#repair("reconnect");
  }

  async close(): Promise<void> {
    this.#state = "closed";
    this.#stopped.abort();
    clearInterval(this.#watch);
    const drained = this.#subscription?.drain().catch(() => undefined);
    await Promise.race([drained, sleep(CLOSE_WAIT_MS)]);
  }

  #topUp(): void {
    const missing = this.#wanted - this.#outstanding;
    if (this.#state !== "pulling" || missing <= 0 || this.#outstanding * 2 > this.#wanted) {
      return;
    }
    if (this.#outstanding === 0) {
      this.#lastAnswerMs = Date.now();
    }
    this.#outstanding += missing;
    const request = {
      batch: missing,
      expires: nanos(PULL_EXPIRES_MS),
      idle_heartbeat: nanos(HEARTBEAT_MS),
    };
    this.#send(this.#pullSubject, JSON.stringify(request), this.#inbox);
  }

  #receive(message: Msg): void {
    this.#lastAnswerMs = Date.now();
    if (message.subject === this.#inbox) {
      this.#handleStatus(message);
      return;
    }
    this.#outstanding = Math.max(0, this.#outstanding - 1);
    const reply = message.reply ?? "";
    if (this.#state === "closed") {
      this.#send(reply, nak(0));
      return;
    }
    const item = this.#options.read(message, {
      ack: () => this.#send(reply, ACK),
      nak: (delayMs) => this.#send(reply, nak(delayMs)),
    });
    if (item === undefined) {
      this.#send(reply, TERM);
      this.#options.onUndecodable();
      this.#topUp();
    } else {
      this.#deliver(item);
    }
  }

  /** Hands over what one read of the socket brought as one batch. */
  #deliver(message: Item): void {
    this.#wanted = Math.max(0, this.#wanted - 1);
    if (this.#arrived.push(message) === 1) {
      queueMicrotask(() => {
        const messages = this.#arrived;
        this.#arrived = [];
        this.#options.onMessages(messages);
      });
    }
  }

  #handleStatus(message: Msg): void {
    const code = message.headers?.code ?? 0;
    const pending = Number(message.headers?.get(PENDING_MESSAGES_HEADER) ?? 0);
    if (code === STATUS_HEARTBEAT) {
      return;
    }
    if (pending > 0 && (code === STATUS_EXPIRED || code === STATUS_CONFLICT)) {
      this.#outstanding = Math.max(0, this.#outstanding - pending);
      this.#topUp();
      return;
    }
    this.#repair(`${code} ${message.headers?.description ?? ""}`.trim());
  }

  #checkSilence(): void {
    const isSilent = this.#outstanding > 0 && Date.now() - this.#lastAnswerMs > SILENCE_MS;
    if (this.#state === "pulling" && isSilent && !this.#options.connection.isClosed()) {
      this.#repair("silence");
    }
  }

  #repair(reason: string): void {
    if (this.#state !== "pulling") {
      return;
    }
    this.#state = "repairing";
    this.#subscription?.unsubscribe();
    this.#outstanding = 0;
    void this.#ensureUntilDone(reason).catch((error: unknown) =>
      this.#options.log.error("Cannot consume messages", { reason, error: errorMessage(error) }),
    );
  }

  async #ensureUntilDone(reason: string): Promise<void> {
    const isExpected = reason === "start" || reason === "reconnect";
    await sleep(isExpected ? 0 : DELETION_WAIT_MS, this.#stopped.signal);
    await retry(this.#options.ensure, {
      ...REPAIR_BACKOFF,
      signal: this.#stopped.signal,
      isRetryable: () => true,
      onRetry: (error, attempt) => {
        if (attempt % LOG_EVERY_TRIES === 1) {
          const { stream } = this.#options;
          const facts = { stream, reason, attempt, error: errorMessage(error) };
          this.#options.log.warn("Cannot reach the stream yet", facts);
        }
      },
    }).catch((error: unknown) => {
      if (!this.#stopped.signal.aborted) {
        throw error;
      }
    });
    if (this.#state !== "repairing") {
      return;
    }
    this.#open();
    if (!isExpected) {
      this.#options.log.warn("Stream or consumer was made again", { reason });
      this.#options.onRepaired();
      await this.#verify();
    }
  }

  /** Repairs once more if the server knows nothing of the pull that is thought to be open. */
  async #verify(): Promise<void> {
    await sleep(VERIFY_AFTER_MS, this.#stopped.signal);
    const askedMs = Date.now();
    const pullCount = await this.#options.countPulls();
    const isUnheard = this.#outstanding > 0 && this.#lastAnswerMs < askedMs;
    if (isUnheard && (pullCount === undefined || pullCount === 0)) {
      this.#repair("pull was lost");
    }
  }

  #open(): void {
    this.#inbox = createInbox();
    this.#subscription = this.#options.connection.subscribe(this.#inbox, {
      callback: (error, message) => {
        if (error === null) {
          this.#receive(message);
        }
      },
    });
    this.#state = "pulling";
    this.#lastAnswerMs = Date.now();
    this.#topUp();
  }

  /** Best effort: what a closed connection swallows is delivered again. */
  #send(subject: string, text: string, reply?: string): void {
    if (subject !== "" && !this.#options.connection.isClosed()) {
      this.#options.connection.publish(subject, text, reply === undefined ? {} : { reply });
    }
  }
}

function nak(delayMs: number): string {
  return delayMs > 0 ? `-NAK {"delay":${nanos(delayMs)}}` : "-NAK";
}
