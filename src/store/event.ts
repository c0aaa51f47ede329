/** Reads of the event log; it is written by append.ts only. */
import type { ExecutionId } from "../core/ids.ts";
import { parseJson } from "../core/json.ts";
import type { EventType, ExecutionEvent, RecordedEvent } from "../engine/event.ts";
import type { Sql } from "./pool.ts";

export interface StoredEvent extends RecordedEvent {
  readonly executionId: ExecutionId;
  /** Length of the JSON text, for budgets of memory. */
  readonly size: number;
}

interface EventRow {
  readonly executionId: ExecutionId;
  readonly seq: number;
  readonly timeMs: number;
  readonly payload: string;
}

/** Events of several executions after a position each; by execution, then in order. */
export async function readEvents(
  sql: Sql,
  wanted: readonly { readonly executionId: ExecutionId; readonly afterSeq: number }[],
  /** Of each execution. */
  limit: number,
): Promise<readonly StoredEvent[]> {
  const rows = await sql<EventRow[]>`
    SELECT
      e.execution_id AS "executionId",
      e.seq,
      (extract(epoch FROM e.occurred_at) * 1000)::float8 AS "timeMs",
      e.payload::text AS payload
    FROM unnest(
      ${wanted.map((one) => one.executionId)}::bigint[],
      ${wanted.map((one) => one.afterSeq)}::integer[]
    ) AS q (execution_id, after_seq)
    CROSS JOIN LATERAL (
      SELECT execution_id, seq, occurred_at, payload
      FROM noetl.event
      WHERE execution_id = q.execution_id AND seq > q.after_seq
      ORDER BY seq
      LIMIT ${limit}
    ) AS e
    ORDER BY e.execution_id, e.seq`;
  return rows.map(toEvent);
}

export interface EventPage {
  /** Default 0: from the first. */
  readonly afterSeq?: number;
  /** Absent or empty: all. */
  readonly types?: readonly EventType[];
  readonly step?: string;
  readonly limit: number;
  /** Default 0. */
  readonly offset?: number;
  /** Default false: oldest first. */
  readonly isNewestFirst?: boolean;
}

export async function listEvents(
  sql: Sql,
  executionId: ExecutionId,
  page: EventPage,
): Promise<readonly StoredEvent[]> {
  const types = page.types ?? [];
  const rows = await sql<EventRow[]>`
    SELECT
      execution_id AS "executionId",
      seq,
      (extract(epoch FROM occurred_at) * 1000)::float8 AS "timeMs",
      payload::text AS payload
    FROM noetl.event
    WHERE execution_id = ${executionId} AND seq > ${page.afterSeq ?? 0}
      ${types.length === 0 ? sql`` : sql`AND type = ANY (${[...types]}::text[])`}
      ${page.step === undefined ? sql`` : sql`AND step = ${page.step}`}
    ORDER BY seq ${page.isNewestFirst === true ? sql`DESC` : sql``}
    LIMIT ${page.limit}
    OFFSET ${page.offset ?? 0}`;
  return rows.map(toEvent);
}

/** Number of events that a page's filter finds. */
export async function countEvents(
  sql: Sql,
  executionId: ExecutionId,
  page: Pick<EventPage, "types" | "step" | "afterSeq">,
): Promise<number> {
  const types = page.types ?? [];
  const [row] = await sql<{ count: number }[]>`
    SELECT count(*)::int AS count
    FROM noetl.event
    WHERE execution_id = ${executionId} AND seq > ${page.afterSeq ?? 0}
      ${types.length === 0 ? sql`` : sql`AND type = ANY (${[...types]}::text[])`}
      ${page.step === undefined ? sql`` : sql`AND step = ${page.step}`}`;
  return row?.count ?? 0;
}

function toEvent({ executionId, seq, timeMs, payload }: EventRow): StoredEvent {
  const event = parseJson(payload) as unknown as ExecutionEvent;
  return { executionId, seq, timeMs: Math.round(timeMs), event, size: payload.length };
}
