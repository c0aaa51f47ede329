/** Wake-ups that nobody can act on for now. */
import type { ExecutionId, TimerId } from "../core/ids.ts";
import type { Sql } from "./pool.ts";

export interface PutOffTimer {
  readonly executionId: ExecutionId;
  readonly timerId: TimerId;
  /** From now on. */
  readonly delayMs: number;
}

/** Makes those that are due come later, so that they are not in the way of others. */
export async function putOffTimers(sql: Sql, timers: readonly PutOffTimer[]): Promise<void> {
  await sql`
    UPDATE noetl.timer AS t
    SET due_at = now() + q.delay_ms * interval '1 millisecond'
    FROM unnest(
      ${timers.map(({ executionId }) => executionId)}::bigint[],
      ${timers.map(({ timerId }) => timerId)}::bigint[],
      ${timers.map(({ delayMs }) => delayMs)}::float8[]
    ) AS q (execution_id, timer_id, delay_ms)
    WHERE t.execution_id = q.execution_id AND t.timer_id = q.timer_id AND t.due_at <= now()`;
}
