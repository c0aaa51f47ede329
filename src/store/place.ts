/**
 * Places of concurrency keys: how they are counted, given, and taken away. See admission.ts.
 *
 * All but {@link countHoldingAncestors} is called within a transaction that holds {@link lockKeys}.
 */
import type { ExecutionId } from "../core/ids.ts";
import type { Fragment, Sql } from "./pool.ts";

export interface Admitted {
  readonly executionId: ExecutionId;
  readonly waitedMs: number;
}

export interface Victim {
  readonly executionId: ExecutionId;
  /** For whom; also the id of the row of `timer`. */
  readonly takerId: ExecutionId;
}

/** Any number that no other program on the same database uses for its locks: "conc" in ASCII. */
const LOCK_CLASS = 1_668_247_139;
/** How long an ended execution that is about to go on may take to do so. */
export const RESERVED_MS = 30_000;
/** Rows that one call admits or cancels at most, for each key. */
const ROWS_MAX = 1000;

/** Against whoever else changes places of these keys; sorted, so that nobody waits for each other. */
export async function lockKeys(sql: Sql, keys: readonly string[]): Promise<void> {
  await sql`
    SELECT pg_advisory_xact_lock(${LOCK_CLASS}::integer, hash)
    FROM (
      SELECT DISTINCT hashtext(key) AS hash FROM unnest(${[...keys]}::text[]) AS key ORDER BY 1
    ) AS hashes`;
}

/** Places of ended executions are free from their end on; this only says that somebody knows. */
export async function forgetEnded(sql: Sql, keys: readonly string[]): Promise<void> {
  await sql`
    UPDATE noetl.execution
    SET place = NULL
    WHERE concurrency_key = ANY (${[...keys]}::text[])
      AND place IS NOT NULL AND ended_at IS NOT NULL
      AND (place <> 'reserved'
        OR place_since <= now() - ${RESERVED_MS} * interval '1 millisecond')`;
}

/** Places of `k.key` that are not free. */
export function heldPart(sql: Sql): Fragment {
  return sql`(
    (
      SELECT count(*)
      FROM noetl.execution
      WHERE concurrency_key = k.key AND place = 'held' AND ended_at IS NULL
    ) + (
      SELECT count(*)
      FROM noetl.execution
      WHERE concurrency_key = k.key AND place IS NOT NULL AND ended_at IS NOT NULL
        AND place = 'reserved' AND place_since > now() - ${RESERVED_MS} * interval '1 millisecond'
    )
  )`;
}

/** Gives the free places of each key to the first in its queue. */
export async function admitQueued(sql: Sql, keys: readonly string[]): Promise<readonly Admitted[]> {
  return await sql<Admitted[]>`
    WITH counted AS MATERIALIZED (
      SELECT
        k.key,
        ${heldPart(sql)} AS held
      FROM (SELECT DISTINCT key FROM unnest(${[...keys]}::text[]) AS key) AS k
    ), first AS (
      SELECT c.key, c.held, f.concurrency_limit
      FROM counted AS c
      CROSS JOIN LATERAL (
        SELECT concurrency_limit
        FROM noetl.execution
        WHERE concurrency_key = c.key AND place = 'queued' AND ended_at IS NULL
        ORDER BY concurrency_key, queue_priority DESC, place_since, execution_id
        LIMIT 1
      ) AS f
    ), line AS (
      SELECT
        f.key, f.held, q.execution_id, q.concurrency_limit,
        row_number() OVER (
          PARTITION BY f.key ORDER BY q.queue_priority DESC, q.place_since, q.execution_id
        ) AS n
      FROM first AS f
      CROSS JOIN LATERAL (
        SELECT execution_id, concurrency_limit, queue_priority, place_since
        FROM noetl.execution
        WHERE concurrency_key = f.key AND place = 'queued' AND ended_at IS NULL
        ORDER BY concurrency_key, queue_priority DESC, place_since, execution_id
        LIMIT greatest(0, least(${ROWS_MAX}::bigint, f.concurrency_limit - f.held))
      ) AS q
    ), fitting AS (
      SELECT
        execution_id, bool_and(held + n <= concurrency_limit) OVER (PARTITION BY key ORDER BY n) AS fits
      FROM line
    ), locked AS (
      SELECT e.execution_id
      FROM (SELECT execution_id FROM fitting WHERE fits ORDER BY execution_id) AS f
      CROSS JOIN LATERAL (
        SELECT execution_id
        FROM noetl.execution
        WHERE execution_id = f.execution_id AND place = 'queued' AND seq = 0
        FOR UPDATE
      ) AS e
    )
    UPDATE noetl.execution AS e
    SET place = 'held', place_since = clock_timestamp()
    FROM locked AS l
    WHERE e.execution_id = l.execution_id
    RETURNING
      e.execution_id AS "executionId",
      (extract(epoch FROM clock_timestamp() - e.created_at) * 1000)::float8 AS "waitedMs"`;
}

/**
 * Each queued execution that takes a place for itself gets a victim of its own: the oldest that has a
 * place, is not another's victim and not of the same tree. One whose victim is gone while it still
 * waits gets the next.
 *
 * `(… IN (…)) IS NOT TRUE` makes hashed subplans of what else would be read anew for each holder.
 */
export async function chooseVictims(
  sql: Sql,
  keys: readonly string[],
  cancelInput: string,
): Promise<readonly Victim[]> {
  return await sql<Victim[]>`
    WITH takers AS (
      SELECT
        k.key, t.execution_id, t.root_id,
        row_number() OVER (PARTITION BY k.key ORDER BY t.place_since, t.execution_id) AS n
      FROM (SELECT DISTINCT key FROM unnest(${[...keys]}::text[]) AS key) AS k
      CROSS JOIN LATERAL (
        SELECT execution_id, root_id, place_since
        FROM noetl.execution AS e
        WHERE concurrency_key = k.key AND place = 'queued' AND ended_at IS NULL
          AND on_limit = 'cancel_oldest'
          AND (
            SELECT v.place = 'held' AND v.ended_at IS NULL
            FROM noetl.execution AS v
            WHERE v.execution_id = e.cancels
          ) IS NOT TRUE
        ORDER BY concurrency_key, place_since, execution_id
        LIMIT ${ROWS_MAX}
      ) AS t
    ), taken AS MATERIALIZED (
      SELECT cancels
      FROM noetl.execution
      WHERE concurrency_key = ANY (${[...keys]}::text[]) AND place = 'queued' AND ended_at IS NULL
        AND on_limit = 'cancel_oldest' AND cancels IS NOT NULL
    ), holders AS (
      SELECT
        k.key, h.execution_id,
        row_number() OVER (PARTITION BY k.key ORDER BY h.place_since, h.execution_id) AS n
      FROM (SELECT DISTINCT key FROM takers) AS k
      CROSS JOIN LATERAL (
        SELECT execution_id, place_since
        FROM noetl.execution AS e
        WHERE concurrency_key = k.key AND place = 'held' AND ended_at IS NULL
          AND (e.execution_id IN (SELECT cancels FROM taken)) IS NOT TRUE
          AND ((k.key, e.root_id) IN (SELECT key, root_id FROM takers)) IS NOT TRUE
        ORDER BY concurrency_key, place_since, execution_id
        LIMIT ${ROWS_MAX}
      ) AS h
    ), chosen AS (
      UPDATE noetl.execution AS e
      SET cancels = h.execution_id
      FROM takers AS t
      JOIN holders AS h ON h.key = t.key AND h.n = t.n
      WHERE e.execution_id = t.execution_id AND e.place = 'queued' AND e.seq = 0
      RETURNING e.execution_id, e.cancels
    ), told AS (
      INSERT INTO noetl.timer (execution_id, timer_id, due_at, input)
      SELECT cancels, execution_id, now(), ${cancelInput}::text::json
      FROM chosen
      ON CONFLICT (execution_id, timer_id) DO NOTHING
    )
    SELECT cancels AS "executionId", execution_id AS "takerId" FROM chosen`;
}

/** How many of the waited-for ancestors of an execution, one inside the other, have a place of the key. */
export async function countHoldingAncestors(
  sql: Sql,
  executionId: ExecutionId,
  key: string,
): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    WITH RECURSIVE above AS (
      SELECT parent_id, is_waited, false AS holds
      FROM noetl.execution
      WHERE execution_id = ${executionId}
      UNION ALL
      SELECT e.parent_id, e.is_waited,
        coalesce(e.concurrency_key = ${key} AND e.place = 'held' AND e.ended_at IS NULL, false)
      FROM above AS a
      JOIN noetl.execution AS e ON e.execution_id = a.parent_id
      WHERE a.is_waited
    )
    SELECT (count(*) FILTER (WHERE holds))::int AS count FROM above`;
  return row?.count ?? 0;
}
