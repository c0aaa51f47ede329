/**
 * Stored values: names that point to bodies, and what is known of the bodies. The bytes themselves are
 * in a {@link ResultStore}. A value can be read from the commit on that gives it its name; bytes
 * without a name are listed in `result_loose` from before their first one is written until they are
 * named or removed, so that no crash leaves any behind.
 */
import { AppError } from "../core/errors.ts";
import type { ExecutionId } from "../core/ids.ts";
import type { ResultScope } from "../engine/result.ts";
import type { Pool, Sql } from "./pool.ts";
import type { BodyKey, StoreKind } from "./result-store.ts";
import { asBytea } from "./result-store.ts";
import { withTransaction } from "./transaction.ts";

export interface ResultName {
  readonly executionId: ExecutionId;
  /** Of the value's bytes, hex. */
  readonly sha256: string;
  /** The step, `ctx.NAME`, or what an artifact was put as. */
  readonly name: string;
  readonly step: string | undefined;
  readonly scope: ResultScope;
  readonly contentType: string;
  /** Undefined: kept as long as its scope says. */
  readonly ttlMs: number | undefined;
}

export interface ResultBody extends BodyKey {
  /** Of the JSON value, or `binary`. */
  readonly type: string;
  /** Bytes of the value. */
  readonly size: number;
  readonly store: StoreKind;
  /** Bytes of each zstd frame, in order. */
  readonly frames: readonly number[];
}

/** A value that can be read. */
export interface ResultRow extends Omit<ResultName, "ttlMs" | "step"> {
  readonly step: string | null;
  readonly body: ResultBody;
  /** Bytes as they are stored. */
  readonly storedSize: number;
  readonly createdAtMs: number;
  readonly expiresAtMs: number | null;
}

/** Saves a value of one frame with its bytes in PostgreSQL. Idempotent; durable when it resolves. */
export async function saveSmallResult(
  sql: Sql,
  name: ResultName,
  body: ResultBody,
  frame: Uint8Array,
): Promise<void> {
  await sql`
    WITH body AS (
      ${insertBody(sql, name, body)}
      RETURNING body_id
    ), chunk AS (
      INSERT INTO noetl.result_chunk (body_id, position, data)
      SELECT body_id, 0, ${asBytea(sql, frame)} FROM body
    )
    ${insertName(sql, name)}`;
}

/** Gives a body that is there one more name; false if it has gone meanwhile. */
export async function saveResultName(sql: Sql, name: ResultName): Promise<boolean> {
  const rows = await sql`
    WITH body AS MATERIALIZED (
      SELECT 1
      FROM noetl.result_body
      WHERE execution_id = ${name.executionId} AND sha256 = ${name.sha256}
      FOR KEY SHARE
    )
    ${insertName(sql, name, sql`WHERE EXISTS (SELECT 1 FROM body)`)}
    RETURNING 1`;
  return rows.length > 0;
}

/**
 * Makes written bytes readable. Bytes whose content another upload has brought meanwhile are left to
 * the sweep.
 *
 * @throws AppError unavailable RESULT_UPLOAD_LAPSED: the sweep took the bytes for abandoned.
 */
export async function bindResult(pool: Pool, name: ResultName, body: ResultBody): Promise<void> {
  await withTransaction(pool, async (sql) => {
    const loose = await sql`
      DELETE FROM noetl.result_loose
      WHERE body_id = ${body.bodyId} AND NOT is_taken
      RETURNING 1`;
    if (loose.length === 0) {
      throw lapsed();
    }
    const made = await sql`${insertBody(sql, name, body)} RETURNING 1`;
    if (made.length === 0) {
      await markLoose(sql, body, 0);
    }
    await sql`${insertName(sql, name)}`;
  });
}

export function lapsed(): AppError {
  const message = "The upload took so long that its bytes were removed: send the value again";
  return new AppError("unavailable", "RESULT_UPLOAD_LAPSED", message);
}

function insertBody(sql: Sql, { executionId, sha256 }: ResultName, body: ResultBody) {
  const storedSize = body.frames.reduce((sum, bytes) => sum + bytes, 0);
  return sql`
    INSERT INTO noetl.result_body
      (execution_id, sha256, body_id, type, size, stored_size, store, frames)
    VALUES (
      ${executionId}, ${sha256}, ${body.bodyId}, ${body.type}, ${body.size}, ${storedSize},
      ${body.store}, ${body.frames.join(",")}
    )
    ON CONFLICT (execution_id, sha256) DO NOTHING`;
}

function insertName(sql: Sql, name: ResultName, condition = sql``) {
  const { executionId, sha256, step, scope, contentType, ttlMs } = name;
  return sql`
    INSERT INTO noetl.result
      (execution_id, sha256, name, step, scope, content_type, expires_at)
    SELECT
      ${executionId}::bigint, ${sha256}, ${name.name}, ${step ?? null}::text, ${scope},
      ${contentType}, now() + ${ttlMs ?? null}::float8 * interval '1 millisecond'
    ${condition}
    ON CONFLICT (execution_id, sha256, name) DO UPDATE SET
      scope = excluded.scope,
      content_type = excluded.content_type,
      expires_at = excluded.expires_at`;
}

/**
 * Lists bytes as loose: to be removed after `ms` unless somebody marks them again or names them.
 *
 * @returns false if they are being removed already.
 */
export async function markLoose(
  sql: Sql,
  { bodyId, executionId, store }: BodyKey & { readonly store: StoreKind },
  ms: number,
): Promise<boolean> {
  const rows = await sql`
    INSERT INTO noetl.result_loose AS loose (body_id, execution_id, store, due_at)
    VALUES (${bodyId}, ${executionId}, ${store}, now() + ${ms} * interval '1 millisecond')
    ON CONFLICT (body_id) DO UPDATE SET due_at = excluded.due_at WHERE NOT loose.is_taken
    RETURNING 1`;
  return rows.length > 0;
}

export async function hasResultBody(
  sql: Sql,
  { executionId, sha256 }: Pick<ResultName, "executionId" | "sha256">,
): Promise<boolean> {
  const rows = await sql`
    SELECT 1 FROM noetl.result_body WHERE execution_id = ${executionId} AND sha256 = ${sha256}`;
  return rows.length > 0;
}

/** One of both is set. */
export interface ResultKey {
  readonly executionId: ExecutionId;
  readonly sha256?: string | undefined;
  /** Alone: the newest of that name. Together with `sha256` the name is only preferred. */
  readonly name?: string | undefined;
}

/** A value that has not expired. */
export async function findResult(
  sql: Sql,
  { executionId, sha256, name }: ResultKey,
): Promise<ResultRow | undefined> {
  const [row] = await sql<RawRow[]>`
    ${resultColumns(sql)}
    WHERE r.execution_id = ${executionId}
      AND ${sha256 === undefined ? sql`r.name = ${name ?? ""}` : sql`r.sha256 = ${sha256}`}
      AND (r.expires_at IS NULL OR r.expires_at > now())
    ORDER BY r.name = ${name ?? ""} DESC, r.created_at DESC
    LIMIT 1`;
  return row === undefined ? undefined : toRow(row);
}

/** Values of an execution that have not expired, oldest first. */
export async function listResults(
  sql: Sql,
  executionId: ExecutionId,
  page: { readonly limit: number; readonly offset: number; readonly name?: string | undefined },
): Promise<readonly ResultRow[]> {
  const rows = await sql<RawRow[]>`
    ${resultColumns(sql)}
    WHERE r.execution_id = ${executionId}
      ${page.name === undefined ? sql`` : sql`AND r.name = ${page.name}`}
      AND (r.expires_at IS NULL OR r.expires_at > now())
    ORDER BY r.created_at, r.name
    LIMIT ${page.limit}
    OFFSET ${page.offset}`;
  return rows.map(toRow);
}

/** Bytes of all values of an execution, each content once. */
export async function sumResultSizes(sql: Sql, executionId: ExecutionId): Promise<number> {
  const [row] = await sql<{ size: number }[]>`
    SELECT coalesce(sum(size), 0)::float8 AS size
    FROM noetl.result_body
    WHERE execution_id = ${executionId}`;
  return row?.size ?? 0;
}

interface RawRow extends Omit<ResultRow, "body"> {
  readonly bodyId: string;
  readonly type: string;
  readonly size: number;
  readonly store: StoreKind;
  readonly frames: string;
}

function resultColumns(sql: Sql) {
  return sql`
    SELECT
      r.execution_id AS "executionId", r.sha256, r.name, r.step, r.scope,
      r.content_type AS "contentType", b.body_id AS "bodyId", b.type, b.size::float8 AS size,
      b.stored_size::float8 AS "storedSize", b.store, b.frames,
      (extract(epoch FROM r.created_at) * 1000)::float8 AS "createdAtMs",
      (extract(epoch FROM r.expires_at) * 1000)::float8 AS "expiresAtMs"
    FROM noetl.result AS r
    JOIN noetl.result_body AS b ON b.execution_id = r.execution_id AND b.sha256 = r.sha256`;
}

function toRow({ bodyId, type, size, store, frames, ...row }: RawRow): ResultRow {
  const lengths = frames.split(",").map(Number);
  const { executionId } = row;
  return { ...row, body: { executionId, bodyId, type, size, store, frames: lengths } };
}
