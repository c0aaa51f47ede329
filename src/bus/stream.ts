/** The streams and consumers that the bus needs, and how they are made (again). */
import type { ConsumerConfig, ConsumerInfo, JetStreamManager, StreamConfig } from "nats";
import {
  AckPolicy,
  DeliverPolicy,
  DiscardPolicy,
  NatsError,
  nanos,
  RetentionPolicy,
  StorageType,
} from "nats";

const MINUTE_MS = 60_000;
/** The commands' rows are the truth; a notification older than this has been sent again. */
const COMMANDS_MAX_AGE_MS = 10 * MINUTE_MS;
const DEDUP_WINDOW_MS = 2 * MINUTE_MS;
const LOGS_MAX_AGE_MS = 24 * 60 * MINUTE_MS;
const LOGS_MAX_BYTES = 1024 ** 3;
/** Within this a worker has claimed or given back what was delivered to it. */
const ACK_WAIT_MS = 10_000;
/** Pull requests open at once, all workers of a pool together; the server's default is 512. */
const PULLS_MAX = 8192;

/** JetStream's error codes. See https://github.com/nats-io/nats-server/blob/main/server/errors.json. */
const STREAM_NOT_FOUND = 10_059;
const CONSUMER_NOT_FOUND = 10_014;
const STREAM_NAME_IN_USE = 10_058;

export type NamedStreamConfig = Partial<StreamConfig> & { name: string };

/** Nothing for 1, so that an existing stream keeps what an operator has given it. */
export function replicas(count: number): Pick<StreamConfig, "num_replicas"> | undefined {
  return count > 1 ? { num_replicas: count } : undefined;
}

export function commandStreamConfig(name: string, subjectPrefix: string): NamedStreamConfig {
  return {
    name,
    subjects: [`${subjectPrefix}.>`],
    storage: StorageType.File,
    retention: RetentionPolicy.Limits,
    discard: DiscardPolicy.Old,
    max_age: nanos(COMMANDS_MAX_AGE_MS),
    duplicate_window: nanos(DEDUP_WINDOW_MS),
  };
}

export function logStreamConfig(
  name: string,
  subjectPrefix: string,
  maxAgeMs: number = LOGS_MAX_AGE_MS,
): NamedStreamConfig {
  return {
    name,
    subjects: [`${subjectPrefix}.>`],
    storage: StorageType.File,
    retention: RetentionPolicy.Limits,
    discard: DiscardPolicy.Old,
    max_age: nanos(maxAgeMs),
    max_bytes: LOGS_MAX_BYTES,
  };
}

export function commandConsumerConfig(options: {
  readonly durableName: string;
  readonly filter: string;
  readonly maxAckPending: number;
}): Partial<ConsumerConfig> {
  return {
    durable_name: options.durableName,
    ack_policy: AckPolicy.Explicit,
    ack_wait: nanos(ACK_WAIT_MS),
    deliver_policy: DeliverPolicy.All,
    filter_subject: options.filter,
    max_ack_pending: options.maxAckPending,
    max_waiting: PULLS_MAX,
  };
}

/**
 * Makes the stream, or brings an existing one up to this configuration. Idempotent.
 *
 * @param isUpdated false: an existing one stays as it is.
 */
export async function ensureStream(
  manager: JetStreamManager,
  config: NamedStreamConfig,
  isUpdated = true,
): Promise<void> {
  try {
    await manager.streams.add(config);
  } catch (error) {
    if (!hasApiCode(error, STREAM_NAME_IN_USE)) {
      throw error;
    }
    if (isUpdated) {
      await manager.streams.update(config.name, config);
    }
  }
}

/** Makes the durable consumer, or leaves an existing one with updated limits. Idempotent. */
export async function ensureConsumer(
  manager: JetStreamManager,
  stream: string,
  config: Partial<ConsumerConfig>,
): Promise<void> {
  await manager.consumers.add(stream, config);
}

/** Changes when the stream was deleted and made anew; undefined while there is none. */
export async function streamCreated(
  manager: JetStreamManager,
  stream: string,
): Promise<string | undefined> {
  return await orMissing(async () => (await manager.streams.info(stream)).created);
}

export async function consumerInfo(
  manager: JetStreamManager,
  stream: string,
  durableName: string,
): Promise<ConsumerInfo | undefined> {
  return await orMissing(() => manager.consumers.info(stream, durableName));
}

/** Undefined when the stream or consumer asked about does not exist. */
export async function orMissing<T>(question: () => Promise<T>): Promise<T | undefined> {
  try {
    return await question();
  } catch (error) {
    if (hasApiCode(error, STREAM_NOT_FOUND) || hasApiCode(error, CONSUMER_NOT_FOUND)) {
      return undefined;
    }
    throw error;
  }
}

function hasApiCode(error: unknown, code: number): boolean {
  return error instanceof NatsError && error.api_error?.err_code === code;
}
