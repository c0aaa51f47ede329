/** Firings of schedules: one row per due time, one execution per row at most. */
import type { ExecutionId } from "../core/ids.ts";
import type { JsonObject } from "../core/json.ts";
import { isJsonObject, parseJson } from "../core/json.ts";
import type { ExecutionStatus } from "../engine/decision.ts";
import type { Fragment, Sql } from "./pool.ts";
import type { ScheduleRow } from "./schedule.ts";
import { time } from "./schedule.ts";

export type FiringKind = "scheduled" | "backfill" | "manual";
export type FiringStatus = "waiting" | "started" | "skipped" | "failed";

export interface NewFiring {
  readonly dueMs: number;
  /** Not before; at `dueMs` and the jitter. */
  readonly notBeforeMs: number;
  /** Set: not met, and why. */
  readonly skipped: string | undefined;
}

/**
 * Moves the schedule on to `nextRunMs` and adds the firings of the due times that it passed, in one
 * statement.
 *
 * @returns false, and changes nothing, if another server or a person was first.
 */
export async function advanceSchedule(
  sql: Sql,
  { scheduleId, revision, nextRunMs }: Pick<ScheduleRow, "scheduleId" | "revision" | "nextRunMs">,
  move: { readonly nextRunMs: number | undefined; readonly firings: readonly NewFiring[] },
): Promise<boolean> {
  const { firings } = move;
  const rows = await sql`
    WITH moved AS (
      UPDATE noetl.schedule
      SET next_run_at = ${time(sql, move.nextRunMs)}
      WHERE schedule_id = ${scheduleId} AND revision = ${revision}
        AND next_run_at = ${time(sql, nextRunMs ?? undefined)}
      RETURNING schedule_id
    ), added AS (
      INSERT INTO noetl.schedule_firing (
        schedule_id, due_at, kind, status, not_before, reason, acted_at
      )
      SELECT m.schedule_id, to_timestamp(q.due / 1000), 'scheduled',
        CASE WHEN q.skipped IS NULL THEN 'waiting' ELSE 'skipped' END,
        to_timestamp(q.not_before / 1000), q.skipped,
        CASE WHEN q.skipped IS NOT NULL THEN now() END
      FROM moved AS m, unnest(
        ${firings.map(({ dueMs }) => dueMs)}::float8[],
        ${firings.map(({ notBeforeMs }) => notBeforeMs)}::float8[],
        ${firings.map(({ skipped }) => skipped ?? null)}::text[]
      ) AS q (due, not_before, skipped)
      ON CONFLICT (schedule_id, due_at) DO NOTHING
    )
    SELECT schedule_id FROM moved`;
  return rows.length > 0;
}

/** Due times of the past to be met after all: those that nothing was started for. */
export async function addBackfill(
  sql: Sql,
  scheduleId: string,
  dueMs: readonly number[],
): Promise<readonly number[]> {
  const rows = await sql<{ dueMs: number }[]>`
    INSERT INTO noetl.schedule_firing AS f (schedule_id, due_at, kind, status, not_before)
    SELECT ${scheduleId}::bigint, to_timestamp(q.due / 1000), 'backfill', 'waiting', now()
    FROM unnest(${[...dueMs]}::float8[]) AS q (due)
    ON CONFLICT (schedule_id, due_at) DO UPDATE
    SET kind = 'backfill', status = 'waiting', not_before = now(), reason = NULL, acted_at = NULL
    WHERE f.status IN ('skipped', 'failed')
    RETURNING (extract(epoch FROM due_at) * 1000)::float8 AS "dueMs"`;
  return rows.map((row) => row.dueMs).sort((left, right) => left - right);
}

/** A firing by hand, at the database's time; `leaseMs` keeps others off while the caller acts on it. */
export async function addManualFiring(
  sql: Sql,
  scheduleId: string,
  { payload, leaseMs }: { readonly payload: JsonObject | undefined; readonly leaseMs: number },
): Promise<WaitingFiring | undefined> {
  const text = payload === undefined ? null : JSON.stringify(payload);
  const rows = await sql<RawWaiting[]>`
    WITH woken AS (
      UPDATE noetl.schedule
      SET wake_at = least(wake_at, now() + ${leaseMs} * interval '1 millisecond')
      WHERE schedule_id = ${scheduleId}
    )
    INSERT INTO noetl.schedule_firing (schedule_id, due_at, kind, status, not_before, payload)
    VALUES (
      ${scheduleId}, date_trunc('milliseconds', clock_timestamp()), 'manual', 'waiting',
      now() + ${leaseMs} * interval '1 millisecond', ${text}::text::json
    )
    ON CONFLICT (schedule_id, due_at) DO NOTHING
    RETURNING (extract(epoch FROM due_at) * 1000)::float8 AS "dueMs", kind, payload::text AS payload`;
  return rows.map(toWaiting)[0];
}

export interface WaitingFiring {
  readonly dueMs: number;
  readonly kind: FiringKind;
  readonly payload: JsonObject | undefined;
}

type RawWaiting = Omit<WaitingFiring, "payload"> & { readonly payload: string | null };

/** Those whose time has come, oldest first. */
export async function listWaitingFirings(
  sql: Sql,
  scheduleId: string,
  limit: number,
): Promise<readonly WaitingFiring[]> {
  const rows = await sql<RawWaiting[]>`
    SELECT (extract(epoch FROM due_at) * 1000)::float8 AS "dueMs", kind, payload::text AS payload
    FROM noetl.schedule_firing
    WHERE schedule_id = ${scheduleId} AND status = 'waiting' AND not_before <= now()
    ORDER BY due_at
    LIMIT ${limit}`;
  return rows.map(toWaiting);
}

/** Executions of the schedule that have not ended, by what is in the database now. */
export async function listOpenFirings(
  sql: Sql,
  scheduleId: string,
): Promise<readonly ExecutionId[]> {
  const rows = await sql<{ executionId: ExecutionId; isOpen: boolean }[]>`
    WITH known AS (
      SELECT f.due_at, f.execution_id,
        coalesce(e.status IN ('pending', 'running'), false) AS is_open
      FROM noetl.schedule_firing AS f
      LEFT JOIN noetl.execution AS e ON e.execution_id = f.execution_id
      WHERE f.schedule_id = ${scheduleId} AND f.is_open
    ), closed AS (
      UPDATE noetl.schedule_firing AS f
      SET is_open = false
      FROM known AS k
      WHERE f.schedule_id = ${scheduleId} AND f.due_at = k.due_at AND NOT k.is_open
    )
    SELECT execution_id AS "executionId", is_open AS "isOpen" FROM known WHERE is_open`;
  return rows.map((row) => row.executionId);
}

/** How a firing went. Absent times of `started` mean the same as in the table. */
export type FiringEnd =
  | { readonly status: "started"; readonly executionId: ExecutionId }
  | { readonly status: "skipped" | "failed"; readonly reason: string };

/** A started one stays started: its execution exists, whatever a late server thinks. */
export async function endFiring(
  sql: Sql,
  scheduleId: string,
  dueMs: number,
  end: FiringEnd,
): Promise<void> {
  const executionId = end.status === "started" ? end.executionId : null;
  const reason = end.status === "started" ? null : end.reason;
  await sql`
    UPDATE noetl.schedule_firing
    SET status = ${end.status}, execution_id = ${executionId}, reason = ${reason},
        is_open = ${end.status === "started"}, acted_at = now()
    WHERE schedule_id = ${scheduleId} AND due_at = ${time(sql, dueMs)} AND status <> 'started'`;
}

/** Skips what waits for its turn, not what a person asked for by hand. */
export async function skipWaitingFirings(
  sql: Sql,
  scheduleId: string,
  reason: string,
): Promise<void> {
  await sql`
    UPDATE noetl.schedule_firing
    SET status = 'skipped', reason = ${reason}, acted_at = now()
    WHERE schedule_id = ${scheduleId} AND status = 'waiting' AND kind = 'scheduled'`;
}

/** Forgets firings of long ago. */
export async function removeOldFirings(
  sql: Sql,
  scheduleId: string,
  keepMs: number,
): Promise<void> {
  await sql`
    DELETE FROM noetl.schedule_firing
    WHERE schedule_id = ${scheduleId} AND status <> 'waiting'
      AND due_at < now() - ${keepMs} * interval '1 millisecond'`;
}

export interface FiringRow {
  readonly dueMs: number;
  readonly kind: FiringKind;
  readonly status: FiringStatus;
  readonly executionId: ExecutionId | null;
  /** Null: none was started, or it is no longer kept. */
  readonly executionStatus: ExecutionStatus | null;
  readonly reason: string | null;
  readonly actedAtMs: number | null;
}

/** Newest due time first. */
export async function listFirings(
  sql: Sql,
  scheduleId: string,
  page: { readonly limit: number; readonly offset: number; readonly status?: string | undefined },
): Promise<readonly FiringRow[]> {
  return await sql<FiringRow[]>`
    SELECT (extract(epoch FROM f.due_at) * 1000)::float8 AS "dueMs", f.kind, f.status,
      f.execution_id AS "executionId", e.status AS "executionStatus", f.reason,
      (extract(epoch FROM f.acted_at) * 1000)::float8 AS "actedAtMs"
    FROM noetl.schedule_firing AS f
    LEFT JOIN noetl.execution AS e ON e.execution_id = f.execution_id
    WHERE f.schedule_id = ${scheduleId} ${isOfStatus(sql, page.status)}
    ORDER BY f.due_at DESC
    LIMIT ${page.limit}
    OFFSET ${page.offset}`;
}

/** Not parameters: those that are rare are found by their indexes. */
function isOfStatus(sql: Sql, status: string | undefined): Fragment {
  switch (status) {
    case undefined:
      return sql``;
    case "waiting":
      return sql`AND f.status = 'waiting'`;
    case "skipped":
      return sql`AND f.status = 'skipped'`;
    case "failed":
      return sql`AND f.status = 'failed'`;
    default:
      return sql`AND f.status = ${status}`;
  }
}

/** The last due time of each schedule that has come; without schedules that have not fired. */
export async function newestFirings(
  sql: Sql,
  scheduleIds: readonly string[],
): Promise<ReadonlyMap<string, FiringRow>> {
  const rows = await sql<(FiringRow & { readonly scheduleId: string })[]>`
    SELECT q.id AS "scheduleId", (extract(epoch FROM f.due_at) * 1000)::float8 AS "dueMs", f.kind,
      f.status, f.execution_id AS "executionId", e.status AS "executionStatus", f.reason,
      (extract(epoch FROM f.acted_at) * 1000)::float8 AS "actedAtMs"
    FROM unnest(${[...scheduleIds]}::bigint[]) AS q (id)
    CROSS JOIN LATERAL (
      SELECT due_at, kind, status, execution_id, reason, acted_at
      FROM noetl.schedule_firing
      WHERE schedule_id = q.id
      ORDER BY due_at DESC
      LIMIT 1
    ) AS f
    LEFT JOIN noetl.execution AS e ON e.execution_id = f.execution_id`;
  return new Map(rows.map(({ scheduleId, ...row }) => [scheduleId, row]));
}

function toWaiting({ payload, ...row }: RawWaiting): WaitingFiring {
  const value = payload === null ? undefined : parseJson(payload);
  return { ...row, payload: isJsonObject(value) ? value : undefined };
}
