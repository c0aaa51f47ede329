import { expect, test } from "bun:test";
import { AppError } from "../../../src/core/errors.ts";
import type { ExecutionId } from "../../../src/core/ids.ts";
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

test("an Idempotency-Key says the same as a dedup key, which wins", async () => {
  const backend = createBackend();
  const { call } = createTestServer(backend);
  const headers = { "idempotency-key": " order-7 " };
  await call("POST", "/api/execute", { path: "a" }, headers);
  await call("POST", "/api/execute", { path: "a", dedup: { key: "own", window_secs: 1 } }, headers);
  const executions = [{ path: "a" }, { path: "a", dedup: { key: "own" } }, { path: "b" }];
  await call("POST", "/api/execute/batch", { executions }, headers);
  expect(backend.starts.map(({ dedup }) => dedup)).toEqual([
    { key: "order-7" },
    { key: "own", windowMs: 1000 },
    { key: "order-7#0" },
    { key: "own" },
    { key: "order-7#2" },
  ]);
  const long = { "idempotency-key": "x".repeat(513) };
  expect((await call("POST", "/api/execute", { path: "a" }, long)).status).toBe(422);
});

test("an execution that waits is told as queued, one that may not wait with 409", async () => {
  const backend = createBackend();
  const { call } = createTestServer(backend);
  backend.orchestrator.start = () =>
    Promise.resolve({ executionId: "102" as ExecutionId, status: "queued" });
  const queued = await call("POST", "/api/execute", { path: "a" });
  expect(queued.body).toEqual({ execution_id: "102", status: "queued", commands_generated: 0 });
  const { body } = await call("POST", "/api/execute/batch", { executions: [{ path: "a" }] });
  expect(body).toMatchObject({ started: 0, queued: 1, failed: 0 });
  backend.orchestrator.start = () =>
    Promise.reject(
      new AppError("conflict", "CONCURRENCY_LIMIT", "full", { details: { key: "k", limit: 2 } }),
    );
  const refused = await call("POST", "/api/execute", { path: "a" });
  expect(refused.status).toBe(409);
  expect(refused.body).toMatchObject({
    code: "CONCURRENCY_LIMIT",
    details: { key: "k", limit: 2 },
  });
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
