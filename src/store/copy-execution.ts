/** Copies of finished executions, for retries that leave the first one as it is. */
import type { ExecutionId, TimerId } from "../core/ids.ts";
import type { ExecutionEvent } from "../engine/event.ts";
import type { Pool, Sql } from "./pool.ts";
import { withTransaction } from "./transaction.ts";

export interface ExecutionCopy {
  readonly from: ExecutionId;
  readonly to: ExecutionId;
  /** Last event of the original; if it has gone on since, nothing is copied. */
  readonly seq: number;
  /** First event of the copy; the others are the original's. */
  readonly started: ExecutionEvent;
  /** What the copy is to do next, JSON text of a WakeUp: due at once, so that no crash loses it. */
  readonly wakeUp: { readonly timerId: TimerId; readonly input: string };
}

/**
 * The copy is as finished as the original and has its whole log, so its state is the same; large
 * results stay where they are and are shared. False when there is no such original any more.
 */
export async function copyExecution(pool: Pool, copy: ExecutionCopy): Promise<boolean> {
  return await withTransaction(pool, async (tx) => {
    const rows = await copyRow(tx, copy);
    if (rows.length === 0) {
      return false;
    }
    const { from, to, seq, started, wakeUp } = copy;
    await tx`
      UPDATE noetl.execution
      SET place = NULL
      WHERE execution_id = ${from} AND place = 'reserved'`;
    await tx`
      INSERT INTO noetl.event (execution_id, seq, type, step, occurred_at, payload)
      SELECT ${to}, seq, type, step, occurred_at,
        CASE WHEN seq = 1 THEN ${JSON.stringify(started)}::text::json ELSE payload END
      FROM noetl.event
      WHERE execution_id = ${from} AND seq <= ${seq}`;
    await tx`
      INSERT INTO noetl.timer (execution_id, timer_id, due_at, input)
      VALUES (${to}, ${wakeUp.timerId}, now(), ${wakeUp.input}::text::json)`;
    return true;
  });
}

/** Nobody waits for the copy, it has no dedup key, and it takes over a reserved place. */
async function copyRow(sql: Sql, { from, to, seq }: ExecutionCopy) {
  return await sql<{ executionId: ExecutionId }[]>`
    INSERT INTO noetl.execution (
      execution_id, catalog_id, path, version, parent_id, root_id, depth, return_step, is_waited,
      status, seq, payload, pool, priority, result, error, created_at, ended_at, concurrency_key,
      concurrency_limit, on_limit, queue_priority, place, place_since, origin_id, origin_kind
    )
    SELECT
      ${to}, catalog_id, path, version, parent_id,
      CASE WHEN root_id = execution_id THEN ${to}::bigint ELSE root_id END,
      depth, return_step, false, status, seq, payload, pool, priority, result, error, now(), now(),
      concurrency_key, concurrency_limit, on_limit, queue_priority,
      CASE WHEN place = 'reserved' THEN place END, place_since, execution_id, 'retry'
    FROM noetl.execution
    WHERE execution_id = ${from} AND seq = ${seq} AND ended_at IS NOT NULL
    RETURNING execution_id AS "executionId"`;
}
