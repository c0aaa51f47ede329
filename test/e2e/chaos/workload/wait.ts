/** Waits for a time, and for a signal that never comes: over late rather than early, and never lost. */
import { arcs, eachItem, loopResults, same } from "../playbook.ts";
import type { Accepted, Problems, Workload, World } from "../workload.ts";

/** Seconds. */
const DURATIONS = [0.3, 1.5, 3];
/** By how much the clock of the events may differ from that of the timers. */
const CLOCK_SLACK_MS = 100;

export function wait(): Workload {
  const workflow = [
    { step: "short", tool: { kind: "wait", duration: 0.5 }, ...arcs(["many"]) },
    {
      step: "many",
      ...eachItem(DURATIONS, 3),
      tool: { kind: "wait", duration: "{{ item }}" },
      ...arcs(["unheard"]),
    },
    {
      step: "unheard",
      tool: { kind: "wait", signal: "never", timeout: 1, on_timeout: "continue" },
      ...arcs(["after"]),
    },
    {
      step: "after",
      tool: {
        kind: "javascript",
        input: { isTimedOut: "{{ unheard.timed_out }}" },
        code: "return isTimedOut;",
      },
    },
  ];
  return {
    name: "wait",
    weight: 1,
    playbooks: [{ path: "chaos/wait", workflow }],
    ends: ["COMPLETED"],
    verify: ({ results }) => [
      ...same("many", loopResults(results["many"]).length, DURATIONS.length),
      ...same("after", results["after"], true),
    ],
    check: findEarly,
  };
}

async function findEarly({ sql }: World, accepted: readonly Accepted[]): Promise<Problems> {
  const rows = await sql<{ what: string }>(
    (db) => db`
      WITH waits AS (
        SELECT execution_id, step, (payload->>'index')::int AS index, type, occurred_at
        FROM noetl.event
        WHERE type IN ('wait.started', 'wait.done')
          AND execution_id = ANY(${accepted.map(({ executionId }) => executionId)}::bigint[])
      )
      SELECT format('%s: %s %s was over after %s', s.execution_id, s.step, s.index,
                    e.occurred_at - s.occurred_at) AS what
      FROM waits s JOIN waits e USING (execution_id, step)
      WHERE s.type = 'wait.started' AND e.type = 'wait.done' AND s.index IS NOT DISTINCT FROM e.index
        AND e.occurred_at - s.occurred_at < interval '1 ms' * (1000 * CASE s.step
          WHEN 'short' THEN 0.5
          WHEN 'unheard' THEN 1
          ELSE (${DURATIONS}::float8[])[s.index + 1] END - ${CLOCK_SLACK_MS}::float8)`,
  );
  return rows.map(({ what }) => what);
}
