/**
 * The seam to NATS JetStream. Messages are doorbells: losing any or all of them costs latency,
 * nothing else, because every command is a row in PostgreSQL first.
 *
 * Whoever finds a stream missing makes it (again): publishers on the answer "no stream", consumers
 * on the server's status messages. So deleting the whole store needs no hand to heal.
 */
import type { JetStreamManager, NatsConnection } from "nats";
import { AppError, errorMessage } from "../core/errors.ts";
import type { ExecutionId } from "../core/ids.ts";
import type { CommandNotification, LogLine } from "../engine/command.ts";
import type { Logger } from "../observability/log.ts";
import type { AckWindow } from "./ack-window.ts";
import { createAckWindow } from "./ack-window.ts";
import { busUnavailable } from "./bus-error.ts";
import type { CommandConsumer, CommandMessage } from "./command-consumer.ts";
import { readCommand } from "./command-consumer.ts";
import type { BusConnectionOptions } from "./connection.ts";
import { connectNats, watchConnection } from "./connection.ts";
import type { LogPage, LogQuery, LogSource } from "./log-stream.ts";
import { encodeLogs, followLogs, readLogs } from "./log-stream.ts";
import type { MessageBroker, MessageSourceOptions } from "./message-source.ts";
import { announce, createMessageSource } from "./message-source.ts";
import { encodeNotification } from "./notification.ts";
import type { Consumer, PullingConsumer } from "./pull-consumer.ts";
import { createPullConsumer } from "./pull-consumer.ts";
import {
  commandConsumerConfig,
  commandStreamConfig,
  consumerInfo,
  ensureConsumer,
  ensureStream,
  logStreamConfig,
  replicas,
  streamCreated,
} from "./stream.ts";
import { commandSubject, consumerName, poolFilter } from "./subject.ts";

export interface BusOptions extends BusConnectionOptions {
  /** Default `NOETL_COMMANDS`. */
  readonly stream?: string | undefined;
  /** Default `noetl.commands`. */
  readonly subjectPrefix?: string | undefined;
  /** Default `noetl_worker`; `_<pool>` is appended. */
  readonly consumerPrefix?: string | undefined;
  /** Deliveries of one pool not yet acknowledged, all its workers together; default 10,000. */
  readonly maxAckPending?: number | undefined;
  /** Copies of each stream in a NATS cluster; default 1. */
  readonly replicas?: number | undefined;
  /** Default `NOETL_LOGS`. */
  readonly logStream?: string | undefined;
  /** Default `noetl.logs`. */
  readonly logSubjectPrefix?: string | undefined;
  /** How long task output is kept; undefined: as another, or 24 h. */
  readonly logMaxAgeMs?: number | undefined;
  /** Put into notifications for the public project's workers. */
  readonly serverUrl?: string | undefined;
  /** How long a publish waits for its acknowledgement; default 5,000. */
  readonly publishTimeoutMs?: number | undefined;
  /** Facts for metrics and tests. */
  readonly onEvent?: ((event: BusEvent) => void) | undefined;
}

export type BusEvent =
  | { readonly type: "disconnected" }
  | { readonly type: "reconnected" }
  /** A message on the command stream that is not a notification was removed. */
  | { readonly type: "undecodable"; readonly pool: string }
  /** A pool's stream or consumer was gone and is there again. */
  | { readonly type: "repaired"; readonly pool: string };

export interface PoolLag {
  /** Notifications that nobody has taken yet. */
  readonly pendingCount: number;
  /** Delivered, not yet acknowledged. */
  readonly unackedCount: number;
  /** Of those: delivered more than once. */
  readonly redeliveredCount: number;
}

export interface Bus extends MessageBroker {
  readonly isConnected: boolean;
  /**
   * Resolves once stored, or known by `messageId` already. Many may be in flight.
   *
   * @throws AppError `unavailable` or `timeout`: publish again later.
   */
  publishCommand(
    pool: string,
    notification: CommandNotification,
    options: { readonly messageId: string },
  ): Promise<void>;
  /** Makes both streams, or brings them up to date. Idempotent. */
  ensureStreams(): Promise<void>;
  /** Differs after the command stream was deleted and made anew; makes it when it is missing. */
  streamIdentity(): Promise<string>;
  /** Starts pulling once {@link CommandConsumer.want} says how many; needs no stream to exist. */
  consumeCommands(
    pool: string,
    onMessages: (messages: readonly CommandMessage[]) => void,
  ): CommandConsumer;
  /** Undefined when the pool's consumer does not exist: no worker ever asked. */
  lag(pool: string): Promise<PoolLag | undefined>;
  publishLogs(lines: readonly LogLine[]): Promise<void>;
  readLogs(
    executionId: ExecutionId,
    query: LogQuery & { readonly limit: number },
  ): Promise<LogPage>;
  followLogs(
    executionId: ExecutionId,
    query: LogQuery & { readonly signal: AbortSignal },
  ): AsyncIterable<LogPage>;
  /** Milliseconds of a round trip to the server. */
  ping(): Promise<number>;
  /** Stops consumers, sends what is buffered, closes. */
  close(): Promise<void>;
}

const PUBLISH_TIMEOUT_MS = 5000;
const ACK_PENDING_MAX = 10_000;
const CLOSE_WAIT_MS = 2000;
const LOST = "The connection to NATS is lost";

/** Connects to NATS, waiting for it as long as it takes, and makes the streams. */
export async function connectBus(options: BusOptions): Promise<Bus> {
  const connection = await connectNats(options);
  const manager = await connection.jetstreamManager({ checkAPI: false });
  return new JetStreamBus(connection, manager, options);
}

class JetStreamBus implements Bus {
  readonly #connection: NatsConnection;
  readonly #manager: JetStreamManager;
  readonly #window: AckWindow;
  readonly #stream: string;
  readonly #prefix: string;
  readonly #consumerPrefix: string;
  readonly #maxAckPending: number;
  readonly #replicas: number;
  readonly #logs: LogSource;
  readonly #logMaxAgeMs: number | undefined;
  readonly #serverUrl: string | undefined;
  readonly #log: Logger;
  readonly #emit: (event: BusEvent) => void;
  readonly #consumers = new Set<PullingConsumer>();
  #isConnected = true;
  /** Rejects when the connection is lost: no answer comes to what was asked over it. */
  #loss = createLoss();
  #ensuring: Promise<void> | undefined;

  constructor(connection: NatsConnection, manager: JetStreamManager, options: BusOptions) {
    this.#connection = connection;
    this.#manager = manager;
    this.#window = createAckWindow(connection, options.publishTimeoutMs ?? PUBLISH_TIMEOUT_MS);
    this.#stream = options.stream ?? "NOETL_COMMANDS";
    this.#prefix = options.subjectPrefix ?? "noetl.commands";
    this.#consumerPrefix = options.consumerPrefix ?? "noetl_worker";
    this.#maxAckPending = options.maxAckPending ?? ACK_PENDING_MAX;
    this.#replicas = options.replicas ?? 1;
    this.#logMaxAgeMs = options.logMaxAgeMs;
    this.#logs = {
      connection,
      manager,
      jetstream: connection.jetstream(),
      stream: options.logStream ?? "NOETL_LOGS",
      prefix: options.logSubjectPrefix ?? "noetl.logs",
    };
    this.#serverUrl = options.serverUrl;
    this.#log = options.log;
    this.#emit = options.onEvent ?? (() => undefined);
    void this.#watch();
  }

  get isConnected(): boolean {
    return this.#isConnected;
  }

  async publishCommand(
    pool: string,
    notification: CommandNotification,
    options: { readonly messageId: string },
  ): Promise<void> {
    await this.#publish(
      commandSubject(this.#prefix, pool, notification.executionId),
      encodeNotification(notification, this.#serverUrl),
      options.messageId,
    );
  }

  /** Concurrent calls share one round of requests. */
  ensureStreams(): Promise<void> {
    this.#ensuring ??= this.#ensureStreams().finally(() => {
      this.#ensuring = undefined;
    });
    return this.#ensuring;
  }

  async streamIdentity(): Promise<string> {
    const created = await this.#ask(() => streamCreated(this.#manager, this.#stream));
    if (created !== undefined) {
      return created;
    }
    await this.ensureStreams();
    return (await this.#ask(() => streamCreated(this.#manager, this.#stream))) ?? "";
  }

  consumeCommands(
    pool: string,
    onMessages: (messages: readonly CommandMessage[]) => void,
  ): CommandConsumer {
    const durableName = consumerName(this.#consumerPrefix, pool);
    const config = commandConsumerConfig({
      durableName,
      filter: poolFilter(this.#prefix, pool),
      maxAckPending: this.#maxAckPending,
    });
    const consumer = createPullConsumer({
      connection: this.#connection,
      stream: this.#stream,
      durableName,
      ensure: async () => {
        await this.ensureStreams();
        await this.#ask(() => ensureConsumer(this.#manager, this.#stream, config));
      },
      countPulls: async () =>
        (await consumerInfo(this.#manager, this.#stream, durableName))?.num_waiting,
      read: readCommand,
      onMessages,
      onUndecodable: () => this.#emit({ type: "undecodable", pool }),
      onRepaired: () => this.#emit({ type: "repaired", pool }),
      log: this.#log,
    });
    this.#consumers.add(consumer);
    return consumer;
  }

  async lag(pool: string): Promise<PoolLag | undefined> {
    const name = consumerName(this.#consumerPrefix, pool);
    const info = await this.#ask(() => consumerInfo(this.#manager, this.#stream, name));
    return (
      info && {
        pendingCount: info.num_pending,
        unackedCount: info.num_ack_pending,
        redeliveredCount: info.num_redelivered,
      }
    );
  }

  async publishLogs(lines: readonly LogLine[]): Promise<void> {
    const batches = encodeLogs(this.#logs.prefix, lines);
    await Promise.all(batches.map(({ subject, text }) => this.#publish(subject, text)));
  }

  async readLogs(
    executionId: ExecutionId,
    query: LogQuery & { readonly limit: number },
  ): Promise<LogPage> {
    return await this.#ask(() => readLogs(this.#logs, executionId, query));
  }

  async *followLogs(
    executionId: ExecutionId,
    query: LogQuery & { readonly signal: AbortSignal },
  ): AsyncGenerator<LogPage, void, undefined> {
    await this.ensureStreams();
    yield* followLogs(this.#logs, executionId, query);
  }

  async consume(options: MessageSourceOptions): Promise<Consumer> {
    const broker = {
      connection: this.#connection,
      manager: this.#manager,
      consumers: this.#consumers,
    };
    return await this.#ask(() => createMessageSource(broker, options));
  }

  announce(subject: string, text: string, headers: Readonly<Record<string, string>>): void {
    announce(this.#connection, subject, text, headers);
  }

  async ping(): Promise<number> {
    return await this.#ask(() => this.#connection.rtt());
  }

  async close(): Promise<void> {
    if (this.#connection.isClosed()) {
      return;
    }
    await Promise.all([...this.#consumers].map((consumer) => consumer.close()));
    if (this.#isConnected) {
      const abort = setTimeout(() => void this.#connection.close(), CLOSE_WAIT_MS);
      await this.#connection.drain().catch(() => undefined);
      clearTimeout(abort);
    }
    this.#window.close();
    await this.#connection.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #publish(subject: string, text: string, messageId?: string): Promise<void> {
    if (!this.#isConnected) {
      throw busUnavailable(LOST);
    }
    try {
      await this.#window.publish(subject, text, messageId);
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== "STREAM_MISSING") {
        throw error;
      }
      await this.ensureStreams();
      await this.#window.publish(subject, text, messageId);
    }
  }

  async #ensureStreams(): Promise<void> {
    await this.#ask(async () => {
      const copies = replicas(this.#replicas);
      const commands = { ...commandStreamConfig(this.#stream, this.#prefix), ...copies };
      await ensureStream(this.#manager, commands);
      const { stream, prefix } = this.#logs;
      const logs = { ...logStreamConfig(stream, prefix, this.#logMaxAgeMs), ...copies };
      await ensureStream(this.#manager, logs, this.#logMaxAgeMs !== undefined);
    });
  }

  /** Requests to JetStream; their errors become ours. */
  async #ask<T>(request: () => Promise<T>): Promise<T> {
    if (!this.#isConnected) {
      throw busUnavailable(LOST);
    }
    try {
      return await Promise.race([request(), this.#loss.promise]);
    } catch (cause) {
      if (cause instanceof AppError) {
        throw cause;
      }
      throw busUnavailable(`JetStream did not answer: ${errorMessage(cause)}`, cause);
    }
  }

  async #watch(): Promise<void> {
    await watchConnection(
      this.#connection,
      {
        onDisconnect: () => {
          this.#isConnected = false;
          this.#window.failAll();
          this.#loss.reject(busUnavailable(LOST));
          this.#emit({ type: "disconnected" });
        },
        onReconnect: () => {
          this.#isConnected = true;
          this.#loss = createLoss();
          for (const consumer of this.#consumers) {
            consumer.handleReconnect();
          }
          this.#emit({ type: "reconnected" });
        },
      },
      this.#log,
    );
    this.#isConnected = false;
  }
}

function createLoss() {
  const loss = Promise.withResolvers<never>();
  // Mostly nobody is asking when it happens.
  loss.promise.catch(() => undefined);
  return loss;
}
