/**
 * Signals from outside, before and while somebody waits for them, each sent as often as it takes to
 * be answered and sometimes once more: each ends exactly one wait.
 */
import { sleep } from "../../../../src/core/clock.ts";
import { arcs, eachItem, same } from "../playbook.ts";
import type { Accepted, Problems, Turn, Workload, World } from "../workload.ts";

const APPROVALS = [0, 1, 2, 3];

export function signal(): Workload {
  const workflow = [
    { step: "start", tool: { kind: "noop" }, ...arcs(["approvals", "verdict"], "inclusive") },
    {
      step: "approvals",
      ...eachItem(APPROVALS, APPROVALS.length),
      tool: { kind: "wait", signal: "go" },
      ...arcs(["after"]),
    },
    { step: "verdict", tool: { kind: "wait", signal: "end" }, ...arcs(["after"]) },
    {
      step: "after",
      tool: {
        kind: "javascript",
        input: { approvals: "{{ approvals.results }}", verdict: "{{ verdict }}" },
        code: "return { all: approvals.map(({ payload }) => payload.n).sort(), last: verdict.payload.n };",
      },
    },
  ];
  return {
    name: "signal",
    weight: 2,
    playbooks: [{ path: "chaos/signal", workflow }],
    ends: ["COMPLETED"],
    turn: sendAll,
    verify: ({ results }) => same("after", results["after"], { all: APPROVALS, last: "end" }),
    check: findRepeated,
  };
}

async function sendAll({ world: { client }, name, random, start }: Turn): Promise<void> {
  const executionId = await start();
  const send = async (signalName: string, n: number | string): Promise<void> => {
    const path = `/api/executions/${executionId}/signals/${signalName}`;
    // A conflict: an earlier try was the last thing that the execution waited for.
    await client.call("POST", path, { payload: { n }, dedup_key: `${name}-${n}` }, [409]);
  };
  for (const n of APPROVALS) {
    await sleep(random.between(0, 700));
    await send("go", n);
    if (random.chance(0.5)) {
      await send("go", n);
    }
  }
  await send("end", "end");
  await client.ended(executionId);
}

async function findRepeated({ sql }: World, accepted: readonly Accepted[]): Promise<Problems> {
  const rows = await sql<{ what: string }>(
    (db) => db`
      SELECT format('%s: signal %s was received %s times', execution_id, payload->>'dedupKey',
                    count(*)) AS what
      FROM noetl.event
      WHERE type = 'signal.received'
        AND execution_id = ANY(${accepted.map(({ executionId }) => executionId)}::bigint[])
      GROUP BY execution_id, payload->>'dedupKey' HAVING count(*) > 1`,
  );
  return rows.map(({ what }) => what);
}
