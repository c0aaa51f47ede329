/**
 * Commands that leave the queue without a worker: they waited too long, or nobody will ever have what they
 * want. First the row is taken, so that no worker can have it any more, with the failure in it; then the
 * execution records that, and the row goes. If the server dies in between, a sweep finds the row by its
 * lease.
 */
import type { CommandId, ExecutionId } from "../core/ids.ts";
import type { Failure } from "../engine/failure.ts";
import type { Sql } from "./pool.ts";

/** How long the execution has to record it before a sweep repeats it. */
const CONFIRM_MS = 2000;

export interface QueueError {
  readonly executionId: ExecutionId;
  readonly commandId: CommandId;
  readonly attempt: number;
  readonly error: Failure;
}

/** Gives those that were still queued under that attempt; rows that somebody has locked are left. */
export async function takeOut(
  sql: Sql,
  failing: readonly QueueError[],
): Promise<readonly QueueError[]> {
  if (failing.length === 0) {
    return [];
  }
  const rows = await sql<{ commandId: CommandId }[]>`
    WITH queued AS (
      SELECT q.error, c.execution_id, c.command_id
      FROM unnest(
        ${failing.map(({ executionId }) => executionId)}::bigint[],
        ${failing.map(({ commandId }) => commandId)}::bigint[],
        ${failing.map(({ attempt }) => attempt)}::integer[],
        ${failing.map(({ error }) => JSON.stringify(error))}::text[]
      ) AS q (execution_id, command_id, attempt, error)
      CROSS JOIN LATERAL (
        SELECT execution_id, command_id
        FROM noetl.command
        WHERE execution_id = q.execution_id AND command_id = q.command_id
          AND attempt = q.attempt AND lease_until IS NULL
        FOR UPDATE SKIP LOCKED
      ) AS c
    )
    UPDATE noetl.command AS c
    SET status = 'cancelling',
        queue_error = q.error::json,
        lease_until = now() + ${CONFIRM_MS} * interval '1 millisecond'
    FROM queued AS q
    WHERE c.execution_id = q.execution_id AND c.command_id = q.command_id
    RETURNING c.command_id AS "commandId"`;
  const taken = new Set(rows.map(({ commandId }) => commandId));
  return failing.filter(({ commandId }) => taken.has(commandId));
}
