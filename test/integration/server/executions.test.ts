import { expect, test } from "bun:test";
import type { ExecutionId } from "../../../src/core/ids.ts";
import type { Platform } from "./platform.ts";
import { startPlatform } from "./platform.ts";

const PLAYBOOK = `
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: two, path: tests/two}
workload: {n: 1, deep: {a: 1, b: 2}}
workflow:
  - step: start
    tool: {kind: python, code: "result = 1"}
    set: {ctx.total: "{{ start.sum }}"}
    next: [{step: finish}]
  - step: finish
    tool: {kind: python, code: "result = 2"}
`;

/** Resolves once the step has an open command. */
async function waitForCommand({ orchestrator }: Platform, id: string, step: string): Promise<void> {
  const events = orchestrator.watch(id as ExecutionId, {
    afterSeq: 0,
    signal: AbortSignal.timeout(10_000),
  });
  for await (const { event } of events) {
    if (event.type === "command.issued" && event.step === step) {
      return;
    }
  }
  throw new Error(`step ${step} of ${id} got no command`);
}

async function endStep(platform: Platform, id: string, step: string, result: unknown) {
  await waitForCommand(platform, id, step);
  const event = { execution_id: id, step, event_type: "call.done", payload: { result } };
  return await platform.call("POST", "/api/events", event);
}

async function startTwo(platform: Platform, more: object = {}): Promise<string> {
  await platform.call("POST", "/api/catalog/register", { content: PLAYBOOK });
  const request = { path: "tests/two", payload: { deep: { b: 3 } }, ...more };
  const { status, body } = await platform.call("POST", "/api/execute", request);
  expect([status, body.status]).toEqual([200, "started"]);
  return body.execution_id;
}

test("an execution runs to its end and the API shows all of it", async () => {
  await using platform = await startPlatform();
  const { call } = platform;
  const id = await startTwo(platform);
  const live = platform.stream(`/api/executions/${id}/events/stream`);
  expect((await endStep(platform, id, "start", { sum: 5 })).status).toBe(200);
  await waitForCommand(platform, id, "finish");
  expect((await call("GET", `/api/executions/${id}/status`)).body).toMatchObject({
    status: "RUNNING",
    current_step: "finish",
    progress: { completed_steps: 1, running_steps: 1 },
  });
  expect((await endStep(platform, id, "finish", "done")).status).toBe(200);
  expect(await live).toContain('event: end\ndata: {"execution_id"');

  const { body: detail } = await call("GET", `/api/executions/${id}`);
  expect(detail).toMatchObject({
    status: "COMPLETED",
    path: "tests/two",
    version: 1,
    workload: { n: 1, deep: { a: 1, b: 3 } },
    result: "done",
    error: null,
  });
  expect(detail.events[0].event_type).toBe("playbook.started");
  expect(detail.events.at(-1).event_type).toBe("playbook.completed");
  const { body: steps } = await call("GET", `/api/executions/${id}/steps`);
  expect(steps.steps).toMatchObject([
    { step: "start", status: "completed", visits: 1, attempts: 1, result: { sum: 5 }, error: null },
    { step: "finish", status: "completed", visits: 1, result: "done" },
  ]);
  expect((await call("GET", `/api/vars/${id}`)).body).toMatchObject([
    { var_name: "total", var_value: 5 },
  ]);
  const list = await call("GET", "/api/executions?path=TWO&status=completed");
  expect(list.body.map((row: { execution_id: string }) => row.execution_id)).toEqual([id]);
  const late = { execution_id: id, step: "finish", event_type: "command.completed" };
  expect((await call("POST", "/api/events", late)).status).toBe(409);
  const rest = await platform.stream(`/api/executions/${id}/events/stream`, {
    "last-event-id": String(detail.event_count - 1),
  });
  expect(rest.match(/"event_type":"[^"]+"/g)).toEqual(['"event_type":"playbook.completed"']);
});

test("the same dedup key gives the execution that is already there", async () => {
  await using platform = await startPlatform();
  const dedup = { key: "order-7", window_secs: 60 };
  const id = await startTwo(platform, { dedup });
  const again = await platform.call("POST", "/api/execute", { path: "tests/two", dedup });
  expect(again.body).toEqual({ execution_id: id, status: "duplicate", commands_generated: 0 });
});

test("an execution that waits for a place says so, wherever it is shown", async () => {
  await using platform = await startPlatform();
  const { call } = platform;
  const content = `apiVersion: noetl.io/v2
kind: Playbook
metadata: { name: one, path: tests/limited }
executor: { spec: { concurrency: { key: "{{ region }}" } } }
workflow:
- { step: start, tool: { kind: python, code: "result = 1" } }`;
  expect((await call("POST", "/api/catalog/register", { content })).status).toBe(200);
  const payload = { region: "eu" };
  await call("POST", "/api/execute", { path: "tests/limited", payload });
  const { body: started } = await call("POST", "/api/execute", { path: "tests/limited", payload });
  expect(started.status).toBe("queued");
  const id = started.execution_id;
  const reason = 'waits for concurrency key "eu": 1 of 1 place taken, position 1 in line';
  const place = { key: "eu", limit: 1, on_limit: "queue", is_queued: true, position: 1, held: 1 };
  const shown = { status: "PENDING", waiting_reason: reason, concurrency: place };
  expect((await call("GET", `/api/executions/${id}`)).body).toMatchObject(shown);
  expect((await call("GET", `/api/executions/${id}/status`)).body).toMatchObject(shown);
  const { body: list } = await call("GET", "/api/executions");
  expect(list).toMatchObject([
    shown,
    { status: "RUNNING", waiting_reason: null, concurrency: { key: "eu", is_queued: false } },
  ]);
  const bad = await call("POST", "/api/execute", { path: "tests/limited" });
  expect(bad).toMatchObject({ status: 422, body: { code: "CONCURRENCY_KEY_INVALID" } });
});

test("a failure reported from outside fails the execution with step and text", async () => {
  await using platform = await startPlatform();
  const id = await startTwo(platform);
  await waitForCommand(platform, id, "start");
  await platform.call("POST", "/api/events", {
    execution_id: id,
    step: "start",
    event_type: "call.error",
    payload: { error: { kind: "schema", message: "column x is missing" } },
  });
  await platform.stream(`/api/executions/${id}/events/stream`);
  const { body } = await platform.call("GET", `/api/executions/${id}`);
  expect(body.status).toBe("FAILED");
  expect(body.error).toContain("start: column x is missing");
  expect(body.error_details).toMatchObject({ kind: "schema", step: "start" });
});

test("cancel ends an execution whose commands nobody holds; a second one is refused", async () => {
  await using platform = await startPlatform();
  const id = await startTwo(platform);
  await waitForCommand(platform, id, "start");
  const path = `/api/executions/${id}`;
  expect((await platform.call("POST", `${path}/cancel`, { reason: "wrong" })).status).toBe(200);
  await platform.stream(`${path}/events/stream`);
  expect((await platform.call("GET", path)).body.status).toBe("CANCELLED");
  expect((await platform.call("GET", `${path}/cancellation-check`)).body.is_cancelled).toBe(true);
  const again = await platform.call("POST", `${path}/cancel`);
  expect([again.status, again.body.code]).toEqual([422, "EXECUTION_FINISHED"]);
});

test("finalize ends an execution from outside", async () => {
  await using platform = await startPlatform();
  const id = await startTwo(platform);
  const path = `/api/executions/${id}`;
  const body = { status: "FAILED", error: "given up" };
  expect((await platform.call("POST", `${path}/finalize`, body)).status).toBe(200);
  await platform.stream(`${path}/events/stream`);
  const detail = await platform.call("GET", path);
  expect(detail.body).toMatchObject({
    status: "FAILED",
    error: expect.stringContaining("given up"),
  });
});

test("a document with errors is refused with all of them; a missing playbook is 404", async () => {
  await using platform = await startPlatform();
  const content = PLAYBOOK.replaceAll("kind: python", "kind: pyton");
  const { status, body } = await platform.call("POST", "/api/catalog/register", { content });
  expect([status, body.code]).toEqual([422, "PLAYBOOK_INVALID"]);
  expect(body.error.match(/pyton/g)?.length).toBeGreaterThanOrEqual(2);
  expect(body.details.diagnostics.length).toBeGreaterThanOrEqual(2);
  const missing = await platform.call("POST", "/api/execute", { path: "tests/none" });
  expect([missing.status, missing.body.code]).toEqual([404, "PLAYBOOK_NOT_FOUND"]);
});

test("log lines are listed and streamed to the end", async () => {
  await using platform = await startPlatform();
  const id = await startTwo(platform);
  await waitForCommand(platform, id, "start");
  const line = {
    executionId: id as ExecutionId,
    commandId: "1",
    attempt: 1,
    step: "start",
    task: "start",
    stream: "stdout",
    timeMs: 1_800_000_000_000,
    text: "hello from start",
  } as const;
  await platform.bus.publishLogs([{ ...line, commandId: line.commandId as never }]);
  const stream = platform.stream(`/api/executions/${id}/logs/stream`);
  await platform.call("POST", `/api/executions/${id}/cancel`);
  expect(await stream).toContain("hello from start");
  const { body } = await platform.call("GET", `/api/executions/${id}/logs`);
  expect(body.logs).toMatchObject([{ step: "start", text: "hello from start", stream: "stdout" }]);
});

test("health is good while database and bus answer", async () => {
  await using platform = await startPlatform();
  const { status, body } = await platform.call("GET", "/api/health");
  expect([status, body.database, body.nats]).toEqual([200, "ok", "ok"]);
});
