/** Takes names away from stored values, and bytes that have no name left out of the stores. */
import type { ExecutionId } from "../core/ids.ts";
import type { Fragment, Pool, Sql } from "./pool.ts";
import type { BodyKey, StoreKind } from "./result-store.ts";
import { isSharedPart } from "./retention.ts";
import { withTransaction } from "./transaction.ts";

interface Content {
  readonly executionId: ExecutionId;
  readonly sha256: string;
}

/** How long a server may take to remove loose bytes before another tries. */
const TAKEN_MS = 60_000;
/** How long what a failed execution would need is kept for a retry, however short-lived it is. */
const RETRYABLE_MS = 86_400_000;

/** Values whose time to live is over; how many. */
export async function removeExpired(pool: Pool, limit: number): Promise<number> {
  return await removeNames(
    pool,
    pool`
      SELECT execution_id, sha256, name
      FROM noetl.result
      WHERE expires_at <= now()
      ORDER BY expires_at
      LIMIT ${limit}`,
  );
}

/**
 * Values of scope `step` whose execution has completed; how many. Of one that failed or was cancelled
 * they stay for a day: a retry goes on with them.
 */
export async function removeStepScoped(pool: Pool, limit: number): Promise<number> {
  return await removeNames(
    pool,
    pool`
      SELECT r.execution_id, r.sha256, r.name
      FROM noetl.result AS r
      JOIN noetl.execution AS e ON e.execution_id = r.execution_id
      WHERE r.scope = 'step' AND (
        e.status = 'completed'
        OR e.ended_at <= now() - ${RETRYABLE_MS} * interval '1 millisecond'
          AND NOT ${isSharedPart(pool, RETRYABLE_MS)}
      )
      ORDER BY r.execution_id
      LIMIT ${limit}`,
  );
}

/** Up to `limit` values that are not permanent of these executions, as far as they have ended; how many. */
export async function removeOfExecutions(
  pool: Pool,
  ids: readonly ExecutionId[],
  limit: number,
): Promise<number> {
  return await removeNames(
    pool,
    pool`
      SELECT r.execution_id, r.sha256, r.name
      FROM noetl.result AS r
      JOIN noetl.execution AS e ON e.execution_id = r.execution_id
      WHERE r.execution_id = ANY (${[...ids]}::bigint[]) AND r.scope <> 'permanent'
        AND e.ended_at IS NOT NULL
      LIMIT ${limit}`,
  );
}

/** One value by its content, under all names or one; how many names went. */
export async function removeResult(
  pool: Pool,
  { executionId, sha256, name }: Content & { readonly name: string | undefined },
): Promise<number> {
  return await removeNames(
    pool,
    pool`
      SELECT execution_id, sha256, name
      FROM noetl.result
      WHERE execution_id = ${executionId} AND sha256 = ${sha256}
        ${name === undefined ? pool`` : pool`AND name = ${name}`}`,
  );
}

/**
 * The foreign key holds against an upload that gives a body a new name in the same moment: one of the
 * two then fails and is repeated.
 */
async function removeNames(pool: Pool, which: Fragment): Promise<number> {
  return await withTransaction(pool, async (sql) => {
    const gone = await sql<Content[]>`
      DELETE FROM noetl.result AS r
      USING (${which}) AS q
      WHERE r.execution_id = q.execution_id AND r.sha256 = q.sha256 AND r.name = q.name
      RETURNING r.execution_id AS "executionId", r.sha256`;
    if (gone.length > 0) {
      await loosenBodies(sql, gone);
    }
    return gone.length;
  });
}

async function loosenBodies(sql: Sql, contents: readonly Content[]): Promise<void> {
  await sql`
    WITH gone AS (
      DELETE FROM noetl.result_body AS b
      USING (
        SELECT DISTINCT execution_id, sha256
        FROM unnest(
          ${contents.map((one) => one.executionId)}::bigint[],
          ${contents.map((one) => one.sha256)}::text[]
        ) AS q (execution_id, sha256)
      ) AS q
      WHERE b.execution_id = q.execution_id AND b.sha256 = q.sha256
        AND NOT EXISTS (
          SELECT 1
          FROM noetl.result AS r
          WHERE r.execution_id = b.execution_id AND r.sha256 = b.sha256
        )
      RETURNING b.body_id, b.execution_id, b.store
    )
    INSERT INTO noetl.result_loose (body_id, execution_id, store, due_at)
    SELECT body_id, execution_id, store, now() FROM gone
    ON CONFLICT (body_id) DO NOTHING`;
}

/** Bytes to remove, now this server's to do for {@link TAKEN_MS}. */
export async function takeLoose(
  sql: Sql,
  limit: number,
): Promise<readonly (BodyKey & { readonly store: StoreKind })[]> {
  return await sql<(BodyKey & { readonly store: StoreKind })[]>`
    UPDATE noetl.result_loose
    SET is_taken = true, due_at = now() + ${TAKEN_MS} * interval '1 millisecond'
    WHERE body_id IN (
      SELECT body_id
      FROM noetl.result_loose
      WHERE due_at <= now()
      ORDER BY due_at
      LIMIT ${limit}
      FOR UPDATE SKIP LOCKED
    )
    RETURNING body_id AS "bodyId", execution_id AS "executionId", store`;
}

/** Their bytes are gone. */
export async function forgetLoose(sql: Sql, bodyIds: readonly string[]): Promise<void> {
  await sql`DELETE FROM noetl.result_loose WHERE body_id = ANY (${[...bodyIds]}::bigint[])`;
}
