import { expect, test } from "bun:test";
import { createBackend, createTestServer } from "./backend.ts";

test("POST /api/execute starts by path and answers with text ids", async () => {
  const backend = createBackend();
  const { call } = createTestServer(backend);
  const answer = await call("POST", "/api/execute", {
    path: "tests/demo",
    version: "3",
    payload: { n: 1 },
    execution_pool: "gpu-01",
    priority: 7,
    dedup: { key: "a", window_secs: 2.5 },
    unknown_field: true,
  });
  expect(answer.status).toBe(200);
  expect(answer.body).toEqual({ execution_id: "101", status: "started", commands_generated: 1 });
  expect(backend.starts).toEqual([
    {
      path: "tests/demo",
      version: 3,
      payload: { n: 1 },
      pool: "gpu-01",
      priority: 7,
      dedup: { key: "a", windowMs: 2500 },
    },
  ]);
});

test("POST /api/execute keeps the digits of numeric ids and takes workload for payload", async () => {
  const backend = createBackend();
  const { call } = createTestServer(backend);
  const body =
    '{"catalog_id": 305212348123456789, "workload": {"x": 1}, "parent_execution_id": 12, "path": null}';
  expect((await call("POST", "/api/execute", body)).status).toBe(200);
  expect(backend.starts[0]).toMatchObject({
    catalogId: "305212348123456789",
    parentExecutionId: "12",
    payload: { x: 1 },
  });
});

test("POST /api/execute tells a duplicate", async () => {
  const { call } = createTestServer(createBackend());
  const { body } = await call("POST", "/api/execute", { path: "a", dedup: { key: "seen" } });
  expect(body).toMatchObject({ status: "duplicate", commands_generated: 0 });
});

test("POST /api/execute/batch answers for each on its own", async () => {
  const { call } = createTestServer(createBackend());
  const executions = [
    { path: "a" },
    { path: "missing" },
    { path: "b", dedup: { key: "seen" } },
    {},
  ];
  const { status, body } = await call("POST", "/api/execute/batch", { executions });
  expect(status).toBe(200);
  expect(body).toMatchObject({ count: 4, started: 1, duplicates: 1, failed: 2 });
  expect(body.results[1]).toMatchObject({ index: 1, status: "error", code: "PLAYBOOK_NOT_FOUND" });
  expect(body.results[3].error).toContain("path or catalog_id");
});

test("requests to execute are counted by outcome", async () => {
  const { call } = createTestServer(createBackend());
  await call("POST", "/api/execute", { path: "a" });
  await call("POST", "/api/execute", { path: "missing" });
  const { text } = await call("GET", "/metrics");
  expect(text).toContain('noetl_execute_outcomes_total{entry="single",outcome="new"} 1');
  expect(text).toContain('noetl_execute_outcomes_total{entry="single",outcome="error"} 1');
  expect(text).toContain(
    'noetl_http_requests_total{route="/api/execute",method="POST",code="404"} 1',
  );
  expect(text).toContain('noetl_pool_slots{pool="cpu-01",state="free"} 5');
});
