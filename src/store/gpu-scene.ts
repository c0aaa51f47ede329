/** What is to be known to decide who gets GPUs: see src/engine/gpu-queue.ts. */
import type { CommandId, ExecutionId, WorkerId } from "../core/ids.ts";
import type { RuntimeFacts } from "../engine/command.ts";
import type { Gpu, GpuGrant, GpuLease } from "../engine/gpu.ts";
import type { GpuHolder, GpuScene, GpuWaiter, GpuWorker } from "../engine/gpu-queue.ts";
import type { QueuedCommand } from "./command.ts";
import type { Sql } from "./pool.ts";

/** Waiting commands of one pool that are looked at: more than GPUs become free at once. */
const WAITERS_MAX = 64;

/** With what is needed to announce it. */
export interface WaiterRow extends GpuWaiter, Omit<QueuedCommand, keyof GpuWaiter> {}

export interface StoredScene extends GpuScene {
  readonly waiters: readonly WaiterRow[];
}

interface WorkerRow extends Omit<GpuWorker, "gpus" | "isCluster"> {
  readonly gpus: readonly Gpu[] | null;
  readonly runtimes: readonly RuntimeFacts[] | null;
}

/**
 * The scene of these pools, in three statements; each sees what is committed when it begins.
 *
 * @param workerTimeoutMs a worker that has been silent for longer does not count.
 */
export async function readScene(
  sql: Sql,
  pools: readonly string[],
  workerTimeoutMs: number,
): Promise<StoredScene> {
  const [workers, holders, waiters] = await Promise.all([
    readWorkers(sql, pools, workerTimeoutMs),
    readHolders(sql),
    readWaiters(sql, pools),
  ]);
  return { workers, holders, waiters };
}

/** Pools in which due commands wait for GPUs. */
export async function listGpuPools(sql: Sql): Promise<readonly string[]> {
  const rows = await sql<{ pool: string }[]>`
    SELECT DISTINCT pool
    FROM noetl.command
    WHERE status = 'queued' AND gpu_demand IS NOT NULL AND available_at <= now()`;
  return rows.map(({ pool }) => pool);
}

async function readWorkers(
  sql: Sql,
  pools: readonly string[],
  workerTimeoutMs: number,
): Promise<readonly GpuWorker[]> {
  const rows = await sql<WorkerRow[]>`
    SELECT
      worker_id AS "workerId", name, pool, gpus, runtimes, is_draining AS "isDraining",
      free_slots AS "freeSlots"
    FROM noetl.worker
    WHERE pool = ANY (${[...pools]}::text[])
      AND heartbeat_at > now() - ${workerTimeoutMs} * interval '1 millisecond'
    ORDER BY name, worker_id`;
  return rows.map(({ gpus, runtimes, ...row }) => ({
    ...row,
    gpus: gpus ?? [],
    isCluster: runtimes?.find(({ isUsable }) => isUsable)?.gpus === "cluster",
  }));
}

async function readHolders(sql: Sql): Promise<readonly GpuHolder[]> {
  return await sql<GpuHolder[]>`
    SELECT
      execution_id AS "executionId",
      command_id AS "commandId",
      step,
      (extract(epoch FROM claimed_at) * 1000)::float8 AS "sinceMs",
      gpus AS grants
    FROM noetl.command
    WHERE gpus IS NOT NULL`;
}

async function readWaiters(sql: Sql, pools: readonly string[]): Promise<readonly WaiterRow[]> {
  return await sql<WaiterRow[]>`
    SELECT
      c.execution_id AS "executionId",
      c.command_id AS "commandId",
      c.attempt,
      c.event_seq AS "eventSeq",
      c.step,
      p.pool,
      c.gpu_demand AS demand,
      (extract(epoch FROM now() - c.available_at) * 1000)::float8 AS "waitedMs"
    FROM unnest(${[...pools]}::text[]) AS p (pool)
    CROSS JOIN LATERAL (
      SELECT
        execution_id, command_id, attempt, event_seq, step, gpu_demand, available_at, priority
      FROM noetl.command
      WHERE status = 'queued' AND gpu_demand IS NOT NULL AND pool = p.pool
        AND available_at <= now()
      ORDER BY priority DESC, available_at
      LIMIT ${WAITERS_MAX}
    ) AS c
    ORDER BY p.pool, c.priority DESC, c.available_at, c.command_id`;
}

/** The GPUs that these commands of an execution hold. */
export async function readLeases(
  sql: Sql,
  executionId: ExecutionId,
  commandIds: readonly CommandId[],
): Promise<ReadonlyMap<CommandId, GpuLease>> {
  const rows = await sql<
    {
      commandId: CommandId;
      workerId: WorkerId;
      sinceMs: number;
      gpus: readonly GpuGrant[];
    }[]
  >`
    SELECT
      command_id AS "commandId",
      worker_id AS "workerId",
      (extract(epoch FROM claimed_at) * 1000)::float8 AS "sinceMs",
      gpus
    FROM noetl.command
    WHERE execution_id = ${executionId} AND command_id = ANY (${[...commandIds]}::bigint[])
      AND gpus IS NOT NULL`;
  return new Map(
    rows.map(({ commandId, workerId, sinceMs, gpus }) => [
      commandId,
      {
        gpus: gpus.map(({ id }) => id),
        isShared: gpus.some(({ isShared }) => isShared),
        workerId,
        sinceMs: Math.ceil(sinceMs),
      },
    ]),
  );
}
