/** GPUs and what waits for them, as the HTTP API reads them. */
import type { CommandId, ExecutionId, WorkerId } from "../core/ids.ts";
import type { Gpu, GpuDemand } from "../engine/gpu.ts";

/** Waiting commands of one pool that are listed; all are counted. */
export const WAITERS_MAX = 50;

/** Part of the `ServerReader`. */
export interface GpuReader {
  /** Of all workers, by pool, worker and index. */
  listGpus(): Promise<readonly GpuRow[]>;
  /** Queued commands that want GPUs: of each pool the first in line first, at most {@link WAITERS_MAX}. */
  listGpuWaits(): Promise<readonly GpuWaitRow[]>;
}

/** A GPU as its worker saw it last, and who holds it. */
export interface GpuRow extends Gpu {
  readonly pool: string;
  readonly workerId: WorkerId;
  readonly workerName: string;
  readonly workerStatus: "live" | "draining" | "lost";
  readonly hostname: string;
  /** When the worker's reading came. */
  readonly readAtMs: number;
  /** More than one only if they share it. */
  readonly leases: readonly GpuLeaseRow[];
}

export interface GpuLeaseRow {
  readonly executionId: ExecutionId;
  /** Of the playbook. */
  readonly path: string;
  readonly commandId: CommandId;
  readonly attempt: number;
  readonly step: string;
  readonly index?: number | undefined;
  readonly status: "running" | "cancelling";
  readonly sinceMs: number;
  readonly memoryMib: number;
  readonly isShared: boolean;
}

export interface GpuWaitRow {
  readonly executionId: ExecutionId;
  readonly path: string;
  readonly commandId: CommandId;
  readonly pool: string;
  readonly step: string;
  readonly index?: number | undefined;
  readonly demand: GpuDemand;
  /** A sentence; absent until a worker has asked for it. */
  readonly reason?: string | undefined;
  readonly sinceMs: number;
  /** Of its pool, those that are not listed included. */
  readonly poolCount: number;
}
