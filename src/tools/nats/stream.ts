/** Operations on JetStream's streams. */
import type { Msg, StoredMsg } from "nats";
import { headers } from "nats";
import type { Json, JsonObject } from "../../core/json.ts";
import { isJsonObject } from "../../core/json.ts";
import { decodePayload, encodePayload, payloadOf } from "../payload.ts";
import { isNotFound } from "./failure.ts";
import type { Operation } from "./operation.ts";
import { numberOf, textOf } from "./operation.ts";

export async function publish(operation: Operation): Promise<JsonObject> {
  const { connection, config, timeoutMs } = operation;
  const subject = textOf(config, "subject");
  const data = encodePayload(payloadOf(config), config["encoding"]);
  const more = headers();
  const given = config["headers"];
  for (const [name, value] of Object.entries(isJsonObject(given) ? given : {})) {
    more.set(name, typeof value === "string" ? value : JSON.stringify(value));
  }
  const id = textOf(config, "msg_id", "message_id");
  const expected = textOf(config, "stream");
  const ack = await connection.jetstream({ timeout: timeoutMs }).publish(subject, data, {
    headers: more,
    ...(id === "" ? {} : { msgID: id }),
    ...(expected === "" ? {} : { expect: { streamName: expected } }),
  });
  return { status: "success", stream: ack.stream, subject, seq: ack.seq, duplicate: ack.duplicate };
}

/** One message by `seq`, or the last of `subject` (`last` may name it). */
export async function getMessage(operation: Operation): Promise<JsonObject> {
  const { connection, config, timeoutMs } = operation;
  const stream = textOf(config, "stream");
  const seq = numberOf(config, "seq");
  const { last } = config;
  const subject = typeof last === "string" ? last : textOf(config, "subject") || ">";
  const manager = await connection.jetstreamManager({ timeout: timeoutMs });
  try {
    const query = seq === undefined ? { last_by_subj: subject } : { seq };
    const message = await manager.streams.getMessage(stream, query);
    return { status: "success", stream, ...presentStored(message, config["encoding"]) };
  } catch (error) {
    if (isNotFound(error)) {
      return { status: "not_found", stream, seq: seq ?? null, data: null };
    }
    throw error;
  }
}

export async function streamInfo(operation: Operation): Promise<JsonObject> {
  const { connection, config, timeoutMs } = operation;
  const manager = await connection.jetstreamManager({ timeout: timeoutMs });
  const info = await manager.streams.info(textOf(config, "stream"));
  const { state } = info;
  return {
    status: "success",
    stream: info.config.name,
    subjects: info.config.subjects ?? [],
    messages: state.messages,
    bytes: state.bytes,
    first_seq: state.first_seq,
    last_seq: state.last_seq,
    consumers: state.consumer_count,
    created: info.created,
    config: JSON.parse(JSON.stringify(info.config)),
    state: JSON.parse(JSON.stringify(state)),
  };
}

function presentStored(message: StoredMsg, encoding: Json | undefined): JsonObject {
  const { value, encoding: found } = decodePayload(message.data, encoding);
  return {
    seq: message.seq,
    subject: message.subject,
    data: value,
    encoding: found,
    headers: presentHeaders(message.header),
    time: message.time.toISOString(),
  };
}

export function presentHeaders(of: Msg["headers"]): JsonObject {
  return Object.fromEntries(
    (of?.keys() ?? []).map((name) => [name, of?.values(name).join(", ") ?? ""]),
  );
}
