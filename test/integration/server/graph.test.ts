import { expect, test } from "bun:test";
import type { Platform } from "./platform.ts";
import { startPlatform } from "./platform.ts";

const PLAYBOOK = `
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: seen, path: tests/seen}
workflow:
  - step: start
    spec: {pool: gpu-07}
    loop: {in: [1, 2, 3], iterator: n, spec: {mode: parallel, max_in_flight: 2}}
    tool: {kind: python, code: "result = 1"}
    next: {arcs: [{step: end, when: "{{ ok }}"}, {step: start}]}
  - step: end
    tool: {kind: playbook, path: tests/other}
`;

async function start({ call }: Platform): Promise<string> {
  await call("POST", "/api/catalog/register", { content: PLAYBOOK });
  return (await call("POST", "/api/execute", { path: "tests/seen" })).body.execution_id;
}

test("the graph and the open commands of an execution are those of the database", async () => {
  await using platform = await startPlatform();
  const { call } = platform;
  const id = await start(platform);
  const graph = (await call("GET", `/api/executions/${id}/graph`)).body;
  expect(graph).toMatchObject({
    ...{ path: "tests/seen", version: 1, entry_step: "start" },
    steps: [
      { step: "start", tools: ["python"], pool: "gpu-07", loop: { mode: "parallel" } },
      { step: "end", tools: ["playbook"], loop: null },
    ],
    arcs: [
      { from: "start", to: "end", when: "{{ ok }}" },
      { from: "start", to: "start", when: null },
    ],
  });
  const byPath = await call("GET", "/api/catalog/graph?path=tests/seen");
  expect(byPath.body.arcs).toEqual(graph.arcs);
  const { body } = await call("GET", `/api/executions/${id}/commands`);
  expect(body).toMatchObject({
    total: 2,
    commands: [
      { step: "start", index: 0, pool: "gpu-07", tool: "python", status: "queued", attempt: 1 },
      { step: "start", index: 1, pool: "gpu-07", claimed_at: null },
    ],
  });
});

test("lists find executions by when they began", async () => {
  await using platform = await startPlatform();
  const id = await start(platform);
  const find = async (query: string) =>
    (await platform.call("GET", `/api/executions?${query}`)).body.map(
      (row: { readonly execution_id: string }) => row.execution_id,
    );
  const hour = (count: number) => new Date(Date.now() + count * 3_600_000).toISOString();
  expect(await find(`since=${hour(-1)}&until=${hour(1)}`)).toEqual([id]);
  expect(await find(`since=${hour(1)}`)).toEqual([]);
  expect(await find(`until=${hour(-1)}`)).toEqual([]);
  expect(await find(`parent_id=${id}`)).toEqual([]);
});
