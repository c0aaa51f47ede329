/**
 * GPUs as workers see them, tasks want them and commands hold them. Data, because it crosses processes.
 *
 * A command that wants GPUs is only claimed together with them, all or none. The lease is the command's own open
 * row, so the commit that ends the command frees its GPUs and nothing can leak.
 */
import type { WorkerId } from "../core/ids.ts";
import type { GpuDemand } from "../dsl/gpu.ts";

export type { GpuDemand };

/** A GPU, or a MIG slice, which is a GPU of its own. */
export interface Gpu {
  /** `GPU-…` or `MIG-…`: the same after a restart of anything. */
  readonly id: string;
  /** As `nvidia-smi` numbers it; of a slice `0:1`. May change with a restart. */
  readonly index: string;
  /** Product, for example `NVIDIA H100 80GB HBM3`. */
  readonly name: string;
  readonly memoryMib: number;
  readonly memoryUsedMib?: number;
  /** 0 to 100. */
  readonly utilizationPercent?: number;
  readonly temperatureC?: number;
  readonly powerW?: number;
  /** Uncorrected, since the driver was loaded. */
  readonly eccErrors?: number;
  /** Of a slice. */
  readonly migProfile?: string;
  /** Of a slice: the GPU that it is cut from. */
  readonly parentId?: string;
  /**
   * - `ready`: proven free of everything that no lease explains, may be leased.
   * - `unclean`: a process or a container is on it that must go first.
   * - `out_of_service`: broken until a person or a reset mends it.
   */
  readonly state: "ready" | "unclean" | "out_of_service";
  /** Why it is not ready: a sentence. */
  readonly reason?: string;
}

/** A GPU that a command holds. */
export interface GpuGrant {
  readonly id: string;
  readonly name: string;
  /** What the command may use: all of it, or its share. */
  readonly memoryMib: number;
  readonly isShared: boolean;
}

/** What a command held, in the event that ended it or took it from its worker. */
export interface GpuLease {
  /** Ids of the GPUs. */
  readonly gpus: readonly string[];
  /** False: nobody else had any of them meanwhile. */
  readonly isShared: boolean;
  readonly workerId: WorkerId;
  /** When the lease began, by the database's clock. It ended when the event was committed. */
  readonly sinceMs: number;
}
