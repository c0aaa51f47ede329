/**
 * Sub-playbooks that outlive nothing: they are cancelled with their parent, and when they fail the
 * parent fails, and starts them anew when it is retried.
 */
import { sleep } from "../../../../src/core/clock.ts";
import { eachItem, same } from "../playbook.ts";
import type { Sink } from "../sink.ts";
import type { Accepted, Problems, Turn, Workload, World } from "../workload.ts";

const CHILDREN = 3;
const RETRIES_MAX = 8;
const PARENT = "chaos/family";

export function family(sink: Sink): Workload {
  const items = `{{ range(${CHILDREN}) | list }}`;
  const child = (kind: string): object => ({
    kind: "playbook",
    path: `${PARENT}/${kind}`,
    input: { item: "{{ item }}", gate: "{{ workload.gate }}" },
  });
  const call = {
    kind: "http",
    method: "POST",
    url: `${sink.url}/gate/{{ workload.gate }}`,
    json: { item: "{{ workload.item }}", isGated: "{{ workload.item == 1 }}" },
  };
  return {
    name: "family",
    weight: 2,
    playbooks: [
      {
        path: `${PARENT}/waits`,
        workflow: [{ step: "wait", tool: { kind: "wait", signal: "x" } }],
      },
      { path: `${PARENT}/calls`, workflow: [{ step: "call", tool: call }] },
      {
        path: `${PARENT}/cancelled`,
        workflow: [{ step: "children", ...eachItem(items, CHILDREN), tool: child("waits") }],
      },
      {
        path: `${PARENT}/failed`,
        workflow: [{ step: "children", ...eachItem(items, CHILDREN), tool: child("calls") }],
      },
    ],
    ends: ["COMPLETED", "CANCELLED", "FAILED"],
    turn: async (turn) => {
      await (turn.random.chance(0.5) ? startAndCancel(turn) : failAndRetry(turn));
    },
    check: findWrongEnds,
  };
}

async function startAndCancel({ world: { client }, random, start }: Turn): Promise<void> {
  const executionId = await start({
    path: `${PARENT}/cancelled`,
    payload: { expected: "cancelled" },
  });
  await sleep(random.between(0, 1500));
  const path = `/api/executions/${executionId}/cancel`;
  await client.call("POST", path, { reason: "chaos" }, [409, 422]);
  await client.ended(executionId);
}

async function failAndRetry({ world, name, start }: Turn): Promise<void> {
  const { client, sink } = world;
  const executionId = await start({
    path: `${PARENT}/failed`,
    payload: { expected: "completed", gate: name },
  });
  await client.ended(executionId);
  sink.open(name);
  for (let count = 0; count < RETRIES_MAX; count++) {
    await client.call("POST", `/api/executions/${executionId}/retry`, {}, [409]);
    if ((await client.ended(executionId)) === "COMPLETED") {
      return;
    }
  }
}

/** Parents that did not end as they should, and children of ended ones that go on. */
async function findWrongEnds({ sql }: World, accepted: readonly Accepted[]): Promise<Problems> {
  const rows = await sql<{ id: string; status: string; expected: string; children: string[] }>(
    (db) => db`
      SELECT p.execution_id::text AS id, p.status, p.payload->>'expected' AS expected,
             array_agg(c.status ORDER BY c.execution_id) FILTER (WHERE c.status IS NOT NULL) AS children
      FROM noetl.execution p LEFT JOIN noetl.execution c ON c.parent_id = p.execution_id
      WHERE p.execution_id = ANY(${accepted.map(({ executionId }) => executionId)}::bigint[])
      GROUP BY p.execution_id`,
  );
  return rows.flatMap(({ id, status, expected, children }) => {
    const ends = children ?? [];
    const completed = ends.filter((end) => end === "completed").length;
    return [
      ...same(`${id}: status`, status, expected),
      ...(expected === "cancelled" && ends.some((end) => end !== "cancelled")
        ? [`${id} was cancelled, its children are ${ends.join(", ")}`]
        : []),
      ...(expected === "completed" && completed !== CHILDREN
        ? [`${id}: ${completed} of ${CHILDREN} children completed: ${ends.join(", ")}`]
        : []),
    ];
  });
}
