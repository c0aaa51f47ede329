/** Schedules: each due time has one execution, whatever servers are killed when it comes. */
import { waitFor } from "../../../support/wait.ts";
import { RETRY } from "../playbook.ts";
import type { Problems, Workload, World } from "../workload.ts";

/** Seconds between two due times. */
const STEP_SECONDS = 2;
/** One lets its executions overlap, of the other each waits for the one before. */
const NAMES = { allow: "chaos-tick", queue: "chaos-turn" } as const;
type Overlap = keyof typeof NAMES;

export function schedule(): Workload {
  const code = "import time\ntime.sleep(0.3)\nresult = due";
  const tool = { kind: "python", input: { due: "{{ workload.due }}" }, code, spec: RETRY };
  const overlaps = Object.keys(NAMES) as Overlap[];
  return {
    name: "schedule",
    weight: 0,
    playbooks: overlaps.map((overlap) => ({
      path: pathOf(overlap),
      workflow: [{ step: "only", tool }],
    })),
    ends: ["COMPLETED"],
    prepare: async (world) => {
      for (const overlap of overlaps) {
        await addSchedule(world, overlap);
      }
    },
    settle: async (world) => {
      for (const overlap of overlaps) {
        await pause(world, NAMES[overlap]);
      }
    },
    check: async (world) => [
      ...(await findUnmet(world)),
      ...(await findStrangers(world)),
      ...(await findOverlaps(world)),
    ],
  };
}

function pathOf(overlap: Overlap): string {
  return `chaos/schedule/${overlap}`;
}

async function addSchedule({ client }: World, overlap: Overlap): Promise<void> {
  const definition = {
    name: NAMES[overlap],
    playbook: pathOf(overlap),
    cron: `*/${STEP_SECONDS} * * * * *`,
    catchup: "all",
    catchup_limit: 1000,
    overlap,
    payload: { due: "{{ schedule.due }}" },
  };
  await client.call("POST", "/api/schedules", definition, [409]);
}

/** What waits for its turn then is skipped; all else has been met. */
async function pause({ client, sql }: World, name: string): Promise<void> {
  await client.call("POST", `/api/schedules/${name}/pause`, {});
  await waitFor(`no due time of ${name} to wait`, async () => {
    const rows = await sql(
      (db) => db`
        SELECT 1 FROM noetl.schedule_firing JOIN noetl.schedule USING (schedule_id)
        WHERE name = ${name} AND status = 'waiting'`,
    );
    return rows.length === 0;
  });
}

/** Due times between the first and the last one that were left out, failed, or skipped but at the end. */
async function findUnmet({ sql }: World): Promise<Problems> {
  const rows = await sql<{ what: string }>(
    (db) => db`
      WITH due AS (
        SELECT s.name, f.due_at, f.status, f.reason,
               f.due_at - lag(f.due_at) OVER w AS step,
               bool_or(f.status = 'started') OVER (
                 PARTITION BY s.name ORDER BY f.due_at
                 ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS is_followed
        FROM noetl.schedule s JOIN noetl.schedule_firing f USING (schedule_id)
        WINDOW w AS (PARTITION BY s.name ORDER BY f.due_at)
      )
      SELECT format('%s: %s is %s (%s), %s after the one before', name, due_at, status, reason, step) AS what
      FROM due
      WHERE step <> ${STEP_SECONDS} * interval '1 s' OR status = 'failed'
        OR status <> 'started' AND is_followed
      UNION ALL
      SELECT format('%s: no due time was met', name) FROM noetl.schedule s
      WHERE NOT EXISTS (SELECT 1 FROM due WHERE name = s.name AND status = 'started')`,
  );
  return rows.map(({ what }) => what);
}

/** Executions and firings that do not belong together one by one. */
async function findStrangers({ sql }: World): Promise<Problems> {
  const rows = await sql<{ what: string }>(
    (db) => db`
      SELECT format('firing %s has execution %s with due time %s', f.due_at, f.execution_id,
                    x.payload->>'due') AS what
      FROM noetl.schedule_firing f LEFT JOIN noetl.execution x USING (execution_id)
      WHERE f.status = 'started' AND (x.payload->>'due')::timestamptz IS DISTINCT FROM f.due_at
      UNION ALL
      SELECT format('%s executions of %s, %s due times met', count(DISTINCT x.execution_id), x.path,
                    count(DISTINCT f.due_at))
      FROM noetl.execution x LEFT JOIN noetl.schedule_firing f USING (execution_id)
      WHERE x.path LIKE 'chaos/schedule/%'
      GROUP BY x.path HAVING count(DISTINCT x.execution_id) <> count(DISTINCT f.due_at)`,
  );
  return rows.map(({ what }) => what);
}

async function findOverlaps({ sql }: World): Promise<Problems> {
  const rows = await sql<{ what: string }>(
    (db) => db`
      SELECT format('%s began before %s had ended', b.execution_id, a.execution_id) AS what
      FROM noetl.execution a
      JOIN noetl.execution b ON b.path = a.path AND b.execution_id > a.execution_id
        AND b.created_at < a.ended_at
      WHERE a.path = ${pathOf("queue")}`,
  );
  return rows.map(({ what }) => what);
}
