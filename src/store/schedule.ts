/**
 * Schedules. A due one is claimed by moving `wake_at` into the future: while a server acts on it, that
 * is its lease, and `claim` its fence. Whatever a person changes moves `claim` too, so that the end of
 * a look that began before does not undo it.
 */
import type { CatalogId } from "../core/ids.ts";
import { parseJson } from "../core/json.ts";
import type { Schedule } from "../dsl/schedule.ts";
import type { Sql } from "./pool.ts";

export interface ScheduleRow {
  readonly scheduleId: string;
  readonly name: string;
  /** Null: made by the API, without a document. */
  readonly catalogId: CatalogId | null;
  readonly spec: Schedule;
  readonly isEnabled: boolean;
  readonly revision: number;
  /** Intervals count from here, unless the spec names a start. */
  readonly anchorMs: number;
  /** Null: paused, or over. */
  readonly nextRunMs: number | null;
  readonly claim: number;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
}

type RawRow = Omit<ScheduleRow, "spec"> & { readonly spec: string };

export interface NewSchedule {
  /** Kept when the name exists. */
  readonly scheduleId: string;
  readonly catalogId: CatalogId | undefined;
  readonly spec: Schedule;
  readonly isEnabled: boolean;
  readonly anchorMs: number;
  readonly nextRunMs: number | undefined;
}

/** Adds the schedule; gives undefined, and changes nothing, if the name is taken. */
export async function addSchedule(
  sql: Sql,
  schedule: NewSchedule,
): Promise<ScheduleRow | undefined> {
  const rows = await sql<RawRow[]>`
    INSERT INTO noetl.schedule AS s (
      schedule_id, name, catalog_id, spec, is_enabled, anchor_at, next_run_at, wake_at
    )
    VALUES (
      ${schedule.scheduleId}, ${schedule.spec.name}, ${schedule.catalogId ?? null},
      ${JSON.stringify(schedule.spec)}::text::json, ${schedule.isEnabled},
      ${time(sql, schedule.anchorMs)}, ${time(sql, schedule.nextRunMs)},
      ${time(sql, schedule.nextRunMs)}
    )
    ON CONFLICT (name) DO NOTHING
    RETURNING ${columns(sql)}`;
  return rows[0] && toRow(rows[0]);
}

/** What a person changes, if nobody has changed it since `revision`; undefined otherwise. */
export async function changeSchedule(
  sql: Sql,
  { scheduleId, revision }: Pick<ScheduleRow, "scheduleId" | "revision">,
  change: Omit<NewSchedule, "scheduleId">,
): Promise<ScheduleRow | undefined> {
  const rows = await sql<RawRow[]>`
    UPDATE noetl.schedule AS s
    SET catalog_id = ${change.catalogId ?? null},
        spec = ${JSON.stringify(change.spec)}::text::json,
        is_enabled = ${change.isEnabled}, anchor_at = ${time(sql, change.anchorMs)},
        next_run_at = ${time(sql, change.nextRunMs)}, wake_at = now(),
        revision = revision + 1, claim = claim + 1, updated_at = now()
    WHERE schedule_id = ${scheduleId} AND revision = ${revision}
    RETURNING ${columns(sql)}`;
  return rows[0] && toRow(rows[0]);
}

/** By name, else by id. */
export async function findSchedule(sql: Sql, nameOrId: string): Promise<ScheduleRow | undefined> {
  const rows = await sql<RawRow[]>`
    SELECT ${columns(sql)}
    FROM noetl.schedule AS s
    WHERE name = ${nameOrId} OR schedule_id::text = ${nameOrId}
    ORDER BY (name = ${nameOrId}) DESC
    LIMIT 1`;
  return rows[0] && toRow(rows[0]);
}

/** By name. */
export async function listSchedules(
  sql: Sql,
  page: { readonly limit: number; readonly offset: number },
): Promise<readonly ScheduleRow[]> {
  const rows = await sql<RawRow[]>`
    SELECT ${columns(sql)}
    FROM noetl.schedule AS s
    ORDER BY name
    LIMIT ${page.limit}
    OFFSET ${page.offset}`;
  return rows.map(toRow);
}

/** With its firings; executions stay. @returns false when there was none. */
export async function removeSchedule(sql: Sql, scheduleId: string): Promise<boolean> {
  const rows = await sql`
    DELETE FROM noetl.schedule WHERE schedule_id = ${scheduleId} RETURNING schedule_id`;
  return rows.length > 0;
}

/** Has a server look at the schedule at once. */
export async function wakeSchedule(sql: Sql, scheduleId: string): Promise<void> {
  await sql`
    UPDATE noetl.schedule SET wake_at = now(), claim = claim + 1 WHERE schedule_id = ${scheduleId}`;
}

export interface ClaimedSchedule extends ScheduleRow {
  /** The database's clock. */
  readonly nowMs: number;
}

/** Those of the schedules that are due and that no other server has taken meanwhile. */
export async function claimSchedules(
  sql: Sql,
  ids: readonly string[],
  leaseMs: number,
): Promise<readonly ClaimedSchedule[]> {
  const rows = await sql<(RawRow & { readonly nowMs: number })[]>`
    UPDATE noetl.schedule AS s
    SET wake_at = now() + ${leaseMs} * interval '1 millisecond', claim = claim + 1
    WHERE schedule_id = ANY (${[...ids]}::bigint[]) AND wake_at <= now()
    RETURNING ${columns(sql)}, (extract(epoch FROM now()) * 1000)::float8 AS "nowMs"`;
  return rows.map((row) => ({ ...toRow(row), nowMs: row.nowMs }));
}

/**
 * Ends a look: the schedule is due again at its next time, or when one of its waiting firings is, but
 * those not before `waitMs`. Nothing happens if the claim is no longer the caller's.
 */
export async function releaseSchedule(
  sql: Sql,
  { scheduleId, claim }: Pick<ScheduleRow, "scheduleId" | "claim">,
  waitMs: number,
): Promise<void> {
  await sql`
    UPDATE noetl.schedule AS s
    SET wake_at = least(
      next_run_at,
      (
        SELECT greatest(min(f.not_before), now() + ${waitMs} * interval '1 millisecond')
        FROM noetl.schedule_firing AS f
        WHERE f.schedule_id = s.schedule_id AND f.status = 'waiting'
        HAVING count(*) > 0
      )
    )
    WHERE schedule_id = ${scheduleId} AND claim = ${claim}`;
}

/** A time parameter; null when absent. */
export function time(sql: Sql, ms: number | undefined) {
  return sql`to_timestamp(${ms ?? null}::float8 / 1000)`;
}

function columns(sql: Sql) {
  return sql`
    s.schedule_id AS "scheduleId", s.name, s.catalog_id AS "catalogId", s.spec::text AS spec,
    s.is_enabled AS "isEnabled", s.revision, s.claim,
    (extract(epoch FROM s.anchor_at) * 1000)::float8 AS "anchorMs",
    (extract(epoch FROM s.next_run_at) * 1000)::float8 AS "nextRunMs",
    (extract(epoch FROM s.created_at) * 1000)::float8 AS "createdAtMs",
    (extract(epoch FROM s.updated_at) * 1000)::float8 AS "updatedAtMs"`;
}

function toRow({ spec, ...row }: RawRow): ScheduleRow {
  return { ...row, spec: parseJson(spec) as unknown as Schedule };
}
