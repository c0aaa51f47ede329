/**
 * Open commands: marks, and reads of them. Claims are in claim.ts; what changes an execution's fate is
 * in append.ts.
 *
 * On young tables a join reads all open commands to find a few, and its plan would stay. LATERAL with
 * a lock is not turned into a join. See plan.test.ts.
 *
 * `lease_until IS NULL` stands for `status = 'queued'`, and not null for any other, where rows are found by key, because the latter
 * would let the planner walk all queued commands by a partial index instead.
 *
 * Everything here skips rows that are locked: an append is busy with them, and waiting for it while
 * holding other rows could end in a deadlock. A skipped row keeps its old lease or mark, which the
 * next heartbeat or sweep puts right.
 */
import type { CommandId, ExecutionId, WorkerId } from "../core/ids.ts";
import type { HeldCommand } from "../engine/command.ts";
import type { GpuGrant } from "../engine/gpu.ts";
import type { Fragment, Sql } from "./pool.ts";

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
  /** Those that it holds; null: none. */
  readonly gpus: readonly GpuGrant[] | null;
  /** Why it has no GPUs yet; null: it wants none, has some, or nobody has asked for it. */
  readonly waitsFor: string | null;
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
      (extract(epoch FROM lease_until) * 1000)::float8 AS "leaseUntilMs",
      gpus,
      waits_for AS "waitsFor"
    FROM noetl.command
    WHERE execution_id = ${executionId}
    ORDER BY command_id`;
}

/**
 * The step in the command's payload, JSON text; undefined unless the worker holds the command under
 * this attempt.
 */
export async function readHeldStep(
  sql: Sql,
  workerId: WorkerId,
  held: HeldCommand,
): Promise<string | undefined> {
  return await readHeld(sql, workerId, held, sql`coalesce((payload -> 'step')::text, '{}')`);
}

/** The same for the whole payload, which may be large. */
export async function readHeldPayload(
  sql: Sql,
  workerId: WorkerId,
  held: HeldCommand,
): Promise<string | undefined> {
  return await readHeld(sql, workerId, held, sql`payload::text`);
}

async function readHeld(
  sql: Sql,
  workerId: WorkerId,
  held: HeldCommand,
  column: Fragment,
): Promise<string | undefined> {
  const rows = await sql<{ text: string }[]>`
    SELECT ${column} AS text
    FROM noetl.command
    WHERE execution_id = ${held.executionId} AND command_id = ${held.commandId}
      AND attempt = ${held.attempt} AND worker_id = ${workerId} AND lease_until IS NOT NULL`;
  return rows[0]?.text;
}

/** What a notification needs to be published again. */
export interface QueuedCommand {
  readonly executionId: ExecutionId;
  readonly commandId: CommandId;
  readonly attempt: number;
  readonly eventSeq: number;
  readonly step: string;
  readonly pool: string;
  /** As in its payload, where that is at hand. */
  readonly trace?: string | undefined;
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
 * free slot: their message got lost on the way. Most urgent and oldest first, at most `limit` of
 * each pool. Not those that want GPUs: see gpu-bell.ts.
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
        AND gpu_demand IS NULL
      ORDER BY priority DESC, available_at
      LIMIT ${options.limit}
    ) AS c
    WHERE c.notified_at < now() - ${options.olderThanMs} * interval '1 millisecond'`;
}
