/**
 * Taking messages from a consumer, and acknowledging them later.
 *
 * `ack: auto` acknowledges before the result is recorded: a worker that dies in between has taken
 * messages that no step has seen. `ack: explicit` gives an `ack_id` with each message for a later
 * `js_ack`; what is not acknowledged within the consumer's `ack_wait` is delivered again.
 */
import type { ConsumerConfig, JetStreamManager, Msg, NatsConnection } from "nats";
import { AckPolicy, DeliverPolicy, nanos } from "nats";
import { parseDuration } from "../../core/duration.ts";
import type { Json, JsonObject } from "../../core/json.ts";
import { decodePayload } from "../payload.ts";
import { taskError } from "../task-error.ts";
import { isNotFound } from "./failure.ts";
import type { Operation } from "./operation.ts";
import { numberOf, textOf } from "./operation.ts";
import { pullBatch } from "./pull.ts";
import { presentHeaders } from "./stream.ts";

export const ACK_MODES = ["auto", "none", "explicit"] as const;
export const ACK_ANSWERS = ["ack", "nak", "nack", "term", "progress"] as const;

const BATCH_DEFAULT = 10;
const BATCH_MAX = 10_000;
const ACK_WAIT_MS = 30_000;
/** The server forgets a consumer without a name after this. */
const EPHEMERAL_MS = 30_000;
/** `$JS.ACK.` and then what says which delivery it is. */
const ACK_SUBJECT = /^\$JS\.ACK\.[^\s*>]+$/;

/** At most `batch` messages; `messages` is empty when none came within `timeout_ms`. */
export async function consume(operation: Operation): Promise<JsonObject> {
  const { connection, config, timeoutMs, waitMs, bytesMax, context } = operation;
  const stream = textOf(config, "stream");
  const manager = await connection.jetstreamManager({ timeout: timeoutMs });
  const consumer = await ensureConsumer(manager, stream, config);
  const batch = Math.min(BATCH_MAX, Math.max(1, numberOf(config, "batch") ?? BATCH_DEFAULT));
  const { signal } = context;
  const request = { stream, consumer: consumer.name, batch, waitMs, bytesMax, signal };
  try {
    const messages = await pullBatch(connection, request);
    return await present(operation, stream, consumer.name, messages);
  } finally {
    if (!consumer.isDurable) {
      await manager.consumers.delete(stream, consumer.name).catch(() => undefined);
    }
  }
}

async function present(
  { connection, config, timeoutMs }: Operation,
  stream: string,
  consumer: string,
  taken: readonly Msg[],
): Promise<JsonObject> {
  const mode = ackMode(config);
  if (mode === "auto") {
    await answerAll(connection, taken.map(ackId), "ack", undefined, timeoutMs);
  }
  const messages = taken.map((message) => presentMessage(message, config["encoding"], mode));
  return {
    status: "success",
    stream,
    consumer,
    messages,
    count: messages.length,
    ack: mode,
    acked: mode === "auto" ? messages.length : 0,
    ack_ids: mode === "explicit" ? taken.map(ackId) : [],
  };
}

/** Answers for messages taken with `ack: explicit`. */
export async function acknowledge(operation: Operation): Promise<JsonObject> {
  const { connection, config, timeoutMs } = operation;
  const ids = ackIdsOf(config);
  const bad = ids.find((id) => !ACK_SUBJECT.test(id));
  if (bad !== undefined) {
    throw taskError("schema", "ACK_ID_INVALID", `"${bad}" is no ack_id of a consumed message`);
  }
  const given = textOf(config, "ack") || "ack";
  const answer = given === "nack" ? "nak" : given;
  const delay = parseDuration(config["delay"]) ?? numberOf(config, "nack_delay_ms");
  await answerAll(connection, ids, answer, delay, timeoutMs);
  return { status: "success", ack: answer, count: ids.length };
}

export function ackMode(config: JsonObject): (typeof ACK_MODES)[number] {
  return ACK_MODES.find((mode) => mode === config["ack"]) ?? "auto";
}

export function ackIdsOf(config: JsonObject): readonly string[] {
  const ids = config["ack_ids"] ?? config["ack_id"];
  return (Array.isArray(ids) ? ids : [ids ?? ""]).map(String).filter((id) => id !== "");
}

/** Each is confirmed by the server. */
async function answerAll(
  connection: NatsConnection,
  ids: readonly string[],
  answer: string,
  delayMs: number | undefined,
  timeoutMs: number,
): Promise<void> {
  const text = answerText(answer, delayMs);
  await Promise.all(ids.map((id) => connection.request(id, text, { timeout: timeoutMs })));
}

function answerText(answer: string, delayMs: number | undefined): string {
  switch (answer) {
    case "nak":
      return delayMs === undefined ? "-NAK" : `-NAK ${JSON.stringify({ delay: nanos(delayMs) })}`;
    case "term":
      return "+TERM";
    case "progress":
      return "+WPI";
    default:
      return "+ACK";
  }
}

interface UsedConsumer {
  readonly name: string;
  readonly isDurable: boolean;
}

/** The named one, made if it does not exist; without a name one for this task only. */
async function ensureConsumer(
  manager: JetStreamManager,
  stream: string,
  config: JsonObject,
): Promise<UsedConsumer> {
  const name = textOf(config, "consumer", "durable");
  if (name === "") {
    const made = await manager.consumers.add(stream, {
      ...consumerConfig(config),
      inactive_threshold: nanos(EPHEMERAL_MS),
    });
    return { name: made.name, isDurable: ackMode(config) === "explicit" };
  }
  try {
    await manager.consumers.info(stream, name);
  } catch (error) {
    if (!isNotFound(error)) {
      throw error;
    }
    await manager.consumers.add(stream, { ...consumerConfig(config), durable_name: name });
  }
  return { name, isDurable: true };
}

function consumerConfig(config: JsonObject): Partial<ConsumerConfig> {
  const subject = textOf(config, "subject");
  const seq = numberOf(config, "seq");
  const waitMs = parseDuration(config["ack_wait"]) ?? ACK_WAIT_MS;
  const attempts = numberOf(config, "max_deliver");
  return {
    ack_policy: AckPolicy.Explicit,
    ack_wait: nanos(waitMs),
    ...(subject === "" ? {} : { filter_subject: subject }),
    ...(attempts === undefined ? {} : { max_deliver: attempts }),
    ...(seq === undefined
      ? { deliver_policy: deliverPolicy(config["deliver"]) }
      : { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: seq }),
  };
}

function deliverPolicy(deliver: Json | undefined): DeliverPolicy {
  switch (deliver) {
    case "new":
      return DeliverPolicy.New;
    case "last":
      return DeliverPolicy.Last;
    default:
      return DeliverPolicy.All;
  }
}

function presentMessage(
  message: Msg,
  encoding: Json | undefined,
  mode: (typeof ACK_MODES)[number],
): JsonObject {
  const { value, encoding: found } = decodePayload(message.data, encoding);
  const { seq, deliveries, timeMs } = deliveryOf(ackId(message));
  return {
    seq,
    subject: message.subject,
    data: value,
    encoding: found,
    headers: presentHeaders(message.headers),
    deliveries,
    time: new Date(timeMs).toISOString(),
    ...(mode === "explicit" ? { ack_id: ackId(message) } : {}),
  };
}

function ackId(message: Msg): string {
  return message.reply ?? "";
}

/**
 * `$JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<time>.<pending>`; newer
 * servers put domain and account before, and a random token behind.
 */
function deliveryOf(id: string): {
  readonly seq: number;
  readonly deliveries: number;
  readonly timeMs: number;
} {
  const parts = id.split(".");
  const start = parts.length > 9 ? 6 : 4;
  const [deliveries, seq, , nanoseconds] = parts.slice(start).map(Number);
  return {
    seq: seq ?? 0,
    deliveries: deliveries ?? 1,
    timeMs: Math.trunc((nanoseconds ?? 0) / 1e6),
  };
}
