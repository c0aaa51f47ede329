/** Reads of executions; they are written by append.ts only. */
import type { CatalogId, ExecutionId } from "../core/ids.ts";
import { idFloor } from "../core/ids.ts";
import type { Json } from "../core/json.ts";
import { parseJson } from "../core/json.ts";
import type { Concurrency } from "../dsl/playbook.ts";
import type { ExecutionStatus } from "../engine/decision.ts";
import type { ExecutionOrigin } from "../engine/event.ts";
import type { Failure } from "../engine/failure.ts";
import { escapeLike } from "./credential.ts";
import type { Fragment, Sql } from "./pool.ts";

/** What a decision needs to know besides the events. */
export interface ExecutionHead {
  readonly executionId: ExecutionId;
  /** Null until a child has started. */
  readonly catalogId: CatalogId | null;
  readonly path: string;
  /** Of a pending child: the version asked for; null = latest. */
  readonly version: number | null;
  readonly parentId: ExecutionId | null;
  readonly rootId: ExecutionId;
  readonly depth: number;
  readonly returnStep: string | null;
  readonly isWaited: boolean;
  readonly status: ExecutionStatus;
  readonly seq: number;
  /** JSON text. */
  readonly payload: string;
  readonly pool: string | null;
  readonly priority: number | null;
  /** Null: not limited, or a child that has not entered the queue of its key yet. */
  readonly concurrencyKey: string | null;
  /** As it was when the head was read. */
  readonly place: "queued" | "held" | null;
  readonly originId: ExecutionId | null;
  readonly originKind: ExecutionOrigin["kind"] | null;
  /** W3C traceparent of who asked for it. */
  readonly trace?: string | null;
}

/** In no order; without those that do not exist. */
export async function readHeads(
  sql: Sql,
  ids: readonly ExecutionId[],
): Promise<readonly ExecutionHead[]> {
  return await sql<ExecutionHead[]>`
    SELECT
      execution_id AS "executionId", catalog_id AS "catalogId", path, version,
      parent_id AS "parentId", root_id AS "rootId", depth, return_step AS "returnStep",
      is_waited AS "isWaited", status, seq, payload::text AS payload, pool, priority,
      concurrency_key AS "concurrencyKey", place, origin_id AS "originId",
      origin_kind AS "originKind", trace
    FROM noetl.execution
    WHERE execution_id = ANY (${[...ids]}::bigint[])`;
}

/** Last positions by execution; without those that do not exist. */
export async function readPositions(
  sql: Sql,
  ids: readonly ExecutionId[],
): Promise<ReadonlyMap<ExecutionId, number>> {
  const rows = await sql<{ executionId: ExecutionId; seq: number }[]>`
    SELECT execution_id AS "executionId", seq
    FROM noetl.execution
    WHERE execution_id = ANY (${[...ids]}::bigint[])`;
  return new Map(rows.map((row) => [row.executionId, row.seq]));
}

/** The outermost execution of a tree, of itself for a root; undefined if there is no such execution. */
export async function rootOf(sql: Sql, id: ExecutionId): Promise<ExecutionId | undefined> {
  const [row] = await sql<{ rootId: ExecutionId }[]>`
    SELECT root_id AS "rootId" FROM noetl.execution WHERE execution_id = ${id}`;
  return row?.rootId;
}

/**
 * True if `owner` belongs to the family of `reader`: the outermost execution with all below it, and the
 * families of what the outermost one has come from: a retry goes on with what was stored, a rerun has
 * the same payload. An owner that is gone may have been one of them if it was no older.
 */
export async function isOfFamily(
  sql: Sql,
  reader: ExecutionId,
  owner: ExecutionId,
): Promise<boolean> {
  const [row] = await sql<{ isOfFamily: boolean }[]>`
    WITH RECURSIVE line AS (
      SELECT root_id FROM noetl.execution WHERE execution_id = ${reader}
      UNION
      SELECT coalesce(o.root_id, x.origin_id)
      FROM line AS l
      JOIN noetl.execution AS x ON x.execution_id = l.root_id AND x.origin_id IS NOT NULL
      LEFT JOIN noetl.execution AS o ON o.execution_id = x.origin_id
    )
    SELECT coalesce(
      (SELECT root_id IN (SELECT root_id FROM line) FROM noetl.execution WHERE execution_id = ${owner}),
      ${owner} >= (SELECT min(root_id) FROM line),
      false
    ) AS "isOfFamily"`;
  return row?.isOfFamily === true;
}

/** The execution that a dedup key stands for. */
export async function findByDedupKey(sql: Sql, key: string): Promise<ExecutionId | undefined> {
  const rows = await sql<{ executionId: ExecutionId }[]>`
    SELECT execution_id AS "executionId" FROM noetl.dedup WHERE dedup_key = ${key}`;
  return rows[0]?.executionId;
}

const DEDUP_MAX = 10_000;

/** Those that somebody takes again just now are locked, and left alone. True: there are more. */
export async function removeExpiredDedup(sql: Sql): Promise<boolean> {
  const rows = await sql`
    WITH old AS MATERIALIZED (
      SELECT dedup_key
      FROM noetl.dedup
      WHERE expires_at < now()
      LIMIT ${DEDUP_MAX}
      FOR UPDATE SKIP LOCKED
    )
    DELETE FROM noetl.dedup AS d
    USING old AS o
    WHERE d.dedup_key = o.dedup_key`;
  return rows.count >= DEDUP_MAX;
}

/** An execution as lists and pages show it. */
export interface ExecutionRow {
  readonly executionId: ExecutionId;
  readonly catalogId: CatalogId | null;
  readonly path: string;
  readonly version: number | null;
  readonly parentId: ExecutionId | null;
  readonly rootId: ExecutionId;
  readonly depth: number;
  readonly status: ExecutionStatus;
  /** Number of events. */
  readonly seq: number;
  readonly pool: string | null;
  readonly createdAtMs: number;
  readonly endedAtMs: number | null;
  readonly result: Json;
  readonly error: Failure | null;
  readonly dedupKey: string | null;
  /** The execution that this one continues or starts over. */
  readonly originId: ExecutionId | null;
  readonly originKind: ExecutionOrigin["kind"] | null;
  readonly concurrencyKey: string | null;
  /** Null without a key, like the following; `place` also once the execution's end was noticed. */
  readonly concurrencyLimit: number | null;
  readonly onLimit: Concurrency["onLimit"] | null;
  readonly place: "queued" | "held" | null;
  readonly placeSinceMs: number | null;
  readonly cancels: ExecutionId | null;
}

export async function getExecution(
  sql: Sql,
  executionId: ExecutionId,
): Promise<ExecutionRow | undefined> {
  const [row] = await sql<RawRow[]>`
    ${rowColumns(sql, true)}
    WHERE execution_id = ${executionId}`;
  return row === undefined ? undefined : toRow(row);
}

export interface ExecutionFilter {
  /** Part of the path, any case. */
  readonly path?: string | undefined;
  readonly status?: ExecutionStatus | undefined;
  readonly catalogId?: CatalogId | undefined;
  readonly parentId?: ExecutionId | undefined;
  readonly originId?: ExecutionId | undefined;
  /** Made at this time or later; ids tell. */
  readonly sinceMs?: number | undefined;
  /** Made before. */
  readonly untilMs?: number | undefined;
  readonly limit: number;
  readonly offset: number;
}

/** Newest first, results left out. */
export async function listExecutions(
  sql: Sql,
  filter: ExecutionFilter,
): Promise<readonly ExecutionRow[]> {
  const ids = await findByPath(sql, filter, filter.limit + filter.offset);
  const rows = await sql<RawRow[]>`
    ${rowColumns(sql, false)}
    WHERE ${ids === undefined ? conditions(sql, filter) : areThese(sql, ids)}
    ORDER BY execution_id DESC
    LIMIT ${filter.limit}
    OFFSET ${filter.offset}`;
  return rows.map(toRow);
}

/** Number of those that the filter finds; counting stops at `max`. */
export async function countListed(
  sql: Sql,
  filter: Omit<ExecutionFilter, "limit" | "offset">,
  max: number,
): Promise<number> {
  const ids = await findByPath(sql, filter, max);
  if (ids !== undefined) {
    return ids.length;
  }
  const [row] = await sql<{ count: number }[]>`
    SELECT count(*)::int AS count
    FROM (
      SELECT FROM noetl.execution
      WHERE ${conditions(sql, filter)}
      ORDER BY execution_id DESC
      LIMIT ${max}
    ) AS found`;
  return row?.count ?? 0;
}

/** Versions of playbooks by which executions are looked for; more than that are found on the way. */
const VERSIONS_MAX = 200;

/** Which versions of playbooks the path means; undefined: no path is given, or it means very many. */
async function findVersions(
  sql: Sql,
  { path, catalogId }: Pick<ExecutionFilter, "path" | "catalogId">,
): Promise<readonly CatalogId[] | undefined> {
  if (path === undefined || catalogId !== undefined) {
    return undefined;
  }
  const rows = await sql<{ catalogId: CatalogId }[]>`
    SELECT catalog_id AS "catalogId"
    FROM noetl.catalog
    WHERE path ILIKE ${`%${escapeLike(path)}%`}
    LIMIT ${VERSIONS_MAX + 1}`;
  return rows.length > VERSIONS_MAX ? undefined : rows.map((row) => row.catalogId);
}

/**
 * The newest with a part of the path, newest first: of each version that has it, and of those without a
 * version because they have not started. So a path that few have costs no walk along all executions.
 *
 * @param limit how many of the newest are wanted.
 * @returns undefined if the filter names no path, or one that very many have.
 */
async function findByPath(
  sql: Sql,
  filter: Omit<ExecutionFilter, "limit" | "offset">,
  limit: number,
): Promise<readonly ExecutionId[] | undefined> {
  const versions = await findVersions(sql, filter);
  if (versions === undefined) {
    return undefined;
  }
  const rows = await sql<{ executionId: ExecutionId }[]>`
    SELECT x.execution_id AS "executionId"
    FROM unnest(${[...versions]}::bigint[]) AS v (version_id)
    CROSS JOIN LATERAL (
      SELECT execution_id
      FROM noetl.execution
      WHERE catalog_id = v.version_id AND ${conditions(sql, { ...filter, path: undefined })}
      ORDER BY catalog_id, execution_id DESC
      LIMIT ${limit}
    ) AS x
    UNION ALL
    (
      SELECT execution_id
      FROM noetl.execution
      WHERE catalog_id IS NULL AND ${conditions(sql, filter)}
      ORDER BY catalog_id, execution_id DESC
      LIMIT ${limit}
    )
    ORDER BY 1 DESC
    LIMIT ${limit}`;
  return rows.map((row) => row.executionId);
}

function areThese(sql: Sql, ids: readonly ExecutionId[]): Fragment {
  return sql`execution_id = ANY (${[...ids]}::bigint[])`;
}

/** Not parameters: a rare status is found by its index, a frequent one along the primary key. */
const IS_STATUS = {
  pending: (sql: Sql) => sql`status = 'pending'`,
  running: (sql: Sql) => sql`status = 'running'`,
  completed: (sql: Sql) => sql`status = 'completed'`,
  failed: (sql: Sql) => sql`status = 'failed'`,
  cancelled: (sql: Sql) => sql`status = 'cancelled'`,
} as const satisfies Record<ExecutionStatus, unknown>;

function conditions(sql: Sql, filter: Omit<ExecutionFilter, "limit" | "offset">): Fragment {
  const path = `%${escapeLike(filter.path ?? "")}%`;
  const { status, catalogId, parentId, originId, sinceMs, untilMs } = filter;
  return sql`true
      ${filter.path === undefined ? sql`` : sql`AND path ILIKE ${path}`}
      ${status === undefined ? sql`` : sql`AND ${IS_STATUS[status](sql)}`}
      ${catalogId === undefined ? sql`` : sql`AND catalog_id = ${catalogId}`}
      ${parentId === undefined ? sql`` : sql`AND parent_id = ${parentId}`}
      ${originId === undefined ? sql`` : sql`AND origin_id = ${originId}`}
      ${sinceMs === undefined ? sql`` : sql`AND execution_id >= ${idFloor(sinceMs)}`}
      ${untilMs === undefined ? sql`` : sql`AND execution_id < ${idFloor(untilMs)}`}`;
}

/** Unfinished roots that began before a time, oldest first; children end with them. */
export async function listUnfinished(
  sql: Sql,
  { beforeMs, limit }: { readonly beforeMs: number; readonly limit: number },
): Promise<readonly ExecutionId[]> {
  const rows = await sql<{ executionId: ExecutionId }[]>`
    SELECT execution_id AS "executionId"
    FROM noetl.execution
    WHERE status IN ('pending', 'running') AND parent_id IS NULL
      AND execution_id < ${idFloor(beforeMs)}
    ORDER BY execution_id
    LIMIT ${limit}`;
  return rows.map(({ executionId }) => executionId);
}

/** Executions by status; statuses without any are left out. */
export async function countExecutions(
  sql: Sql,
): Promise<Partial<Readonly<Record<ExecutionStatus, number>>>> {
  const rows = await sql<{ status: ExecutionStatus; count: number }[]>`
    SELECT status, count(*)::int AS count FROM noetl.execution GROUP BY status`;
  return Object.fromEntries(rows.map((row) => [row.status, row.count]));
}

type RawRow = Omit<ExecutionRow, "result" | "error"> & {
  readonly result: string | null;
  readonly error: string | null;
};

function rowColumns(sql: Sql, hasResult: boolean) {
  return sql`
    SELECT
      execution_id AS "executionId", catalog_id AS "catalogId", path, version,
      parent_id AS "parentId", root_id AS "rootId", depth, status, seq, pool,
      (extract(epoch FROM created_at) * 1000)::float8 AS "createdAtMs",
      (extract(epoch FROM ended_at) * 1000)::float8 AS "endedAtMs",
      ${hasResult ? sql`result::text` : sql`NULL::text`} AS result, error::text AS error, dedup_key AS "dedupKey",
      origin_id AS "originId", origin_kind AS "originKind", concurrency_key AS "concurrencyKey",
      concurrency_limit AS "concurrencyLimit", on_limit AS "onLimit", place,
      (extract(epoch FROM place_since) * 1000)::float8 AS "placeSinceMs", cancels
    FROM noetl.execution`;
}

function toRow(row: RawRow): ExecutionRow {
  return {
    ...row,
    result: row.result === null ? null : parseJson(row.result),
    error: row.error === null ? null : (parseJson(row.error) as unknown as Failure | null),
  };
}
