import { expect, test } from "bun:test";
import type { CatalogId, CommandId } from "../../../src/core/ids.ts";
import type { Json } from "../../../src/core/json.ts";
import { parsePlaybook } from "../../../src/dsl/parse.ts";
import { toolsNamed } from "../../support/tools.ts";
import { BEGIN_MS, createBackend, createTestServer } from "./backend.ts";

const PLAYBOOK = `
apiVersion: noetl.io/v2
kind: Playbook
metadata: { name: loop, path: tests/loop }
workflow:
  - step: start
    desc: Begin
    tool: { kind: noop }
    next:
      arcs:
        - { step: work, when: "{{ ok }}" }
        - { step: end }
  - step: work
    loop: { in: [1, 2], iterator: n, spec: { mode: parallel } }
    tool: { kind: noop }
    next: { arcs: [{ step: start }] }
  - step: end
`;

function backendWithPlaybook() {
  const backend = createBackend();
  const { playbook } = parsePlaybook(PLAYBOOK, { knownTools: toolsNamed("noop") });
  const document = playbook as unknown as Json;
  const entry = { catalogId: "7" as CatalogId, path: "tests/loop", version: 3, kind: "playbook" };
  backend.reader.getCatalog = ({ catalogId, path }) =>
    Promise.resolve(
      catalogId === "7" || path === "tests/loop"
        ? { ...entry, content: PLAYBOOK, document, createdAtMs: BEGIN_MS }
        : undefined,
    );
  return backend;
}

test("the graph of an execution has its steps, tools, loops and guarded arcs, cycles too", async () => {
  const backend = backendWithPlaybook();
  backend.add("12");
  const { call } = createTestServer(backend);
  const { body } = await call("GET", "/api/executions/12/graph");
  expect(body).toMatchObject({ path: "tests/loop", version: 3, entry_step: "start" });
  expect(body.steps).toMatchObject([
    { step: "start", description: "Begin", tools: ["noop"], loop: null },
    { step: "work", loop: { mode: "parallel", iterator: "n" } },
    { step: "end" },
  ]);
  expect(body.arcs).toMatchObject([
    { from: "start", to: "work", index: 0, when: "{{ ok }}" },
    { from: "start", to: "end", index: 1, when: null },
    { from: "work", to: "start", index: 0 },
  ]);
});

test("the graph of a playbook is found by path; one that is not there is 404", async () => {
  const { call } = createTestServer(backendWithPlaybook());
  expect((await call("GET", "/api/catalog/graph?path=tests/loop")).body.version).toBe(3);
  const missing = await call("GET", "/api/catalog/graph?path=tests/none");
  expect(missing.status).toBe(404);
  expect(missing.body.error).toContain("tests/none");
});

test("open commands are listed with their pool and state, ids as texts", async () => {
  const backend = createBackend();
  const run = backend.add("12");
  const command = { step: "many", attempt: 1, tool: "python", pool: "gpu-01" };
  run.open = [
    {
      commandId: "60" as CommandId,
      ...command,
      index: 0,
      status: "running",
      claimedAtMs: BEGIN_MS,
    },
    { commandId: "61" as CommandId, ...command, index: 1, status: "queued" },
  ];
  const { call } = createTestServer(backend);
  const { body } = await call("GET", "/api/executions/12/commands?limit=1");
  expect(body.total).toBe(2);
  expect(body.commands).toMatchObject([
    { command_id: "60", pool: "gpu-01", status: "running", claimed_at: "2026-01-01T00:00:00.000Z" },
  ]);
});

test("executions are listed by time and parent; a time that is none is refused", async () => {
  const backend = createBackend();
  const filters: unknown[] = [];
  backend.reader.listExecutions = (filter) => {
    filters.push(filter);
    return Promise.resolve([]);
  };
  const { call } = createTestServer(backend);
  await call("GET", "/api/executions?since=2026-01-01T00:00:00Z&until=2026-01-02&parent_id=5");
  expect(filters).toMatchObject([
    { sinceMs: BEGIN_MS, untilMs: BEGIN_MS + 86_400_000, parentId: "5" },
  ]);
  expect((await call("GET", "/api/executions?since=soon")).body.code).toBe("TIME_INVALID");
});
