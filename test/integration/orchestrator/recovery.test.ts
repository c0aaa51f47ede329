import { expect, test } from "bun:test";
import type { ExecutionId, WorkerId } from "../../../src/core/ids.ts";
import type { Directive, Heartbeat, HeldCommand } from "../../../src/engine/command.ts";
import { createLogger } from "../../../src/observability/log.ts";
import { getExecution, listExecutions } from "../../../src/store/execution.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { waitFor } from "../../support/wait.ts";
import type { Server } from "./harness.ts";
import {
  claimNext,
  ONE_STEP,
  ok,
  playbook,
  registerWorker,
  report,
  startPlaybook,
  startServer,
  WORKER,
  watchToEnd,
} from "./harness.ts";

/** Leases that a test can wait for. */
const QUICK = { leaseMs: 300, heartbeatIntervalMs: 50 };

function heartbeat(held: readonly HeldCommand[]): Heartbeat {
  return {
    workerId: WORKER,
    held,
    freeSlots: 1,
    pullAgeMs: 0,
    eventLoopLagMs: 0,
    rssBytes: 1,
    cpuPercent: 0,
    isDraining: false,
  };
}

async function statusOf(server: Server, id: ExecutionId): Promise<string | undefined> {
  return (await server.orchestrator.state(id))?.status;
}

test("a command whose notification never went out is announced by another server", async () => {
  await using db = await createTestDatabase();
  const server = startServer(db.url);
  server.bus.isDown = true;
  const executionId = await startPlaybook(server, playbook("test/one", ONE_STEP));
  await server.stop();
  await using other = startServer(db.url);
  const command = await claimNext(other);
  await report(other, command, ok(1));
  expect((await watchToEnd(other, executionId)).at(-1)?.event.type).toBe("playbook.completed");
});

test("commands are announced again when the stream has been deleted", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await startPlaybook(server, playbook("test/one", ONE_STEP));
  await waitFor("the notification's mark", async () => {
    const rows = await db.sql`SELECT 1 FROM noetl.command WHERE notified_at IS NOT NULL`;
    return rows.length === 1;
  });
  await waitFor("the stream's name", async () => {
    const rows = await db.sql`SELECT 1 FROM noetl.bus WHERE stream = 'first'`;
    return rows.length === 1;
  });
  expect(server.bus.published).toHaveLength(1);
  server.bus.identity = "second";
  await waitFor("a second notification", () => server.bus.published.length === 2);
  expect(server.bus.published[1]?.notification).toEqual(
    server.bus.published[0]?.notification as never,
  );
});

test("a silent worker loses its command to the next attempt, and its late report is refused", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url, QUICK);
  const executionId = await startPlaybook(server, playbook("test/one", ONE_STEP));
  const first = await claimNext(server);
  const second = await waitFor("the second attempt", async () => {
    const command = await claimNext(server, "worker-2" as WorkerId);
    return command.attempt === 2 ? command : undefined;
  });
  expect(await report(server, first, ok("late"))).toBe("stale");
  expect(await server.orchestrator.heartbeat(heartbeat([first]))).toEqual([
    { kind: "register" },
    { kind: "lost", commandId: first.commandId, attempt: 1 },
  ]);
  expect(await report(server, second, ok("good"), "worker-2" as WorkerId)).toBe("accepted");
  const events = await watchToEnd(server, executionId);
  expect(events.at(-1)?.event).toMatchObject({ type: "playbook.completed", result: "good" });
  expect(events.map(({ event }) => event.type)).toContain("command.retried");
});

test("a worker that sends heartbeats keeps its command beyond the lease", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url, QUICK);
  await registerWorker(server);
  const executionId = await startPlaybook(server, playbook("test/one", ONE_STEP));
  const command = await claimNext(server);
  const untilMs = performance.now() + 3 * QUICK.leaseMs;
  await waitFor("three leases", async () => {
    expect(await server.orchestrator.heartbeat(heartbeat([command]))).toEqual([]);
    return performance.now() > untilMs;
  });
  expect(await report(server, command, ok(1))).toBe("accepted");
  expect(await statusOf(server, executionId)).toBe("completed");
});

test("leases survive an outage that kept workers from renewing them", async () => {
  await using db = await createTestDatabase();
  const server = startServer(db.url, { leaseMs: 100 });
  await registerWorker(server);
  await startPlaybook(server, playbook("test/one", ONE_STEP));
  const command = await claimNext(server);
  await server.stop();
  await waitFor("the lease's end", async () => {
    const rows = await db.sql`SELECT 1 FROM noetl.command WHERE lease_until < now()`;
    return rows.length === 1;
  });
  await using other = startServer(db.url, { leaseMs: 10_000, heartbeatIntervalMs: 10_000 });
  await waitFor("some sweeps", async () => {
    const rows = await db.sql`
      SELECT 1 FROM pg_stat_activity
      WHERE application_name = 'test' AND query LIKE '%clock_timestamp%'`;
    return rows.length > 0;
  });
  expect(await other.orchestrator.heartbeat(heartbeat([command]))).toEqual([]);
  expect(await report(other, command, ok(1))).toBe("accepted");
});

test("a worker that says goodbye gives its command back at once", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await registerWorker(server);
  await startPlaybook(server, playbook("test/one", ONE_STEP));
  await claimNext(server);
  await server.orchestrator.deregister(WORKER);
  const again = await claimNext(server, "worker-2" as WorkerId);
  expect(again.attempt).toBe(2);
});

test("cancelling ends an execution whose command nobody has", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const executionId = await startPlaybook(server, playbook("test/one", ONE_STEP));
  const changed = await server.orchestrator.cancel(executionId, { reason: "test", cascade: true });
  expect(changed.isChanged).toBe(true);
  const last = (await watchToEnd(server, executionId)).at(-1)?.event;
  expect(last).toEqual({ type: "playbook.cancelled", reason: "test" });
  const again = await server.orchestrator.cancel(executionId, { reason: "test", cascade: true });
  expect(again).toMatchObject({ isChanged: false, status: "cancelled" });
  expect(await getExecution(db.sql, executionId)).toMatchObject({
    status: "cancelled",
    error: { kind: "cancelled", message: "test" },
  });
  expect(await db.sql`SELECT 1 FROM noetl.command UNION SELECT 1 FROM noetl.timer`).toHaveLength(0);
});

test("cancelling tells the worker at once and ends with its word", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await using other = startServer(db.url);
  await registerWorker(server);
  const executionId = await startPlaybook(server, playbook("test/one", ONE_STEP));
  const command = await claimNext(server);
  const told: Directive[] = [];
  const unsubscribe = server.orchestrator.subscribeDirectives(WORKER, (directives) =>
    told.push(...directives),
  );
  await server.orchestrator.cancel(executionId, { reason: "test", cascade: true });
  const cancel = { kind: "cancel", commandId: command.commandId, attempt: 1 } as const;
  expect(told).toEqual([cancel]);
  expect(await other.orchestrator.heartbeat(heartbeat([command]))).toEqual([cancel]);
  expect(await statusOf(server, executionId)).toBe("running");
  expect(await report(other, command, { status: "cancelled" })).toBe("accepted");
  expect(await statusOf(server, executionId)).toBe("cancelled");
  unsubscribe();
});

test("a cancelled command whose worker has died is confirmed when its lease ends", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url, QUICK);
  const executionId = await startPlaybook(server, playbook("test/one", ONE_STEP));
  await claimNext(server);
  await server.orchestrator.cancel(executionId, { reason: "test", cascade: true });
  const last = (await watchToEnd(server, executionId)).at(-1)?.event;
  expect(last?.type).toBe("playbook.cancelled");
});

const PARENT = `  - step: start
    tool: { kind: playbook, path: test/child }
`;

async function startFamily(server: Server): Promise<readonly [ExecutionId, ExecutionId]> {
  const content = playbook("test/child", ONE_STEP);
  await server.orchestrator.registerPlaybook({ content, isStrict: false });
  const parentId = await startPlaybook(server, playbook("test/parent", PARENT));
  const childId = await waitFor("the child", () => server.bus.held()[0]?.executionId);
  return [parentId, childId];
}

test("cancelling a parent cancels its child and waits for it", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await using other = startServer(db.url);
  const [parentId, childId] = await startFamily(server);
  await other.orchestrator.cancel(parentId, { reason: "test", cascade: true });
  expect((await watchToEnd(server, parentId)).at(-1)?.event.type).toBe("playbook.cancelled");
  expect((await getExecution(db.sql, childId))?.status).toBe("cancelled");
  expect(await db.sql`SELECT 1 FROM noetl.timer`).toHaveLength(0);
});

test("cancelling without cascade leaves the child alone", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const [parentId, childId] = await startFamily(server);
  await server.orchestrator.cancel(parentId, { reason: "test", cascade: false });
  expect((await watchToEnd(server, parentId)).at(-1)?.event.type).toBe("playbook.cancelled");
  await report(server, await claimNext(server), ok(1));
  expect((await watchToEnd(server, childId)).at(-1)?.event.type).toBe("playbook.completed");
  await waitFor("the wake-up's end", async () => {
    const rows = await db.sql`SELECT 1 FROM noetl.timer`;
    return rows.length === 0;
  });
});

test("a child whose server died before starting it is started by another", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const content = playbook("test/child", ONE_STEP);
  const { path } = await server.orchestrator.registerPlaybook({ content, isStrict: false });
  const { executionId: parentId } = await server.orchestrator.start({ path, payload: {} });
  await db.sql`
    INSERT INTO noetl.execution (
      execution_id, path, parent_id, root_id, depth, status, seq, payload, created_at
    )
    VALUES (77, ${path}, ${parentId}, ${parentId}, 1, 'pending', 0, '{}', now() - interval '1 minute')`;
  const childId = "77" as ExecutionId;
  await waitFor("the child", () => server.bus.held().some((held) => held.executionId === childId));
  const rows = await listExecutions(db.sql, { parentId, limit: 9, offset: 0 });
  expect(rows).toMatchObject([{ executionId: childId, status: "running", version: 1 }]);
});

test("a step's timeout fires on time and cancels its command", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const steps = `  - step: start
    spec: { timeout: 200ms }
    tool: { kind: python, code: result = 1 }
`;
  const executionId = await startPlaybook(server, playbook("test/slow", steps));
  const last = (await watchToEnd(server, executionId)).at(-1)?.event;
  expect(last).toMatchObject({ type: "playbook.failed", error: { kind: "timeout" } });
});

test("a timer whose server died fires on another", async () => {
  await using db = await createTestDatabase();
  const server = startServer(db.url);
  const steps = `  - step: start
    spec: { timeout: 1s }
    tool: { kind: python, code: result = 1 }
`;
  const executionId = await startPlaybook(server, playbook("test/slow", steps));
  await server.stop();
  await using other = startServer(db.url);
  const last = (await watchToEnd(other, executionId)).at(-1)?.event;
  expect(last).toMatchObject({ type: "playbook.failed", error: { kind: "timeout" } });
});

test("finalize() ends an execution whatever runs, and its worker loses the command", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await registerWorker(server);
  const executionId = await startPlaybook(server, playbook("test/one", ONE_STEP));
  const command = await claimNext(server);
  const options = { status: "failed", reason: "operator" } as const;
  await server.orchestrator.finalize(executionId, options);
  expect(await statusOf(server, executionId)).toBe("failed");
  expect(await server.orchestrator.heartbeat(heartbeat([command]))).toMatchObject([
    { kind: "lost" },
  ]);
  expect(await report(server, command, ok(1))).toBe("stale");
});

test("watch() follows commits of another server", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await using other = startServer(db.url);
  const executionId = await startPlaybook(server, playbook("test/one", ONE_STEP));
  const watching = watchToEnd(other, executionId);
  await report(server, await claimNext(server), ok(1));
  const types = (await watching).map(({ event }) => event.type);
  expect(types).toEqual((await watchToEnd(server, executionId)).map(({ event }) => event.type));
  const missing = watchToEnd(server, "1" as ExecutionId);
  await expect(missing).rejects.toMatchObject({ code: "EXECUTION_NOT_FOUND" });
});

test("log lines of a lost attempt are refused", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await registerWorker(server);
  await startPlaybook(server, playbook("test/one", ONE_STEP));
  const { executionId, commandId } = await claimNext(server);
  await server.orchestrator.deregister(WORKER);
  const { attempt } = await claimNext(server, "worker-2" as WorkerId);
  const line = { executionId, commandId, step: "start", task: "start", timeMs: 1, text: "hi" };
  const lines = [1, attempt].map((n) => ({ ...line, attempt: n, stream: "stdout" as const }));
  expect(await server.orchestrator.appendLogs(lines)).toBe(1);
  expect(server.bus.lines).toMatchObject([{ attempt }]);
});

test("a child whose start meets a database that goes away starts when it is back", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await server.orchestrator.registerPlaybook({
    content: playbook("test/child", ONE_STEP),
    isStrict: true,
  });
  const workflow = `${ONE_STEP}    next: { arcs: [{ step: child }] }
  - step: child
    tool: { kind: playbook, path: test/child }
`;
  const executionId = await startPlaybook(server, playbook("test/parent", workflow));
  const command = await claimNext(server);
  await db.sql.begin(async (tx) => {
    await tx`LOCK TABLE noetl.catalog IN ACCESS EXCLUSIVE MODE`;
    await report(server, command, ok(1));
    await waitFor("the start of the child to be cut off", async () => {
      const rows = await db.sql`
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'
          AND query LIKE '%noetl.catalog%' AND pid <> pg_backend_pid()`;
      return rows.length > 0;
    });
  });
  await report(server, await claimNext(server), ok(2));
  expect((await watchToEnd(server, executionId)).at(-1)?.event.type).toBe("playbook.completed");
});

test("timers that nobody understands hold up no others, and are logged once", async () => {
  await using db = await createTestDatabase();
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(line);
  const log = createLogger({ level: "error", format: "json", component: "test", write });
  await using server = startServer(db.url, { log });
  const executionId = await startPlaybook(server, playbook("test/one", ONE_STEP));
  await db.sql`
    INSERT INTO noetl.timer (execution_id, timer_id, due_at, input)
    SELECT n, n, now() - interval '1 hour', '{"kind":"of tomorrow"}'
    FROM generate_series(1, 1200) AS n`;
  await db.sql`
    INSERT INTO noetl.timer (execution_id, timer_id, due_at, input)
    VALUES (${executionId}, 1, now() - interval '1 minute', '{"kind":"cancel","reason":"late"}')`;
  await waitFor("the cancel behind them", async () => {
    const status = await statusOf(server, executionId);
    return status === "cancelled";
  });
  const rows = await db.sql<{ isLater: boolean }[]>`
    SELECT due_at > now() + interval '5 seconds' AS "isLater" FROM noetl.timer`;
  expect(rows).toHaveLength(1200);
  expect(rows.every(({ isLater }) => isLater)).toBe(true);
  expect(lines.filter((line) => line.includes("timer not understood"))).toHaveLength(1200);

  await db.sql`UPDATE noetl.timer SET due_at = now() - interval '1 hour' WHERE timer_id <= 3`;
  await waitFor("them to be put off for longer", async () => {
    const later = await db.sql`
      SELECT FROM noetl.timer WHERE due_at > now() + interval '15 seconds'`;
    return later.length === 3;
  });
  expect(lines.filter((line) => line.includes("timer not understood"))).toHaveLength(1200);
});
