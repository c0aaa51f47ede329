import { expect, test } from "bun:test";
import { BEGIN_MS, createBackend, createTestServer } from "./backend.ts";

function running() {
  const backend = createBackend();
  const run = backend.add("12");
  backend.add("13", { status: "failed", endedAtMs: BEGIN_MS });
  return { backend, run, ...createTestServer(backend) };
}

test("POST signals takes the body as payload, whatever JSON it is", async () => {
  const { backend, call } = running();
  const path = "/api/executions/12/signals/approve";
  const first = await call("POST", path, { by: "Ada", payload: 1 });
  expect(first.body).toEqual({
    execution_id: "12",
    signal: "approve",
    status: "delivered",
    waits: 1,
  });
  await call("POST", path);
  await call("POST", path, "3");
  await call("POST", path, '[1, "two"]');
  expect(backend.signals).toEqual([
    { name: "approve", payload: { by: "Ada", payload: 1 } },
    { name: "approve", payload: null },
    { name: "approve", payload: 3 },
    { name: "approve", payload: [1, "two"] },
  ]);
});

test("POST signals takes an envelope apart, and options from query and header", async () => {
  const { backend, call } = running();
  const path = "/api/executions/12/signals/go%2Fon";
  await call("POST", path, { payload: { x: 1 }, dedup_key: "k", broadcast: true, sender: "me" });
  await call("POST", `${path}?dedup_key=q&broadcast=true&sender=you`, { x: 2 });
  const seen = await call("POST", path, { x: 3 }, { "idempotency-key": "seen" });
  expect(seen.body).toMatchObject({ status: "duplicate", waits: 0 });
  expect(backend.signals).toEqual([
    { name: "go/on", payload: { x: 1 }, dedupKey: "k", sender: "me", isBroadcast: true },
    { name: "go/on", payload: { x: 2 }, dedupKey: "q", sender: "you", isBroadcast: true },
    { name: "go/on", payload: { x: 3 }, dedupKey: "seen" },
  ]);
});

test("POST signals refuses what has ended, what is unknown and what is no JSON", async () => {
  const { call } = running();
  const late = await call("POST", "/api/executions/13/signals/go");
  expect(late).toMatchObject({ status: 409, body: { code: "EXECUTION_FINISHED" } });
  expect((await call("POST", "/api/executions/99/signals/go")).status).toBe(404);
  expect((await call("POST", "/api/executions/12/signals/go", "{")).status).toBe(400);
  const odd = await call("POST", "/api/executions/12/signals/go", { payload: 1, sender: {} });
  expect(odd.status).toBe(422);
});

test("POST retry continues the execution, or a new one", async () => {
  const { call } = running();
  expect((await call("POST", "/api/executions/13/retry")).body).toEqual({
    execution_id: "13",
    retried_execution_id: "13",
    status: "RUNNING",
  });
  const copy = await call("POST", "/api/executions/13/retry", { new_execution: true });
  expect(copy.body).toMatchObject({ execution_id: "77", retried_execution_id: "13" });
  const wrong = await call("POST", "/api/executions/13/retry", { steps: ["good"] });
  expect(wrong).toMatchObject({ status: 422, body: { code: "STEP_NOT_RETRYABLE" } });
});

test("POST rerun starts over with what the body changes", async () => {
  const { backend, call } = running();
  const { body } = await call("POST", "/api/executions/13/rerun", { payload: { day: 2 } });
  expect(body).toEqual({ execution_id: "78", rerun_of: "13", status: "started" });
  expect(backend.starts).toEqual([{ payload: { day: 2 } }]);
  expect((await call("POST", "/api/executions/99/rerun")).status).toBe(404);
});

test("POST stop cancels", async () => {
  const { backend, call } = running();
  expect((await call("POST", "/api/executions/12/stop")).body.status).toBe("cancelled");
  expect(backend.cancels).toEqual([
    { executionId: "12" as never, reason: "cancelled by request", cascade: true },
  ]);
});

test("a cancel that a retry has undone is none any more", async () => {
  const { backend, call } = running();
  const isCancelled = async () =>
    (await call("GET", "/api/executions/12/cancellation-check")).body.is_cancelled;
  backend.record("12", { type: "playbook.cancelling", reason: "by hand" });
  expect(await isCancelled()).toBe(true);
  backend.record("12", { type: "playbook.resumed", visits: [] });
  expect(await isCancelled()).toBe(false);
});

test("a waiting step says what it waits for, in steps, status and detail", async () => {
  const { run, call } = running();
  run.steps.push({
    step: "approve",
    status: "running",
    visits: 1,
    attempts: 1,
    waiting: {
      kind: "signal",
      signal: "go",
      deadlineMs: BEGIN_MS + 60_000,
      sinceMs: BEGIN_MS,
      count: 1,
    },
  });
  const waiting = {
    kind: "signal",
    signal: "go",
    until: null,
    deadline: "2026-01-01T00:01:00.000Z",
    since: "2026-01-01T00:00:00.000Z",
    index: null,
    count: 1,
  };
  const steps = await call("GET", "/api/executions/12/steps");
  expect(steps.body.steps[0].waiting).toEqual(waiting);
  for (const path of ["/api/executions/12", "/api/executions/12/status"]) {
    expect((await call("GET", path)).body.waiting).toEqual([{ step: "approve", ...waiting }]);
  }
});
