/**
 * The one durable write: what a batch of decisions changes, in one statement, so that one commit
 * serves many executions.
 *
 * First the head of each execution moves from its expected position to the new one (or its row is
 * made); everything else of the batch is joined to the rows that moved. A group whose execution was
 * not where it should be therefore changes nothing at all, and the rest of the batch is not held up.
 * The statement holds only the parts that the batch needs; each combination is one prepared
 * statement.
 *
 * Locks: rows of `execution` and `dedup` against other servers' batches, rows of `command` against
 * nobody for long, because claims and renewals skip what is locked here.
 */
import type { CatalogId, CommandId, ExecutionId, TimerId, WorkerId } from "../core/ids.ts";
import type { ExecutionStatus } from "../engine/decision.ts";
import type { ExecutionOrigin } from "../engine/event.ts";
import { commandParts } from "./append-command.ts";
import type { QueuedCommand } from "./command.ts";
import { jsonArray } from "./json-array.ts";
import type { Fragment, Sql } from "./pool.ts";

/** Everything that one execution's decisions change. */
export interface AppendGroup {
  readonly executionId: ExecutionId;
  /** Position that the decisions were made at; 0: not started. */
  readonly expectedSeq: number;
  readonly newSeq: number;
  /** After the last event. */
  readonly status: ExecutionStatus;
  /** JSON text, of a completed one. */
  readonly result: string | undefined;
  /** JSON text, of a failed one. */
  readonly error: string | undefined;
  /** True: this group brings the end that `status` is. */
  readonly hasEnded: boolean;
  /** Set when the row is to be made: the start of a root. Its id is `executionId`. */
  readonly create: NewExecution | undefined;
  /** Playbook that a pending child runs, known when it starts. */
  readonly playbook: { readonly catalogId: CatalogId; readonly version: number } | undefined;
  readonly events: readonly NewEvent[];
  readonly issue: readonly IssuedCommand[];
  readonly requeue: readonly RequeuedRow[];
  readonly remove: readonly CommandId[];
  readonly cancel: readonly CommandId[];
  /** Of this execution or of others that it must wake. */
  readonly timers: readonly NewTimerRow[];
  readonly stopTimers: readonly TimerId[];
  /** Children, to be started right after the commit. */
  readonly spawn: readonly NewExecution[];
  /** True: every command and timer of the execution goes, whatever the lists say. */
  readonly isPurged: boolean;
}

export interface NewExecution {
  readonly executionId: ExecutionId;
  readonly catalogId: CatalogId | undefined;
  readonly path: string;
  readonly version: number | undefined;
  readonly parentId: ExecutionId | undefined;
  readonly rootId: ExecutionId;
  readonly depth: number;
  readonly returnStep: string | undefined;
  readonly isWaited: boolean;
  /** JSON text of an object. */
  readonly payload: string;
  readonly pool: string | undefined;
  readonly priority: number | undefined;
  readonly dedup: { readonly key: string; readonly windowMs: number } | undefined;
  readonly origin: ExecutionOrigin | undefined;
  /** W3C traceparent of who asked for it. */
  readonly trace?: string | undefined;
}

export interface NewEvent {
  readonly seq: number;
  readonly type: string;
  readonly step: string | undefined;
  readonly timeMs: number;
  /** JSON text. */
  readonly payload: string;
}

export interface IssuedCommand {
  readonly commandId: CommandId;
  readonly eventSeq: number;
  readonly step: string;
  readonly visit: number;
  readonly index: number | undefined;
  readonly tool: string;
  readonly pool: string;
  readonly priority: number;
  readonly attempt: number;
  /** From the commit on. */
  readonly delayMs: number;
  /** True: cancelled in the same batch that issued it; the row waits for its confirmation. */
  readonly isCancelling: boolean;
  /** Set: claimed from the start, by the worker whose report it follows. */
  readonly grant: Grant | undefined;
  /** JSON text of a CommandPayload. */
  readonly payload: string;
  /** As in the payload. */
  readonly trace?: string | undefined;
  /** JSON text of a GpuDemand; undefined: it wants none. */
  readonly gpuDemand: string | undefined;
  /** How long it may be queued; undefined: for ever. */
  readonly queueTimeoutMs: number | undefined;
}

export interface Grant {
  readonly workerId: WorkerId;
  readonly leaseMs: number;
}

export interface RequeuedRow {
  readonly commandId: CommandId;
  readonly attempt: number;
  readonly delayMs: number;
  /** True: cancelled in the same batch that requeued it; the row waits for its confirmation. */
  readonly isCancelling: boolean;
  /** How long it may be queued; undefined: for ever. */
  readonly queueTimeoutMs: number | undefined;
}

export interface NewTimerRow {
  /** The execution to wake. */
  readonly executionId: ExecutionId;
  readonly timerId: TimerId;
  readonly delayMs: number;
  /** JSON text of a WakeUp. */
  readonly input: string;
}

export interface AppendResult {
  /** Executions whose group is now durable. */
  readonly moved: ReadonlySet<ExecutionId>;
  /** Commands that were told to stop. */
  readonly cancelling: readonly CancellingCommand[];
  /** Commands that are handed out again. */
  readonly requeued: readonly QueuedCommand[];
}

export interface CancellingCommand {
  readonly executionId: ExecutionId;
  readonly commandId: CommandId;
  readonly attempt: number;
  /** Absent: nobody had claimed it. */
  readonly workerId: WorkerId | undefined;
}

interface ResultRow extends QueuedCommand {
  readonly kind: "moved" | "cancelling" | "requeued";
  readonly workerId: WorkerId | null;
}

/**
 * Writes the groups, at most one per execution and one per dedup key. Durable when it resolves.
 *
 * When it rejects with a lost connection nobody knows whether it was written: read again before
 * deciding again.
 */
export async function appendBatch(sql: Sql, groups: readonly AppendGroup[]): Promise<AppendResult> {
  const rows = await sql<ResultRow[]>`
    WITH ${headParts(sql, groups)}
    ${eventPart(sql, groups)}
    ${commandParts(sql, groups)}
    ${timerParts(sql, groups)}
    ${spawnPart(sql, groups)}
    SELECT
      'moved' AS kind, execution_id AS "executionId", 0::bigint AS "commandId", 0 AS attempt,
      NULL::text AS "workerId", 0 AS "eventSeq", '' AS step, '' AS pool
    FROM moved
    ${
      groups.some((group) => group.cancel.length > 0)
        ? sql`UNION ALL
            SELECT 'cancelling', execution_id, command_id, attempt, worker_id, 0, '', ''
            FROM cancelling`
        : sql``
    }
    ${
      groups.some((group) => group.requeue.length > 0)
        ? sql`UNION ALL
            SELECT 'requeued', execution_id, command_id, attempt, NULL, event_seq, step, pool
            FROM requeued`
        : sql``
    }`;
  const of = (kind: ResultRow["kind"]): readonly ResultRow[] =>
    rows.filter((row) => row.kind === kind);
  return {
    moved: new Set(of("moved").map((row) => row.executionId)),
    cancelling: of("cancelling").map(({ executionId, commandId, attempt, workerId }) => ({
      executionId,
      commandId,
      attempt,
      workerId: workerId ?? undefined,
    })),
    requeued: of("requeued"),
  };
}

/** Moves heads and makes rows; `moved` holds the ids of both. */
function headParts(sql: Sql, groups: readonly AppendGroup[]): Fragment {
  const created = groups.filter((group) => group.create !== undefined);
  const advanced = groups.filter((group) => group.create === undefined);
  if (created.length === 0) {
    return sql`${advancedPart(sql, advanced)}, moved AS (SELECT execution_id FROM advanced)`;
  }
  const parts = createdPart(sql, created);
  return advanced.length === 0
    ? sql`${parts}, moved AS (SELECT execution_id FROM created)`
    : sql`${parts}, ${advancedPart(sql, advanced)}, moved AS (
        SELECT execution_id FROM created UNION ALL SELECT execution_id FROM advanced
      )`;
}

/** `ANY` lets the planner find the rows by key even while it takes the table for small. */
function advancedPart(sql: Sql, groups: readonly AppendGroup[]): Fragment {
  return sql`advanced AS (
    UPDATE noetl.execution AS e
    SET seq = g.new_seq,
        status = g.status,
        catalog_id = coalesce(g.catalog_id, e.catalog_id),
        version = coalesce(g.version, e.version),
        result = CASE
          WHEN g.has_ended AND g.status = 'completed' THEN g.result
          WHEN NOT g.has_ended AND g.status <> 'running' THEN e.result
        END,
        error = CASE
          WHEN g.has_ended AND g.status IN ('failed', 'cancelled') THEN g.error
          WHEN NOT g.has_ended AND g.status <> 'running' THEN e.error
        END,
        ended_at = CASE
          WHEN g.has_ended THEN now()
          WHEN g.status NOT IN ('pending', 'running') THEN coalesce(e.ended_at, now())
        END,
        -- A retried execution has reserved its place: see reservePlace.
        place = CASE
          WHEN e.ended_at IS NOT NULL AND g.status = 'running' AND e.place_since IS NOT NULL
            THEN 'held'
          ELSE e.place
        END
    FROM ROWS FROM (
      unnest(
        ${groups.map((group) => group.executionId)}::bigint[],
        ${groups.map((group) => group.expectedSeq)}::integer[],
        ${groups.map((group) => group.newSeq)}::integer[],
        ${groups.map((group) => group.status)}::text[],
        ${groups.map((group) => String(group.hasEnded))}::text[]::boolean[],
        ${groups.map((group) => group.playbook?.catalogId ?? null)}::bigint[],
        ${groups.map((group) => group.playbook?.version ?? null)}::integer[]
      ),
      json_array_elements(${jsonArray(groups.map((group) => group.result))}::text::json),
      json_array_elements(${jsonArray(groups.map((group) => group.error))}::text::json)
    ) AS g (
      execution_id, expected_seq, new_seq, status, has_ended, catalog_id, version, result, error
    )
    WHERE e.execution_id = g.execution_id AND e.seq = g.expected_seq
      AND e.execution_id = ANY (${groups.map((group) => group.executionId)}::bigint[])
    RETURNING e.execution_id
  )`;
}

function createdPart(sql: Sql, groups: readonly AppendGroup[]): Fragment {
  const keyed = groups.flatMap(({ create }) => (create?.dedup === undefined ? [] : [create]));
  const rows = groups.flatMap(({ create }) => create ?? []);
  const isOwner =
    keyed.length === 0
      ? sql``
      : sql`WHERE n.dedup_key IS NULL OR n.execution_id IN (SELECT execution_id FROM keyed)`;
  return sql`${keyed.length === 0 ? sql`` : sql`${dedupPart(sql, keyed)},`} created AS (
    INSERT INTO noetl.execution (
      execution_id, catalog_id, path, version, parent_id, root_id, depth, return_step, is_waited,
      pool, priority, dedup_key, origin_id, origin_kind, trace, payload, seq, status, result, error,
      ended_at
    )
    SELECT
      n.execution_id, n.catalog_id, n.path, n.version, n.parent_id, n.root_id, n.depth,
      n.return_step, n.is_waited::boolean, n.pool, n.priority, n.dedup_key, n.origin_id,
      n.origin_kind, n.trace, n.payload, n.seq, n.status,
      CASE WHEN n.status = 'completed' THEN n.result END,
      CASE WHEN n.status IN ('failed', 'cancelled') THEN n.error END,
      CASE WHEN n.status NOT IN ('pending', 'running') THEN now() END
    FROM ROWS FROM (
      ${executionArrays(sql, rows)},
      json_array_elements(${jsonArray(rows.map((row) => row.payload))}::text::json),
      unnest(
        ${groups.map((group) => group.newSeq)}::integer[],
        ${groups.map((group) => group.status)}::text[]
      ),
      json_array_elements(${jsonArray(groups.map((group) => group.result))}::text::json),
      json_array_elements(${jsonArray(groups.map((group) => group.error))}::text::json)
    ) AS n (
      execution_id, catalog_id, path, version, parent_id, root_id, depth, return_step, is_waited,
      pool, priority, dedup_key, origin_id, origin_kind, trace, payload, seq, status, result, error
    )
    ${isOwner}
    ON CONFLICT (execution_id) DO NOTHING
    RETURNING execution_id
  )`;
}

/** Takes free or expired keys; sorted, so that two servers never wait for each other. */
export function dedupPart(sql: Sql, keyed: readonly NewExecution[]): Fragment {
  const rows = keyed.toSorted((a, b) => compare(a.dedup?.key ?? "", b.dedup?.key ?? ""));
  return sql`keyed AS (
    INSERT INTO noetl.dedup AS d (dedup_key, execution_id, expires_at)
    SELECT n.dedup_key, n.execution_id, now() + n.window_ms * interval '1 millisecond'
    FROM unnest(
      ${rows.map((row) => row.dedup?.key ?? "")}::text[],
      ${rows.map((row) => row.executionId)}::bigint[],
      ${rows.map((row) => row.dedup?.windowMs ?? 0)}::float8[]
    ) AS n (dedup_key, execution_id, window_ms)
    ON CONFLICT (dedup_key) DO UPDATE
    SET execution_id = excluded.execution_id, expires_at = excluded.expires_at
    WHERE d.expires_at <= now() OR d.execution_id = excluded.execution_id
    RETURNING execution_id
  )`;
}

export function executionArrays(sql: Sql, rows: readonly NewExecution[]): Fragment {
  return sql`unnest(
    ${rows.map((row) => row.executionId)}::bigint[],
    ${rows.map((row) => row.catalogId ?? null)}::bigint[],
    ${rows.map((row) => row.path)}::text[],
    ${rows.map((row) => row.version ?? null)}::integer[],
    ${rows.map((row) => row.parentId ?? null)}::bigint[],
    ${rows.map((row) => row.rootId)}::bigint[],
    ${rows.map((row) => row.depth)}::integer[],
    ${rows.map((row) => row.returnStep ?? null)}::text[],
    ${rows.map((row) => String(row.isWaited))}::text[],
    ${rows.map((row) => row.pool ?? null)}::text[],
    ${rows.map((row) => row.priority ?? null)}::smallint[],
    ${rows.map((row) => row.dedup?.key ?? null)}::text[],
    ${rows.map((row) => row.origin?.executionId ?? null)}::bigint[],
    ${rows.map((row) => row.origin?.kind ?? null)}::text[],
    ${rows.map((row) => row.trace ?? null)}::text[]
  )`;
}

function eventPart(sql: Sql, groups: readonly AppendGroup[]): Fragment {
  const rows = groups.flatMap(({ executionId, events }) =>
    events.map((event) => ({ executionId, event })),
  );
  return rows.length === 0
    ? sql``
    : sql`, logged AS (
        INSERT INTO noetl.event (execution_id, seq, type, step, occurred_at, payload)
        SELECT n.execution_id, n.seq, n.type, n.step, to_timestamp(n.time_ms / 1000), n.payload
        FROM ROWS FROM (
          unnest(
            ${rows.map((row) => row.executionId)}::bigint[],
            ${rows.map((row) => row.event.seq)}::integer[],
            ${rows.map((row) => row.event.type)}::text[],
            ${rows.map((row) => row.event.step ?? null)}::text[],
            ${rows.map((row) => row.event.timeMs)}::float8[]
          ),
          json_array_elements(${jsonArray(rows.map((row) => row.event.payload))}::text::json)
        ) AS n (execution_id, seq, type, step, time_ms, payload)
        WHERE (n.execution_id IN (SELECT execution_id FROM moved)) IS TRUE
      )`;
}

function timerParts(sql: Sql, groups: readonly AppendGroup[]): Fragment {
  const rows = groups.flatMap(({ executionId, timers }) =>
    timers.map((timer) => ({ owner: executionId, timer })),
  );
  const stopped = groups.flatMap(({ executionId, stopTimers }) =>
    stopTimers.map((timerId) => ({ executionId, timerId })),
  );
  const started =
    rows.length === 0
      ? sql``
      : sql`, timed AS (
          INSERT INTO noetl.timer (execution_id, timer_id, due_at, input)
          SELECT
            n.execution_id, n.timer_id, now() + n.delay_ms * interval '1 millisecond', n.input
          FROM ROWS FROM (
            unnest(
              ${rows.map((row) => row.owner)}::bigint[],
              ${rows.map((row) => row.timer.executionId)}::bigint[],
              ${rows.map((row) => row.timer.timerId)}::bigint[],
              ${rows.map((row) => row.timer.delayMs)}::float8[]
            ),
            json_array_elements(${jsonArray(rows.map((row) => row.timer.input))}::text::json)
          ) AS n (owner_id, execution_id, timer_id, delay_ms, input)
          WHERE (n.owner_id IN (SELECT execution_id FROM moved)) IS TRUE
        )`;
  return stopped.length === 0
    ? started
    : sql`${started}, untimed AS (
        DELETE FROM noetl.timer AS t
        USING unnest(
          ${stopped.map((row) => row.executionId)}::bigint[],
          ${stopped.map((row) => row.timerId)}::bigint[]
        ) AS n (execution_id, timer_id)
        WHERE t.execution_id = n.execution_id AND t.timer_id = n.timer_id
          AND (n.execution_id IN (SELECT execution_id FROM moved)) IS TRUE
      )`;
}

/** Rows of children that are to start. */
function spawnPart(sql: Sql, groups: readonly AppendGroup[]): Fragment {
  const rows = groups.flatMap((group) => group.spawn);
  return rows.length === 0
    ? sql``
    : sql`, spawned AS (
        INSERT INTO noetl.execution (
          execution_id, catalog_id, path, version, parent_id, root_id, depth, return_step,
          is_waited, pool, priority, dedup_key, origin_id, origin_kind, trace, payload, seq, status
        )
        SELECT
          n.execution_id, n.catalog_id, n.path, n.version, n.parent_id, n.root_id, n.depth,
          n.return_step, n.is_waited::boolean, n.pool, n.priority, n.dedup_key, n.origin_id,
          n.origin_kind, n.trace, n.payload, 0, 'pending'
        FROM ROWS FROM (
          ${executionArrays(sql, rows)},
          json_array_elements(${jsonArray(rows.map((row) => row.payload))}::text::json)
        ) AS n (
          execution_id, catalog_id, path, version, parent_id, root_id, depth, return_step,
          is_waited, pool, priority, dedup_key, origin_id, origin_kind, trace, payload
        )
        WHERE (n.parent_id IN (SELECT execution_id FROM moved)) IS TRUE
      )`;
}

function compare(a: string, b: string): number {
  if (a === b) {
    return 0;
  }
  return a < b ? -1 : 1;
}
