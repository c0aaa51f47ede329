/** Removes what finished executions left behind, a few rows at a time. */
import type { ExecutionId } from "../core/ids.ts";
import type { Sql } from "./pool.ts";

export interface FinishedPage {
  /** Executions that ended before now by at least so long. */
  readonly ageMs: number;
  /** Behind this id, in order of ids; `0`: from the first. */
  readonly afterId: string;
  /** Before this id: one that was made at the end of the time in question. */
  readonly beforeId: string;
  readonly limit: number;
}

/** Oldest first. Serves itself from the primary key, whose order is that of the starts. */
export async function listFinished(
  sql: Sql,
  { ageMs, afterId, beforeId, limit }: FinishedPage,
): Promise<readonly ExecutionId[]> {
  const rows = await sql<{ executionId: ExecutionId }[]>`
    SELECT execution_id AS "executionId"
    FROM noetl.execution
    WHERE execution_id > ${afterId} AND execution_id < ${beforeId}
      AND ended_at <= now() - ${ageMs} * interval '1 millisecond'
    ORDER BY execution_id
    LIMIT ${limit}`;
  return rows.map((row) => row.executionId);
}

/** Up to `limit` events of executions that have ended; how many. */
export async function removeEvents(
  sql: Sql,
  ids: readonly ExecutionId[],
  limit: number,
): Promise<number> {
  const rows = await sql`
    DELETE FROM noetl.event AS e
    USING (
      SELECT e.execution_id, e.seq
      FROM unnest(${[...ids]}::bigint[]) AS q (execution_id)
      JOIN noetl.execution AS x ON x.execution_id = q.execution_id AND x.ended_at IS NOT NULL
      JOIN noetl.event AS e ON e.execution_id = q.execution_id
      LIMIT ${limit}
    ) AS gone
    WHERE e.execution_id = gone.execution_id AND e.seq = gone.seq`;
  return rows.count;
}

/** The executions themselves; how many. */
export async function removeExecutions(sql: Sql, ids: readonly ExecutionId[]): Promise<number> {
  const rows = await sql`
    DELETE FROM noetl.execution
    WHERE execution_id = ANY (${[...ids]}::bigint[]) AND ended_at IS NOT NULL`;
  return rows.count;
}
