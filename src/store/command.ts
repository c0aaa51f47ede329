/**
 * Open commands: claims, leases, marks. What changes an execution's fate is in append.ts instead.
 *
 * On young tables a join reads all open commands to find a few, and its plan would stay. LATERAL with
 * a lock is not turned into a join. See plan.test.ts.
 *
 * `lease_until IS NULL` stands for `status = 'queued'` where rows are found by key, because the latter
 * would let the planner walk all queued commands by a partial index instead.
 *
 * Everything here skips rows that are locked: an append is busy with them, and waiting for it while
 * holding other rows could end in a deadlock. A skipped row keeps its old lease or mark, which the
 * next heartbeat or sweep puts right.
 */
import type { CommandId, ExecutionId, WorkerId } from "../core/ids.ts";
import type { HeldCommand } from "../engine/command.ts";
import type { Sql } from "./pool.ts";

export interface ClaimRequest extends HeldCommand {
  readonly workerId: WorkerId;
}

export type ClaimRow =
  | {
      readonly status: "claimed";
      readonly attempt: number;
      /** JSON text. */
      readonly payload: string;
      readonly claimedAtMs: number;
      readonly pool: string;
      /** From available to claimed. */
      readonly waitedMs: number;
    }
  | { readonly status: "gone" }
  | { readonly status: "later"; readonly delayMs: number };

interface RawClaim {
  readonly payload: string | null;
  readonly attempt: number | null;
  readonly claimedAtMs: number | null;
  readonly pool: string | null;
  readonly waitedMs: number | null;
  readonly delayMs: number | null;
}

/** Shortest delay told to a worker that came too early, or while somebody else had the row locked. */
const LATER_MS_MIN = 20;

/**
 * Gives each command to the worker that asked for it, if it is queued, due and of that attempt. A
 * worker that holds the command already gets it again: its first answer was lost.
 *
 * @returns one row per request, in order.
 */
export async function claimCommands(
  sql: Sql,
  requests: readonly ClaimRequest[],
  leaseMs: number,
): Promise<readonly ClaimRow[]> {
  const rows = await sql<RawClaim[]>`
    WITH asked AS (
      SELECT q.execution_id, q.command_id, q.attempt, q.worker_id, q.n
      FROM unnest(
        ${requests.map((request) => request.executionId)}::bigint[],
        ${requests.map((request) => request.commandId)}::bigint[],
        ${requests.map((request) => request.attempt)}::integer[],
        ${requests.map((request) => request.workerId)}::text[]
      ) WITH ORDINALITY AS q (execution_id, command_id, attempt, worker_id, n)
    ), free AS (
      SELECT c.execution_id, c.command_id, c.available_at, c.claimed_at, q.worker_id, q.n
      FROM asked AS q
      CROSS JOIN LATERAL (
        SELECT execution_id, command_id, available_at, claimed_at
        FROM noetl.command
        WHERE execution_id = q.execution_id AND command_id = q.command_id
          AND attempt = q.attempt
          AND CASE status
            WHEN 'queued' THEN available_at <= now()
            WHEN 'running' THEN worker_id = q.worker_id
          END
        FOR UPDATE SKIP LOCKED
      ) AS c
    ), claimed AS (
      UPDATE noetl.command AS c
      SET status = 'running',
          worker_id = f.worker_id,
          claimed_at = coalesce(f.claimed_at, now()),
          lease_until = now() + ${leaseMs} * interval '1 millisecond'
      FROM free AS f
      WHERE c.execution_id = f.execution_id AND c.command_id = f.command_id
      RETURNING f.n, c.attempt, c.payload, c.pool, c.claimed_at, f.available_at
    )
    SELECT
      d.payload::text AS payload,
      d.attempt,
      d.pool,
      (extract(epoch FROM d.claimed_at) * 1000)::float8 AS "claimedAtMs",
      (extract(epoch FROM d.claimed_at - d.available_at) * 1000)::float8 AS "waitedMs",
      (extract(epoch FROM c.available_at - now()) * 1000)::float8 AS "delayMs"
    FROM asked AS q
    LEFT JOIN claimed AS d ON d.n = q.n
    LEFT JOIN LATERAL (
      SELECT available_at
      FROM noetl.command
      WHERE d.n IS NULL AND execution_id = q.execution_id AND command_id = q.command_id
        AND attempt = q.attempt AND lease_until IS NULL
      LIMIT 1
    ) AS c ON true
    ORDER BY q.n`;
  return rows.map(toClaimRow);
}

function toClaimRow(row: RawClaim): ClaimRow {
  if (row.payload !== null) {
    return {
      status: "claimed",
      attempt: row.attempt ?? 1,
      payload: row.payload,
      claimedAtMs: Math.round(row.claimedAtMs ?? 0),
      pool: row.pool ?? "",
      waitedMs: Math.max(0, row.waitedMs ?? 0),
    };
  }
  return row.delayMs === null
    ? { status: "gone" }
    : { status: "later", delayMs: Math.max(LATER_MS_MIN, Math.ceil(row.delayMs)) };
}

/** A command as its execution's page shows it. */
export interface CommandRow {
  readonly commandId: CommandId;
  readonly step: string;
  readonly visit: number;
  readonly index: number | null;
  readonly tool: string;
  readonly pool: string;
  readonly priority: number;
  readonly status: "queued" | "running" | "cancelling";
  readonly attempt: number;
  readonly workerId: WorkerId | null;
  readonly availableAtMs: number;
  readonly claimedAtMs: number | null;
  readonly leaseUntilMs: number | null;
}

/** Open commands of an execution, oldest first. */
export async function listCommands(
  sql: Sql,
  executionId: ExecutionId,
): Promise<readonly CommandRow[]> {
  return await sql<CommandRow[]>`
    SELECT
      command_id AS "commandId",
      step,
      visit,
      loop_index AS index,
      tool,
      pool,
      priority,
      status,
      attempt,
      worker_id AS "workerId",
      (extract(epoch FROM available_at) * 1000)::float8 AS "availableAtMs",
      (extract(epoch FROM claimed_at) * 1000)::float8 AS "claimedAtMs",
      (extract(epoch FROM lease_until) * 1000)::float8 AS "leaseUntilMs"
    FROM noetl.command
    WHERE execution_id = ${executionId}
    ORDER BY command_id`;
}

/** True if the worker holds the command under this attempt. */
export async function isHeld(sql: Sql, workerId: WorkerId, held: HeldCommand): Promise<boolean> {
  const rows = await sql`
    SELECT 1
    FROM noetl.command
    WHERE execution_id = ${held.executionId} AND command_id = ${held.commandId}
      AND attempt = ${held.attempt} AND worker_id = ${workerId} AND status <> 'queued'`;
  return rows.length > 0;
}

/** What a notification needs to be published again. */
export interface QueuedCommand {
  readonly executionId: ExecutionId;
  readonly commandId: CommandId;
  readonly attempt: number;
  readonly eventSeq: number;
  readonly step: string;
  readonly pool: string;
}

/** Records that notifications went out, for those of the commands that still wait. */
export async function markNotified(
  sql: Sql,
  commands: readonly Pick<QueuedCommand, "executionId" | "commandId" | "attempt">[],
): Promise<void> {
  await sql`
    WITH waiting AS (
      SELECT c.execution_id, c.command_id
      FROM unnest(
        ${commands.map((command) => command.executionId)}::bigint[],
        ${commands.map((command) => command.commandId)}::bigint[],
        ${commands.map((command) => command.attempt)}::integer[]
      ) AS q (execution_id, command_id, attempt)
      JOIN noetl.command AS c
        ON c.execution_id = q.execution_id AND c.command_id = q.command_id
      WHERE c.attempt = q.attempt AND c.lease_until IS NULL
      FOR UPDATE OF c SKIP LOCKED
    )
    UPDATE noetl.command AS c
    SET notified_at = now()
    FROM waiting AS w
    WHERE c.execution_id = w.execution_id AND c.command_id = w.command_id`;
}

/**
 * Remembers which incarnation of the stream is there. When it is another than before, what was
 * announced on the old one counts as unannounced again.
 *
 * @returns number of commands to announce again.
 */
export async function noteStream(sql: Sql, name: string, identity: string): Promise<number> {
  const rows = await sql`
    WITH changed AS (
      INSERT INTO noetl.bus AS b (name, stream)
      VALUES (${name}, ${identity})
      ON CONFLICT (name) DO UPDATE SET stream = excluded.stream
      WHERE b.stream <> excluded.stream
      RETURNING b.name
    ), waiting AS (
      SELECT c.execution_id, c.command_id
      FROM noetl.command AS c
      WHERE c.status = 'queued' AND c.notified_at IS NOT NULL
        AND EXISTS (SELECT 1 FROM changed)
      FOR UPDATE OF c SKIP LOCKED
    )
    UPDATE noetl.command AS c
    SET notified_at = NULL
    FROM waiting AS w
    WHERE c.execution_id = w.execution_id AND c.command_id = w.command_id
    RETURNING 1`;
  return rows.length;
}

/**
 * Commands that were announced long ago and still wait although a live worker of their pool has a
 * free slot: their message got lost on the way. Oldest first, at most `limit` of each pool.
 */
export async function listForgotten(
  sql: Sql,
  options: {
    readonly olderThanMs: number;
    readonly workerTimeoutMs: number;
    readonly limit: number;
  },
): Promise<readonly QueuedCommand[]> {
  return await sql<QueuedCommand[]>`
    SELECT
      c.execution_id AS "executionId",
      c.command_id AS "commandId",
      c.attempt,
      c.event_seq AS "eventSeq",
      c.step,
      p.pool
    FROM (
      SELECT DISTINCT pool
      FROM noetl.worker
      WHERE free_slots > 0 AND NOT is_draining
        AND heartbeat_at > now() - ${options.workerTimeoutMs} * interval '1 millisecond'
    ) AS p
    CROSS JOIN LATERAL (
      SELECT execution_id, command_id, attempt, event_seq, step, notified_at
      FROM noetl.command
      WHERE status = 'queued' AND pool = p.pool AND available_at <= now()
      ORDER BY available_at
      LIMIT ${options.limit}
    ) AS c
    WHERE c.notified_at < now() - ${options.olderThanMs} * interval '1 millisecond'`;
}
