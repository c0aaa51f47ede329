/** Key-value buckets, object buckets and streams of a NATS server with JetStream. */
import type { JsonObject } from "../core/json.ts";
import type { Failure } from "../engine/failure.ts";
import { loadLayers } from "./layers.ts";
import type { OperationName } from "./nats/check.ts";
import { operationOf } from "./nats/check.ts";
import { NatsConnections, natsTarget } from "./nats/connection.ts";
import { acknowledge, consume } from "./nats/consume.ts";
import { NATS } from "./nats/description.ts";
import { natsFailure } from "./nats/failure.ts";
import { deleteKey, getKey, listKeys, purgeKey, putKey } from "./nats/key-value.ts";
import {
  deleteObject,
  getObject,
  listObjects,
  objectInfo,
  putObject,
} from "./nats/object-store.ts";
import type { OperationRun } from "./nats/operation.ts";
import { numberOf } from "./nats/operation.ts";
import { getMessage, publish, streamInfo } from "./nats/stream.ts";
import { stoppedFailure } from "./stopped.ts";
import { thrownFailure, unlessStopped } from "./task-error.ts";
import type { Tool, ToolContext, ToolModule, ToolOutcome } from "./tool.ts";

export const natsModule: ToolModule = {
  descriptions: [NATS],
  create: (parts) => [createNatsTool(parts)],
};

export interface NatsToolOptions {
  /** Largest value that is read, bytes. */
  readonly maxOutputBytes: number;
}

/** `timeout_ms` of a task that sets none. */
const WAIT_MS = 5000;
const REQUEST_MS_MIN = 2000;

const OPERATIONS: Readonly<Record<OperationName, OperationRun>> = {
  kv_get: getKey,
  kv_put: putKey,
  kv_delete: deleteKey,
  kv_purge: purgeKey,
  kv_keys: listKeys,
  object_get: getObject,
  object_put: putObject,
  object_delete: deleteObject,
  object_list: listObjects,
  object_info: objectInfo,
  js_publish: publish,
  js_consume: consume,
  js_ack: acknowledge,
  js_get_msg: getMessage,
  js_stream_info: streamInfo,
};

export function createNatsTool(options: NatsToolOptions): Tool {
  const connections = new NatsConnections();
  return {
    description: NATS,
    run: (call, context) => runOperation(connections, call.config, options, context),
    close: () => connections.close(),
  };
}

async function runOperation(
  connections: NatsConnections,
  config: JsonObject,
  options: NatsToolOptions,
  context: ToolContext,
): Promise<ToolOutcome> {
  try {
    const run = OPERATIONS[operationOf(config) ?? "kv_get"];
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
