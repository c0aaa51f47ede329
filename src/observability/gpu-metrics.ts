/**
 * Metrics of a worker's GPUs. Labels of each: `gpu` (UUID), `index` (as `nvidia-smi` numbers it), `name` (product),
 * so that series can be joined with those of NVIDIA's DCGM exporter (`UUID`, `gpu`, `modelName`).
 *
 * A value that a GPU does not tell has no series. On a machine without GPUs there are none.
 */
import type { Level, MetricsRegistry, Tally } from "./registry.ts";

export interface GpuMetrics {
  readonly memoryTotalBytes: Level;
  readonly memoryUsedBytes: Level;
  /** 0 to 1: share of time in which anything ran on it, which is not how well it was used. */
  readonly utilizationRatio: Level;
  readonly temperatureCelsius: Level;
  readonly powerWatts: Level;
  /** Uncorrected, since the driver was loaded. */
  readonly eccErrors: Level;
  /** {…, state: ready|unclean|out_of_service|leased}: 1 for the one that it is in, 0 for the others. */
  readonly state: Level;
  /** {…, execution_id, step, command_id}: 1 for each task that holds it. */
  readonly leaseInfo: Level;
  /** {gpu, class: application|notice|memory|link|lost|firmware|other}: since the worker started. */
  readonly xidErrors: Tally;
  /** {outcome: ok|failed|hung}: calls for the whole inventory. */
  readonly readings: Tally;
}

const GPU_LABELS = ["gpu", "index", "name"];

export function createGpuMetrics(registry: MetricsRegistry): GpuMetrics {
  const gauge = (name: string, help: string, labels: readonly string[] = []): Level =>
    registry.gauge(`noetl_gpu_${name}`, help, [...GPU_LABELS, ...labels]);
  return {
    memoryTotalBytes: gauge("memory_total_bytes", "Memory of the GPU."),
    memoryUsedBytes: gauge("memory_used_bytes", "Memory in use."),
    utilizationRatio: gauge("utilization_ratio", "Share of time in which anything ran."),
    temperatureCelsius: gauge("temperature_celsius", "Temperature of the GPU."),
    powerWatts: gauge("power_watts", "Power drawn."),
    eccErrors: gauge("ecc_errors", "Uncorrected memory errors since the driver was loaded."),
    state: gauge("state", "1 for the state that it is in.", ["state"]),
    leaseInfo: gauge("lease_info", "1 for each task that holds it.", [
      "execution_id",
      "step",
      "command_id",
    ]),
    xidErrors: registry.counter("noetl_gpu_xid_errors_total", "Errors in the kernel's log.", [
      "gpu",
      "class",
    ]),
    readings: registry.counter("noetl_gpu_readings_total", "Readings of all GPUs.", ["outcome"]),
  };
}
