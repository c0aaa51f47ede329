/**
 * Messages of somebody else's subjects: a durable pull consumer on a stream, or a plain subscription.
 * Streams belong to whoever publishes to them and are never made here; the durable consumer is.
 */
import type { ConsumerConfig, JetStreamManager, NatsConnection } from "nats";
import { AckPolicy, DeliverPolicy, nanos } from "nats";
import { AppError } from "../core/errors.ts";
import type { Logger } from "../observability/log.ts";
import type { BusConnectionOptions } from "./connection.ts";
import { connectNats, watchConnection } from "./connection.ts";
import type { IncomingMessage } from "./message.ts";
import { readMessage, writeHeaders } from "./message.ts";
import type { Consumer, PullingConsumer } from "./pull-consumer.ts";
import { createPullConsumer } from "./pull-consumer.ts";
import { consumerInfo, ensureConsumer, orMissing } from "./stream.ts";

export interface MessageSourceOptions {
  /** May hold wildcards. */
  readonly subject: string;
  /** Absent: the stream that takes the subject. */
  readonly stream?: string | undefined;
  readonly durable: string;
  /** False: a plain subscription. */
  readonly isJetStream: boolean;
  readonly deliver: "all" | "new" | "last";
  readonly ackWaitMs: number;
  readonly onMessages: (messages: readonly IncomingMessage[]) => void;
  readonly log: Logger;
}

/** Somebody who can be listened to. */
export interface MessageBroker extends AsyncDisposable {
  /** @throws AppError not_found STREAM_MISSING; unavailable. */
  consume(options: MessageSourceOptions): Promise<Consumer>;
  /** Best effort: whoever does not listen misses it. */
  announce(subject: string, text: string, headers: Readonly<Record<string, string>>): void;
}

const DELIVER = {
  all: DeliverPolicy.All,
  new: DeliverPolicy.New,
  last: DeliverPolicy.Last,
} as const;
/** Messages of a plain subscription that wait to be taken; further ones are dropped. */
const PLAIN_WAITING_MAX = 10_000;

/** A connection of its own. Resolves once it stands, however long that takes. */
export async function connectBroker(options: BusConnectionOptions): Promise<MessageBroker> {
  const connection = await connectNats(options);
  const manager = await connection.jetstreamManager({ checkAPI: false });
  const consumers = new Set<PullingConsumer>();
  const onReconnect = (): void => {
    for (const consumer of consumers) {
      consumer.handleReconnect();
    }
  };
  void watchConnection(connection, { onDisconnect: () => undefined, onReconnect }, options.log);
  return {
    consume: async (source) =>
      await createMessageSource({ connection, manager, consumers }, source),
    announce: (subject, text, headers) => announce(connection, subject, text, headers),
    [Symbol.asyncDispose]: async () => {
      await connection.close();
    },
  };
}

export interface BrokerConnection {
  readonly connection: NatsConnection;
  readonly manager: JetStreamManager;
  /** Told of reconnects by its owner. */
  readonly consumers: Set<PullingConsumer>;
}

export async function createMessageSource(
  broker: BrokerConnection,
  options: MessageSourceOptions,
): Promise<Consumer> {
  return options.isJetStream
    ? await consumeStream(broker, options)
    : consumePlain(broker.connection, options);
}

export function announce(
  connection: NatsConnection,
  subject: string,
  text: string,
  headers: Readonly<Record<string, string>>,
): void {
  if (!connection.isClosed()) {
    connection.publish(subject, text, { headers: writeHeaders(headers) });
  }
}

async function consumeStream(
  { connection, manager, consumers }: BrokerConnection,
  options: MessageSourceOptions,
): Promise<Consumer> {
  const { subject, durable, onMessages, log } = options;
  const stream = options.stream ?? (await findStream(manager, subject));
  const config = consumerConfig(options);
  // Once before anything is pulled, so that what is wrong with it is thrown.
  await ensureConsumer(manager, stream, config);
  const consumer = createPullConsumer({
    connection,
    stream,
    durableName: durable,
    ensure: () => ensureConsumer(manager, stream, config),
    countPulls: async () => (await consumerInfo(manager, stream, durable))?.num_waiting,
    read: readMessage,
    onMessages,
    onUndecodable: () => undefined,
    onRepaired: () => undefined,
    log,
  });
  consumers.add(consumer);
  return {
    want: (count) => consumer.want(count),
    get silenceMs() {
      return consumer.silenceMs;
    },
    close: async () => {
      consumers.delete(consumer);
      await consumer.close();
    },
  };
}

function consumerConfig(options: MessageSourceOptions): Partial<ConsumerConfig> {
  return {
    durable_name: options.durable,
    ack_policy: AckPolicy.Explicit,
    ack_wait: nanos(options.ackWaitMs),
    deliver_policy: DELIVER[options.deliver],
    filter_subject: options.subject,
  };
}

async function findStream(manager: JetStreamManager, subject: string): Promise<string> {
  const stream = await orMissing(() => manager.streams.find(subject)).catch(() => undefined);
  if (stream === undefined) {
    const message = `No JetStream stream takes the subject ${subject}: make one, or set jetstream: false`;
    throw new AppError("not_found", "STREAM_MISSING", message);
  }
  return stream;
}

/** Nothing is acknowledged and nothing comes again. */
function consumePlain(
  connection: NatsConnection,
  { subject, onMessages, log }: MessageSourceOptions,
): Consumer {
  let waiting: IncomingMessage[] = [];
  let wanted = 0;
  let isScheduled = false;
  let droppedCount = 0;
  const answers = { ack: () => undefined, nak: () => undefined };
  const deliver = (): void => {
    isScheduled = false;
    const taken = waiting.slice(0, wanted);
    waiting = waiting.slice(wanted);
    wanted -= taken.length;
    if (droppedCount > 0 && waiting.length < PLAIN_WAITING_MAX) {
      log.warn("messages were dropped: nobody took them", { subject, count: droppedCount });
      droppedCount = 0;
    }
    if (taken.length > 0) {
      onMessages(taken);
    }
  };
  const schedule = (): void => {
    if (!isScheduled && wanted > 0 && waiting.length > 0) {
      isScheduled = true;
      queueMicrotask(deliver);
    }
  };
  const subscription = connection.subscribe(subject, {
    callback: (error, message) => {
      if (error !== null || waiting.length >= PLAIN_WAITING_MAX) {
        droppedCount++;
        if (droppedCount === 1) {
          log.warn("dropping messages", { subject, waiting: waiting.length });
        }
        return;
      }
      waiting.push(readMessage(message, answers));
      schedule();
    },
  });
  return {
    want: (count) => {
      wanted = count;
      schedule();
    },
    silenceMs: 0,
    close: async () => {
      subscription.unsubscribe();
      await Promise.resolve();
    },
  };
}
