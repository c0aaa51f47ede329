/**
 * A work queue in PostgreSQL that cursors drain. A claim that is handed out twice gets its own rows
 * again by `__claim_id`, so no row is forgotten between the claim's commit and its report.
 */
import { RETRY, SQL_CREDENTIAL, same } from "../playbook.ts";
import type { Outcome, Problems, Turn, Workload, World } from "../workload.ts";

const ROWS = 20;
/**
 * Its own rows come again when it is handed out twice. It takes no new ones then: the other might have
 * been handed in, and a frozen worker runs its own when it wakes up.
 */
const CLAIM = `UPDATE chaos_work SET status = 'claimed', claim_id = '{{ __claim_id }}'
  WHERE queue = '{{ queue }}' AND id IN (
    SELECT id FROM chaos_work
    WHERE queue = '{{ queue }}'
      AND (status = 'claimed' AND claim_id = '{{ __claim_id }}' OR status = 'pending' AND NOT EXISTS (
        SELECT 1 FROM chaos_work WHERE queue = '{{ queue }}' AND claim_id = '{{ __claim_id }}'))
    ORDER BY id LIMIT {{ __frame_max_rows }} FOR UPDATE SKIP LOCKED)
  RETURNING id`;
const PROCESS = `INSERT INTO chaos_processed (queue, id) VALUES ('{{ queue }}', {{ iter.row.id }});
  SELECT pg_sleep(0.05);
  UPDATE chaos_work SET status = 'done' WHERE queue = '{{ queue }}' AND id = {{ iter.row.id }}`;

export function cursorPostgres(): Workload {
  const loop = {
    iterator: "row",
    cursor: { kind: "postgres", auth: SQL_CREDENTIAL, claim: CLAIM },
    spec: {
      mode: "cursor",
      max_in_flight: 2,
      frame: { max_rows: 5, row_concurrency: 2, max_attempts: 10 },
    },
  };
  const tool = { kind: "postgres", auth: SQL_CREDENTIAL, command: PROCESS, spec: RETRY };
  const workflow = [{ step: "rows", loop, tool }];
  return {
    name: "cursor-postgres",
    weight: 2,
    playbooks: [{ path: "chaos/cursor-postgres", workload: { queue: "" }, workflow }],
    ends: ["COMPLETED"],
    prepare: makeTables,
    turn: drainQueue,
    verify,
  };
}

/** `chaos_processed` is of all cursors. */
export async function makeTables({ sql }: World): Promise<void> {
  await sql(
    (db) => db`
      CREATE TABLE IF NOT EXISTS chaos_work (
        queue text, id int, status text NOT NULL DEFAULT 'pending', claim_id text,
        PRIMARY KEY (queue, id))`,
  );
  await sql((db) => db`CREATE TABLE IF NOT EXISTS chaos_processed (queue text, id int)`);
}

async function drainQueue({ world, name, start }: Turn): Promise<void> {
  await world.sql(
    (db) => db`
      INSERT INTO chaos_work (queue, id) SELECT ${name}, n FROM generate_series(1, ${ROWS}::int) n
      ON CONFLICT DO NOTHING`,
  );
  await world.client.ended(await start({ payload: { queue: name } }));
}

async function verify({ world, accepted, results }: Outcome): Promise<Problems> {
  const queue = String(accepted.payload["queue"]);
  const [counts] = await world.sql<{ done: number; processed: number; strangers: number }>(
    (db) => db`
      SELECT
        (SELECT count(*)::int FROM chaos_work WHERE queue = ${queue} AND status = 'done') AS done,
        (SELECT count(DISTINCT id)::int FROM chaos_processed WHERE queue = ${queue}) AS processed,
        -- Each claim is an event of the execution: the rest of its id says which.
        (SELECT count(*)::int FROM chaos_work w
         WHERE queue = ${queue} AND NOT EXISTS (
           SELECT 1 FROM noetl.event e
           WHERE e.execution_id = ${accepted.executionId} AND e.type = 'command.issued'
             AND w.claim_id = e.execution_id || '.' || e.seq)) AS strangers`,
  );
  const { total, succeeded, failed } = Object(Object(results["rows"]).stats);
  return [
    ...same(`queue ${queue}`, counts, { done: ROWS, processed: ROWS, strangers: 0 }),
    ...same("stats", { total, succeeded, failed }, { total: ROWS, succeeded: ROWS, failed: 0 }),
  ];
}
