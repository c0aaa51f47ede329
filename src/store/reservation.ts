/** Places that are kept for ended executions that are about to go on. See admission.ts. */
import type { ExecutionId } from "../core/ids.ts";
import { heldPart, lockKeys } from "./place.ts";
import type { Pool, Sql } from "./pool.ts";
import { withTransaction } from "./transaction.ts";

/** Concurrency key of an execution that has ended. */
export interface EndedKey {
  readonly key: string;
  readonly limit: number;
}

/** Undefined: it has none, or it has not ended. */
export async function readEndedKey(
  sql: Sql,
  executionId: ExecutionId,
): Promise<EndedKey | undefined> {
  const [row] = await sql<EndedKey[]>`
    SELECT concurrency_key AS key, concurrency_limit AS limit
    FROM noetl.execution
    WHERE execution_id = ${executionId} AND concurrency_key IS NOT NULL AND ended_at IS NOT NULL`;
  return row;
}

/**
 * Keeps a place for an ended execution that goes on right after this. False: none is free, or others
 * have waited for it.
 */
export async function reservePlace(
  pool: Pool,
  executionId: ExecutionId,
  { key }: EndedKey,
): Promise<boolean> {
  return await withTransaction(pool, async (sql) => {
    await lockKeys(sql, [key]);
    const rows = await sql`
      UPDATE noetl.execution AS e
      SET place = 'reserved', place_since = clock_timestamp()
      FROM (SELECT ${key}::text AS key) AS k
      WHERE e.execution_id = ${executionId} AND e.concurrency_key = k.key
        AND e.ended_at IS NOT NULL AND ${heldPart(sql)} < e.concurrency_limit
        AND NOT EXISTS (
          SELECT 1
          FROM noetl.execution
          WHERE concurrency_key = k.key AND place = 'queued' AND ended_at IS NULL
        )
      RETURNING 1`;
    return rows.length > 0;
  });
}

/** The execution did not go on: its place is free, and somebody must pass it on. */
export async function giveUpReservation(sql: Sql, executionId: ExecutionId): Promise<void> {
  await sql`
    UPDATE noetl.execution
    SET place = 'held'
    WHERE execution_id = ${executionId} AND place = 'reserved'`;
}
