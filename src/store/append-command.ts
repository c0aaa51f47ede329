/**
 * The parts of appendBatch's statement that change rows of `command`.
 *
 * `(… IN (…)) IS TRUE`, here and in append.ts, makes `moved` a hashed subplan: it keeps the planner
 * from joining `moved` first and then reading all of an execution's rows in search of one.
 */
import type { AppendGroup, IssuedCommand } from "./append.ts";
import { jsonArray } from "./json-array.ts";
import type { Fragment, Sql } from "./pool.ts";

/** How long a cancelled command that nobody had claimed waits for its own confirmation. */
const CONFIRM_MS = 1000;

export function commandParts(sql: Sql, groups: readonly AppendGroup[]): Fragment {
  return sql`${issuedPart(sql, groups)} ${removedPart(sql, groups)} ${requeuedPart(sql, groups)}
    ${cancellingPart(sql, groups)} ${purgedPart(sql, groups)}`;
}

function issuedPart(sql: Sql, groups: readonly AppendGroup[]): Fragment {
  const rows = groups.flatMap(({ executionId, issue }) =>
    issue.map((command) => ({ executionId, command })),
  );
  const parts = gpuParts(
    sql,
    rows.map(({ command }) => command),
  );
  return rows.length === 0
    ? sql``
    : sql`, issued AS (
        INSERT INTO noetl.command (
          execution_id, command_id, event_seq, step, visit, loop_index, tool, pool, priority,
          attempt, status, available_at, lease_until, worker_id, claimed_at, payload
          ${parts.columns}
        )
        SELECT
          n.execution_id, n.command_id, n.event_seq, n.step, n.visit, n.loop_index, n.tool, n.pool,
          n.priority, n.attempt, n.status, now() + n.delay_ms * interval '1 millisecond',
          now() + n.lease_ms * interval '1 millisecond', n.worker_id,
          CASE WHEN n.worker_id IS NOT NULL THEN now() END, n.payload
          ${parts.values}
        FROM ROWS FROM (
          unnest(
            ${rows.map((row) => row.executionId)}::bigint[],
            ${rows.map((row) => row.command.commandId)}::bigint[],
            ${rows.map((row) => row.command.eventSeq)}::integer[],
            ${rows.map((row) => row.command.step)}::text[],
            ${rows.map((row) => row.command.visit)}::integer[],
            ${rows.map((row) => row.command.index ?? null)}::integer[],
            ${rows.map((row) => row.command.tool)}::text[],
            ${rows.map((row) => row.command.pool)}::text[],
            ${rows.map((row) => row.command.priority)}::smallint[],
            ${rows.map((row) => row.command.attempt)}::integer[],
            ${rows.map((row) => statusOf(row.command))}::text[],
            ${rows.map((row) => row.command.delayMs)}::float8[],
            ${rows.map((row) => row.command.grant?.workerId ?? null)}::text[],
            ${rows.map((row) => leaseOf(row.command))}::float8[]
          ),
          json_array_elements(${jsonArray(rows.map((row) => row.command.payload))}::text::json)
          ${parts.arrays}
        ) AS n (
          execution_id, command_id, event_seq, step, visit, loop_index, tool, pool, priority,
          attempt, status, delay_ms, worker_id, lease_ms, payload ${parts.names}
        )
        WHERE (n.execution_id IN (SELECT execution_id FROM moved)) IS TRUE
      )`;
}

/** What only commands have that want GPUs or may not be queued for ever; nothing as long as none does. */
function gpuParts(
  sql: Sql,
  commands: readonly IssuedCommand[],
): Readonly<Record<"columns" | "values" | "arrays" | "names", Fragment>> {
  if (commands.every((one) => one.gpuDemand === undefined && one.queueTimeoutMs === undefined)) {
    return { columns: sql``, values: sql``, arrays: sql``, names: sql`` };
  }
  const demands = commands.map(({ gpuDemand }) => gpuDemand ?? null);
  const limits = commands.map(({ queueTimeoutMs }) => queueTimeoutMs ?? null);
  return {
    columns: sql`, gpu_demand, queue_until`,
    values: sql`, n.gpu_demand::json,
      now() + (n.delay_ms + n.queue_ms) * interval '1 millisecond'`,
    arrays: sql`, unnest(${demands}::text[], ${limits}::float8[])`,
    names: sql`, gpu_demand, queue_ms`,
  };
}

function statusOf({ isCancelling, grant }: IssuedCommand): string {
  if (isCancelling) {
    return "cancelling";
  }
  return grant === undefined ? "queued" : "running";
}

function leaseOf({ isCancelling, grant }: IssuedCommand): number | null {
  return isCancelling ? CONFIRM_MS : (grant?.leaseMs ?? null);
}

function removedPart(sql: Sql, groups: readonly AppendGroup[]): Fragment {
  const rows = groups.flatMap(({ executionId, remove }) =>
    remove.map((commandId) => ({ executionId, commandId })),
  );
  return rows.length === 0
    ? sql``
    : sql`, removed AS (
        DELETE FROM noetl.command AS c
        USING unnest(
          ${rows.map((row) => row.executionId)}::bigint[],
          ${rows.map((row) => row.commandId)}::bigint[]
        ) AS n (execution_id, command_id)
        WHERE c.execution_id = n.execution_id AND c.command_id = n.command_id
          AND (n.execution_id IN (SELECT execution_id FROM moved)) IS TRUE
      )`;
}

function requeuedPart(sql: Sql, groups: readonly AppendGroup[]): Fragment {
  const rows = groups.flatMap(({ executionId, requeue }) =>
    requeue.map((row) => ({ executionId, row })),
  );
  return rows.length === 0
    ? sql``
    : sql`, requeued AS (
        UPDATE noetl.command AS c
        SET status = n.status,
            attempt = n.attempt,
            available_at = now() + n.delay_ms * interval '1 millisecond',
            worker_id = NULL,
            claimed_at = NULL,
            lease_until = CASE
              WHEN n.status = 'cancelling' THEN now() + ${CONFIRM_MS} * interval '1 millisecond'
            END,
            notified_at = NULL,
            gpus = NULL,
            waits_for = NULL,
            queue_error = NULL,
            queue_until = now() + (n.delay_ms + n.queue_ms) * interval '1 millisecond'
        FROM unnest(
          ${rows.map(({ executionId }) => executionId)}::bigint[],
          ${rows.map(({ row }) => row.commandId)}::bigint[],
          ${rows.map(({ row }) => row.attempt)}::integer[],
          ${rows.map(({ row }) => row.delayMs)}::float8[],
          ${rows.map(({ row }) => (row.isCancelling ? "cancelling" : "queued"))}::text[],
          ${rows.map(({ row }) => row.queueTimeoutMs ?? null)}::float8[]
        ) AS n (execution_id, command_id, attempt, delay_ms, status, queue_ms)
        WHERE c.execution_id = n.execution_id AND c.command_id = n.command_id
          AND (n.execution_id IN (SELECT execution_id FROM moved)) IS TRUE
        RETURNING c.execution_id, c.command_id, c.attempt, c.event_seq, c.step, c.pool
      )`;
}

/**
 * A running command waits for its worker's word, a queued one for its own confirmation: the row
 * stays, with a lease that soon expires, until the execution has recorded that it is gone.
 */
function cancellingPart(sql: Sql, groups: readonly AppendGroup[]): Fragment {
  const rows = groups.flatMap(({ executionId, cancel }) =>
    cancel.map((commandId) => ({ executionId, commandId })),
  );
  return rows.length === 0
    ? sql``
    : sql`, cancelling AS (
        UPDATE noetl.command AS c
        SET status = 'cancelling',
            lease_until = coalesce(c.lease_until, now() + ${CONFIRM_MS} * interval '1 millisecond')
        FROM unnest(
          ${rows.map((row) => row.executionId)}::bigint[],
          ${rows.map((row) => row.commandId)}::bigint[]
        ) AS n (execution_id, command_id)
        WHERE c.execution_id = n.execution_id AND c.command_id = n.command_id
          AND (n.execution_id IN (SELECT execution_id FROM moved)) IS TRUE
        RETURNING c.execution_id, c.command_id, c.attempt, c.worker_id
      )`;
}

function purgedPart(sql: Sql, groups: readonly AppendGroup[]): Fragment {
  const ids = groups.flatMap((group) => (group.isPurged ? [group.executionId] : []));
  return ids.length === 0
    ? sql``
    : sql`, purged_commands AS (
        DELETE FROM noetl.command AS c
        USING unnest(${ids}::bigint[]) AS n (execution_id)
        WHERE c.execution_id = n.execution_id
          AND (n.execution_id IN (SELECT execution_id FROM moved)) IS TRUE
      ), purged_timers AS (
        DELETE FROM noetl.timer AS t
        USING unnest(${ids}::bigint[]) AS n (execution_id)
        WHERE t.execution_id = n.execution_id
          AND (n.execution_id IN (SELECT execution_id FROM moved)) IS TRUE
      )`;
}
