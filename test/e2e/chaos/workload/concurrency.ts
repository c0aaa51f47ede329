/**
 * Executions that share a concurrency key: never more than the limit at a time, and all of them come
 * to their end, also when others are cancelled for them.
 */
import { ApiError } from "../../../bench/api.ts";
import type { Playbook } from "../playbook.ts";
import { RETRY } from "../playbook.ts";
import type { Accepted, End, Outcome, Problems, Turn, Workload, World } from "../workload.ts";

/** Places under each key, and what happens when there is none. */
const LIMITS = { queue: 2, cancel_oldest: 2, reject: 1 } as const;
type OnLimit = keyof typeof LIMITS;

const ENDS: Readonly<Record<OnLimit, readonly End[]>> = {
  queue: ["COMPLETED"],
  cancel_oldest: ["COMPLETED", "CANCELLED"],
  reject: ["COMPLETED"],
};
/** By how much times of two rows may be off: they are of two clocks. */
const CLOCK_SLACK_MS = 50;

export function concurrency(): Workload {
  return {
    name: "concurrency",
    weight: 2,
    playbooks: onLimits().map(makePlaybook),
    ends: ["COMPLETED", "CANCELLED"],
    turn: startSome,
    watch: countPlaces,
    verify: checkEnd,
    check: findCrowds,
  };
}

function onLimits(): readonly OnLimit[] {
  return Object.keys(LIMITS) as OnLimit[];
}

function pathOf(onLimit: OnLimit): string {
  return `chaos/concurrency/${onLimit}`;
}

function makePlaybook(onLimit: OnLimit): Playbook {
  const code = "import time\ntime.sleep(0.4)\nresult = 'held'";
  return {
    path: pathOf(onLimit),
    executor: {
      spec: {
        concurrency: { key: pathOf(onLimit), limit: LIMITS[onLimit], on_limit: onLimit },
      },
    },
    workflow: [{ step: "hold", tool: { kind: "python", code, spec: RETRY } }],
  };
}

/** One more than there are places. */
async function startSome(turn: Turn): Promise<void> {
  const onLimit = turn.random.pick(onLimits());
  const count = LIMITS[onLimit] + 1;
  await Promise.all(Array.from({ length: count }, () => startOne(turn, onLimit)));
}

async function startOne(
  { world: { client }, random, start }: Turn,
  onLimit: OnLimit,
): Promise<void> {
  try {
    const executionId = await start({ path: pathOf(onLimit), payload: { onLimit } });
    if ((await client.ended(executionId)) === "CANCELLED" && random.chance(0.5)) {
      // A conflict: there is no place for it, or an earlier try has made it go on.
      await client.call("POST", `/api/executions/${executionId}/retry`, {}, [409]);
      await client.ended(executionId);
    }
  } catch (error) {
    if (onLimit !== "reject" || !(error instanceof ApiError) || error.status !== 409) {
      throw error;
    }
  }
}

function checkEnd({ accepted, status }: Outcome): Problems {
  const onLimit = onLimits().find((name) => name === accepted.payload["onLimit"]);
  return onLimit === undefined || ENDS[onLimit].includes(status)
    ? []
    : [`it is ${status}, and its key says ${onLimit}`];
}

/** As the rows say at any moment. */
async function countPlaces(world: World, stop: AbortSignal): Promise<Problems> {
  const problems = new Set<string>();
  while (!stop.aborted) {
    const rows = await world.sql<{ key: string; held: number; most: number }>(
      (db) => db`
        SELECT concurrency_key AS key, count(*)::int AS held, max(concurrency_limit) AS most
        FROM noetl.execution
        WHERE place = 'held' AND ended_at IS NULL
        GROUP BY concurrency_key HAVING count(*) > max(concurrency_limit)`,
    );
    for (const { key, held, most } of rows) {
      problems.add(`${held} executions had a place under ${key}, ${most} may`);
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  return [...problems];
}

/** As their logs say: who had begun and not ended when another began. */
async function findCrowds({ sql }: World, accepted: readonly Accepted[]): Promise<Problems> {
  const rows = await sql<{ what: string }>(
    (db) => db`
      WITH runs AS (
        SELECT e.execution_id, x.concurrency_key AS key, x.concurrency_limit AS most,
               e.occurred_at AS began, coalesce(t.occurred_at, 'infinity') AS ended
        FROM noetl.execution x
        JOIN noetl.event e USING (execution_id)
        LEFT JOIN LATERAL (
          SELECT occurred_at FROM noetl.event
          WHERE execution_id = e.execution_id AND seq > e.seq
            AND type IN ('playbook.completed', 'playbook.failed', 'playbook.cancelled')
          ORDER BY seq LIMIT 1
        ) t ON true
        WHERE e.type IN ('playbook.started', 'playbook.resumed')
          AND x.execution_id = ANY(${accepted.map(({ executionId }) => executionId)}::bigint[])
      )
      SELECT format('%s began as number %s under %s, %s may', r.execution_id, count(*) + 1, r.key,
                    r.most) AS what
      FROM runs r JOIN runs o ON o.key = r.key AND o.execution_id <> r.execution_id
        AND o.began <= r.began
        AND o.ended > r.began + ${CLOCK_SLACK_MS} * interval '1 ms'
      GROUP BY r.execution_id, r.began, r.key, r.most HAVING count(*) + 1 > r.most`,
  );
  return rows.map(({ what }) => what);
}
