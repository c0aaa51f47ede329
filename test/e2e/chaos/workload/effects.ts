/** Calls of a service that counts them: each try may have one effect, whether its end was heard of or not. */
import { eachItem, loopResults, same } from "../playbook.ts";
import type { Sink } from "../sink.ts";
import type { Outcome, Problems, Workload } from "../workload.ts";

const ITEMS = 8;

export function effects(sink: Sink): Workload {
  const workflow = [
    {
      step: "items",
      ...eachItem(`{{ range(${ITEMS}) | list }}`, 3),
      tool: {
        kind: "http",
        method: "POST",
        url: `${sink.url}/effect`,
        json: { execution: "{{ execution_id }}", item: "{{ item }}" },
      },
    },
  ];
  return {
    name: "effects",
    weight: 2,
    playbooks: [{ path: "chaos/effects", workflow }],
    ends: ["COMPLETED"],
    verify: async (outcome) => [
      ...same("items", loopResults(outcome.results["items"]).length, ITEMS),
      ...(await countEffects(outcome)),
    ],
  };
}

async function countEffects({ accepted, world }: Outcome): Promise<Problems> {
  const { executionId } = accepted;
  const rows = await world.sql<{ item: number; attempt: number }>(
    (sql) => sql`
      SELECT (payload->>'index')::int AS item, (payload->>'attempt')::int AS attempt
      FROM noetl.event WHERE execution_id = ${executionId} AND type = 'call.done'`,
  );
  return rows.flatMap(({ item, attempt }) => {
    const count = world.sink.effects(executionId, item);
    return count >= 1 && count <= attempt
      ? []
      : [`item ${item} had ${count} effects in ${attempt} tries`];
  });
}
