/**
 * Sets the gauges of what is not in this server's memory: pools, workers, streams, executions. Every server shows
 * the same values there.
 */
import type { ServerMetrics } from "../observability/metrics.ts";
import type { PoolRow, ServerReader, WorkerRow } from "./backend.ts";

const GPU_STATES = ["ready", "unclean", "out_of_service"] as const;

/** @throws when the database does not answer. */
export async function setDatabaseGauges(
  metrics: ServerMetrics,
  reader: ServerReader,
): Promise<readonly PoolRow[]> {
  const [pools, workers, rateLimited, open, queued, connections] = await Promise.all([
    reader.listPools(),
    reader.listWorkers(),
    reader.countRateLimited(),
    reader.countOpen(),
    reader.countQueued(),
    reader.connectionUse(),
  ]);
  setPools(metrics, pools);
  setReasons(metrics, pools, rateLimited);
  setWorkers(metrics, workers);
  metrics.executionsWaiting.set(queued, "concurrency");
  metrics.executionsOpen.set(Math.max(0, open.pending - queued), "pending");
  metrics.executionsOpen.set(queued, "queued");
  metrics.executionsOpen.set(open.running, "running");
  for (const state of ["open", "active", "blocked"] as const) {
    metrics.databaseConnections.set(connections[state], state);
  }
  return pools;
}

/** Scrapes do not wait longer for NATS. */
const LAG_MS_MAX = 1000;

/** @throws when NATS does not answer. */
export async function setBusGauges(
  metrics: ServerMetrics,
  reader: ServerReader,
  pools: readonly PoolRow[],
): Promise<void> {
  const reading = Promise.all(
    pools.map(async ({ pool }) => ({ pool, lag: await reader.readLag(pool) })),
  );
  const lags = await within(LAG_MS_MAX, reading);
  resetAll([metrics.consumerPending, metrics.consumerUnacked, metrics.consumerRedelivered]);
  for (const { pool, lag } of lags) {
    if (lag !== undefined) {
      metrics.consumerPending.set(lag.pendingCount, pool);
      metrics.consumerUnacked.set(lag.unackedCount, pool);
      metrics.consumerRedelivered.set(lag.redeliveredCount, pool);
    }
  }
}

async function within<T>(ms: number, answer: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`no answer within ${ms} ms`)), ms);
  try {
    return await Promise.race([answer, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

function setPools(metrics: ServerMetrics, pools: readonly PoolRow[]): void {
  resetAll([
    metrics.queueDepth,
    metrics.queueOldestSeconds,
    metrics.slots,
    metrics.gpuLeases,
    metrics.gpuWaiters,
    metrics.workers,
  ]);
  for (const row of pools) {
    const { pool, slots, freeSlots, gpuLeases = 0, gpuWaiters = 0 } = row;
    metrics.workers.set(row.workers, pool);
    metrics.slots.set(freeSlots, pool, "free");
    metrics.slots.set(slots - freeSlots, pool, "used");
    metrics.queueDepth.set(row.queued, pool, "queued");
    metrics.queueDepth.set(row.running, pool, "running");
    metrics.queueOldestSeconds.set((row.oldestQueuedMs ?? 0) / 1000, pool);
    metrics.gpuLeases.set(gpuLeases, pool);
    metrics.gpuWaiters.set(gpuWaiters, pool);
  }
}

/** All reasons of each pool, so that an alert sees them go back to 0. */
function setReasons(
  { queueWaiting }: ServerMetrics,
  pools: readonly PoolRow[],
  rateLimited: ReadonlyMap<string, number>,
): void {
  queueWaiting.reset();
  for (const { pool, queued, workers, freeSlots, scheduled = 0, gpuWaiters = 0 } of pools) {
    const rate = Math.min(scheduled, rateLimited.get(pool) ?? 0);
    const due = Math.max(0, queued - scheduled);
    const waitsForGpu = Math.min(due, gpuWaiters);
    const other = due - waitsForGpu;
    const isBusy = freeSlots === 0;
    queueWaiting.set(workers === 0 ? due : 0, pool, "no_worker");
    queueWaiting.set(workers > 0 ? waitsForGpu : 0, pool, "gpus_busy");
    queueWaiting.set(workers > 0 && isBusy ? other : 0, pool, "busy");
    queueWaiting.set(workers > 0 && !isBusy ? other : 0, pool, "starting");
    queueWaiting.set(rate, pool, "rate");
    queueWaiting.set(scheduled - rate, pool, "not_due");
  }
}

function setWorkers(metrics: ServerMetrics, workers: readonly WorkerRow[]): void {
  resetAll([metrics.heartbeatAgeSeconds, metrics.poolGpus]);
  for (const [pool, rows] of Map.groupBy(workers, (row) => row.pool)) {
    const ages = rows.map(({ heartbeatAgeMs = 0 }) => heartbeatAgeMs);
    metrics.heartbeatAgeSeconds.set(Math.max(0, ...ages) / 1000, pool);
    const gpus = rows.flatMap((row) => (row.status === "lost" ? [] : (row.gpus ?? [])));
    for (const state of gpus.length === 0 ? [] : GPU_STATES) {
      metrics.poolGpus.set(gpus.filter((gpu) => gpu.state === state).length, pool, state);
    }
  }
}

function resetAll(levels: readonly { reset(): void }[]): void {
  for (const level of levels) {
    level.reset();
  }
}
