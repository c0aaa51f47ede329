/** Operations on JetStream's object buckets. */
import type { NatsConnection, ObjectInfo, ObjectStore } from "nats";
import { parseDuration } from "../../core/duration.ts";
import type { JsonObject } from "../../core/json.ts";
import { decodePayload, encodePayload, payloadOf } from "../payload.ts";
import { taskError } from "../task-error.ts";
import { withBucket } from "./failure.ts";
import type { Operation } from "./operation.ts";
import { textOf } from "./operation.ts";

const STREAM_PREFIX = "OBJ_";
const NANOS_PER_MS = 1_000_000;
/** Spellings of an object's name; `name` last, it is also the label of a task in a list. */
const NAMES = ["object", "object_name", "key", "name"] as const;

export async function putObject(operation: Operation): Promise<JsonObject> {
  const { config } = operation;
  const store = await openStore(operation, config["create"] === true);
  const bytes = encodePayload(payloadOf(config), config["encoding"]);
  const description = textOf(config, "description");
  const meta = { name: objectName(config), ...(description === "" ? {} : { description }) };
  const info = await store.putBlob(meta, bytes, { timeout: operation.timeoutMs });
  return { status: "success", bucket: textOf(config, "bucket"), ...present(info) };
}

/** `data` as text, or in base64 if it is no UTF-8; `encoding: json` parses it. */
export async function getObject(operation: Operation): Promise<JsonObject> {
  const { config, bytesMax, context } = operation;
  const store = await openStore(operation);
  const info = await store.info(objectName(config));
  if (info === null || info.deleted) {
    return missing(config);
  }
  if (info.size > bytesMax) {
    throw tooLarge(info.name, info.size, bytesMax);
  }
  const found = await store.get(info.name);
  if (found === null) {
    return missing(config);
  }
  const bytes = await readAll(found.data, bytesMax, info.name, context.signal);
  const { value, encoding } = decodePayload(bytes, config["encoding"], false);
  return { status: "success", bucket: info.bucket, ...present(info), data: value, encoding };
}

export async function deleteObject(operation: Operation): Promise<JsonObject> {
  const { config } = operation;
  const store = await openStore(operation);
  const name = objectName(config);
  const info = await store.info(name);
  if (info !== null && !info.deleted) {
    await store.delete(name);
  }
  return { status: "success", bucket: textOf(config, "bucket"), name, deleted: true };
}

export async function listObjects(operation: Operation): Promise<JsonObject> {
  const store = await openStore(operation);
  const objects = (await store.list()).map(present);
  const bucket = textOf(operation.config, "bucket");
  return { status: "success", bucket, objects, count: objects.length };
}

export async function objectInfo(operation: Operation): Promise<JsonObject> {
  const { config } = operation;
  const store = await openStore(operation);
  const info = await store.info(objectName(config));
  return info === null || info.deleted
    ? missing(config)
    : { status: "success", bucket: info.bucket, ...present(info) };
}

export function objectName(config: JsonObject): string {
  return textOf(config, ...NAMES);
}

function missing(config: JsonObject): JsonObject {
  return { status: "not_found", bucket: textOf(config, "bucket"), name: objectName(config) };
}

function present(info: ObjectInfo): JsonObject {
  const { name, size, chunks, digest, mtime, description } = info;
  return { name, size, chunks, digest, modified: mtime, description: description ?? null };
}

async function openStore(operation: Operation, isNew = false): Promise<ObjectStore> {
  const { connection, config, timeoutMs } = operation;
  const bucket = textOf(config, "bucket");
  if (!isNew) {
    await checkStore(connection, bucket, timeoutMs);
  }
  const ttlMs = parseDuration(config["ttl"]);
  const { views } = connection.jetstream({ timeout: timeoutMs });
  return await views.os(bucket, ttlMs === undefined ? {} : { ttl: ttlMs * NANOS_PER_MS });
}

/** The client would make a bucket that is not there. */
async function checkStore(
  connection: NatsConnection,
  bucket: string,
  timeoutMs: number,
): Promise<void> {
  const manager = await connection.jetstreamManager({ timeout: timeoutMs });
  await withBucket(bucket, manager.streams.info(`${STREAM_PREFIX}${bucket}`));
}

/** The size in the object's description is only what its writer said. */
async function readAll(
  stream: ReadableStream<Uint8Array>,
  bytesMax: number,
  name: string,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const reader = stream.getReader();
  const stop = (): void => void reader.cancel().catch(() => undefined);
  signal.addEventListener("abort", stop, { once: true });
  const parts: Uint8Array[] = [];
  let size = 0;
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      size += part.value.length;
      if (size > bytesMax) {
        stop();
        throw tooLarge(name, size, bytesMax);
      }
      parts.push(part.value);
    }
    return Buffer.concat(parts);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

function tooLarge(name: string, size: number, bytesMax: number) {
  const message = `object "${name}" has ${size} bytes or more, a result at most ${bytesMax}`;
  return taskError("limit", "RESULT_TOO_LARGE", message);
}
