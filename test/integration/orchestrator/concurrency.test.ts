/**
 * Concurrency keys over several servers on one database. What has a place is read from the rows: the
 * property is that never more than the limit have one, and that all run in the end.
 */
import { expect, test } from "bun:test";
import type { ExecutionId } from "../../../src/core/ids.ts";
import type { JsonObject } from "../../../src/core/json.ts";
import { getExecution } from "../../../src/store/execution.ts";
import type { Sql } from "../../../src/store/pool.ts";
import { readPositionsInQueue } from "../../../src/store/queue-position.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { waitFor } from "../../support/wait.ts";
import type { Server } from "./harness.ts";
import { claimNext, ONE_STEP, ok, playbook, report, startServer, watchToEnd } from "./harness.ts";

function limited(path: string, concurrency: string, workflow = ONE_STEP): string {
  const executor = `executor: { spec: { concurrency: ${concurrency} } }\nworkflow:`;
  return playbook(path, workflow).replace("workflow:", executor);
}

async function register(server: Server, ...contents: readonly string[]): Promise<void> {
  for (const content of contents) {
    await server.orchestrator.registerPlaybook({ content, isStrict: true });
  }
}

interface More {
  readonly payload?: JsonObject;
  readonly priority?: number;
  readonly dedup?: { readonly key: string; readonly windowMs?: number };
}

async function start(server: Server, path: string, more: More = {}) {
  return await server.orchestrator.start({ path, payload: {}, ...more });
}

async function statusOf(sql: Sql, id: ExecutionId): Promise<string | undefined> {
  return (await getExecution(sql, id))?.status;
}

/** Runs one command of any execution to its end; gives whose it was. */
async function runOne(server: Server): Promise<ExecutionId> {
  const command = await claimNext(server);
  await report(server, command, ok(1));
  return command.executionId;
}

async function isRunning(sql: Sql, id: ExecutionId): Promise<void> {
  await waitFor(`execution ${id} to run`, async () => (await statusOf(sql, id)) === "running");
}

test("one more than the limit waits, and starts when one ends", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await register(server, limited("test/one", '{ key: "k-{{ payload.n }}", limit: 2 }'));
  const payload = { n: 1 };
  const first = await start(server, "test/one", { payload });
  const second = await start(server, "test/one", { payload });
  const third = await start(server, "test/one", { payload });
  const other = await start(server, "test/one", { payload: { n: 2 } });
  expect([first, second, third, other].map(({ status }) => status)).toEqual([
    "started",
    "started",
    "queued",
    "started",
  ]);
  expect(await getExecution(db.sql, third.executionId)).toMatchObject({
    status: "pending",
    seq: 0,
    concurrencyKey: "k-1",
    concurrencyLimit: 2,
    place: "queued",
  });
  const position = { executionId: third.executionId, position: 1, held: 2 };
  expect(await readPositionsInQueue(db.sql, [third.executionId])).toEqual([position] as never);
  const ended = new Set([await runOne(server), await runOne(server), await runOne(server)]);
  await isRunning(db.sql, third.executionId);
  ended.add(await runOne(server));
  expect(ended.size).toBe(4);
  const [last] = (await watchToEnd(server, third.executionId)).slice(-1);
  expect(last?.event.type).toBe("playbook.completed");
});

test("queued ones start first come first served, the more urgent first", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await using other = startServer(db.url);
  await register(server, limited("test/one", "{ key: k }"));
  const ids: ExecutionId[] = [];
  for (const [n, priority] of [5, 5, 2, 5, 9, 9].entries()) {
    const { executionId } = await start(n % 2 === 0 ? server : other, "test/one", { priority });
    ids.push(executionId);
  }
  const order: ExecutionId[] = [];
  for (let n = 0; n < ids.length; n++) {
    const id = await waitFor("the next execution", async () => {
      const [row] = await db.sql<{ id: ExecutionId }[]>`
        SELECT execution_id AS id FROM noetl.execution WHERE status = 'running'`;
      return row?.id;
    });
    order.push(id);
    const of = [server, other].find(({ bus }) =>
      bus.published.some(({ notification }) => notification.executionId === id),
    );
    await runOne(of ?? server);
  }
  expect(order.map((id) => ids.indexOf(id))).toEqual([0, 4, 5, 1, 3, 2]);
});

test("on_limit: reject refuses with a code and keeps nothing, not even the dedup key", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await register(server, limited("test/one", "{ key: k, on_limit: reject }"));
  await start(server, "test/one");
  const refused = start(server, "test/one", { dedup: { key: "d" } });
  await expect(refused).rejects.toMatchObject({
    kind: "conflict",
    code: "CONCURRENCY_LIMIT",
    details: { key: "k", limit: 1 },
  });
  expect(await db.sql`SELECT 1 FROM noetl.execution`).toHaveLength(1);
  expect(await db.sql`SELECT 1 FROM noetl.dedup`).toHaveLength(0);
  await runOne(server);
  expect((await start(server, "test/one", { dedup: { key: "d" } })).status).toBe("started");
});

test("on_limit: cancel_oldest cancels the oldest and starts when that is really gone", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await register(server, limited("test/one", "{ key: k, limit: 2, on_limit: cancel_oldest }"));
  const oldest = await start(server, "test/one");
  const second = await start(server, "test/one");
  const held = await claimNext(server);
  const next = await claimNext(server);
  const third = await start(server, "test/one");
  expect(third.status).toBe("queued");
  await waitFor("the cancel", async () => {
    const rows = await db.sql`SELECT 1 FROM noetl.command WHERE status = 'cancelling'`;
    return rows.length === 1;
  });
  expect(await statusOf(db.sql, oldest.executionId)).toBe("running");
  expect(await statusOf(db.sql, third.executionId)).toBe("pending");
  const [mine] = [held, next].filter(({ executionId }) => executionId === oldest.executionId);
  await report(server, mine ?? held, { status: "cancelled" });
  expect(await statusOf(db.sql, oldest.executionId)).toBe("cancelled");
  await isRunning(db.sql, third.executionId);
  expect(await statusOf(db.sql, second.executionId)).toBe("running");
  expect((await getExecution(db.sql, oldest.executionId))?.error?.message).toContain("newer");
});

test("of many that come at once, the newest has the place in the end", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await using other = startServer(db.url);
  await register(server, limited("test/one", "{ key: k, on_limit: cancel_oldest }"));
  const ids: ExecutionId[] = [];
  for (let n = 0; n < 6; n++) {
    ids.push((await start(n % 2 === 0 ? server : other, "test/one")).executionId);
  }
  const last = ids.at(-1) as ExecutionId;
  await isRunning(db.sql, last);
  const statuses = await Promise.all(ids.map((id) => statusOf(db.sql, id)));
  expect(statuses).toEqual([...Array(5).fill("cancelled"), "running"]);
});

const CALL_CHILD = `  - step: start
    tool: { kind: playbook, path: test/child }
`;

test("a sub-playbook waits for its place while its parent waits for it", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await register(server, limited("test/child", "{ key: k }"), playbook("test/parent", CALL_CHILD));
  const blocker = await start(server, "test/child");
  const parent = await start(server, "test/parent");
  const child = await waitFor("the queued child", async () => {
    const [row] = await db.sql<{ id: ExecutionId }[]>`
      SELECT execution_id AS id FROM noetl.execution
      WHERE parent_id = ${parent.executionId} AND place = 'queued'`;
    return row?.id;
  });
  expect(await runOne(server)).toBe(blocker.executionId);
  await isRunning(db.sql, child);
  expect(await runOne(server)).toBe(child);
  const last = (await watchToEnd(server, parent.executionId)).at(-1)?.event;
  expect(last).toMatchObject({ type: "playbook.completed", result: 1 });
});

test("a sub-playbook that may not wait fails its parent's step with the reason", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await register(
    server,
    limited("test/child", "{ key: k, on_limit: reject }"),
    playbook("test/parent", CALL_CHILD),
  );
  await start(server, "test/child");
  const parent = await start(server, "test/parent");
  const last = (await watchToEnd(server, parent.executionId)).at(-1)?.event;
  expect(last).toMatchObject({ type: "playbook.failed", error: { kind: "limit" } });
  expect(JSON.stringify(last)).toContain("is at its limit of 1");
});

test("a sub-playbook that its own parent keeps from running fails instead of waiting for ever", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await register(
    server,
    limited("test/child", "{ key: k }"),
    limited("test/parent", "{ key: k }", CALL_CHILD),
  );
  const parent = await start(server, "test/parent");
  const last = (await watchToEnd(server, parent.executionId)).at(-1)?.event;
  expect(JSON.stringify(last)).toContain("the executions that wait for this one have all these");
});

test("cancelling reaches queued executions and children, and lets the next one run", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await register(server, limited("test/child", "{ key: k }"), playbook("test/parent", CALL_CHILD));
  const blocker = await start(server, "test/child");
  const parent = await start(server, "test/parent");
  await waitFor("the queued child", async () => {
    const rows = await db.sql`SELECT 1 FROM noetl.execution WHERE place = 'queued'`;
    return rows.length === 1;
  });
  const queued = await start(server, "test/child");
  const last = await start(server, "test/child");
  const reason = { reason: "test", cascade: true };
  await server.orchestrator.cancel(parent.executionId, reason);
  await server.orchestrator.cancel(queued.executionId, reason);
  const end = (await watchToEnd(server, parent.executionId)).at(-1)?.event;
  expect(end?.type).toBe("playbook.cancelled");
  const events = await watchToEnd(server, queued.executionId);
  expect(events.map(({ event }) => event)).toEqual([
    { type: "playbook.cancelled", reason: "test" },
  ]);
  const again = await server.orchestrator.cancel(queued.executionId, reason);
  expect(again).toMatchObject({ isChanged: false, status: "cancelled" });
  expect(await statusOf(db.sql, last.executionId)).toBe("pending");
  expect(await runOne(server)).toBe(blocker.executionId);
  await isRunning(db.sql, last.executionId);
});

test("a queued execution can be finalized without ever having run", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await register(server, limited("test/one", "{ key: k }"));
  await start(server, "test/one");
  const { executionId } = await start(server, "test/one");
  await server.orchestrator.finalize(executionId, { status: "failed", reason: "operator" });
  expect(await getExecution(db.sql, executionId)).toMatchObject({
    status: "failed",
    error: { code: "FINALIZED" },
  });
  expect(await db.sql`SELECT 1 FROM noetl.command`).toHaveLength(1);
});

test("a dedup key of a queued execution gives that execution, on any server", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await using other = startServer(db.url);
  await register(server, limited("test/one", "{ key: k }"));
  await start(server, "test/one");
  const dedup = { key: "d" };
  const all = await Promise.all(
    [server, other, server, other].map((each) => start(each, "test/one", { dedup })),
  );
  expect(new Set(all.map(({ executionId }) => executionId)).size).toBe(1);
  expect(all.map(({ status }) => status).sort()).toEqual([
    "duplicate",
    "duplicate",
    "duplicate",
    "queued",
  ]);
  expect(await db.sql`SELECT 1 FROM noetl.execution`).toHaveLength(2);
});

test("connections that break in the middle lose and double nothing", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await register(server, limited("test/one", '{ key: "{{ n }}", limit: 3 }'));
  const starts = Array.from({ length: 60 }, async (_, n) => {
    const dedup = { key: `key-${n}` };
    return await waitFor("a start", async () => {
      const starting = start(server, "test/one", { payload: { n: n % 4 }, dedup });
      if (n % 10 === 0) {
        await db.sql`
          SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE datname = current_database() AND application_name = 'test'`;
      }
      return (await starting).executionId;
    });
  });
  const ids = new Set(await Promise.all(starts));
  expect(ids.size).toBe(60);
  const rows = await db.sql<{ id: ExecutionId }[]>`SELECT execution_id AS id FROM noetl.execution`;
  expect(new Set(rows.map(({ id }) => id))).toEqual(ids);
  await waitFor("three of each key to run", async () => {
    const crowds = await crowdsOf(db.sql);
    return crowds.length === 4 && crowds.every(({ held, running }) => held === 3 && running === 3);
  });
}, 60_000);

test("a place whose server died before passing it on is passed on by another", async () => {
  await using db = await createTestDatabase();
  const server = startServer(db.url);
  await register(server, limited("test/one", "{ key: k }"));
  await start(server, "test/one");
  const { executionId } = await start(server, "test/one");
  await server.stop();
  // What a server leaves behind that dies right after the commit that ends an execution.
  await db.sql`
    UPDATE noetl.execution SET status = 'completed', ended_at = now() WHERE status = 'running'`;
  await using other = startServer(db.url);
  await isRunning(db.sql, executionId);
  const rows = await db.sql`
    SELECT 1 FROM noetl.execution WHERE place IS NOT NULL AND ended_at IS NOT NULL`;
  expect(rows).toHaveLength(0);
  expect(other.bus.isDown).toBe(false);
});

test("an execution whose server died before starting it is started by another", async () => {
  await using db = await createTestDatabase();
  const server = startServer(db.url);
  await register(server, limited("test/one", "{ key: k }"));
  await start(server, "test/one");
  const { executionId } = await start(server, "test/one");
  await server.stop();
  await db.sql`DELETE FROM noetl.execution WHERE status = 'running'`;
  await db.sql`UPDATE noetl.execution SET place = 'held' WHERE status = 'pending'`;
  await using other = startServer(db.url);
  await isRunning(db.sql, executionId);
  expect(other.bus.isDown).toBe(false);
});

test("a retry needs a place too, and gives it back when it is refused", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await register(server, limited("test/one", "{ key: k }"));
  const first = await start(server, "test/one");
  const broken = { kind: "server_error", code: "E", message: "no", retryable: false } as const;
  const command = await claimNext(server);
  await report(server, command, { status: "error", error: broken, value: null, ctx: {} });
  const second = await start(server, "test/one");
  await isRunning(db.sql, second.executionId);
  const retry = (isNew: boolean) => server.orchestrator.retry(first.executionId, { isNew });
  await expect(retry(false)).rejects.toMatchObject({ code: "CONCURRENCY_LIMIT" });
  await expect(retry(true)).rejects.toMatchObject({ code: "CONCURRENCY_LIMIT" });
  expect(await runOne(server)).toBe(second.executionId);
  const refused = server.orchestrator.retry(first.executionId, { isNew: false, steps: ["none"] });
  await expect(refused).rejects.toMatchObject({ code: "STEP_NOT_RETRYABLE" });
  const copy = await retry(true);
  await isRunning(db.sql, copy.executionId);
  expect((await start(server, "test/one")).status).toBe("queued");
  await expect(retry(false)).rejects.toMatchObject({ code: "CONCURRENCY_LIMIT" });
  expect(await runOne(server)).toBe(copy.executionId);
});

/** Executions per key that have a place, and that run: one look at all rows at once. */
async function crowdsOf(sql: Sql): Promise<readonly { held: number; running: number }[]> {
  return await sql<{ held: number; running: number }[]>`
    SELECT
      (count(*) FILTER (WHERE place = 'held'))::int AS held,
      (count(*) FILTER (WHERE status = 'running'))::int AS running
    FROM noetl.execution
    WHERE ended_at IS NULL
    GROUP BY concurrency_key`;
}

test("servers killed at any moment: never more than the limit, and all run in the end", async () => {
  await using db = await createTestDatabase();
  const server = startServer(db.url);
  await register(server, limited("test/crowd", '{ key: "{{ key }}", limit: 2 }'));
  await server.stop();
  const spawn = (name: string, count: number) =>
    Bun.spawn([process.execPath, `${import.meta.dir}/crowd.ts`, db.url, name, String(count)], {
      stdout: "ignore",
      stderr: "ignore",
    });
  const crowd = ["a", "b", "c"].map((name) => ({ name, count: 40 }));
  let processes = crowd.map(({ name, count }) => spawn(name, count));
  let most = { held: 0, running: 0 };
  const isDone = async (): Promise<boolean> => {
    for (const { held, running } of await crowdsOf(db.sql)) {
      most = { held: Math.max(most.held, held), running: Math.max(most.running, running) };
    }
    const [row] = await db.sql<{ all: number; open: number }[]>`
      SELECT count(*)::int AS all, (count(*) FILTER (WHERE ended_at IS NULL))::int AS open
      FROM noetl.execution`;
    return row?.all === 120 && row.open === 0;
  };
  for (let round = 0; round < 4; round++) {
    const untilSeq = round * 25;
    await waitFor(`${untilSeq} executions`, async () => {
      await isDone();
      const [row] = await db.sql<{ n: number }[]>`SELECT count(*)::int AS n FROM noetl.execution`;
      return (row?.n ?? 0) > untilSeq;
    });
    const [victim] = processes.splice(round % processes.length, 1);
    victim?.kill("SIGKILL");
    await victim?.exited;
    // Its dedup keys let the next of that name go on where it was.
    processes = [...processes, spawn(crowd[round % crowd.length]?.name ?? "a", 40)];
  }
  processes = [...processes, ...crowd.map(({ name, count }) => spawn(name, count))];
  await waitFor("the end of all", isDone);
  for (const each of processes) {
    each.kill("SIGKILL");
    await each.exited;
  }
  expect(most).toEqual({ held: 2, running: 2 });
  const statuses = await db.sql`SELECT DISTINCT status FROM noetl.execution`;
  expect([...statuses]).toEqual([{ status: "completed" }]);
  const left = await db.sql`SELECT 1 FROM noetl.execution WHERE place = 'queued'`;
  expect(left).toHaveLength(0);
}, 60_000);

test("a queue of 100,000 costs rows and nothing else", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await register(server, limited("test/one", "{ key: k }"));
  await start(server, "test/one");
  const next = await start(server, "test/one");
  await db.sql`
    INSERT INTO noetl.execution (
      execution_id, catalog_id, path, version, root_id, status, seq, payload, concurrency_key,
      concurrency_limit, on_limit, queue_priority, place, place_since
    )
    SELECT
      e.execution_id + n, e.catalog_id, e.path, e.version, e.execution_id + n, 'pending', 0, '{}',
      'k', 1, 'queue', 5, 'queued', now()
    FROM noetl.execution AS e
    CROSS JOIN generate_series(1, 100000) AS n
    WHERE e.execution_id = ${next.executionId}`;
  const last = await start(server, "test/one");
  expect(await readPositionsInQueue(db.sql, [next.executionId, last.executionId])).toMatchObject([
    { position: 1, held: 1 },
    { position: 1000, held: 1 },
  ]);
  await runOne(server);
  await isRunning(db.sql, next.executionId);
  const [read] = await db.sql<{ rows: number }[]>`
    SELECT sum(idx_tup_read)::int AS rows
    FROM pg_stat_user_indexes WHERE indexrelname = 'execution_queued'`;
  expect(read?.rows).toBeLessThan(20_000);
}, 60_000);
