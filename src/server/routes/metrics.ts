/** `/metrics` in Prometheus text format. */
import { Elysia } from "elysia";
import { errorMessage } from "../../core/errors.ts";
import type { ServerMetrics } from "../../observability/metrics.ts";
import type { PoolRow } from "../backend.ts";
import { docs } from "../docs.ts";
import type { RouteContext } from "../route-context.ts";

/** Several scrapers together ask the database this often at most. */
const POOLS_AGE_MS_MAX = 5000;

export function metricsRoutes(context: RouteContext) {
  const { registry } = context;
  const refresh = createPoolRefresh(context);
  return new Elysia({ normalize: false }).get(
    "/metrics",
    async () => {
      await refresh();
      const headers = { "content-type": registry.contentType };
      return new Response(await registry.text(), { headers });
    },
    { detail: docs({ tag: "Health", summary: "Metrics", type: "text/plain" }) },
  );
}

/** Pools come from the database. Without it the other metrics must still be served. */
function createPoolRefresh({ reader, metrics, log }: RouteContext): () => Promise<void> {
  let readAtMs = 0;
  return async () => {
    if (Date.now() - readAtMs < POOLS_AGE_MS_MAX) {
      return;
    }
    readAtMs = Date.now();
    try {
      setPools(metrics, await reader.listPools());
      metrics.executionsWaiting.set(await reader.countQueued(), "concurrency");
    } catch (error) {
      log.warn("pool metrics are stale", { reason: errorMessage(error) });
    }
  };
}

function setPools(metrics: ServerMetrics, pools: readonly PoolRow[]): void {
  for (const level of [
    metrics.queueDepth,
    metrics.queueOldestSeconds,
    metrics.slots,
    metrics.gpuLeases,
    metrics.gpuWaiters,
    metrics.workers,
  ]) {
    level.reset();
  }
  for (const {
    pool,
    workers,
    slots,
    freeSlots,
    queued,
    running,
    oldestQueuedMs,
    ...gpu
  } of pools) {
    metrics.workers.set(workers, pool);
    metrics.slots.set(freeSlots, pool, "free");
    metrics.slots.set(slots - freeSlots, pool, "used");
    metrics.queueDepth.set(queued, pool, "queued");
    metrics.queueDepth.set(running, pool, "running");
    metrics.queueOldestSeconds.set((oldestQueuedMs ?? 0) / 1000, pool);
    setGpus(metrics, pool, gpu);
  }
}

/** Nothing for pools without GPUs. */
function setGpus(
  metrics: ServerMetrics,
  pool: string,
  { gpuLeases = 0, gpuWaiters = 0 }: Pick<PoolRow, "gpuLeases" | "gpuWaiters">,
): void {
  if (gpuLeases > 0 || gpuWaiters > 0) {
    metrics.gpuLeases.set(gpuLeases, pool);
    metrics.gpuWaiters.set(gpuWaiters, pool);
  }
}
