import { expect, test } from "bun:test";
import { PIPELINE_START } from "../../../src/engine/command.ts";
import type { ExecutionEvent } from "../../../src/engine/event.ts";
import { failure } from "../../../src/engine/failure.ts";
import { BEGIN_MS, COMMAND, createBackend, createTestServer, sampleEvents } from "./backend.ts";

function finishedRun() {
  const backend = createBackend();
  const run = backend.add("12", { result: { rows: 2 } });
  backend.record("12", ...sampleEvents());
  run.steps.push({
    step: "fetch",
    status: "completed",
    visits: 1,
    attempts: 1,
    startedAtMs: BEGIN_MS + 2000,
    endedAtMs: BEGIN_MS + 5000,
    result: { rows: 2 },
  });
  return { backend, ...createTestServer(backend) };
}

test("GET /api/executions lists newest first, filters and pages", async () => {
  const backend = createBackend();
  backend.add("1", { path: "a/one", status: "completed", endedAtMs: BEGIN_MS + 1500 });
  backend.add("2", { path: "a/two" });
  backend.add("3", { path: "b/three" });
  const { call } = createTestServer(backend);
  const ids = async (query: string) =>
    (await call("GET", `/api/executions${query}`)).body.map(
      (each: { execution_id: string }) => each.execution_id,
    );
  expect(await ids("")).toEqual(["3", "2", "1"]);
  expect(await ids("?path=a/")).toEqual(["2", "1"]);
  expect(await ids("?status=COMPLETED")).toEqual(["1"]);
  expect(await ids("?limit=1&offset=1")).toEqual(["2"]);
  const { body } = await call("GET", "/api/executions?status=success");
  expect(body[0]).toEqual({
    execution_id: "1",
    catalog_id: "7",
    path: "a/one",
    version: 2,
    status: "COMPLETED",
    started_at: "2026-01-01T00:00:00.000Z",
    completed_at: "2026-01-01T00:00:01.500Z",
    start_time: "2026-01-01T00:00:00.000Z",
    end_time: "2026-01-01T00:00:01.500Z",
    duration_seconds: 1.5,
    duration_human: "1.5 s",
    progress: 100,
    parent_execution_id: null,
    origin: null,
    error: null,
    event_count: 0,
    concurrency: null,
    waiting_reason: null,
  });
});

test("GET /api/executions/{id} shows the life of each command in NoETL's events", async () => {
  const { call } = finishedRun();
  const { body } = await call("GET", "/api/executions/12");
  expect(body).toMatchObject({ status: "COMPLETED", workload: { n: 1 }, result: { rows: 2 } });
  expect(
    body.events.map((event: { event_id: string; event_type: string; node_name: string }) => [
      event.event_id,
      event.event_type,
      event.node_name,
    ]),
  ).toEqual([
    ["1", "playbook.started", "playbook"],
    ["2", "step.enter", "fetch"],
    ["3", "command.issued", "fetch"],
    ["3.8", "command.claimed", "fetch"],
    ["3.9", "command.started", "fetch"],
    ["4", "call.done", "fetch"],
    ["4.1", "command.completed", "fetch"],
    ["5", "step.exit", "fetch"],
    ["6", "playbook.completed", "playbook"],
  ]);
  expect(body.events[5]).toMatchObject({
    status: "COMPLETED",
    result: { status: "COMPLETED", context: { data: { rows: 2 } } },
    error: null,
    meta: { command_id: COMMAND, attempt: 1, worker_id: "w1", visit: 1 },
  });
  expect(body.events[4].created_at).toBe("2026-01-01T00:00:03.500Z");
});

test("a long execution shows its newest 2000 events, in order, as valid JSON", async () => {
  const backend = createBackend();
  backend.add("9");
  const entered: ExecutionEvent = { type: "step.entered", step: "s", visit: 1, tokenCount: 1 };
  backend.record("9", ...Array.from({ length: 2300 }, () => entered));
  const { call } = createTestServer(backend);
  const { body } = await call("GET", "/api/executions/9");
  const seqs: readonly number[] = body.events.map((event: { seq: number }) => event.seq);
  expect(seqs.length).toBe(2000);
  expect([seqs[0], seqs.at(-1)]).toEqual([301, 2300]);
  expect(body.event_count).toBe(2300);
});

test("GET /{id}/events pages, and filters in any spelling", async () => {
  const { call } = finishedRun();
  const first = await call("GET", "/api/executions/12/events?limit=2");
  expect(first.body).toMatchObject({ next_after_seq: 2, total_events: 6 });
  const rest = await call("GET", "/api/executions/12/events?after_seq=2&limit=1000");
  expect(rest.body.next_after_seq).toBeNull();
  expect(rest.body.events[0].seq).toBe(3);
  const names = async (filter: string) =>
    (await call("GET", `/api/executions/12/events?event_type=${filter}`)).body.events.map(
      (event: { event_type: string }) => event.event_type,
    );
  expect(await names("step_enter,step.entered")).toEqual(["step.enter"]);
  expect(await names("playbook.initialized")).toEqual(["playbook.started"]);
  expect(await names("command.completed,command_started")).toEqual([
    "command.started",
    "command.completed",
  ]);
  const since = await call("GET", "/api/executions/12/events?since_event_id=3.9");
  expect(since.body.events.at(0).event_id).toBe("3.8");
});

test("GET /{id}/steps and /{id}/status", async () => {
  const { call } = finishedRun();
  const { body } = await call("GET", "/api/executions/12/steps");
  expect(body.steps).toEqual([
    {
      step: "fetch",
      status: "completed",
      visits: 1,
      attempts: 1,
      started_at: "2026-01-01T00:00:02.000Z",
      finished_at: "2026-01-01T00:00:05.000Z",
      result: { rows: 2 },
      error: null,
      error_details: null,
      waiting: null,
    },
  ]);
  expect((await call("GET", "/api/executions/12/status")).body).toMatchObject({
    execution_id: "12",
    status: "COMPLETED",
    current_step: null,
    progress: { total_steps: 1, completed_steps: 1, running_steps: 0, failed_steps: 0 },
    is_cancelled: false,
  });
});

test("failures are shown as one readable line and in full", async () => {
  const backend = createBackend();
  const error = {
    kind: "server_error",
    code: "HTTP_503",
    message: "GET http://x answered 503",
    retryable: true,
    step: "fetch",
    index: 3,
    attempt: 2,
  } as const;
  backend.add("5", { error });
  backend.record("5", { type: "playbook.failed", error });
  const { call } = createTestServer(backend);
  const { body } = await call("GET", "/api/executions/5");
  const text = "fetch[3], attempt 2: GET http://x answered 503 (HTTP_503)";
  expect(body).toMatchObject({ status: "FAILED", error: text, error_details: error });
  expect(body.events[0]).toMatchObject({ status: "FAILED", error: text, meta: { error } });
});

test("tries that failed before the last one are in `meta.retries`", async () => {
  const backend = createBackend();
  backend.add("6");
  const retries = { count: 2, last: failure("connection", "down") };
  const place = { step: "fetch", visit: 1, commandId: COMMAND, attempt: 1 };
  const pipeline = { ...PIPELINE_START, retries };
  backend.record("6", { type: "command.yielded", ...place, pipeline, delayMs: 4000 });
  backend.record("6", { type: "call.done", ...place, value: 1, retries });
  backend.record("6", { type: "step.exited", step: "fetch", visit: 1, status: "ok", arcs: [] });
  const { call } = createTestServer(backend);
  const { body } = await call("GET", "/api/executions/6");
  expect(
    body.events.map((event: { event_type: string; meta: { retries?: unknown } }) => [
      event.event_type,
      event.meta.retries,
    ]),
  ).toEqual([
    ["command.yielded", retries],
    ["call.done", retries],
    ["command.completed", retries],
    ["step.exit", undefined],
  ]);
});

test("cancel and finalize reach the orchestrator", async () => {
  const backend = createBackend();
  backend.add("1");
  backend.add("2");
  const { call } = createTestServer(backend);
  expect((await call("GET", "/api/executions/1/cancellation-check")).body.is_cancelled).toBe(false);
  const answer = await call("POST", "/api/executions/1/cancel", { reason: "wrong input" });
  expect(answer.body).toMatchObject({ execution_id: "1", status: "cancelled" });
  expect(backend.cancels).toMatchObject([{ reason: "wrong input", cascade: true }]);
  expect((await call("GET", "/api/executions/1/cancellation-check")).body.is_cancelled).toBe(true);
  expect((await call("POST", "/api/executions/2/cancel")).status).toBe(200);
  const final = await call("POST", "/api/executions/2/finalize", { status: "FAILED", error: "x" });
  expect(final.body.status).toBe("failed");
});

test("POST /api/events reports for the only open command of a step, or a named one", async () => {
  const backend = createBackend();
  const run = backend.add("1");
  run.open = [
    { commandId: COMMAND, step: "wait", attempt: 2 },
    { commandId: "60" as typeof COMMAND, step: "many", attempt: 1 },
    { commandId: "61" as typeof COMMAND, step: "many", attempt: 1 },
  ];
  const { call } = createTestServer(backend);
  const done = { execution_id: 1, step: "wait", event_type: "call.done", payload: { result: 5 } };
  expect((await call("POST", "/api/events", done)).body.status).toBe("ok");
  expect(backend.reports[0]).toMatchObject({
    executionId: "1",
    commandId: COMMAND,
    attempt: 2,
    outcome: { status: "ok", value: 5 },
  });
  const many = { ...done, step: "many" };
  expect((await call("POST", "/api/events", many)).body.code).toBe("COMMAND_AMBIGUOUS");
  const named = await call("POST", "/api/events/batch", {
    execution_id: "1",
    events: [
      {
        name: "command_failed",
        meta: { command_id: "61" },
        payload: { error: { kind: "timeout", message: "too slow", code: "T1" } },
      },
    ],
  });
  expect(named.status).toBe(200);
  expect(backend.reports[1]).toMatchObject({
    commandId: "61",
    outcome: { status: "error", error: { kind: "timeout", code: "T1", retryable: true } },
  });
});
