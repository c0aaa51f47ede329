/** An inventory over the stand-in of nvidia-smi, without the machine's own kernel log and driver. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { GpuInventory, GpuInventoryOptions } from "../../../src/gpu/inventory.ts";
import { createGpuInventory } from "../../../src/gpu/inventory.ts";
import { createGpuMetrics } from "../../../src/observability/gpu-metrics.ts";
import { createLogger } from "../../../src/observability/log.ts";
import type { MetricsRegistry } from "../../../src/observability/registry.ts";
import { createRegistry } from "../../../src/observability/registry.ts";
import type { NvidiaSmiStandIn, StandInMachine } from "../../support/nvidia-smi.ts";
import { makeNvidiaSmi } from "../../support/nvidia-smi.ts";
import { makeScratchDir } from "../../support/scratch.ts";

export interface Bench extends AsyncDisposable {
  readonly smi: NvidiaSmiStandIn;
  readonly inventory: GpuInventory;
  readonly registry: MetricsRegistry;
  /** A file in place of the kernel's log. */
  readonly kernelLog: string;
  /** Of its log. */
  readonly lines: readonly string[];
  /** State by index. */
  states(): Readonly<Record<string, string>>;
  /** Reason of the GPU with that index, or empty. */
  reason(index: string): string;
}

/** Reads only when asked, unless the options say otherwise. */
export async function openBench(
  machine: StandInMachine,
  options: Partial<GpuInventoryOptions> = {},
  prepare?: (smi: NvidiaSmiStandIn) => void,
): Promise<Bench> {
  const smi = makeNvidiaSmi(machine);
  prepare?.(smi);
  const dir = makeScratchDir("gpu");
  const kernelLog = options.kernelLog ?? join(dir, "kmsg");
  if (options.kernelLog === undefined) {
    writeFileSync(kernelLog, "");
  }
  const lines: string[] = [];
  const registry = createRegistry({ hasProcessMetrics: false });
  const inventory = await createGpuInventory({
    nvidiaSmi: smi.path,
    intervalMs: 3_600_000,
    driverDir: join(dir, "none"),
    metrics: createGpuMetrics(registry),
    log: createLogger({
      level: "debug",
      format: "json",
      component: "gpu",
      write: (line) => lines.push(line),
    }),
    ...options,
    kernelLog,
  });
  const find = (index: string) => inventory.current().find((gpu) => gpu.index === index);
  return {
    smi,
    inventory,
    registry,
    kernelLog,
    lines,
    states: () => Object.fromEntries(inventory.current().map((gpu) => [gpu.index, gpu.state])),
    reason: (index) => find(index)?.reason ?? "",
    [Symbol.asyncDispose]: () => inventory.close(),
  };
}
