/** Waits, signals, retries and reruns on a real database: through restarts, twice, at once. */
import { expect, test } from "bun:test";
import type { ExecutionId } from "../../../src/core/ids.ts";
import { snapshot } from "../../../src/engine/state.ts";
import { getExecution } from "../../../src/store/execution.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { waitFor } from "../../support/wait.ts";
import type { Server } from "./harness.ts";
import {
  claimNext,
  ok,
  playbook,
  report,
  startPlaybook,
  startServer,
  watchToEnd,
} from "./harness.ts";

const APPROVAL = `  - step: start
    tool: { kind: wait, signal: approve, timeout: 1h }
`;

const PAUSE = `  - step: start
    tool: { kind: wait, duration: 1 }
`;

const FORK = `  - step: start
    tool: { kind: noop }
    next: { spec: { mode: inclusive }, arcs: [{ step: good }, { step: bad }] }
  - step: good
    tool: { kind: python, code: result = 1 }
    next: [end]
  - step: bad
    tool:
      - first: { kind: python, code: result = 1 }
      - second: { kind: python, code: result = 2 }
    next: [end]
  - step: end
    tool: { kind: python, code: result = 3 }
`;

const BROKEN = {
  status: "error",
  error: { kind: "server_error", code: "E", message: "no luck", retryable: true },
  value: null,
  ctx: {},
} as const;

async function statusOf(server: Server, id: ExecutionId): Promise<string | undefined> {
  return (await server.orchestrator.state(id))?.status;
}

/** Reports every command that is there, the way the step says. */
async function work(server: Server, count: number, broken: string): Promise<readonly string[]> {
  const steps: string[] = [];
  for (let done = 0; done < count; done++) {
    const command = await claimNext(server);
    const { name } = command.payload.step;
    steps.push(name);
    await report(server, command, name === broken ? BROKEN : ok({ from: name }));
  }
  return steps.sort();
}

async function failFork(server: Server): Promise<ExecutionId> {
  const id = await startPlaybook(server, playbook("test/fork", FORK));
  expect(await work(server, 1, "")).toEqual(["start"]);
  expect(await work(server, 2, "bad")).toEqual(["bad", "good"]);
  expect(await statusOf(server, id)).toBe("failed");
  return id;
}

test("a wait outlives the server that began it", async () => {
  await using db = await createTestDatabase();
  const first = startServer(db.url);
  const id = await startPlaybook(first, playbook("test/pause", PAUSE));
  await first.stop();
  await using second = startServer(db.url);
  const events = await watchToEnd(second, id);
  expect(events.at(-1)?.event).toMatchObject({ type: "playbook.completed" });
  expect(await db.sql`SELECT timer_id FROM noetl.timer`).toHaveLength(0);
});

test("a signal reaches its wait through any server, also one that was just started", async () => {
  await using db = await createTestDatabase();
  const first = startServer(db.url);
  const id = await startPlaybook(first, playbook("test/approval", APPROVAL));
  await first.stop();
  await using second = startServer(db.url);
  const answer = await second.orchestrator.signal(id, { name: "approve", payload: { by: "Ada" } });
  expect(answer).toMatchObject({ status: "delivered", waitCount: 1 });
  expect(await getExecution(db.sql, id)).toMatchObject({
    status: "completed",
    result: { signal: "approve", payload: { by: "Ada" }, timed_out: false },
  });
});

test("a signal that comes before its wait is kept; the same key counts once, on any server", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await using other = startServer(db.url);
  const id = await startPlaybook(
    server,
    playbook(
      "test/late",
      `  - step: start
    tool: { kind: python, code: result = 1 }
    next: [first]
  - step: first
    tool: { kind: wait, signal: go }
    next: [second]
  - step: second
    tool: { kind: wait, signal: go }
`,
    ),
  );
  const signal = { name: "go", payload: 1, dedupKey: "once" };
  const answers = await Promise.all(
    [server, other, server, other].map(({ orchestrator }) => orchestrator.signal(id, signal)),
  );
  expect(answers.map(({ status }) => status).sort()).toEqual([
    "duplicate",
    "duplicate",
    "duplicate",
    "kept",
  ]);
  await report(server, await claimNext(server), ok(1));
  const waiting = await waitFor("the second wait", async () => {
    const state = await other.orchestrator.state(id);
    return state?.steps.get("second")?.status === "running" ? state : undefined;
  });
  expect(waiting.steps.get("first")?.value?.value).toMatchObject({ payload: 1 });
  await other.orchestrator.signal(id, { name: "go", payload: 2 });
  expect((await watchToEnd(server, id)).at(-1)?.event.type).toBe("playbook.completed");
});

test("signals that cannot be taken are refused with a reason", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const { orchestrator } = server;
  const id = await startPlaybook(server, playbook("test/approval", APPROVAL));
  const send = (to: ExecutionId, name: string, payload = "") =>
    orchestrator.signal(to, { name, payload }).catch((error: unknown) => error);
  expect(await send("1" as ExecutionId, "go")).toMatchObject({ code: "EXECUTION_NOT_FOUND" });
  expect(await send(id, "")).toMatchObject({ code: "SIGNAL_INVALID" });
  expect(await send(id, "go", "x".repeat(300_000))).toMatchObject({ code: "SIGNAL_TOO_LARGE" });
  await orchestrator.cancel(id, { reason: "enough", cascade: true });
  expect(await send(id, "approve")).toMatchObject({
    kind: "conflict",
    code: "EXECUTION_FINISHED",
  });
});

test("a retry runs the failed branch again, and only that", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await using other = startServer(db.url);
  const id = await failFork(server);
  const before = await getExecution(db.sql, id);
  expect(before).toMatchObject({ status: "failed", error: { message: "no luck" } });
  const retried = await other.orchestrator.retry(id, { isNew: false });
  expect(retried).toEqual({ executionId: id, status: "running", originId: id });
  const open = await getExecution(db.sql, id);
  expect(open).toMatchObject({ status: "running", error: null, endedAtMs: null });
  expect(await work(other, 2, "")).toEqual(["bad", "end"]);
  const events = await watchToEnd(server, id);
  expect(events.at(-1)?.event.type).toBe("playbook.completed");
  const types = events.map(({ event }) => event.type);
  expect(types.filter((type) => type === "playbook.failed")).toHaveLength(1);
  expect(types.filter((type) => type === "playbook.resumed")).toHaveLength(1);
  expect(await getExecution(db.sql, id)).toMatchObject({
    status: "completed",
    error: null,
    result: { from: "end" },
  });
});

test("of two retries at once one is taken", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await using other = startServer(db.url);
  const id = await failFork(server);
  const answers = await Promise.allSettled(
    [server, other].map(({ orchestrator }) => orchestrator.retry(id, { isNew: false })),
  );
  expect(answers.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
  const late = answers.find(({ status }) => status === "rejected");
  expect(late).toMatchObject({ reason: { code: "EXECUTION_RUNNING", kind: "conflict" } });
});

test("a retry as a new execution keeps the results and leaves the old one alone", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const id = await failFork(server);
  const old = await getExecution(db.sql, id);
  const retried = await server.orchestrator.retry(id, { isNew: true });
  expect(retried).toMatchObject({ originId: id, status: "running" });
  expect(retried.executionId).not.toBe(id);
  expect(await work(server, 2, "")).toEqual(["bad", "end"]);
  const events = await watchToEnd(server, retried.executionId);
  expect(events[0]?.event).toMatchObject({
    executionId: retried.executionId,
    origin: { executionId: id, kind: "retry" },
  });
  const state = await server.orchestrator.state(retried.executionId);
  expect(state?.steps.get("good")?.value?.value).toEqual({ from: "good" });
  expect(state?.status).toBe("completed");
  expect(await getExecution(db.sql, id)).toEqual(old);
  expect(await db.sql`SELECT timer_id FROM noetl.timer`).toHaveLength(0);
});

test("one dedup key makes one new execution, however often and wherever it is asked for", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await using other = startServer(db.url);
  const [id, stranger] = [await failFork(server), await failFork(server)];
  const ask = (asked: Server) =>
    asked.orchestrator.retry(id, { isNew: true, dedup: { key: "again" } });
  const answers = await Promise.all([ask(server), ask(other), ask(server), ask(other)]);
  const ids = new Set(answers.map(({ executionId }) => executionId));
  expect(ids.size).toBe(1);
  expect(answers.every(({ originId }) => originId === id)).toBe(true);
  expect(await db.sql`SELECT 1 FROM noetl.execution WHERE origin_id = ${id}`).toHaveLength(1);
  const taken = server.orchestrator.retry(stranger, { isNew: true, dedup: { key: "again" } });
  await expect(taken).rejects.toMatchObject({ code: "DEDUP_KEY_TAKEN" });
});

test("a copy that nobody continued is continued by a sweep", async () => {
  await using db = await createTestDatabase();
  const first = startServer(db.url);
  const id = await failFork(first);
  const { copyExecution } = await import("../../../src/store/copy-execution.ts");
  const [started] = await watchToEnd(first, id);
  const state = await first.orchestrator.state(id);
  const to = (await first.orchestrator.newId()) as ExecutionId;
  const input = JSON.stringify({ kind: "retry", atSeq: state?.seq });
  const timerId = await first.orchestrator.newId();
  const copied = await copyExecution(db.sql, {
    from: id,
    to,
    seq: state?.seq ?? 0,
    started: started?.event as never,
    wakeUp: { timerId: timerId as never, input },
  });
  expect(copied).toBe("copied");
  await first.stop();
  await using second = startServer(db.url);
  await waitFor("the copy to go on", async () => (await statusOf(second, to)) === "running");
  expect(await work(second, 2, "")).toEqual(["bad", "end"]);
  expect((await watchToEnd(second, to)).at(-1)?.event.type).toBe("playbook.completed");
});

test("what cannot be retried is refused", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const { orchestrator } = server;
  const id = await failFork(server);
  const retry = (to: ExecutionId, steps?: readonly string[], isNew = false) =>
    orchestrator
      .retry(to, { isNew, ...(steps === undefined ? {} : { steps }) })
      .catch((error: unknown) => error);
  for (const isNew of [false, true]) {
    expect(await retry("1" as ExecutionId, undefined, isNew)).toMatchObject({
      code: "EXECUTION_NOT_FOUND",
    });
    expect(await retry(id, ["good"], isNew)).toMatchObject({
      code: "STEP_NOT_RETRYABLE",
      kind: "invalid",
    });
  }
  await orchestrator.retry(id, { isNew: false });
  expect(await retry(id)).toMatchObject({ code: "EXECUTION_RUNNING" });
  await work(server, 2, "");
  expect(await retry(id)).toMatchObject({ code: "EXECUTION_COMPLETED" });
});

test("a rerun starts over with the same version and payload", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const { orchestrator } = server;
  const content = (code: string): string =>
    playbook("test/rerun", `  - step: start\n    tool: { kind: python, code: ${code} }\n`);
  await orchestrator.registerPlaybook({ content: content("result = 1"), isStrict: false });
  const { executionId: id } = await orchestrator.start({
    path: "test/rerun",
    payload: { day: 1, deep: { a: 1, b: 2 } },
  });
  await report(server, await claimNext(server), ok(1));
  await orchestrator.registerPlaybook({ content: content("result = 2"), isStrict: false });
  const again = await orchestrator.rerun(id, { payload: { deep: { b: 3 } } });
  expect(again).toMatchObject({ status: "started" });
  const state = await orchestrator.state(again.executionId);
  expect(state?.start).toMatchObject({
    version: 1,
    workload: { day: 1, deep: { a: 1, b: 3 } },
    origin: { executionId: id, kind: "rerun" },
  });
  const rows = await db.sql`SELECT origin_id, origin_kind FROM noetl.execution
    WHERE execution_id = ${again.executionId}`;
  expect(rows[0]).toEqual({ origin_id: id, origin_kind: "rerun" });
});

test("the state after a retry is what a replay gives", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await using other = startServer(db.url);
  const id = await failFork(server);
  await server.orchestrator.retry(id, { isNew: false });
  await work(server, 1, "");
  const live = await server.orchestrator.state(id);
  const liveText = live && JSON.stringify(snapshot(live));
  const replayed = await other.orchestrator.state(id);
  expect(replayed && JSON.stringify(snapshot(replayed))).toBe(liveText);
});
