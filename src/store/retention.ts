/**
 * Removes what finished executions left behind, a few rows at a time.
 *
 * A retry as a new execution has its own log, whose references lead to the stored values of the first
 * one. So the first one and its values stay as long as those that have come from it.
 */
import type { ExecutionId } from "../core/ids.ts";
import type { Fragment, Sql } from "./pool.ts";

export interface FinishedPage {
  /** Executions that ended before now by at least so long. */
  readonly ageMs: number;
  /** Behind this id, in order of ids; `0`: from the first. */
  readonly afterId: string;
  /** Before this id: one that was made at the end of the time in question. */
  readonly beforeId: string;
  readonly limit: number;
}

/**
 * True of an execution `e` that others continue, by a retry or by a retry of that, which have not
 * ended or ended less than `ageMs` ago.
 */
export function isSharedPart(sql: Sql, ageMs: number): Fragment {
  return sql`EXISTS (
    WITH RECURSIVE copies AS (
      SELECT execution_id, ended_at
      FROM noetl.execution
      WHERE origin_id = e.execution_id AND origin_kind = 'retry'
      UNION ALL
      SELECT x.execution_id, x.ended_at
      FROM copies AS c
      JOIN noetl.execution AS x ON x.origin_id = c.execution_id AND x.origin_kind = 'retry'
    )
    SELECT 1
    FROM copies
    WHERE (ended_at <= now() - ${ageMs} * interval '1 millisecond') IS NOT TRUE
  )`;
}

/**
 * Oldest first, without those whose stored values a newer execution may need. Serves itself from the
 * primary key, whose order is that of the starts.
 */
export async function listFinished(
  sql: Sql,
  { ageMs, afterId, beforeId, limit }: FinishedPage,
): Promise<readonly ExecutionId[]> {
  const rows = await sql<{ executionId: ExecutionId }[]>`
    SELECT e.execution_id AS "executionId"
    FROM noetl.execution AS e
    WHERE e.execution_id > ${afterId} AND e.execution_id < ${beforeId}
      AND e.ended_at <= now() - ${ageMs} * interval '1 millisecond'
      AND NOT ${isSharedPart(sql, ageMs)}
    ORDER BY e.execution_id
    LIMIT ${limit}`;
  return rows.map((row) => row.executionId);
}

export interface Holder {
  readonly executionId: ExecutionId;
  /** It ended long enough ago. */
  readonly isDue: boolean;
}

/**
 * Executions that still have events: from one to the next along the primary key. Those that all were
 * removed of are not looked at, so the walk is over what is left: the few that began that long ago and
 * have not ended, or not for long.
 */
export async function listEventHolders(sql: Sql, page: FinishedPage): Promise<readonly Holder[]> {
  return await sql<Holder[]>`
    ${holdersPart(sql, page, sql`SELECT execution_id FROM noetl.event WHERE true`)}
    SELECT h.execution_id AS "executionId", ${isOldPart(sql, page)} AS "isDue"
    FROM holder AS h
    LEFT JOIN noetl.execution AS e ON e.execution_id = h.execution_id
    ORDER BY h.execution_id`;
}

/** The same with stored values that are not permanent and that no newer execution needs. */
export async function listResultHolders(sql: Sql, page: FinishedPage): Promise<readonly Holder[]> {
  const removable = sql`SELECT execution_id FROM noetl.result WHERE scope <> 'permanent'`;
  return await sql<Holder[]>`
    ${holdersPart(sql, page, removable)}
    SELECT
      h.execution_id AS "executionId",
      ${isOldPart(sql, page)} AND NOT ${isSharedPart(sql, page.ageMs)} AS "isDue"
    FROM holder AS h
    LEFT JOIN noetl.execution AS e ON e.execution_id = h.execution_id
    ORDER BY h.execution_id`;
}

function isOldPart(sql: Sql, { ageMs }: FinishedPage): Fragment {
  return sql`(e.ended_at <= now() - ${ageMs} * interval '1 millisecond') IS TRUE`;
}

/** @param rows of the table, with a condition that more can be added to. */
function holdersPart(
  sql: Sql,
  { afterId, beforeId, limit }: FinishedPage,
  rows: Fragment,
): Fragment {
  return sql`
    WITH RECURSIVE walk AS (
      (
        ${rows} AND execution_id > ${afterId} AND execution_id < ${beforeId}
        ORDER BY execution_id
        LIMIT 1
      )
      UNION ALL
      SELECT next.execution_id
      FROM walk AS w
      CROSS JOIN LATERAL (
        ${rows} AND execution_id > w.execution_id AND execution_id < ${beforeId}
        ORDER BY execution_id
        LIMIT 1
      ) AS next
    ), holder AS MATERIALIZED (
      SELECT execution_id FROM walk LIMIT ${limit}
    )`;
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
