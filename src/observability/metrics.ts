/** The instruments of each role, made from its table of definitions. */
import type { Instruments } from "./definition.ts";
import { createInstruments } from "./definition.ts";
import type { MetricsRegistry } from "./registry.ts";
import { SERVER_METRICS } from "./server-metrics.ts";
import { WORKER_METRICS } from "./worker-metrics.ts";

export type ServerMetrics = Instruments<typeof SERVER_METRICS>;
export type WorkerMetrics = Instruments<typeof WORKER_METRICS>;

/** @param version shown by `noetl_server_build_info`. */
export function createServerMetrics(registry: MetricsRegistry, version: string): ServerMetrics {
  const metrics = createInstruments(registry, SERVER_METRICS);
  metrics.buildInfo.set(1, version);
  return metrics;
}

/** @param version shown by `noetl_worker_build_info`. */
export function createWorkerMetrics(registry: MetricsRegistry, version: string): WorkerMetrics {
  const metrics = createInstruments(registry, WORKER_METRICS);
  metrics.buildInfo.set(1, version);
  return metrics;
}
