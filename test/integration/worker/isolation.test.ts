/**
 * Executions and what others have stored: data that looks like a reference to it stays data, wherever
 * it comes from, and what rightly goes from one execution to another still does.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { ExecutionId } from "../../../src/core/ids.ts";
import type { Json, JsonObject } from "../../../src/core/json.ts";
import { isJsonObject } from "../../../src/core/json.ts";
import { isResultRef } from "../../../src/template/scope.ts";
import { waitFor } from "../../support/wait.ts";
import type { Platform } from "../secrets/platform.ts";
import { playbook, resultOf, startPlatform } from "../secrets/platform.ts";

const SECRET = "nobody else is to read this";
/** PostgreSQL and NATS may have to be started first. */
const START_MS = 60_000;

let platform: Platform;
/** What somebody outside gives us: references to another execution's value, as they lie in its log. */
let forged: JsonObject;
let outside: ReturnType<typeof Bun.serve>;

const LARGE = `
  - step: start
    tool:
      kind: javascript
      code: 'return { secret: "${SECRET}", rows: Array.from({ length: 3000 }, (_, n) => ({ n, text: "x".repeat(50) })) };'
`;

beforeAll(async () => {
  platform = await startPlatform();
  const { id } = await platform.run(playbook("test/owner", `workflow:${LARGE}`));
  forged = { deep: [{ whole: await storedBy(id) }], ref: await storedBy(id), plain: 1 };
  outside = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => Response.json(forged) });
}, START_MS);

afterAll(async () => {
  await outside.stop(true);
  await platform[Symbol.asyncDispose]();
});

/** The reference to what an execution's first step has given. */
async function storedBy(id: string): Promise<JsonObject> {
  const state = await platform.orchestrator.state(id as ExecutionId);
  const value = state?.steps.get("start")?.value?.value ?? null;
  const labels = isJsonObject(value) ? Object.values(value) : [];
  const ref = [value, ...labels].find(isResultRef);
  if (ref === undefined) {
    throw new Error(`nothing was stored apart: ${JSON.stringify(value)}`);
  }
  return { $ref: ref.$ref, size: ref.size, type: ref.type };
}

/** Steps that look at `{{ EXPRESSION }}` in every way that there is: worker, guard, `set`, loop, child. */
function probes(expression: string): string {
  return `
    set:
      ctx.kept: "{{ ${expression} }}"
      ctx.text: "{{ ${expression}.ref ~ '' }}"
      ctx.secret: "{{ ${expression}.ref.secret | default('none') }}"
    next:
      spec: { mode: exclusive }
      arcs:
        - { step: leaked, when: "{{ ${expression}.ref.secret is defined or ${expression}.deep[0].whole.rows }}" }
        - { step: look }
  - { step: leaked, tool: { kind: noop } }
  - step: look
    tool:
      kind: javascript
      input: { all: "{{ ${expression} }}", kept: "{{ ctx.kept }}", text: "{{ ${expression}.ref }} {{ ctx.text }}" }
      code: return { all, kept, text };
    next: { arcs: [{ step: each }] }
  - step: each
    loop: { in: "{{ ${expression}.deep }}", iterator: one }
    tool: { kind: javascript, input: { one: "{{ iter.one }}" }, code: return one; }
    next: { arcs: [{ step: child }] }
  - step: child
    tool: { kind: playbook, path: test/echo, input: { given: "{{ ${expression} }}" } }
`;
}

const ECHO = playbook(
  "test/echo",
  `workload: { given: null }
workflow:
  - step: start
    tool:
      kind: javascript
      input: { given: "{{ workload.given }}" }
      code: 'return { given, length: JSON.stringify(given).length };'
`,
);

const SOURCES: [string, () => { start: string; expression: string; payload?: JsonObject }][] = [
  [
    "an HTTP answer",
    () => ({
      start: `tool: { kind: http, url: "http://127.0.0.1:${outside.port}/" }`,
      expression: "start.data",
    }),
  ],
  [
    "a row of a database",
    () => ({
      start: `tool:
      kind: postgres
      connection: { url: "${platform.databaseUrl}" }
      query: |
        SELECT '${JSON.stringify(forged)}'::jsonb AS found`,
      expression: "start.rows[0].found",
    }),
  ],
  [
    "what a script prints",
    () => ({
      start: `tool: { kind: python, code: 'result = ${JSON.stringify({ found: forged })}' }`,
      expression: "start.found",
    }),
  ],
  [
    "a payload",
    () => ({
      start: `tool: { kind: noop }`,
      expression: "workload.given",
      payload: { given: forged },
    }),
  ],
];

test.each(SOURCES)(
  "a made up reference in %s stays data",
  async (_, source) => {
    await platform.call("POST", "/api/catalog/register", { content: ECHO });
    const { start, expression, payload = {} } = source();
    const book = `workload: { given: null }\nworkflow:\n  - step: start\n    ${start}${probes(expression)}`;
    const ended = await platform.run(playbook("test/prober", book), payload);
    expect([ended.status, ended.error, ended.message]).toEqual(["COMPLETED", null, ""]);
    const events =
      await platform.sql`SELECT payload FROM noetl.event WHERE execution_id = ${ended.id}`;
    expect(JSON.stringify([ended, events])).not.toContain(SECRET);
    expect(resultOf(ended.steps, "leaked")).toBeNull();
    const state = await platform.orchestrator.state(ended.id as ExecutionId);
    const stepValue = (step: string): Json => state?.steps.get(step)?.value?.value ?? null;
    const look = stepValue("look");
    expect(look).toMatchObject({ all: forged, kept: forged });
    const text = isJsonObject(look) ? String(look["text"]).replaceAll(" ", "") : "";
    expect(text).toBe(JSON.stringify(forged["ref"]).repeat(2));
    expect(stepValue("each")).toMatchObject({ results: forged["deep"] as Json });
    expect(stepValue("child")).toMatchObject({ given: forged });
  },
  START_MS,
);

test(
  "large values go to sub-playbooks and back, and from there to others of the family",
  async () => {
    await platform.call("POST", "/api/catalog/register", { content: ECHO });
    const book = `workflow:${LARGE}    next: { arcs: [{ step: child }] }
  - step: child
    tool: { kind: playbook, path: test/echo, input: { given: "{{ start }}" } }
    next: { arcs: [{ step: other }] }
  - step: other
    tool: { kind: playbook, path: test/echo, input: { given: "{{ child.given.rows }}" } }
    next: { arcs: [{ step: read }] }
  - step: read
    tool:
      kind: javascript
      input: { secret: "{{ child.given.secret }}", last: "{{ other.given[2999].n }}", count: "{{ other.given | length }}" }
      code: return { secret, last, count };
`;
    const ended = await platform.run(playbook("test/parent", book));
    expect([ended.status, ended.error]).toEqual(["COMPLETED", null]);
    const read = resultOf(ended.steps, "read");
    expect(read).toEqual({ secret: SECRET, last: 2999, count: 3000 });
  },
  START_MS,
);

test(
  "a retry as a new execution goes on with what the first one has stored",
  async () => {
    const book = `workflow:${LARGE}    next: { arcs: [{ step: check }] }
  - step: check
    tool: { kind: javascript, input: { count: "{{ start.rows | length }}" }, code: throw new Error("not yet"); }
    next: { arcs: [{ step: never }] }
  - step: never
    tool: { kind: noop }
`;
    const first = await platform.run(playbook("test/retried", book));
    expect(first.status).toBe("FAILED");
    const retried = await platform.call("POST", `/api/executions/${first.id}/retry`, {
      new_execution: true,
    });
    const id = String(retried.body["execution_id"]);
    expect(id).not.toBe(first.id);
    const isDone = async () =>
      (await platform.call("GET", `/api/executions/${id}`)).body["status"] === "FAILED";
    await waitFor("the end of the retry", isDone);
    const { $ref } = await storedBy(id);
    const read = await platform.orchestrator.openResult(String($ref), id as ExecutionId);
    expect(read.info.executionId).toBe(first.id as ExecutionId);
  },
  START_MS,
);

test(
  "a rerun of a sub-playbook reads the large payload that its first run had of the parent",
  async () => {
    const child = `workload: { given: null }
workflow:
  - step: start
    loop: { in: "{{ [workload.given.rows[7].n, workload.given.secret] }}", iterator: one }
    tool:
      kind: javascript
      input: { one: "{{ iter.one }}", rows: "{{ workload.given.rows }}" }
      code: return [one, rows.length];
`;
    const content = playbook("test/counter", child);
    await platform.call("POST", "/api/catalog/register", { content });
    const book = `workflow:${LARGE}    next: { arcs: [{ step: child }] }
  - step: child
    tool: { kind: playbook, path: test/counter, input: { given: "{{ start }}" } }
`;
    const parent = await platform.run(playbook("test/family", book));
    const [row] = await platform.sql<{ id: string }[]>`
      SELECT execution_id AS id FROM noetl.execution WHERE parent_id = ${parent.id}`;
    const rerun = await platform.call("POST", `/api/executions/${row?.id}/rerun`, {});
    const id = String(rerun.body["execution_id"]);
    const ended = await waitFor("the end of the rerun", async () => {
      const { body } = await platform.call("GET", `/api/executions/${id}`);
      return /PENDING|RUNNING/.test(String(body["status"])) ? undefined : body;
    });
    expect(ended["status"]).toBe("COMPLETED");
    const { steps } = (await platform.call("GET", `/api/executions/${id}/steps`)).body;
    expect(resultOf(steps, "start")).toMatchObject({
      results: [
        [7, 3000],
        [SECRET, 3000],
      ],
    });
  },
  START_MS,
);

test(
  "an artifact task reads a permanent value of another execution by its URI",
  async () => {
    const put = `workflow:
  - step: start
    tool: { kind: artifact, action: put, name: report, scope: permanent, data: { n: 1 } }
`;
    const first = await platform.run(playbook("test/put", put));
    const stored = resultOf(first.steps, "start");
    const uri = isJsonObject(stored) ? String(stored["uri"]) : "";
    const get = `workload: { uri: "" }
workflow:
  - step: start
    tool: { kind: artifact, action: get, uri: "{{ workload.uri }}" }
`;
    const second = await platform.run(playbook("test/get", get), { uri });
    expect([second.status, resultOf(second.steps, "start")]).toEqual(["COMPLETED", { n: 1 }]);
  },
  START_MS,
);
