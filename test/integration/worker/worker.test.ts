import { afterEach, expect, test } from "bun:test";
import { AppError } from "../../../src/core/errors.ts";
import type { CommandId, ExecutionId } from "../../../src/core/ids.ts";
import type { Rule } from "../../../src/dsl/playbook.ts";
import type { LogLine } from "../../../src/engine/command.ts";
import { PIPELINE_START } from "../../../src/engine/command.ts";
import { failure } from "../../../src/engine/failure.ts";
import { startNats } from "../../support/nats.ts";
import { waitFor } from "../../support/wait.ts";
import { field, resultOf, TestPlatform, task } from "./platform.ts";

const nats = await startNats();
let count = 0;
let current: TestPlatform | undefined;

async function start(): Promise<TestPlatform> {
  current = await TestPlatform.start(nats.url, `w${++count}`);
  return current;
}

afterEach(async () => {
  await current?.[Symbol.asyncDispose]();
  current = undefined;
});

function retryRule(more: Partial<Rule> = {}): Rule {
  return {
    action: "retry",
    set: [],
    attempts: 3,
    backoff: "none",
    delay: 0,
    hasJitter: false,
    ...more,
  };
}

test("a worker registers, runs commands with rendered input and reports them", async () => {
  const platform = await start();
  const { worker } = platform.runWorker();
  const id = await platform.queue([
    task("t", { do: "give" }, { input: { twice: "{{ n * 2 }}", text: "n is {{ n }}" } }),
  ]);
  expect(await platform.outcome(id)).toEqual({
    status: "ok",
    value: { twice: 14, text: "n is 7" },
    ctx: {},
  });
  expect(platform.registrations).toMatchObject([{ pool: "cpu-01", slots: 2, tools: ["test"] }]);
  await waitFor("free slots", () => worker.status.freeSlots === 2);
  expect(worker.status).toMatchObject({ state: "working", isConnected: true });
});

test("templates of tasks read the variables that the operator names, and no others", async () => {
  const platform = await start();
  platform.runWorker({ env: { REGION: "eu" } });
  const input = { region: "{{ env.REGION }}", home: "{{ env.HOME }}" };
  const id = await platform.queue([task("t", { do: "give" }, { input })]);
  expect(await platform.outcome(id)).toMatchObject({ value: { region: "eu", home: null } });
});

test("a hundred commands on two slots run once each", async () => {
  const platform = await start();
  platform.runWorker();
  const ids = await Promise.all(
    Array.from({ length: 100 }, (_, n) => platform.queue([task("t", { do: "give", value: n })])),
  );
  const values = await Promise.all(ids.map(async (id) => resultOf(await platform.outcome(id))));
  expect(values).toEqual(Array.from({ length: 100 }, (_, n) => n));
  expect(platform.reports.length).toBe(100);
});

test("a more urgent command takes the slot, the one that was asked for comes again", async () => {
  const platform = await start();
  const normal = await Promise.all(
    Array.from({ length: 20 }, (_, n) => platform.queue([task("t", { do: "give", value: n })])),
  );
  const urgent = await Promise.all(
    ["a", "b"].map((value) => platform.queue([task("t", { do: "give", value })])),
  );
  for (const id of urgent) {
    platform.urgent.add(id);
  }
  const { worker } = platform.runWorker({ slots: 1 });
  await Promise.all([...normal, ...urgent].map((id) => platform.outcome(id)));
  const order = platform.reports.map(({ commandId }) => commandId as string);
  expect(order.slice(0, 2)).toEqual(urgent);
  expect(order.toSorted()).toEqual([...normal, ...urgent].toSorted());
  await waitFor("a free slot", () => worker.status.freeSlots === 1);
});

test("no more commands than slots run at once", async () => {
  const platform = await start();
  const { worker } = platform.runWorker({ slots: 2 });
  const ids = await Promise.all([1, 2, 3].map(() => platform.queue([task("t", { do: "hang" })])));
  await waitFor("two claims", () => worker.status.freeSlots === 0);
  await waitFor("a heartbeat with both", () =>
    platform.heartbeats.some(({ held }) => held.length === 2),
  );
  const statuses = ids.map((id) => platform.commands.get(id)?.status).sort();
  expect(statuses).toEqual(["queued", "running", "running"]);
  for (const id of ids) {
    await platform.running(id);
    platform.direct({ kind: "cancel", commandId: id as CommandId, attempt: 1 });
    await platform.outcome(id);
  }
});

test("a pipeline keeps its results and locals from task to task", async () => {
  const platform = await start();
  platform.runWorker();
  const id = await platform.queue([
    task(
      "a",
      { do: "give", value: { x: 1 } },
      { set: [{ target: "ctx.seen", value: "{{ a.x }}" }] },
    ),
    task("b", { do: "give", value: "{{ a.x + 1 }}" }),
  ]);
  expect(await platform.outcome(id)).toEqual({
    status: "ok",
    value: { a: { x: 1 }, b: 2 },
    ctx: { seen: 1 },
  });
});

test("failures of every origin are reported as data", async () => {
  const platform = await start();
  platform.runWorker();
  const run = async (...tasks: Parameters<TestPlatform["queue"]>[0]) =>
    await platform.outcome(await platform.queue(tasks));
  const problem = failure("db_error", "no such table");
  expect(await run(task("t", { do: "fail", failure: { ...problem } }))).toMatchObject({
    status: "error",
    error: { kind: "db_error", message: "no such table", stderr: "something is wrong", task: "t" },
  });
  expect(await run(task("t", { do: "throw" }))).toMatchObject({
    error: { kind: "internal", stderr: expect.stringContaining("Error: a bug") },
  });
  expect(await run(task("t", {}))).toMatchObject({
    error: { kind: "schema", message: "test needs do" },
  });
  expect(await run(task("t", {}, { kind: "strange" }))).toMatchObject({
    error: { kind: "not_found", code: "TOOL_UNKNOWN" },
  });
  expect(await run(task("t", { do: "give", value: "{{ n + }}" }))).toMatchObject({
    error: { kind: "template" },
  });
  expect(await run(task("t", { do: "hang" }, { timeoutMs: 50 }))).toMatchObject({
    error: { kind: "timeout" },
  });
});

test("short retries happen in the slot, long ones give it back", async () => {
  const platform = await start();
  platform.runWorker();
  const failing = (rule: Rule) =>
    task(
      "t",
      { do: "fail", failure: { ...failure("connection", "down") } },
      { policy: { mode: "exclusive", rules: [rule] } },
    );
  const short = await platform.outcome(
    await platform.queue([failing(retryRule({ backoff: "linear", delay: 0.01 }))]),
  );
  expect(short).toMatchObject({
    status: "error",
    error: { kind: "connection", attempt: 3, stderr: "something is wrong" },
    retries: { count: 2, last: { ...failure("connection", "down") } },
  });
  const long = await platform.outcome(
    await platform.queue([failing(retryRule({ backoff: "linear", delay: 60 }))]),
  );
  expect(long).toMatchObject({
    status: "yielded",
    delayMs: 60_000,
    pipeline: { tries: 1, retries: { count: 1 } },
  });
});

test("the failure that was tried again is reported brief and without secrets", async () => {
  const platform = await start();
  platform.runWorker();
  const again = retryRule({ attempts: 2, delay: 0 });
  const leak = `${"x".repeat(495)} s3cret-value ${"y".repeat(100)}`;
  const outcome = await platform.outcome(
    await platform.queue([
      task("a", { do: "secret", name: "db" }),
      task(
        "b",
        { do: "fail", failure: { ...failure("connection", leak) } },
        { policy: { mode: "exclusive", rules: [again] } },
      ),
    ]),
  );
  const retries = "retries" in outcome ? outcome.retries : undefined;
  expect(retries).toEqual({
    count: 1,
    last: failure("connection", `${"x".repeat(495)} ***…`),
  });
});

test("a sub-playbook, a wait, a task of another pool and one with other GPUs are left to others", async () => {
  const platform = await start();
  platform.runWorker();
  for (const next of [{ kind: "playbook" }, { kind: "wait" }, { pool: "gpu-01" }, { gpu: 1 }]) {
    const id = await platform.queue([
      task("a", { do: "give", value: 1 }),
      task("b", { do: "give", value: 2 }, next),
    ]);
    expect(await platform.outcome(id)).toMatchObject({
      status: "yielded",
      delayMs: 0,
      pipeline: { position: 1, results: { a: 1 } },
    });
  }
});

test("large values travel by reference, both ways, and too large ones fail", async () => {
  const platform = await start();
  platform.runWorker({ limits: { inlineBytes: 1000, resultBytes: 100_000 } });
  const items = "x".repeat(5000);
  const first = await platform.queue([task("t", { do: "give", value: { items, total: 3 } })], {
    step: {
      name: "step",
      tasks: [task("t", { do: "give", value: { items, total: 3 } })],
      isPipeline: false,
      input: {},
      outputSelect: ["total"],
    },
  });
  const value = resultOf(await platform.outcome(first)) ?? null;
  expect(value).toMatchObject({ type: "object", fields: { total: 3 } });
  expect(platform.shelf.read(String(field(value, "$ref")))).toEqual({ items, total: 3 });

  const scope = {
    executionId: "321321321321321321" as ExecutionId,
    path: "a/b",
    version: 1,
    workload: {},
    ctx: {},
    steps: { start: { value, status: "ok", shape: "task" } },
  } as const;
  const config = { do: "give", value: ["{{ start.items | length }}", "{{ start.data.total }}"] };
  const second = await platform.queue([task("t", config)], { scope });
  expect(resultOf(await platform.outcome(second))).toEqual([5000, 3]);

  const huge = await platform.queue([task("t", { do: "give", value: "y".repeat(200_000) })]);
  expect(await platform.outcome(huge)).toMatchObject({
    status: "error",
    error: { kind: "limit", message: expect.stringContaining("100000 (NOETL_RESULT_BYTES)") },
  });
});

test("a pipeline keeps its map and stores the large data of its tasks, with what the server reads", async () => {
  const platform = await start();
  platform.runWorker({ limits: { inlineBytes: 1000 } });
  const rows = Array.from({ length: 50 }, (_, n) => ({ id: n, text: "x".repeat(100) }));
  const tasks = [
    task("big", { do: "give", value: { rows, total: 50 } }),
    task("small", { do: "give", value: { note: "hi" } }),
  ];
  const step = { name: "step", tasks, isPipeline: true, input: {}, outputSelect: ["total"] };
  const reads = [["rows", 3, "id"]];
  const id = await platform.queue(tasks, { step: { ...step, reads } });
  const value = resultOf(await platform.outcome(id));
  expect(value).toMatchObject({
    big: {
      type: "object",
      fields: {
        total: 50,
        rows: { type: "array", length: 50, fields: { 3: { id: 3 } } },
      },
    },
    small: { note: "hi" },
  });
  const ref = field(field(value, "big"), "$ref");
  expect(platform.shelf.read(String(ref))).toEqual({ rows, total: 50 });
});

test("a value of ctx over its limit fails the task with the figures and the setting", async () => {
  const platform = await start();
  platform.runWorker({ limits: { inlineBytes: 1000, ctxBytes: 2000 } });
  const set = [{ target: "ctx.kept", value: "{{ output }}" }];
  const id = await platform.queue([task("t", { do: "give", value: "x".repeat(3000) }, { set })]);
  expect(await platform.outcome(id)).toMatchObject({
    status: "error",
    error: {
      kind: "limit",
      message: expect.stringMatching(/ctx\.kept has 3002 bytes.*2000 \(NOETL_CTX_BYTES\)/),
    },
  });
});

test("a lone reference is whole when the tool gets it", async () => {
  const platform = await start();
  platform.runWorker();
  const { ref: value } = platform.shelf.add("321321321321321321", "x", '{"a":[1,2]}');
  const scope = {
    executionId: "321321321321321321" as ExecutionId,
    path: "a/b",
    version: 1,
    workload: {},
    ctx: {},
    steps: { start: { value, status: "ok", shape: "task" } },
  } as const;
  const whole = task("t", { do: "give" }, { input: { all: "{{ start }}" } });
  const id = await platform.queue([whole], { scope });
  expect(resultOf(await platform.outcome(id))).toEqual({ all: { a: [1, 2] } });
});

test("log lines arrive, limited and without secrets", async () => {
  const platform = await start();
  const seen: LogLine[] = [];
  platform.runWorker({
    limits: { logBurstLines: 3, logLinesPerSecond: 0 },
    onLog: (line) => seen.push(line),
  });
  const noisy = await platform.queue([task("t", { do: "log", text: "hello", lines: 10 })]);
  await platform.outcome(noisy);
  await waitFor("the last line", () => platform.lines.some(({ stream }) => stream === "system"));
  const lines = platform.lines.filter(({ commandId }) => commandId === noisy);
  expect(lines.map(({ text }) => text)).toEqual([
    "hello 0",
    "hello 1",
    "hello 2",
    "7 lines dropped: the task writes more than its log may hold",
  ]);
  expect(seen).toEqual(lines);

  const secret = await platform.queue([task("t", { do: "secret", name: "db" })]);
  expect(resultOf(await platform.outcome(secret))).toBe("got ***");
  const masked = await waitFor("its line", () =>
    platform.lines.find(({ commandId }) => commandId === secret),
  );
  expect(masked).toMatchObject({ text: "the password is ***", step: "step", task: "t" });

  const missing = await platform.queue([task("t", { do: "secret", name: "nope" })]);
  expect(await platform.outcome(missing)).toMatchObject({
    error: { kind: "auth", code: "CREDENTIAL_NOT_FOUND" },
  });
});

test("cancel stops the tool and is reported; a lost lease is not reported", async () => {
  const platform = await start();
  const { worker } = platform.runWorker();
  const cancelled = await platform.queue([task("t", { do: "hang" })]);
  const lost = await platform.queue([task("t", { do: "hang" })]);
  await platform.running(cancelled);
  await platform.running(lost);
  platform.direct({ kind: "cancel", commandId: cancelled as CommandId, attempt: 1 });
  platform.direct({ kind: "lost", commandId: lost as CommandId, attempt: 1 });
  expect(await platform.outcome(cancelled)).toEqual({ status: "cancelled" });
  await waitFor("free slots", () => worker.status.freeSlots === 2);
  expect(platform.reports.length).toBe(1);
});

test("a directive for another attempt is ignored", async () => {
  const platform = await start();
  platform.runWorker();
  const id = await platform.queue([task("t", { do: "hang" })]);
  await platform.running(id);
  platform.direct({ kind: "cancel", commandId: id as CommandId, attempt: 2 });
  const before = platform.heartbeats.length;
  await waitFor("another heartbeat", () => platform.heartbeats.length > before + 1);
  expect(platform.heartbeats.at(-1)?.held).toMatchObject([{ commandId: id, attempt: 1 }]);
});

test("reports are repeated until a server takes them", async () => {
  const platform = await start();
  const { worker } = platform.runWorker();
  platform.reportError = new AppError("unavailable", "DATABASE_DOWN", "later");
  const id = await platform.queue([task("t", { do: "give", value: 1 })]);
  await platform.running(id);
  await waitFor("the tool's end", () => worker.status.freeSlots === 1);
  platform.reportError = undefined;
  expect(resultOf(await platform.outcome(id))).toBe(1);
});

test("a report that the server refuses becomes a failure", async () => {
  const platform = await start();
  const { worker } = platform.runWorker();
  platform.reportError = new AppError("invalid", "MESSAGE_INVALID", "no good");
  const id = await platform.queue([task("t", { do: "give", value: 1 })]);
  await platform.running(id);
  await waitFor("a free slot", () => worker.status.freeSlots === 2);
  expect(platform.reports).toEqual([]);
});

test("the worker survives a restart of the server with its tools running", async () => {
  const platform = await start();
  const { worker } = platform.runWorker();
  const id = await platform.queue([task("t", { do: "hang" })]);
  await platform.running(id);
  await platform.stopServer();
  const before = platform.heartbeats.length;
  await platform.startServer();
  await waitFor("heartbeats again", () => platform.heartbeats.length > before);
  expect(platform.heartbeats.at(-1)?.held).toMatchObject([{ commandId: id }]);
  platform.direct({ kind: "cancel", commandId: id as CommandId, attempt: 1 });
  expect(await platform.outcome(id)).toEqual({ status: "cancelled" });
  await waitFor("free slots", () => worker.status.freeSlots === 2);
});

test("tools stop when no server answers for as long as a lease, and the worker comes back", async () => {
  const platform = await start();
  platform.leaseMs = 600;
  const { worker } = platform.runWorker();
  const id = await platform.queue([task("t", { do: "hang" })]);
  await platform.running(id);
  await platform.stopServer();
  await waitFor("a stopped tool", () => worker.status.freeSlots === 2);
  expect(worker.status.isConnected).toBe(false);
  await platform.startServer();
  await waitFor("another registration", () => platform.registrations.length >= 2);
  const next = await platform.queue([task("t", { do: "give", value: 5 })]);
  expect(resultOf(await platform.outcome(next))).toBe(5);
  expect(platform.reports.length).toBe(1);
});

test("a requeued command is taken again while the first attempt is stopped", async () => {
  const platform = await start();
  platform.runWorker();
  const id = await platform.queue([task("t", { do: "hang" })]);
  await platform.running(id);
  await platform.requeue(id);
  platform.direct({ kind: "lost", commandId: id as CommandId, attempt: 1 });
  await waitFor("the second claim", () => platform.commands.get(id)?.claimCount === 2);
  platform.direct({ kind: "cancel", commandId: id as CommandId, attempt: 2 });
  expect(await platform.outcome(id)).toEqual({ status: "cancelled" });
});

test("the worker goes on after nats-server was killed", async () => {
  const platform = await start();
  platform.runWorker();
  process.kill(nats.pid, "SIGKILL");
  await waitFor("the loss", () => !platform.bus.isConnected);
  const id = await platform.queue([task("t", { do: "give", value: 1 })]);
  expect(resultOf(await platform.outcome(id))).toBe(1);
});

test("stopping lets short work end, hands the rest back and says goodbye", async () => {
  const platform = await start();
  const { worker, stop } = platform.runWorker({ graceMs: 300, slots: 4 });
  const hanging = await platform.queue([task("t", { do: "hang" })]);
  const fragile = await platform.queue([task("t", { do: "hang" }, { isIdempotent: false })]);
  const halfway = await platform.queue([
    task("a", { do: "give", value: 1 }),
    task("b", { do: "hang" }),
  ]);
  await Promise.all([hanging, fragile, halfway].map((id) => platform.running(id)));
  await waitFor("a heartbeat with all", () => platform.heartbeats.at(-1)?.held.length === 3);
  await stop();
  expect(await platform.outcome(hanging)).toMatchObject({ status: "released" });
  expect(await platform.outcome(fragile)).toMatchObject({
    status: "error",
    error: { kind: "worker_lost", retryable: false },
  });
  expect(await platform.outcome(halfway)).toMatchObject({
    status: "yielded",
    pipeline: { ...PIPELINE_START, position: 1, results: { a: 1 }, taskCount: 1 },
  });
  expect(platform.heartbeats.at(-1)?.isDraining).toBe(true);
  expect(platform.deregistered.length).toBe(1);
  expect(worker.status.state).toBe("stopped");
});

test("a drain directive stops the worker", async () => {
  const platform = await start();
  const { worker } = platform.runWorker();
  await waitFor("a heartbeat", () => platform.heartbeats.length > 0);
  platform.direct({ kind: "drain" });
  await waitFor("the end", () => worker.status.state === "stopped");
  expect(platform.deregistered.length).toBe(1);
});

test("a worker that is stopped before a server answers just ends", async () => {
  const platform = await start();
  await platform.stopServer();
  const { worker, stop } = platform.runWorker();
  await stop();
  expect(worker.status.state).toBe("stopped");
});
