/**
 * Places under concurrency keys: at most `limit` executions of a key have one.
 *
 * A place is nothing apart from the execution's row: one that is not over and says `held` has it, one
 * that says `queued` waits for it. So the commit that ends an execution frees its place, whoever
 * dies afterwards; the row goes on saying `held` until somebody has passed the place on, and a sweep
 * finds rows for which nobody has.
 *
 * All that happens to the places of a key happens under an advisory lock on it, in one transaction:
 * lock, change, admit. The statement that counts starts after the lock is held and sees what all
 * earlier holders of the lock have committed. Appends take no such lock: they only ever end rows, and
 * a row that has ended meanwhile is not admitted.
 *
 * Rows that are known by id are found without the predicates of the partial indexes: the planner of a
 * young table would rather walk a whole queue than look up one key.
 *
 * Queued ones are served strictly in order, the more urgent first: one with a low limit holds up those
 * behind it. A queue costs rows and nothing else: admitting reads as many as there are free places.
 */
import type { CatalogId, ExecutionId } from "../core/ids.ts";
import type { Concurrency } from "../dsl/playbook.ts";
import type { NewExecution } from "./append.ts";
import { dedupPart, executionArrays } from "./append.ts";
import { jsonArray } from "./json-array.ts";
import type { Fragment, Pool, Sql } from "./pool.ts";
import { withTransaction } from "./transaction.ts";

/** An execution on its way to a place. */
export interface Applicant {
  readonly executionId: ExecutionId;
  readonly key: string;
  readonly limit: number;
  readonly onLimit: Concurrency["onLimit"];
  /** 0 to 9, the most urgent first. */
  readonly priority: number;
  /** Of a root: its row, which does not exist yet. */
  readonly create: NewExecution | undefined;
  /** Of a child, whose row is there: the playbook that it is to run. */
  readonly playbook: { readonly catalogId: CatalogId; readonly version: number };
}

/** What became of applicants and of others that wait for the same keys. */
export interface Admission {
  /** Applicants without a row: their dedup key is taken, or the child has ended or has its key. */
  readonly absent: ReadonlySet<ExecutionId>;
  /** Applicants that wanted no waiting and got no place; nothing is kept of them. */
  readonly rejected: ReadonlySet<ExecutionId>;
  /** Applicants and others that have a place now and are to be started. */
  readonly admitted: readonly Admitted[];
  /** Executions that must be cancelled; a row of `timer` says so too. */
  readonly victims: readonly Victim[];
}

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

/** @param cancelInput row of `timer` that cancels a victim, JSON text. */
export async function enterQueues(
  pool: Pool,
  applicants: readonly Applicant[],
  cancelInput: string,
): Promise<Admission> {
  const keys = applicants.map(({ key }) => key);
  return await withTransaction(pool, async (sql) => {
    await lockKeys(sql, keys);
    const entered = await enter(sql, applicants);
    const admitted = await admitQueued(sql, keys);
    const rejected = await rejectQueued(sql, applicants);
    const victims = await chooseVictims(sql, keys, cancelInput);
    const absent = applicants.filter(({ executionId }) => !entered.has(executionId));
    return { absent: new Set(absent.map(idOf)), rejected, admitted, victims };
  });
}

/** Passes on the places that ended executions had. Idempotent. */
export async function passPlacesOn(
  pool: Pool,
  keys: readonly string[],
  cancelInput: string,
): Promise<Pick<Admission, "admitted" | "victims">> {
  return await withTransaction(pool, async (sql) => {
    await lockKeys(sql, keys);
    await forgetEnded(sql, keys);
    const admitted = await admitQueued(sql, keys);
    return { admitted, victims: await chooseVictims(sql, keys, cancelInput) };
  });
}

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

/** Gives a place back that the execution did not need. */
export async function dropReservation(sql: Sql, executionId: ExecutionId): Promise<void> {
  await sql`
    UPDATE noetl.execution
    SET place = NULL
    WHERE execution_id = ${executionId} AND place = 'reserved'`;
}

/** Against whoever else changes places of these keys; sorted, so that nobody waits for each other. */
async function lockKeys(sql: Sql, keys: readonly string[]): Promise<void> {
  await sql`
    SELECT pg_advisory_xact_lock(${LOCK_CLASS}::integer, hash)
    FROM (
      SELECT DISTINCT hashtext(key) AS hash FROM unnest(${[...keys]}::text[]) AS key ORDER BY 1
    ) AS hashes`;
}

/** @returns those that have a row in the queue now. */
async function enter(
  sql: Sql,
  applicants: readonly Applicant[],
): Promise<ReadonlySet<ExecutionId>> {
  const roots = await enterRoots(
    sql,
    applicants.filter(({ create }) => create !== undefined),
  );
  const children = await enterChildren(
    sql,
    applicants.filter(({ create }) => create === undefined),
  );
  return new Set([...roots, ...children].map(idOf));
}

interface IdRow {
  readonly executionId: ExecutionId;
}

function idOf({ executionId }: IdRow): ExecutionId {
  return executionId;
}

async function enterRoots(sql: Sql, roots: readonly Applicant[]): Promise<readonly IdRow[]> {
  if (roots.length === 0) {
    return [];
  }
  const rows = roots.flatMap(({ create }) => create ?? []);
  const keyed = rows.filter(({ dedup }) => dedup !== undefined);
  const isOwner =
    keyed.length === 0
      ? sql``
      : sql`WHERE n.dedup_key IS NULL OR n.execution_id IN (SELECT execution_id FROM keyed)`;
  return await sql<IdRow[]>`
    ${keyed.length === 0 ? sql`` : sql`WITH ${dedupPart(sql, keyed)}`}
    INSERT INTO noetl.execution (
      execution_id, catalog_id, path, version, parent_id, root_id, depth, return_step, is_waited,
      pool, priority, dedup_key, origin_id, origin_kind, payload, concurrency_key,
      concurrency_limit, on_limit, queue_priority, seq, status, place, place_since
    )
    SELECT
      n.execution_id, n.catalog_id, n.path, n.version, n.parent_id, n.root_id, n.depth,
      n.return_step, n.is_waited::boolean, n.pool, n.priority, n.dedup_key, n.origin_id,
      n.origin_kind, n.payload, n.concurrency_key, n.concurrency_limit, n.on_limit,
      n.queue_priority, 0, 'pending', 'queued', clock_timestamp()
    FROM ROWS FROM (
      ${executionArrays(sql, rows)},
      json_array_elements(${jsonArray(rows.map((row) => row.payload))}::text::json),
      ${placeArrays(sql, roots)}
    ) AS n (
      execution_id, catalog_id, path, version, parent_id, root_id, depth, return_step, is_waited,
      pool, priority, dedup_key, origin_id, origin_kind, payload, concurrency_key,
      concurrency_limit, on_limit, queue_priority
    )
    ${isOwner}
    ON CONFLICT (execution_id) DO NOTHING
    RETURNING execution_id AS "executionId"`;
}

async function enterChildren(sql: Sql, children: readonly Applicant[]): Promise<readonly IdRow[]> {
  if (children.length === 0) {
    return [];
  }
  return await sql<IdRow[]>`
    UPDATE noetl.execution AS e
    SET concurrency_key = n.concurrency_key,
        concurrency_limit = n.concurrency_limit,
        on_limit = n.on_limit,
        queue_priority = n.queue_priority,
        place = 'queued',
        place_since = clock_timestamp(),
        catalog_id = n.catalog_id,
        version = n.version
    FROM ROWS FROM (
      unnest(
        ${children.map((child) => child.executionId)}::bigint[],
        ${children.map((child) => child.playbook.catalogId)}::bigint[],
        ${children.map((child) => child.playbook.version)}::integer[]
      ),
      ${placeArrays(sql, children)}
    ) AS n (
      execution_id, catalog_id, version, concurrency_key, concurrency_limit, on_limit,
      queue_priority
    )
    WHERE e.execution_id = n.execution_id AND e.status = 'pending' AND e.seq = 0
      AND e.place IS NULL
      AND e.execution_id = ANY (${children.map((child) => child.executionId)}::bigint[])
    RETURNING e.execution_id AS "executionId"`;
}

function placeArrays(sql: Sql, applicants: readonly Applicant[]): Fragment {
  return sql`unnest(
    ${applicants.map(({ key }) => key)}::text[],
    ${applicants.map(({ limit }) => limit)}::integer[],
    ${applicants.map(({ onLimit }) => onLimit)}::text[],
    ${applicants.map(({ priority }) => priority)}::smallint[]
  )`;
}

/** Places of ended executions are free from their end on; this only says that somebody knows. */
async function forgetEnded(sql: Sql, keys: readonly string[]): Promise<void> {
  await sql`
    UPDATE noetl.execution
    SET place = NULL
    WHERE concurrency_key = ANY (${[...keys]}::text[])
      AND place IS NOT NULL AND ended_at IS NOT NULL
      AND (place <> 'reserved'
        OR place_since <= now() - ${RESERVED_MS} * interval '1 millisecond')`;
}

/** Places of `k.key` that are not free. */
function heldPart(sql: Sql): Fragment {
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
async function admitQueued(sql: Sql, keys: readonly string[]): Promise<readonly Admitted[]> {
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
      FROM fitting AS f
      JOIN noetl.execution AS e ON e.execution_id = f.execution_id
      WHERE f.fits AND e.place = 'queued' AND e.status = 'pending'
      ORDER BY e.execution_id
      FOR UPDATE OF e
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
 */
async function chooseVictims(
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
    ), holders AS (
      SELECT
        k.key, h.execution_id,
        row_number() OVER (PARTITION BY k.key ORDER BY h.place_since, h.execution_id) AS n
      FROM (SELECT DISTINCT key FROM takers) AS k
      CROSS JOIN LATERAL (
        SELECT execution_id, place_since
        FROM noetl.execution AS e
        WHERE concurrency_key = k.key AND place = 'held' AND ended_at IS NULL
          AND NOT EXISTS (
            SELECT 1
            FROM noetl.execution AS t
            WHERE t.concurrency_key = k.key AND t.place = 'queued' AND t.ended_at IS NULL
              AND t.on_limit = 'cancel_oldest' AND t.cancels = e.execution_id
          )
          AND NOT EXISTS (
            SELECT 1 FROM takers AS t WHERE t.key = k.key AND t.root_id = e.root_id
          )
        ORDER BY concurrency_key, place_since, execution_id
        LIMIT ${ROWS_MAX}
      ) AS h
    ), chosen AS (
      UPDATE noetl.execution AS e
      SET cancels = h.execution_id
      FROM takers AS t
      JOIN holders AS h ON h.key = t.key AND h.n = t.n
      WHERE e.execution_id = t.execution_id AND e.place = 'queued' AND e.status = 'pending'
      RETURNING e.execution_id, e.cancels
    ), told AS (
      INSERT INTO noetl.timer (execution_id, timer_id, due_at, input)
      SELECT cancels, execution_id, now(), ${cancelInput}::text::json
      FROM chosen
      ON CONFLICT (execution_id, timer_id) DO NOTHING
    )
    SELECT cancels AS "executionId", execution_id AS "takerId" FROM chosen`;
}

/** Those that were not to wait: their rows go, those of children become as they were. */
async function rejectQueued(
  sql: Sql,
  applicants: readonly Applicant[],
): Promise<ReadonlySet<ExecutionId>> {
  const strict = applicants.filter(({ onLimit }) => onLimit === "reject");
  const ids = (isRoot: boolean): readonly ExecutionId[] =>
    strict.flatMap(({ executionId, create }) =>
      (create !== undefined) === isRoot ? [executionId] : [],
    );
  if (strict.length === 0) {
    return new Set();
  }
  const roots = await sql<IdRow[]>`
    WITH gone AS (
      DELETE FROM noetl.execution
      WHERE execution_id = ANY (${ids(true)}::bigint[]) AND place = 'queued'
      RETURNING execution_id, dedup_key
    ), free AS (
      DELETE FROM noetl.dedup AS d
      USING gone AS g
      WHERE d.dedup_key = g.dedup_key AND d.execution_id = g.execution_id
    )
    SELECT execution_id AS "executionId" FROM gone`;
  const children = await sql<IdRow[]>`
    UPDATE noetl.execution
    SET place = NULL, concurrency_key = NULL, concurrency_limit = NULL, on_limit = NULL,
        queue_priority = NULL, place_since = NULL
    WHERE execution_id = ANY (${ids(false)}::bigint[]) AND place = 'queued'
      AND status = 'pending'
    RETURNING execution_id AS "executionId"`;
  return new Set([...roots, ...children].map(idOf));
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
