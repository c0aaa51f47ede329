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
  /** Stands for the copy for so long. */
  readonly dedup?: { readonly key: string; readonly windowMs: number };
  /** What the copy is to do next, JSON text of a WakeUp: due at once, so that no crash loses it. */
  readonly wakeUp: { readonly timerId: TimerId; readonly input: string };
}

/**
 * The copy is as finished as the original and has its whole log, so its state is the same; large
 * results stay where they are and are shared. `changed`: there is no such original any more. `taken`:
 * the dedup key stands for another execution.
 */
export async function copyExecution(
  pool: Pool,
  copy: ExecutionCopy,
): Promise<"copied" | "changed" | "taken"> {
  return await withTransaction(pool, async (tx) => {
    const { from, to, seq, started, wakeUp, dedup } = copy;
    if (dedup !== undefined && !(await takeKey(tx, to, dedup))) {
      return "taken";
    }
    const rows = await copyRow(tx, copy);
    if (rows.length === 0) {
      await tx`DELETE FROM noetl.dedup WHERE execution_id = ${to} AND dedup_key = ${dedup?.key ?? ""}`;
      return "changed";
    }
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
    return "copied";
  });
}

/** One that has expired is free. */
async function takeKey(
  sql: Sql,
  executionId: ExecutionId,
  { key, windowMs }: NonNullable<ExecutionCopy["dedup"]>,
): Promise<boolean> {
  const rows = await sql`
    INSERT INTO noetl.dedup AS d (dedup_key, execution_id, expires_at)
    VALUES (${key}, ${executionId}, now() + ${windowMs} * interval '1 millisecond')
    ON CONFLICT (dedup_key) DO UPDATE
    SET execution_id = excluded.execution_id, expires_at = excluded.expires_at
    WHERE d.expires_at <= now()
    RETURNING 1`;
  return rows.length > 0;
}

/** Nobody waits for the copy, and it takes over a reserved place. */
async function copyRow(sql: Sql, { from, to, seq, dedup }: ExecutionCopy) {
  return await sql<{ executionId: ExecutionId }[]>`
    INSERT INTO noetl.execution (
      execution_id, catalog_id, path, version, parent_id, root_id, depth, return_step, is_waited,
      status, seq, payload, pool, priority, result, error, created_at, ended_at, concurrency_key,
      concurrency_limit, on_limit, queue_priority, place, place_since, origin_id, origin_kind,
      dedup_key
    )
    SELECT
      ${to}, catalog_id, path, version, parent_id,
      CASE WHEN root_id = execution_id THEN ${to}::bigint ELSE root_id END,
      depth, return_step, false, status, seq, payload, pool, priority, result, error, now(), now(),
      concurrency_key, concurrency_limit, on_limit, queue_priority,
      CASE WHEN place = 'reserved' THEN place END, place_since, execution_id, 'retry',
      ${dedup?.key ?? null}
    FROM noetl.execution
    WHERE execution_id = ${from} AND seq = ${seq} AND ended_at IS NOT NULL
    RETURNING execution_id AS "executionId"`;
}
