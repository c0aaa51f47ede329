/** What `/metrics` shows of the whole platform, as rows have it. Asked for at scrapes, a few times a minute. */
import type { Sql } from "./pool.ts";

/** Delayed commands that are looked at for a rate limit, whose name is inside of their payload. */
const DELAYED_MAX = 1000;

export interface OpenCount {
  /** Not started; among them those that wait for a place under a concurrency key. */
  readonly pending: number;
  readonly running: number;
}

/** Executions that have not ended. */
export async function countOpen(sql: Sql): Promise<OpenCount> {
  const rows = await sql<{ status: keyof OpenCount; count: number }[]>`
    SELECT status, count(*)::int AS count
    FROM noetl.execution
    WHERE status IN ('pending', 'running')
    GROUP BY status`;
  const of = (status: keyof OpenCount): number =>
    rows.find((row) => row.status === status)?.count ?? 0;
  return { pending: of("pending"), running: of("running") };
}

/** By pool, commands whose time under a rate limit has not come, of the first ones that are not due. */
export async function countRateLimited(sql: Sql): Promise<ReadonlyMap<string, number>> {
  const rows = await sql<{ pool: string; count: number }[]>`
    SELECT pool, count(*)::int AS count
    FROM (
      SELECT pool, payload
      FROM noetl.command
      WHERE status = 'queued' AND available_at > now()
      LIMIT ${DELAYED_MAX}
    ) AS delayed
    WHERE payload #>> '{pipeline,permitKey}' IS NOT NULL
    GROUP BY pool`;
  return new Map(rows.map(({ pool, count }) => [pool, count]));
}
