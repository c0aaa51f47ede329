/** What people see of GPUs: who holds them, and who waits for them. What each worker has is in its own row. */
import type { CommandId, ExecutionId } from "../core/ids.ts";
import type { GpuDemand, GpuGrant } from "../engine/gpu.ts";
import type { Sql } from "./pool.ts";

/** A command that holds GPUs. */
export interface GpuHolder {
  readonly executionId: ExecutionId;
  /** Of the playbook. */
  readonly path: string;
  readonly commandId: CommandId;
  readonly attempt: number;
  readonly step: string;
  readonly index: number | null;
  readonly status: "running" | "cancelling";
  readonly sinceMs: number;
  readonly gpus: readonly GpuGrant[];
}

/** The longest first. */
export async function listGpuHolders(sql: Sql): Promise<readonly GpuHolder[]> {
  return await sql<GpuHolder[]>`
    SELECT
      c.execution_id AS "executionId",
      e.path,
      c.command_id AS "commandId",
      c.attempt,
      c.step,
      c.loop_index AS index,
      c.status,
      (extract(epoch FROM c.claimed_at) * 1000)::float8 AS "sinceMs",
      c.gpus
    FROM noetl.command AS c
    JOIN noetl.execution AS e ON e.execution_id = c.execution_id
    WHERE c.gpus IS NOT NULL
    ORDER BY c.claimed_at, c.command_id`;
}

/** A command that wants GPUs and has none. */
export interface GpuWaiter {
  readonly executionId: ExecutionId;
  readonly path: string;
  readonly commandId: CommandId;
  readonly pool: string;
  readonly step: string;
  readonly index: number | null;
  readonly demand: GpuDemand;
  /** Null until a worker has asked for it. */
  readonly reason: string | null;
  readonly sinceMs: number;
  /** Of its pool, those that are not listed included. */
  readonly poolCount: number;
}

/** Of each pool the first in line first, at most `limit`. */
export async function listGpuWaiters(sql: Sql, limit: number): Promise<readonly GpuWaiter[]> {
  return await sql<GpuWaiter[]>`
    SELECT
      c.execution_id AS "executionId",
      e.path,
      c.command_id AS "commandId",
      p.pool,
      c.step,
      c.loop_index AS index,
      c.gpu_demand AS demand,
      c.waits_for AS reason,
      (extract(epoch FROM c.available_at) * 1000)::float8 AS "sinceMs",
      p.count AS "poolCount"
    FROM (
      SELECT pool, count(*)::int AS count
      FROM noetl.command
      WHERE status = 'queued' AND gpu_demand IS NOT NULL AND available_at <= now()
      GROUP BY pool
    ) AS p
    CROSS JOIN LATERAL (
      SELECT execution_id, command_id, step, loop_index, gpu_demand, waits_for, available_at, priority
      FROM noetl.command
      WHERE status = 'queued' AND gpu_demand IS NOT NULL AND pool = p.pool AND available_at <= now()
      ORDER BY priority DESC, available_at
      LIMIT ${limit}
    ) AS c
    JOIN noetl.execution AS e ON e.execution_id = c.execution_id
    ORDER BY p.pool, c.priority DESC, c.available_at, c.command_id`;
}
