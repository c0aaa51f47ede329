/**
 * The GPUs of this machine, as one worker may use them: what they are, how they are, who is on them.
 *
 * A GPU is `ready` only when it is proven free: no compute process that no lease explains, nothing held back,
 * no fault. All else is said with its reason. A machine without `nvidia-smi` has no GPUs, and costs nothing.
 */
import type { Gpu } from "../engine/gpu.ts";
import type { GpuMetrics } from "../observability/gpu-metrics.ts";
import type { Logger } from "../observability/log.ts";
import { LiveInventory } from "./live-inventory.ts";
import { createSmi } from "./smi.ts";

export interface GpuInventoryOptions {
  /** Path of `nvidia-smi`; absent: the one on the PATH, if any. */
  readonly nvidiaSmi?: string | undefined;
  /** `["all"]`, `["none"]`, or ids and indexes (`0`, `0:1`, `GPU-…`, `MIG-…`); default all. */
  readonly allowed?: readonly string[] | undefined;
  /** Between two readings; default 5,000. */
  readonly intervalMs?: number | undefined;
  /** After which a call of `nvidia-smi` is killed; default 20,000. */
  readonly timeoutMs?: number | undefined;
  /** Where XIDs are read; default `/dev/kmsg`; empty: nowhere. */
  readonly kernelLog?: string | undefined;
  /** What compute processes without a lease mean: `refuse` (default): the GPU is not ready; `allow`: nothing. */
  readonly foreign?: "refuse" | "allow" | undefined;
  /** Folder of DCGM's job mapping; absent: no files are written. */
  readonly dcgmJobDir?: string | undefined;
  /** Called when the state of a GPU has changed, or one came or went. */
  readonly onChange?: (() => void) | undefined;
  /** Where the driver lists its GPUs; default `/proc/driver/nvidia/gpus`. */
  readonly driverDir?: string | undefined;
  readonly metrics: GpuMetrics;
  readonly log: Logger;
}

/** A GPU that a command of this worker holds; of a shared GPU there are several. */
export interface GpuLease {
  readonly gpuId: string;
  readonly commandId: string;
  readonly executionId: string;
  readonly step: string;
}

/** A process on a GPU, as `nvidia-smi` shows it. */
export interface GpuProcess {
  readonly gpuId: string;
  readonly pid: number;
  readonly name: string;
  readonly memoryMib?: number;
}

export interface AwaitFreeOptions {
  /** Whose container has ended. GPUs that another command holds too are passed over. */
  readonly commandId: string;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

/** `isFree`: no compute process is left on any of them. Else who is, or why that cannot be told. */
export type FreeResult =
  | { readonly isFree: true }
  | {
      readonly isFree: false;
      readonly processes: readonly GpuProcess[];
      /** A sentence that names the processes, or what went wrong. */
      readonly reason: string;
    };

export interface GpuInventory extends AsyncDisposable {
  /** As of the last reading, with the leases as they are now. Costs no call. */
  current(): readonly Gpu[];
  /** Why GPUs cannot be read at all, a sentence; absent: they can, or there is no `nvidia-smi`. */
  readonly problem: string | undefined;
  /** Reads now; resolves when done or timed out, never rejects. */
  refresh(): Promise<void>;
  /** All that commands of this worker hold, in place of what was said before. */
  setLeases(leases: readonly GpuLease[]): void;
  /** Waits until nobody computes on them. Call it when the container has ended, before its report; never rejects. */
  awaitFree(ids: readonly string[], options: AwaitFreeOptions): Promise<FreeResult>;
  /**
   * Keeps GPUs `unclean` until the function that it gives is called: a container that nobody has cleared uses them.
   *
   * @param ids `all`: also those that are not known yet, for the time before containers were first listed.
   */
  holdBack(ids: readonly string[] | "all", reason: string): () => void;
  /** Errors of these GPUs in the kernel's log, also such as tasks cause, as half sentences; of the latest hundred. */
  xidsSince(ids: readonly string[], sinceMs: number): readonly string[];
  close(): Promise<void>;
}

const TIMEOUT_MS = 20_000;

/** Resolves after the first reading, or when that has timed out; never rejects. */
export async function createGpuInventory(options: GpuInventoryOptions): Promise<GpuInventory> {
  const path = findSmi(options);
  if (path === undefined) {
    return NO_GPUS;
  }
  const smi = createSmi({ path, timeoutMs: options.timeoutMs ?? TIMEOUT_MS });
  const inventory = new LiveInventory(options, smi);
  await inventory.refresh();
  inventory.start();
  return inventory;
}

/** Undefined: this worker has no GPUs. */
function findSmi({ nvidiaSmi, allowed, log }: GpuInventoryOptions): string | undefined {
  if (allowed?.length === 1 && allowed[0]?.toLowerCase() === "none") {
    return undefined;
  }
  const found = Bun.which(nvidiaSmi ?? "nvidia-smi") ?? undefined;
  if (found === undefined && nvidiaSmi !== undefined) {
    log.error("nvidia-smi is not where NOETL_NVIDIA_SMI says; the worker has no GPUs", {
      path: nvidiaSmi,
    });
  }
  return found;
}

const noop = (): void => undefined;

const NO_GPUS: GpuInventory = {
  current: () => [],
  problem: undefined,
  refresh: () => Promise.resolve(),
  setLeases: noop,
  awaitFree: () => Promise.resolve({ isFree: true }),
  holdBack: () => noop,
  xidsSince: () => [],
  close: () => Promise.resolve(),
  [Symbol.asyncDispose]: () => Promise.resolve(),
};
