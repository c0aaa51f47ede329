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
 * Rows that are known by id are found without what other indexes are about (`seq = 0` stands for
 * `status = 'pending'`): the planner of a young table would rather walk a whole queue than look up one
 * key.
 *
 * Queued ones are served strictly in order, the more urgent first: one with a low limit holds up those
 * behind it. A queue costs rows and nothing else: admitting reads as many as there are free places.
 */
import type { CatalogId, ExecutionId } from "../core/ids.ts";
import type { Concurrency } from "../dsl/playbook.ts";
import type { NewExecution } from "./append.ts";
import { dedupPart, executionArrays } from "./append.ts";
import { jsonArray } from "./json-array.ts";
import type { Admitted, Victim } from "./place.ts";
import { admitQueued, chooseVictims, forgetEnded, lockKeys } from "./place.ts";
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
      pool, priority, dedup_key, origin_id, origin_kind, trace, payload, concurrency_key,
      concurrency_limit, on_limit, queue_priority, seq, status, place, place_since
    )
    SELECT
      n.execution_id, n.catalog_id, n.path, n.version, n.parent_id, n.root_id, n.depth,
      n.return_step, n.is_waited::boolean, n.pool, n.priority, n.dedup_key, n.origin_id,
      n.origin_kind, n.trace, n.payload, n.concurrency_key, n.concurrency_limit, n.on_limit,
      n.queue_priority, 0, 'pending', 'queued', clock_timestamp()
    FROM ROWS FROM (
      ${executionArrays(sql, rows)},
      json_array_elements(${jsonArray(rows.map((row) => row.payload))}::text::json),
      ${placeArrays(sql, roots)}
    ) AS n (
      execution_id, catalog_id, path, version, parent_id, root_id, depth, return_step, is_waited,
      pool, priority, dedup_key, origin_id, origin_kind, trace, payload, concurrency_key,
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
