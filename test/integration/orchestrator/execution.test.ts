import { expect, test } from "bun:test";
import type { CommandId, ExecutionId, WorkerId } from "../../../src/core/ids.ts";
import { isTerminal, snapshot } from "../../../src/engine/state.ts";
import { getExecution, listExecutions } from "../../../src/store/execution.ts";
import type { ResultRef } from "../../../src/template/scope.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { waitFor } from "../../support/wait.ts";
import {
  claimNext,
  ONE_STEP,
  ok,
  parsedCommand,
  playbook,
  registerWorker,
  report,
  startPlaybook,
  startServer,
  WORKER,
  watchToEnd,
} from "./harness.ts";

const TWO_STEPS = `  - step: start
    tool: { kind: python, code: result = 1 }
    next: second
  - step: second
    tool: { kind: python, code: result = 2 }
`;

const LOOP = `  - step: start
    loop:
      in: "{{ range(40) | list }}"
      iterator: item
      spec: { mode: parallel, max_in_flight: 8 }
    tool: { kind: python, code: result = item }
`;

const PARENT = `  - step: start
    tool: { kind: playbook, path: test/child, input: { n: 7 } }
`;

test("an execution runs from start to result", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const executionId = await startPlaybook(server, playbook("test/one", ONE_STEP));
  const command = await claimNext(server);
  expect(await report(server, command, ok({ b: 1, a: "\u0000" }))).toBe("accepted");
  const events = await watchToEnd(server, executionId);
  expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
  expect(events.at(-1)?.event).toEqual({
    type: "playbook.completed",
    result: { b: 1, a: "\u0000" },
  });
  expect(await getExecution(db.sql, executionId)).toMatchObject({
    status: "completed",
    result: { b: 1, a: "\u0000" },
    version: 1,
  });
  const left = await db.sql`SELECT command_id FROM noetl.command`;
  expect(left).toHaveLength(0);
});

test("a repeated report is stale, on any server", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await using other = startServer(db.url);
  const executionId = await startPlaybook(server, playbook("test/two", TWO_STEPS));
  const command = await claimNext(server);
  expect(await report(server, command, ok(1))).toBe("accepted");
  expect((await getExecution(db.sql, executionId))?.status).toBe("running");
  expect(await report(server, command, ok(1))).toBe("stale");
  expect(await report(other, command, ok(1))).toBe("stale");
  await report(other, await claimNext(server), ok(2));
  expect(await report(server, command, ok(1))).toBe("stale");
  const unknown = { ...command, executionId: "1" as ExecutionId };
  expect(await report(server, unknown, ok(1))).toBe("stale");
  const events = await watchToEnd(server, executionId);
  expect(events.filter(({ event }) => event.type === "call.done")).toHaveLength(2);
});

test("a server that is behind does not take a report for stale", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await using other = startServer(db.url);
  const executionId = await startPlaybook(server, playbook("test/two", TWO_STEPS));
  await other.orchestrator.state(executionId);
  await report(server, await claimNext(server), ok(1));
  expect(await report(other, await claimNext(server), ok(2))).toBe("accepted");
  expect((await watchToEnd(other, executionId)).at(-1)?.event.type).toBe("playbook.completed");
});

test("two servers run one execution together: nothing lost, nothing twice, replay equals live", async () => {
  await using db = await createTestDatabase();
  const servers = [startServer(db.url), startServer(db.url)];
  const [first, second] = servers as [(typeof servers)[0], (typeof servers)[0]];
  const executionId = await startPlaybook(first, playbook("test/loop", LOOP));
  const seen = new Set<CommandId>();
  const drain = async (): Promise<boolean> => {
    const fresh = servers.flatMap(({ bus }) => bus.held()).filter((h) => !seen.has(h.commandId));
    for (const { commandId } of fresh) {
      seen.add(commandId);
    }
    await Promise.all(
      fresh.map(async (held, index) => {
        const here = servers[index % 2] ?? first;
        const workerId = `worker-${index % 2}` as WorkerId;
        const [outcome] = await here.orchestrator.claim(workerId, [held]);
        if (outcome?.status === "claimed") {
          const item = parsedCommand(outcome.command).payload.scope.loop?.item ?? null;
          await report(servers[(index + 1) % 2] ?? first, outcome.command, ok(item), workerId);
        }
      }),
    );
    return seen.size === 40;
  };
  await waitFor("all items", drain);
  const events = await watchToEnd(second, executionId);
  const done = events.flatMap(({ event }) => (event.type === "call.done" ? [event.index] : []));
  expect(done.toSorted((a, b) => (a ?? 0) - (b ?? 0))).toEqual([...Array(40).keys()]);
  const states = await Promise.all(servers.map((s) => s.orchestrator.state(executionId)));
  const [live, replayed] = states.map((state) => state && snapshot(state));
  expect(live).toEqual(replayed as never);
  expect(states[0] && isTerminal(states[0])).toBe(true);
  await first.stop();
  await second.stop();
});

test("the live state is what a replay of the events gives", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await using other = startServer(db.url);
  const executionId = await startPlaybook(server, playbook("test/loop", LOOP));
  for (let index = 0; index < 5; index++) {
    const command = await claimNext(server);
    await report(server, command, ok({ z: index, a: [1, 2] }));
  }
  const live = await server.orchestrator.state(executionId);
  const liveText = live && JSON.stringify(snapshot(live));
  const replayed = await other.orchestrator.state(executionId);
  expect(replayed && JSON.stringify(snapshot(replayed))).toBe(liveText);
});

test("the child of a playbook runs on any server and continues its parent", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await using other = startServer(db.url);
  const child = playbook("test/child", ONE_STEP);
  await server.orchestrator.registerPlaybook({ content: child, isStrict: false });
  const parentId = await startPlaybook(server, playbook("test/parent", PARENT));
  const command = await claimNext(server);
  expect(command.executionId).not.toBe(parentId);
  await report(other, command, ok({ answer: 42 }));
  const events = await watchToEnd(server, parentId);
  expect(events.at(-1)?.event).toEqual({ type: "playbook.completed", result: { answer: 42 } });
  const children = await listExecutions(db.sql, { parentId, limit: 9, offset: 0 });
  expect(children).toMatchObject([
    { executionId: command.executionId, status: "completed", depth: 1, rootId: parentId },
  ]);
  const [started] = await watchToEnd(other, command.executionId);
  expect(started?.event).toMatchObject({ workload: { n: 7 }, parent: { executionId: parentId } });
  expect(await db.sql`SELECT timer_id FROM noetl.timer`).toHaveLength(0);
});

test("a child whose playbook does not exist fails its parent", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const parentId = await startPlaybook(server, playbook("test/parent", PARENT));
  const last = (await watchToEnd(server, parentId)).at(-1)?.event;
  expect(last).toMatchObject({ type: "playbook.failed", error: { code: "CHILD_FAILED" } });
  const [child] = await listExecutions(db.sql, { parentId, limit: 9, offset: 0 });
  expect(child).toMatchObject({ status: "failed", error: { code: "PLAYBOOK_NOT_FOUND" } });
});

test("a dedup key gives the first execution, whichever servers race", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await using other = startServer(db.url);
  const content = playbook("test/one", ONE_STEP);
  const { path } = await server.orchestrator.registerPlaybook({ content, isStrict: false });
  const request = { path, payload: {}, dedup: { key: "once" } };
  const answers = await Promise.all(
    [server, other, server, other].map(({ orchestrator }) => orchestrator.start(request)),
  );
  expect(new Set(answers.map(({ executionId }) => executionId)).size).toBe(1);
  expect(answers.filter(({ status }) => status === "started")).toHaveLength(1);
  expect(await listExecutions(db.sql, { limit: 9, offset: 0 })).toHaveLength(1);
});

test("a dedup key is free again when its window is over, and holds for whole batches before", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await using other = startServer(db.url);
  const content = playbook("test/one", ONE_STEP);
  const { path } = await server.orchestrator.registerPlaybook({ content, isStrict: false });
  const request = (n: number) => ({ path, payload: {}, dedup: { key: `k${n % 3}` } });
  const batches = await Promise.all(
    [server, other].map(({ orchestrator }) =>
      orchestrator.startBatch(Array.from({ length: 9 }, (_, n) => request(n))),
    ),
  );
  const started = batches.flat().flatMap((each) => (each.status === "fulfilled" ? each.value : []));
  expect(started).toHaveLength(18);
  expect(started.filter(({ status }) => status === "started")).toHaveLength(3);
  const first = await other.orchestrator.start(request(0));
  expect(first.status).toBe("duplicate");
  await db.sql`UPDATE noetl.dedup SET expires_at = now() - interval '1 second'`;
  const again = await Promise.all(
    [server, other].map(({ orchestrator }) => orchestrator.start(request(0))),
  );
  expect(new Set(again.map(({ executionId }) => executionId)).size).toBe(1);
  expect(again[0]?.executionId).not.toBe(first.executionId);
  const none = { path, payload: {}, dedup: { key: "w", windowMs: 0 } };
  const ids = [await server.orchestrator.start(none), await server.orchestrator.start(none)];
  expect(ids.map(({ status }) => status)).toEqual(["started", "started"]);
});

test("start() names what it cannot start", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const { orchestrator } = server;
  const settled = await orchestrator.startBatch([
    { path: "test/none", payload: {} },
    { path: "test/none", payload: { text: "x".repeat(17 * 1024 * 1024) } },
  ]);
  expect(settled).toMatchObject([
    { status: "rejected", reason: { kind: "not_found", code: "PLAYBOOK_NOT_FOUND" } },
    { status: "rejected", reason: { kind: "invalid", code: "PAYLOAD_TOO_LARGE" } },
  ]);
  const gone = orchestrator.cancel("1" as ExecutionId, { reason: "test", cascade: true });
  await expect(gone).rejects.toMatchObject({ code: "EXECUTION_NOT_FOUND" });
});

test("registerPlaybook() refuses a faulty document with every diagnostic", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const content = playbook(
    "test/bad",
    "  - step: start\n    next: nowhere\n    tool: {kind: nope}\n",
  );
  const refused = server.orchestrator.registerPlaybook({ content, isStrict: false });
  await expect(refused).rejects.toMatchObject({ kind: "invalid", code: "PLAYBOOK_INVALID" });
  const error: unknown = await refused.catch((thrown: unknown) => thrown);
  const details = (error as { details?: { diagnostics?: unknown[] } }).details;
  expect(details?.diagnostics?.length).toBeGreaterThan(1);
});

test("a guard that looks into a stored result gets it", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const steps = `  - step: start
    tool: { kind: python, code: result = 1 }
    next:
      spec: { mode: exclusive }
      arcs:
        - step: second
          when: "{{ start.rows | length == 3 }}"
  - step: second
    tool: { kind: python, code: result = 2 }
`;
  const executionId = await startPlaybook(server, playbook("test/ref", steps));
  const bytes = new TextEncoder().encode(JSON.stringify({ rows: [1, 2, 3] }));
  const { ref } = await server.orchestrator.putResult({ executionId, name: "start" }, [bytes]);
  await report(server, await claimNext(server), ok(ref));
  const second = await claimNext(server);
  expect(second.payload.step.name).toBe("second");
  await report(server, second, ok("end"));
  expect((await watchToEnd(server, executionId)).at(-1)?.event).toMatchObject({ result: "end" });
});

test("commands get large collections and inputs by reference, and only what is read of maps", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const steps = `  - step: start
    loop: { in: "{{ range(6) | list }}", iterator: n, spec: { mode: parallel, max_in_flight: 6 } }
    tool: { kind: python, code: result = 1 }
    next: { arcs: [{ step: read }] }
  - step: read
    tool:
      kind: python
      input: { five: "{{ start.results[5].n }}", rows: "{{ workload.rows | length }}" }
      code: result = five
`;
  const content = playbook("test/large", steps);
  const { path } = await server.orchestrator.registerPlaybook({ content, isStrict: false });
  const rows = Array.from({ length: 400 }, (_, n) => ({ n, text: "y".repeat(1000) }));
  const payload = { rows, unread: "z".repeat(1000) };
  await server.orchestrator.start({ path, payload });
  for (let n = 0; n < 6; n++) {
    const command = await claimNext(server);
    const index = command.payload.scope.loop?.index ?? 0;
    await report(server, command, ok({ n: index, text: "x".repeat(60_000) }));
  }
  const { payload: read } = await claimNext(server);
  const { workload, steps: values } = read.scope;
  expect(workload).toMatchObject({ rows: { type: "array", length: 400 } });
  expect(workload).not.toHaveProperty("unread");
  expect(values["start"]?.value).toMatchObject({ results: { type: "array", length: 6 } });
  expect(JSON.stringify(read).length).toBeLessThan(4000);
  const list = values["start"]?.value as { readonly results: ResultRef };
  const parts: Uint8Array[] = [];
  for await (const part of (await server.orchestrator.openResult(list.results.$ref)).read()) {
    parts.push(part);
  }
  const items = JSON.parse(Buffer.concat(parts).toString()) as readonly { n: number }[];
  expect(items.map(({ n }) => n)).toEqual([0, 1, 2, 3, 4, 5]);
});

test("a command that is too large all the same fails its execution instead of waiting for ever", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url, { ctxChars: 16e6 });
  const steps = `  - step: start
    tool: { kind: python, code: result = 1 }
    set: { ctx.a: "{{ output.text * 3 }}" }
    next: { arcs: [{ step: more }] }
  - step: more
    tool: { kind: python, code: result = 1 }
    set: { ctx.b: "{{ output.text * 3 }}" }
    next: { arcs: [{ step: read }] }
  - step: read
    tool: { kind: python, input: { a: "{{ ctx.a }}", b: "{{ ctx.b }}" }, code: result = 1 }
`;
  const executionId = await startPlaybook(server, playbook("test/huge", steps));
  await report(server, await claimNext(server), ok({ text: "x".repeat(3_000_000) }));
  await report(server, await claimNext(server), ok({ text: "x".repeat(3_000_000) }));
  const last = (await watchToEnd(server, executionId)).at(-1)?.event;
  expect(last).toMatchObject({
    type: "playbook.failed",
    error: { kind: "limit", code: "COMMAND_TOO_LARGE" },
  });
});

test("a set that makes a value of ctx too large fails the step and names the setting", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url, { ctxChars: 1000 });
  const steps = `  - step: start
    tool: { kind: python, code: result = 1 }
    set:
      ctx.all: "{{ output.text }}"
`;
  const executionId = await startPlaybook(server, playbook("test/ctx", steps));
  await report(server, await claimNext(server), ok({ text: "x".repeat(2000) }));
  const last = (await watchToEnd(server, executionId)).at(-1)?.event;
  expect(last).toMatchObject({
    type: "playbook.failed",
    error: { kind: "limit", message: expect.stringMatching(/ctx\.all has 2002 .*NOETL_CTX_BYTES/) },
  });
});

test("a guard that needs a stored result too large for the server fails the step", async () => {
  await using db = await createTestDatabase();
  const limits = { resultBytes: 1e6, executionBytes: 1e6, templateBytes: 100 };
  await using server = startServer(db.url, { results: { limits } });
  const steps = `  - step: start
    tool: { kind: python, code: result = 1 }
    next:
      arcs:
        - step: second
          when: "{{ start.rows[7] == 'x' }}"
  - step: second
    tool: { kind: python, code: result = 2 }
`;
  const executionId = await startPlaybook(server, playbook("test/guard", steps));
  const bytes = new TextEncoder().encode(JSON.stringify({ rows: ["x".repeat(200)] }));
  const { ref } = await server.orchestrator.putResult({ executionId, name: "start" }, [bytes]);
  await report(server, await claimNext(server), ok({ ...ref }));
  const last = (await watchToEnd(server, executionId)).at(-1)?.event;
  expect(last).toMatchObject({
    type: "playbook.failed",
    error: {
      kind: "limit",
      code: "RESULT_TOO_LARGE_HERE",
      message: expect.stringMatching(/213 bytes.*100 \(NOETL_TEMPLATE_BYTES\).*output_select/),
    },
  });
});

test("a value over the hard limit fails the step and names the limit", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const executionId = await startPlaybook(server, playbook("test/one", ONE_STEP));
  const command = await claimNext(server);
  expect(await report(server, command, ok("x".repeat(17 * 1024 * 1024)))).toBe("accepted");
  const last = (await watchToEnd(server, executionId)).at(-1)?.event;
  expect(last).toMatchObject({ type: "playbook.failed", error: { kind: "limit" } });
});

test("a credential is opened only for the worker that holds the command", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await registerWorker(server);
  const step = "  - step: start\n    tool: {kind: python, auth: pg, code: result = 1}\n";
  await startPlaybook(server, playbook("test/one", step));
  const held = await claimNext(server);
  const ask = (workerId: WorkerId, name: string) =>
    server.orchestrator.resolveCredential(workerId, {
      held,
      name,
      isKeychain: false,
      refusedVersion: "",
    });
  await expect(ask("w9" as WorkerId, "pg")).rejects.toMatchObject({ code: "COMMAND_NOT_HELD" });
  await expect(ask(WORKER, "other")).rejects.toMatchObject({ code: "CREDENTIAL_NOT_NAMED" });
  await expect(ask(WORKER, "pg")).rejects.toMatchObject({ code: "CREDENTIAL_NOT_FOUND" });
});

test("connections that break in the middle are made good: nothing is lost or done twice", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const content = playbook("test/one", ONE_STEP);
  const { path } = await server.orchestrator.registerPlaybook({ content, isStrict: false });
  let broken = 0;
  const breakAll = async (): Promise<void> => {
    const rows = await db.sql`
      SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE application_name = 'test' AND datname = current_database()`;
    broken += rows.length;
  };
  const starts = Array.from({ length: 200 }, async (_, n) => {
    const dedup = { key: `key-${n}` };
    const started = await waitFor("a start", async () => {
      const starting = server.orchestrator.start({ path, payload: {}, dedup });
      await (n % 20 === 0 ? breakAll() : undefined);
      return await starting;
    });
    return started.executionId;
  });
  const ids = new Set(await Promise.all(starts));
  expect(broken).toBeGreaterThan(0);
  expect(ids.size).toBe(200);
  const rows = await listExecutions(db.sql, { limit: 1000, offset: 0 });
  expect(new Set(rows.map((row) => row.executionId))).toEqual(ids);
  const announced = () => new Set(server.bus.held().map(({ executionId }) => executionId));
  await waitFor("all commands announced", () => announced().size === 200);
  expect(await db.sql`SELECT 1 FROM noetl.command`).toHaveLength(200);
}, 60_000);
