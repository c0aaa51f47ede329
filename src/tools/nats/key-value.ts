/** Operations on JetStream's key-value buckets. */
import type { KV } from "nats";
import { headers } from "nats";
import { parseDuration } from "../../core/duration.ts";
import type { JsonObject } from "../../core/json.ts";
import { decodePayload, encodePayload, payloadOf } from "../payload.ts";
import { taskError } from "../task-error.ts";
import { withBucket } from "./failure.ts";
import type { Operation } from "./operation.ts";
import { numberOf, textOf } from "./operation.ts";

const STREAM_PREFIX = "KV_";

/** `value` is null when there is none; `status` tells. */
export async function getKey(operation: Operation): Promise<JsonObject> {
  const { config } = operation;
  const { bucket, key } = nameOf(config);
  const kv = await openBucket(operation);
  const revision = numberOf(config, "revision");
  const entry = await kv.get(key, revision === undefined ? undefined : { revision });
  if (entry === null || entry.operation !== "PUT") {
    await checkBucket(operation, bucket);
    return { status: "not_found", bucket, key, value: null };
  }
  const { value, encoding } = decodePayload(entry.value, config["encoding"]);
  const created = entry.created.toISOString();
  return { status: "success", bucket, key, value, encoding, revision: entry.revision, created };
}

/** `revision`: only over that one; 0: only if the key is new. */
export async function putKey(operation: Operation): Promise<JsonObject> {
  const { config, connection } = operation;
  const { bucket, key } = nameOf(config);
  const isNew = config["create"] === true;
  const kv = await openBucket(operation, isNew);
  checkKey(key);
  const bytes = encodePayload(payloadOf(config), config["encoding"]);
  const more = headers();
  const expected = numberOf(config, "revision");
  if (expected !== undefined) {
    more.set("Nats-Expected-Last-Subject-Sequence", String(expected));
  }
  if (!isNew) {
    await setLifetime(operation, kv, (seconds) => more.set("Nats-TTL", `${seconds}s`));
  }
  const sent = connection
    .jetstream({ timeout: operation.timeoutMs })
    .publish(`$KV.${bucket}.${key}`, bytes, { headers: more });
  const ack = await inBucket(operation, bucket, sent);
  return { status: "success", bucket, key, revision: ack.seq };
}

export async function deleteKey(operation: Operation): Promise<JsonObject> {
  const { bucket, key } = nameOf(operation.config);
  const kv = await openBucket(operation);
  await inBucket(operation, bucket, kv.delete(key));
  return { status: "success", bucket, key, deleted: true };
}

/** Removes a key with its history. */
export async function purgeKey(operation: Operation): Promise<JsonObject> {
  const { bucket, key } = nameOf(operation.config);
  const kv = await openBucket(operation);
  await inBucket(operation, bucket, kv.purge(key));
  return { status: "success", bucket, key, purged: true };
}

/** Names of the keys, sorted; of those that match `pattern` (`orders.*`, `orders.>`). */
export async function listKeys(operation: Operation): Promise<JsonObject> {
  const { config, bytesMax } = operation;
  const bucket = textOf(config, "bucket");
  const kv = await openBucket(operation);
  const pattern = textOf(config, "pattern") || ">";
  const keys: string[] = [];
  let size = 0;
  for await (const key of await withBucket(bucket, kv.keys(pattern))) {
    keys.push(key);
    size += key.length + 3;
    if (size > bytesMax) {
      const message = `the list of keys is larger than ${bytesMax} bytes; narrow it by \`pattern\``;
      throw taskError("limit", "RESULT_TOO_LARGE", message);
    }
  }
  keys.sort();
  return { status: "success", bucket, keys, count: keys.length };
}

function nameOf(config: JsonObject): { readonly bucket: string; readonly key: string } {
  return { bucket: textOf(config, "bucket"), key: textOf(config, "key") };
}

/** A key is part of a subject: spaces and wildcards in it would reach elsewhere. */
function checkKey(key: string): void {
  if (!/^[-/=.\w]+$/.test(key) || key.startsWith(".") || key.endsWith(".")) {
    const message = `"${key}" is no key: letters, digits and -/_=. only, no dot at its ends`;
    throw taskError("schema", "KEY_INVALID", message);
  }
}

async function openBucket(operation: Operation, isNew = false): Promise<KV> {
  const { connection, config, timeoutMs } = operation;
  const { views } = connection.jetstream({ timeout: timeoutMs });
  const ttl = parseDuration(config["ttl"]);
  const options = isNew
    ? { history: numberOf(config, "history") ?? 1, ...(ttl === undefined ? {} : { ttl }) }
    : { bindOnly: true };
  return await views.kv(textOf(config, "bucket"), { timeout: timeoutMs, ...options });
}

/** A time to live of one key: only newer servers have it, and only in buckets that allow it. */
async function setLifetime(
  operation: Operation,
  kv: KV,
  set: (seconds: number) => void,
): Promise<void> {
  const ttlMs = parseDuration(operation.config["ttl"]);
  if (ttlMs === undefined || ttlMs <= 0) {
    return;
  }
  const bucket = textOf(operation.config, "bucket");
  const { streamInfo, ttl } = await withBucket(bucket, kv.status());
  if ("allow_msg_ttl" in streamInfo.config && streamInfo.config.allow_msg_ttl === true) {
    set(Math.max(1, Math.ceil(ttlMs / 1000)));
  } else if (ttl === 0 || ttl > ttlMs) {
    const keeps = ttl === 0 ? "for ever" : `${ttl / 1000} s`;
    const message = `bucket "${bucket}" keeps keys ${keeps} and allows no \`ttl\` of one key`;
    operation.context.log("stderr", message);
  }
}

/** The promise; if it fails because the bucket does not exist, an error that says so. */
async function inBucket<T>(operation: Operation, bucket: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    await checkBucket(operation, bucket);
    throw error;
  }
}

/** @throws TaskError if the bucket does not exist. */
async function checkBucket({ connection, timeoutMs }: Operation, bucket: string): Promise<void> {
  const manager = await connection.jetstreamManager({ timeout: timeoutMs });
  await withBucket(bucket, manager.streams.info(`${STREAM_PREFIX}${bucket}`));
}
