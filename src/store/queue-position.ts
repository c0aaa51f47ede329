/** What people see of the queues of concurrency keys. */
import type { ExecutionId } from "../core/ids.ts";
import type { Sql } from "./pool.ts";

/** A queued execution as people see it. */
export interface QueuePosition {
  readonly executionId: ExecutionId;
  /** From 1; at most {@link POSITION_MAX}. */
  readonly position: number;
  /** Executions that have a place of the key; at most {@link POSITION_MAX}. */
  readonly held: number;
}

/** Longer queues are not counted to their end. */
export const POSITION_MAX = 1000;

/** Of executions that wait; in no order. */
export async function readPositionsInQueue(
  sql: Sql,
  ids: readonly ExecutionId[],
): Promise<readonly QueuePosition[]> {
  return await sql<QueuePosition[]>`
    SELECT
      e.execution_id AS "executionId",
      (
        SELECT count(*) FILTER (
          WHERE (-a.queue_priority, a.place_since, a.execution_id)
            <= (-e.queue_priority, e.place_since, e.execution_id)
        )
        FROM (
          SELECT queue_priority, place_since, execution_id
          FROM noetl.execution
          WHERE concurrency_key = e.concurrency_key AND place = 'queued' AND ended_at IS NULL
          ORDER BY concurrency_key, queue_priority DESC, place_since, execution_id
          LIMIT ${POSITION_MAX}
        ) AS a
      )::int AS position,
      (
        SELECT count(*)
        FROM (
          SELECT 1
          FROM noetl.execution AS h
          WHERE h.concurrency_key = e.concurrency_key AND h.place = 'held' AND h.ended_at IS NULL
          LIMIT ${POSITION_MAX}
        ) AS holding
      )::int AS held
    FROM noetl.execution AS e
    WHERE e.execution_id = ANY (${[...ids]}::bigint[])`;
}

/** Executions that wait for a place. */
export async function countQueued(sql: Sql): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    SELECT count(*)::int AS count
    FROM noetl.execution
    WHERE place = 'queued' AND ended_at IS NULL`;
  return row?.count ?? 0;
}
