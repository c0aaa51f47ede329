/** GPUs from the workers' rows, put together with the commands that hold them. */

import type { GpuHolder } from "../store/gpu-list.ts";
import { listGpuHolders, listGpuWaiters } from "../store/gpu-list.ts";
import type { Sql } from "../store/pool.ts";
import type { WorkerRow } from "../store/worker.ts";
import { listWorkers } from "../store/worker.ts";
import type { GpuLeaseRow, GpuReader, GpuRow } from "./gpu-rows.ts";
import { WAITERS_MAX } from "./gpu-rows.ts";

/** @param workerTimeoutMs a worker that has been silent for longer is lost. */
export function createGpuReader(sql: Sql, workerTimeoutMs: number): GpuReader {
  return {
    listGpus: async () => {
      const [workers, holders] = await Promise.all([
        listWorkers(sql, workerTimeoutMs),
        listGpuHolders(sql),
      ]);
      return joinGpus(workers, holders);
    },
    listGpuWaits: async () =>
      (await listGpuWaiters(sql, WAITERS_MAX)).map(({ index, reason, ...row }) => ({
        ...row,
        index: index ?? undefined,
        reason: reason ?? undefined,
      })),
  };
}

/**
 * A GPU of a silent worker that another one has too, because it was started again, is shown once. Pure.
 */
export function joinGpus(
  workers: readonly WorkerRow[],
  holders: readonly GpuHolder[],
): readonly GpuRow[] {
  const leases = Map.groupBy(holders.flatMap(leasesOf), ({ gpuId }) => gpuId);
  const living = new Set(
    workers
      .flatMap(({ status, gpus }) => (status === "lost" ? [] : (gpus ?? [])))
      .map(({ id }) => id),
  );
  return workers.flatMap((worker) =>
    (worker.gpus ?? [])
      .filter(({ id }) => worker.status !== "lost" || !living.has(id))
      .map((gpu) => ({
        ...gpu,
        pool: worker.pool,
        workerId: worker.workerId,
        workerName: worker.name,
        workerStatus: worker.status,
        hostname: worker.hostname,
        readAtMs: worker.heartbeatAtMs,
        leases: (leases.get(gpu.id) ?? []).map(({ lease }) => lease),
      })),
  );
}

function leasesOf({ gpus, index, ...holder }: GpuHolder): readonly {
  readonly gpuId: string;
  readonly lease: GpuLeaseRow;
}[] {
  return gpus.map(({ id, memoryMib, isShared }) => ({
    gpuId: id,
    lease: { ...holder, index: index ?? undefined, memoryMib, isShared },
  }));
}
