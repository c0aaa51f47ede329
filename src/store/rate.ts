/**
 * Rate limits: one row per key, shared by all servers; a permit is nothing but a moment that the row
 * has passed. Whoever takes one and dies has wasted a moment, nothing is held.
 *
 * The rule is that of the generic cell rate algorithm (ITU-T I.371, also RFC 2697's "committed" rate
 * for bursts): permits are `stepMs` apart, and a key that was unused may run ahead by `burst` steps.
 *
 * Who would have to wait long is not given a permit but a promise: the time of its turn in a line
 * behind all that were promised one before. It comes back a little earlier and then goes before those
 * who ask for the first time, who queue behind the line as long as permits are short. When promised
 * ones do not come back (cancelled, failed), permits lie unused, and whoever asks may take them.
 */
import type { Sql } from "./pool.ts";

/** All that ask together for permits of one key at one rate. */
export interface PermitGroup {
  /** Once in a call. */
  readonly key: string;
  readonly stepMs: number;
  readonly burst: number;
  /** How many come back at their promised time. */
  readonly promised: number;
  /** How many ask for the first time. */
  readonly fresh: number;
}

/** What the row said and what was taken from it; times in milliseconds by the database's clock. */
export interface PermitSpan {
  readonly key: string;
  readonly nowMs: number;
  /** Time of the next permit, had the key no burst; before this call. */
  readonly baseMs: number;
  /** Permits given to promised ones, then those given to the others. */
  readonly promised: number;
  readonly fresh: number;
  /** Where the line began for those who got a promise. */
  readonly lineMs: number;
}

/**
 * Gives permits that are due within `soonMs` and promises for the rest. A key that nobody has used
 * yet has no row and is missing in the answer: {@link addRateKeys} first.
 *
 * Locks the rows in the order of the groups: sort them, so that two servers never wait for each other.
 */
export async function takePermits(
  sql: Sql,
  groups: readonly PermitGroup[],
  soonMs: number,
): Promise<readonly PermitSpan[]> {
  return await sql<PermitSpan[]>`
    WITH wanted AS (
      SELECT w.rate_key, w.step, (w.burst - 1) * w.step AS slack, w.promised, w.fresh
      FROM unnest(
        ${groups.map((group) => group.key)}::text[],
        ${groups.map((group) => group.stepMs)}::float8[],
        ${groups.map((group) => group.burst)}::float8[],
        ${groups.map((group) => group.promised)}::float8[],
        ${groups.map((group) => group.fresh)}::float8[]
      ) AS w (rate_key, step, burst, promised, fresh)
    ), locked AS MATERIALIZED (
      SELECT w.rate_key, w.step, w.slack, w.promised, w.fresh, r.spent_until, r.line_until
      FROM wanted AS w
      CROSS JOIN LATERAL (
        SELECT spent_until, line_until FROM noetl.rate WHERE rate_key = w.rate_key FOR UPDATE
      ) AS r
    ), timed AS MATERIALIZED (
      SELECT
        rate_key, step, slack, promised, fresh, spent_until, line_until,
        (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now_ms
      FROM locked
    ), based AS (
      SELECT
        rate_key, step, slack, promised, fresh, line_until, now_ms,
        greatest(spent_until, now_ms) AS base
      FROM timed
    ), counted AS (
      SELECT
        rate_key, step, slack, promised, fresh, line_until, now_ms, base,
        greatest(0, floor((now_ms + ${soonMs} + slack - base) / step) + 1) AS soon,
        greatest(0, floor((now_ms + slack - base) / step) + 1) AS at_once
      FROM based
    ), first AS (
      SELECT
        rate_key, step, slack, fresh, line_until, now_ms, base, soon, at_once,
        least(promised, soon) AS kept
      FROM counted
    ), second AS (
      SELECT
        rate_key, step, slack, fresh, line_until, now_ms, base, kept,
        least(fresh, greatest(0, CASE
          WHEN line_until <= greatest(now_ms, base + kept * step - slack) THEN soon
          ELSE at_once
        END - kept)) AS given
      FROM first
    ), settled AS (
      SELECT
        rate_key, step, now_ms, base, kept, given, fresh - given AS put_off,
        base + (kept + given) * step AS spent,
        line_until,
        greatest(line_until, now_ms, base + (kept + given) * step - slack) AS line
      FROM second
    )
    UPDATE noetl.rate AS r
    SET spent_until = s.spent,
        line_until = CASE WHEN s.put_off > 0 THEN s.line + s.put_off * s.step ELSE s.line_until END
    FROM settled AS s
    WHERE r.rate_key = s.rate_key
    RETURNING
      r.rate_key AS key, s.now_ms AS "nowMs", s.base AS "baseMs",
      s.kept AS promised, s.given AS fresh, s.line AS "lineMs"`;
}

/** Rows for keys that have none. */
export async function addRateKeys(sql: Sql, keys: readonly string[]): Promise<void> {
  await sql`
    INSERT INTO noetl.rate (rate_key, spent_until, line_until)
    SELECT key, 0, 0
    FROM unnest(${[...keys]}::text[]) AS key
    ON CONFLICT (rate_key) DO NOTHING`;
}

const IDLE_MAX = 10_000;

/** Rows that say no more than none would, and that nobody uses just now. True: there are more. */
export async function removeIdleRates(sql: Sql): Promise<boolean> {
  const rows = await sql`
    WITH idle AS MATERIALIZED (
      SELECT rate_key
      FROM noetl.rate
      WHERE greatest(spent_until, line_until) < extract(epoch FROM now()) * 1000
      LIMIT ${IDLE_MAX}
      FOR UPDATE SKIP LOCKED
    )
    DELETE FROM noetl.rate AS r
    USING idle AS i
    WHERE r.rate_key = i.rate_key`;
  return rows.count >= IDLE_MAX;
}
