import type { Gpu } from "../engine/gpu.ts";
import type { GpuMetrics } from "../observability/gpu-metrics.ts";
import type { Level } from "../observability/registry.ts";
import type { GpuLease } from "./inventory.ts";

const MIB = 1024 * 1024;
const STATES = ["ready", "unclean", "out_of_service", "leased"] as const;

/** Writes all of it anew, so that a GPU or a lease that is gone leaves no series behind. */
export function reportMetrics(
  metrics: GpuMetrics,
  gpus: readonly Gpu[],
  leases: readonly GpuLease[],
): void {
  setAll(metrics.memoryTotalBytes, gpus, (gpu) => gpu.memoryMib * MIB);
  setAll(metrics.memoryUsedBytes, gpus, (gpu) => times(gpu.memoryUsedMib, MIB));
  setAll(metrics.utilizationRatio, gpus, (gpu) => times(gpu.utilizationPercent, 0.01));
  setAll(metrics.temperatureCelsius, gpus, (gpu) => gpu.temperatureC);
  setAll(metrics.powerWatts, gpus, (gpu) => gpu.powerW);
  setAll(metrics.eccErrors, gpus, (gpu) => gpu.eccErrors);
  metrics.state.reset();
  metrics.leases.reset();
  for (const gpu of gpus) {
    const own = leases.filter((lease) => lease.gpuId === gpu.id);
    const state = own.length > 0 && gpu.state === "ready" ? "leased" : gpu.state;
    for (const one of STATES) {
      metrics.state.set(one === state ? 1 : 0, gpu.id, gpu.index, gpu.name, one);
    }
    metrics.leases.set(own.length, gpu.id, gpu.index, gpu.name);
  }
}

function setAll(level: Level, gpus: readonly Gpu[], read: (gpu: Gpu) => number | undefined): void {
  level.reset();
  for (const gpu of gpus) {
    const value = read(gpu);
    if (value !== undefined) {
      level.set(value, gpu.id, gpu.index, gpu.name);
    }
  }
}

function times(value: number | undefined, factor: number): number | undefined {
  return value === undefined ? undefined : value * factor;
}
