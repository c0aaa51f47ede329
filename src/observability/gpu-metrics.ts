/**
 * Metrics of a worker's GPUs. Labels of nearly all: `gpu` (UUID), `index` (as `nvidia-smi` numbers it), `name`
 * (product), so that series can be joined with those of NVIDIA's DCGM exporter (`UUID`, `gpu`, `modelName`).
 *
 * A value that a GPU does not tell has no series. On a machine without GPUs there are none.
 */
import type { GaugeDefinition, Instruments, Labels } from "./definition.ts";
import { counter, createInstruments, gauge } from "./definition.ts";
import type { MetricsRegistry } from "./registry.ts";

function gpuGauge(name: string, help: string, labels: Labels = {}): GaugeDefinition {
  return gauge(`noetl_gpu_${name}`, help, {
    gpu: "UUID",
    index: "number",
    name: "product",
    ...labels,
  });
}

export const GPU_METRICS = {
  memoryTotalBytes: gpuGauge("memory_total_bytes", "Memory of the GPU."),
  memoryUsedBytes: gpuGauge("memory_used_bytes", "Memory in use."),
  utilizationRatio: gpuGauge(
    "utilization_ratio",
    "Share of time in which anything ran on the GPU, 0 to 1, which is not how well it was used.",
  ),
  temperatureCelsius: gpuGauge("temperature_celsius", "Temperature of the GPU."),
  powerWatts: gpuGauge("power_watts", "Power that the GPU draws."),
  eccErrors: gpuGauge("ecc_errors", "Uncorrected memory errors since the driver was loaded."),
  state: gpuGauge("state", "1 for the state that the GPU is in, 0 for the others.", {
    state: ["ready", "leased", "unclean", "out_of_service"],
  }),
  leases: gpuGauge("leases", "Tasks that hold the GPU."),
  xidErrors: counter(
    "noetl_gpu_xid_errors_total",
    "Errors (XID) in the kernel's log since the worker started.",
    {
      gpu: "UUID",
      class: ["application", "notice", "memory", "link", "lost", "firmware", "other"],
    },
  ),
  readings: counter("noetl_gpu_readings_total", "Readings of the whole inventory.", {
    outcome: ["ok", "failed", "hung"],
  }),
};

export type GpuMetrics = Instruments<typeof GPU_METRICS>;

export function createGpuMetrics(registry: MetricsRegistry): GpuMetrics {
  return createInstruments(registry, GPU_METRICS);
}
