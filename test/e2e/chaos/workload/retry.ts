/**
 * Executions that fail and are retried once the world is better, in place or as a new execution: what
 * went well stays as it was, also when it is stored apart, and is not done again.
 */
import { arcs, eachItem, RETRY, same } from "../playbook.ts";
import type { Sink } from "../sink.ts";
import type { Accepted, Problems, Turn, Workload, World } from "../workload.ts";

const ITEMS = 6;
/** Items from here on fail while the gate is closed. */
const GATED_FROM = 4;
const TEXT_LENGTH = 100_000;
/** Beyond the closed gate an execution may fail because workers are lost. */
const RETRIES_MAX = 8;

export function retry(sink: Sink): Workload {
  const workflow = [
    {
      step: "text",
      tool: { kind: "python", code: `result = "x" * ${TEXT_LENGTH}`, spec: RETRY },
      ...arcs(["items"]),
    },
    {
      step: "items",
      ...eachItem(`{{ range(${ITEMS}) | list }}`, 3),
      tool: {
        kind: "http",
        method: "POST",
        url: `${sink.url}/gate/{{ workload.gate }}`,
        json: { item: "{{ item }}", isGated: `{{ item >= ${GATED_FROM} }}` },
      },
      ...arcs(["sum"]),
    },
    {
      step: "sum",
      tool: {
        kind: "python",
        input: { text: "{{ text }}", items: "{{ items.results }}" },
        code: 'result = [len(text), [item["data"]["item"] for item in items]]',
        spec: RETRY,
      },
    },
  ];
  return {
    name: "retry",
    weight: 2,
    playbooks: [{ path: "chaos/retry", workload: { gate: "" }, workflow }],
    // The first of a new execution stays as it is.
    ends: ["COMPLETED", "FAILED"],
    turn: failAndRetry,
    check: async (world, accepted) => [
      ...(await findUnfinished(world, accepted)),
      ...(await findRepeated(world)),
    ],
  };
}

async function failAndRetry(turn: Turn): Promise<void> {
  const { world, name, random, start } = turn;
  const isNew = random.chance(0.4);
  const executionId = await start({ payload: { gate: name, isNew } });
  await world.client.ended(executionId);
  if (!isNew && random.chance(0.3)) {
    await goOn(turn, executionId, false);
  }
  world.sink.open(name);
  let last = executionId;
  for (let count = 0; count < RETRIES_MAX; count++) {
    last = await goOn(turn, last, isNew && last === executionId);
    if ((await world.client.status(last)) === "COMPLETED") {
      return;
    }
  }
}

/** Retries it and waits for its end; gives the id of the one that went on. */
async function goOn(
  { world: { client }, name }: Turn,
  executionId: string,
  isNew: boolean,
): Promise<string> {
  // A conflict: an earlier try, whose answer was lost, has made it go on.
  const path = `/api/executions/${executionId}/retry`;
  const request = { new_execution: isNew, dedup: { key: `${name}-copy` } };
  const answer = await client.call("POST", path, request, [409]);
  const next = String(Object(answer).execution_id ?? executionId);
  await client.ended(next);
  return next;
}

/** Those that were retried in place, and copies: one each, also of asks without an answer. */
async function findUnfinished(world: World, accepted: readonly Accepted[]): Promise<Problems> {
  const firsts = accepted.map(({ executionId }) => executionId);
  const copies = await world.sql<{ id: string; origin: string }>(
    (db) => db`
      SELECT execution_id::text AS id, origin_id::text AS origin FROM noetl.execution
      WHERE origin_id = ANY(${firsts}::bigint[])`,
  );
  const origins = new Set(copies.map(({ origin }) => origin));
  const finals = [...copies.map(({ id }) => id), ...firsts.filter((id) => !origins.has(id))];
  const problems = await Promise.all(finals.map((id) => checkFinal(world, id)));
  const wrong = accepted.flatMap(({ executionId, payload }) => {
    const count = copies.filter(({ origin }) => origin === executionId).length;
    return same(`${executionId}: new executions`, count, payload["isNew"] === true ? 1 : 0);
  });
  return [...problems.flat(), ...wrong];
}

async function checkFinal({ client }: World, executionId: string): Promise<Problems> {
  const status = await client.status(executionId);
  const steps = await client.steps(executionId);
  const sum = steps.find(({ step }) => step === "sum")?.result;
  const all = Array.from({ length: ITEMS }, (_, item) => item);
  return [...same("status", status, "COMPLETED"), ...same("sum", sum, [TEXT_LENGTH, all])].map(
    (text) => `${executionId}: ${text}`,
  );
}

/** Items that had gone well and were run again by a retry. */
async function findRepeated({ sql }: World): Promise<Problems> {
  const rows = await sql<{ what: string }>(
    (db) => db`
      SELECT format('%s: item %s of %s went well %s times', execution_id, v.payload->>'index', step,
                    count(*)) AS what
      FROM noetl.event v JOIN noetl.execution USING (execution_id)
      WHERE path = 'chaos/retry' AND type = 'call.done'
      GROUP BY execution_id, step, v.payload->>'index' HAVING count(*) > 1`,
  );
  return rows.map(({ what }) => what);
}
