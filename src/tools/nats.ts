/** Key-value buckets, object buckets and streams of a NATS server with JetStream. */
import type { JsonObject } from "../core/json.ts";
import type { Failure } from "../engine/failure.ts";
import { loadLayers } from "./layers.ts";
import { NatsConnections, natsTarget } from "./nats/connection.ts";
import { ACK_ANSWERS, ACK_MODES, ackIdsOf, acknowledge, consume } from "./nats/consume.ts";
import { natsFailure } from "./nats/failure.ts";
import { deleteKey, getKey, listKeys, purgeKey, putKey } from "./nats/key-value.ts";
import {
  deleteObject,
  getObject,
  listObjects,
  objectInfo,
  objectName,
  putObject,
} from "./nats/object-store.ts";
import type { OperationRun } from "./nats/operation.ts";
import { numberOf } from "./nats/operation.ts";
import { getMessage, publish, streamInfo } from "./nats/stream.ts";
import { stoppedFailure } from "./stopped.ts";
import { thrownFailure, unlessStopped } from "./task-error.ts";
import type { Tool, ToolContext, ToolOutcome } from "./tool.ts";

export interface NatsToolOptions {
  /** Largest value that is read, bytes. */
  readonly maxOutputBytes: number;
}

export interface NatsTool extends Tool {
  close(): Promise<void>;
}

/** `timeout_ms` of a task that sets none. */
const WAIT_MS = 5000;
const REQUEST_MS_MIN = 2000;

const OPERATIONS: ReadonlyMap<string, OperationRun> = new Map([
  ["kv_get", getKey],
  ["kv_put", putKey],
  ["kv_delete", deleteKey],
  ["kv_purge", purgeKey],
  ["kv_keys", listKeys],
  ["object_get", getObject],
  ["object_put", putObject],
  ["object_delete", deleteObject],
  ["object_list", listObjects],
  ["object_info", objectInfo],
  ["js_publish", publish],
  ["js_consume", consume],
  ["js_ack", acknowledge],
  ["js_get_msg", getMessage],
  ["js_stream_info", streamInfo],
]);

/** Fields without which an operation makes no sense; an object's name has several spellings. */
const NEEDS: Readonly<Record<string, readonly string[]>> = {
  kv_get: ["bucket", "key"],
  kv_put: ["bucket", "key"],
  kv_delete: ["bucket", "key"],
  kv_purge: ["bucket", "key"],
  kv_keys: ["bucket"],
  object_list: ["bucket"],
  js_publish: ["subject"],
  js_consume: ["stream"],
  js_get_msg: ["stream"],
  js_stream_info: ["stream"],
};

export function createNatsTool(options: NatsToolOptions): NatsTool {
  const connections = new NatsConnections();
  return {
    kind: "nats",
    summary: "does an `operation` on NATS: kv_*, object_*, js_*",
    check: checkNats,
    run: (call, context) => runOperation(connections, call.config, options, context),
    close: () => connections.close(),
  };
}

export function checkNats(config: JsonObject): readonly string[] {
  const { operation } = config;
  if (typeof operation !== "string" || !OPERATIONS.has(operation)) {
    const known = [...OPERATIONS.keys()].join(", ");
    return [`\`operation\` must be one of ${known}, not ${JSON.stringify(operation ?? null)}`];
  }
  const lacks = (NEEDS[operation] ?? []).filter((name) => isEmpty(config[name]));
  return [
    ...lacks.map((name) => `${operation} needs \`${name}\``),
    ...(operation.startsWith("object_") ? checkObject(operation, config) : []),
    ...checkAck(operation, config),
  ];
}

function checkObject(operation: string, config: JsonObject): readonly string[] {
  const lacksBucket = operation !== "object_list" && isEmpty(config["bucket"]);
  const lacksName = operation !== "object_list" && objectName(config) === "";
  return [
    ...(lacksBucket ? [`${operation} needs \`bucket\``] : []),
    ...(lacksName ? [`${operation} needs \`object\` (or \`name\`)`] : []),
  ];
}

function checkAck(operation: string, config: JsonObject): readonly string[] {
  const { ack } = config;
  if (
    operation === "js_ack" &&
    ackIdsOf(config).length === 0 &&
    !Array.isArray(config["ack_ids"])
  ) {
    return ["js_ack needs `ack_ids`"];
  }
  const known: readonly string[] = operation === "js_ack" ? ACK_ANSWERS : ACK_MODES;
  const isUsed = operation === "js_ack" || operation === "js_consume";
  return isUsed && ack !== undefined && !known.includes(String(ack))
    ? [`\`ack\` of ${operation} must be one of ${known.join(", ")}`]
    : [];
}

function isEmpty(value: unknown): boolean {
  return value === undefined || value === null || value === "";
}

async function runOperation(
  connections: NatsConnections,
  config: JsonObject,
  options: NatsToolOptions,
  context: ToolContext,
): Promise<ToolOutcome> {
  try {
    const run = OPERATIONS.get(String(config["operation"])) ?? getKey;
    const target = natsTarget(await loadLayers(config, context));
    const waitMs = Math.max(0, numberOf(config, "timeout_ms") ?? WAIT_MS);
    const timeoutMs = Math.max(REQUEST_MS_MIN, waitMs);
    const bytesMax = options.maxOutputBytes;
    const done = connections.use(target, (connection) =>
      run({ connection, config, timeoutMs, waitMs, bytesMax, context }),
    );
    return { ok: true, value: await unlessStopped(done, context.signal) };
  } catch (error) {
    return { ok: false, failure: failureOf(error, context.signal) };
  }
}

function failureOf(error: unknown, signal: AbortSignal): Failure {
  const known = thrownFailure(error);
  if (known !== undefined) {
    return known;
  }
  return signal.aborted ? stoppedFailure(signal) : natsFailure(error);
}
