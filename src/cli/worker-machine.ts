/**
 * What a worker finds on its machine: container runtimes and GPUs. Both are looked for beside the rest of the
 * start, and whoever needs them waits: a machine that has none, or one that hangs, holds up no worker.
 */
import { containerDirOf } from "../config/decide.ts";
import type { Values } from "../config/option.ts";
import type { Environment } from "../config/read.ts";
import type { clusterOptions, workerOptions } from "../config/tables.ts";
import { detectRuntimes } from "../containers/detect.ts";
import type { DetectedRuntime } from "../containers/host.ts";
import { MachineContainers } from "../containers/host.ts";
import { RUNTIME_NAMES } from "../containers/runtime.ts";
import { errorMessage } from "../core/errors.ts";
import type { GpuInventory } from "../gpu/inventory.ts";
import { createGpuInventory } from "../gpu/inventory.ts";
import { createGpuMetrics } from "../observability/gpu-metrics.ts";
import type { Logger } from "../observability/log.ts";
import type { MetricsRegistry } from "../observability/registry.ts";
import type { GpuWatch } from "../tools/tool.ts";
import { clusterOf } from "./cluster.ts";
import { definedOnly, taskEnvironment } from "./task-environment.ts";

type WorkerValues = Values<typeof workerOptions>;

export interface MachineOptions {
  readonly values: WorkerValues;
  readonly env: Environment;
  readonly registry: MetricsRegistry;
  readonly log: Logger;
  /** Called when the state of a GPU has changed. */
  readonly onGpuChange: () => void;
}

export interface Machine {
  readonly containers: MachineContainers;
  readonly gpus: Promise<GpuInventory>;
  /** The same for tools, which are there before the GPUs were read. */
  readonly gpuWatch: GpuWatch;
}

export function openMachine(options: MachineOptions): Machine {
  const gpus = openGpus(options);
  let inventory: GpuInventory | undefined;
  void gpus.then((opened) => {
    inventory = opened;
  });
  return {
    containers: new MachineContainers(() => detectHere(options), options.log),
    gpus,
    gpuWatch: {
      current: () => inventory?.current() ?? [],
      xidsSince: (ids, sinceMs) => inventory?.xidsSince(ids, sinceMs) ?? [],
      awaitFree: async (ids, how) => await (await gpus).awaitFree(ids, how),
    },
  };
}

export interface DetectOptions extends Pick<MachineOptions, "env" | "log"> {
  readonly values: Pick<
    WorkerValues,
    "containerRuntime" | "containerDir" | keyof typeof clusterOptions
  >;
}

/** What the settings let be looked for, as it was found. */
export async function detectHere({
  values,
  env,
  log,
}: DetectOptions): Promise<readonly DetectedRuntime[]> {
  const detected = await detectRuntimes({
    env: definedOnly(taskEnvironment(env)),
    dir: containerDirOf(values),
    names: RUNTIME_NAMES.filter((name) => values.containerRuntime.includes(name)).toSorted(
      (a, b) => values.containerRuntime.indexOf(a) - values.containerRuntime.indexOf(b),
    ),
    cluster: clusterOf(values, env),
    log,
  });
  for (const { facts } of detected) {
    const { name, version, isUsable, problem, gpus } = facts;
    if (isUsable) {
      log.info("Container runtime found", { runtime: name, version, gpus });
    } else {
      log.warn("Container runtime cannot be used", { runtime: name, problem });
    }
  }
  return detected;
}

/** Without GPUs rather than not at all. */
async function openGpus({
  values,
  registry,
  log,
  onGpuChange,
}: MachineOptions): Promise<GpuInventory> {
  const metrics = createGpuMetrics(registry);
  try {
    return await createGpuInventory({
      nvidiaSmi: values.nvidiaSmi,
      allowed: values.gpus,
      intervalMs: values.gpuInterval,
      kernelLog: values.kernelLog,
      foreign: values.gpuForeign,
      dcgmJobDir: values.dcgmJobDir,
      onChange: onGpuChange,
      metrics,
      log,
    });
  } catch (error) {
    log.error("Cannot read the GPUs of this machine, the worker has none", {
      error: errorMessage(error),
    });
    return await createGpuInventory({ allowed: ["none"], metrics, log });
  }
}
