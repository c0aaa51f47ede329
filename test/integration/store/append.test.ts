import { expect, test } from "bun:test";
import type { CommandId, ExecutionId, TimerId } from "../../../src/core/ids.ts";
import { appendBatch } from "../../../src/store/append.ts";
import { claimCommands } from "../../../src/store/claim.ts";
import { listCommands } from "../../../src/store/command.ts";
import { listEvents } from "../../../src/store/event.ts";
import { findByDedupKey, getExecution, readHeads } from "../../../src/store/execution.ts";
import { sweepDue } from "../../../src/store/sweep.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import {
  command,
  event,
  group,
  insert,
  insertCommands,
  newExecution,
  newId,
  starting,
  WORKER,
} from "./factory.ts";

const ALL = { graceMs: 0, notifyGraceMs: 0, isExpiring: true, limit: 100, notifyLimit: 100 };

test("appendBatch() writes a group whole, and changes nothing of one that is not at its head", async () => {
  await using db = await createTestDatabase();
  const { executionId, commandIds } = await insertCommands(db.sql, [{}]);
  const other = await insert(db.sql, starting());
  const timerId = newId<TimerId>();
  const late = group({
    executionId,
    expectedSeq: 7,
    newSeq: 9,
    status: "completed",
    hasEnded: true,
    result: "1",
    events: [event(8), event(9)],
    issue: [command()],
    remove: commandIds,
    timers: [{ executionId, timerId, delayMs: 0, input: "{}" }],
    spawn: [newExecution({ parentId: executionId })],
  });
  const inTime = group({ ...late, executionId: other.executionId, expectedSeq: 1, newSeq: 2 });
  const { moved } = await appendBatch(db.sql, [
    late,
    { ...inTime, events: [event(2)], remove: [], timers: [], spawn: [] },
  ]);

  expect([...moved]).toEqual([other.executionId]);
  expect(await getExecution(db.sql, executionId)).toMatchObject({ status: "running", seq: 1 });
  expect((await listEvents(db.sql, executionId, { limit: 9 })).map(({ seq }) => seq)).toEqual([1]);
  expect((await listCommands(db.sql, executionId)).map((row) => row.commandId)).toEqual([
    ...commandIds,
  ]);
  expect(await sweepDue(db.sql, ALL)).toMatchObject({ timers: [], pending: [] });
  expect(await getExecution(db.sql, other.executionId)).toMatchObject({
    status: "completed",
    seq: 2,
    result: 1,
  });
});

test("one of two appends at the same head wins", async () => {
  await using db = await createTestDatabase();
  const { executionId } = await insert(db.sql, starting());
  const next = (payload: string) =>
    group({ executionId, expectedSeq: 1, newSeq: 2, events: [event(2, payload)] });
  const results = await Promise.all(
    ['{"a":1}', '{"a":2}', '{"a":3}'].map((text) => appendBatch(db.sql, [next(text)])),
  );
  expect(results.map(({ moved }) => moved.size).sort()).toEqual([0, 0, 1]);
  expect((await getExecution(db.sql, executionId))?.seq).toBe(2);
});

test("payloads come back with every character and the order of their keys", async () => {
  await using db = await createTestDatabase();
  const value = {
    z: 'NUL \u0000, half a pair \ud800, quote " backslash \\ tab \t',
    a: { b: 1, a: "1e400" },
    id: "9007199254740993",
  };
  const payload = JSON.stringify(value);
  const { executionId } = await insert(db.sql, starting({ events: [event(1, payload)] }));
  const [stored] = await listEvents(db.sql, executionId, { limit: 1 });
  expect(JSON.stringify(stored?.event)).toBe(payload);
  expect(stored?.timeMs).toBe(1_700_000_000_123);
});

test("a later write keeps the result and the end of an execution", async () => {
  await using db = await createTestDatabase();
  const { executionId } = await insert(
    db.sql,
    starting({ status: "completed", result: '{"a":1}' }),
  );
  const before = await getExecution(db.sql, executionId);
  await insert(db.sql, group({ executionId, expectedSeq: 1, status: "completed" }));
  expect(await getExecution(db.sql, executionId)).toEqual(before);
  expect(before).toMatchObject({ result: { a: 1 }, error: null });
});

test("an execution that ends anew has its new end, and one that goes on has none", async () => {
  await using db = await createTestDatabase();
  const { executionId } = await insert(db.sql, starting({ status: "failed", error: '{"n":1}' }));
  const first = await getExecution(db.sql, executionId);
  await insert(db.sql, group({ executionId, expectedSeq: 1, newSeq: 2, status: "running" }));
  expect(await getExecution(db.sql, executionId)).toMatchObject({ error: null, endedAtMs: null });
  const end = { status: "failed", error: '{"n":2}', hasEnded: true } as const;
  await insert(db.sql, group({ executionId, expectedSeq: 2, newSeq: 3, ...end }));
  const second = await getExecution(db.sql, executionId);
  expect(second).toMatchObject({ error: { n: 2 } });
  expect(second?.endedAtMs).toBeGreaterThan(first?.endedAtMs ?? 0);
});

test("a dedup key belongs to one execution until it expires, whoever races for it", async () => {
  await using db = await createTestDatabase();
  const keyed = (windowMs: number) => {
    const executionId = newId<ExecutionId>();
    const create = newExecution({ executionId, dedup: { key: "k", windowMs } });
    return starting({ executionId, create });
  };
  const rivals = [keyed(60_000), keyed(60_000), keyed(60_000)];
  const results = await Promise.all(rivals.map((one) => appendBatch(db.sql, [one])));
  const winners = results.flatMap(({ moved }) => [...moved]);
  expect(winners).toHaveLength(1);
  expect(await findByDedupKey(db.sql, "k")).toBe(winners[0]);

  await db.sql`UPDATE noetl.dedup SET expires_at = now()`;
  const next = await insert(db.sql, keyed(60_000));
  expect(await findByDedupKey(db.sql, "k")).toBe(next.executionId);
});

test("cancelled commands cannot be claimed and say whether a worker has them", async () => {
  await using db = await createTestDatabase();
  const { executionId, commandIds } = await insertCommands(db.sql, [{}, {}]);
  const [queued, running] = commandIds as [CommandId, CommandId];
  const held = { executionId, commandId: running, attempt: 1, workerId: WORKER };
  await claimCommands(db.sql, [held], 10_000);
  const { cancelling } = await appendBatch(db.sql, [
    group({ executionId, expectedSeq: 1, newSeq: 2, cancel: commandIds }),
  ]);
  expect(cancelling.toSorted((a, b) => (a.commandId < b.commandId ? -1 : 1))).toEqual([
    { executionId, commandId: queued, attempt: 1, workerId: undefined },
    { executionId, commandId: running, attempt: 1, workerId: WORKER },
  ]);
  const again = await claimCommands(db.sql, [{ ...held, commandId: queued }, held], 10_000);
  expect(again.map(({ status }) => status)).toEqual(["gone", "gone"]);
});

test("a requeued command is free again under its new attempt only", async () => {
  await using db = await createTestDatabase();
  const { executionId, commandIds } = await insertCommands(db.sql, [{ step: "work" }]);
  const [commandId] = commandIds as [CommandId];
  const held = { executionId, commandId, attempt: 1, workerId: WORKER };
  await claimCommands(db.sql, [held], 10_000);
  const { requeued } = await appendBatch(db.sql, [
    group({
      executionId,
      expectedSeq: 1,
      newSeq: 2,
      requeue: [
        { commandId, attempt: 2, delayMs: 0, isCancelling: false, queueTimeoutMs: undefined },
      ],
    }),
  ]);
  expect(requeued).toMatchObject([{ commandId, attempt: 2, step: "work", pool: "cpu-01" }]);
  const answers = await claimCommands(db.sql, [held, { ...held, attempt: 2 }], 10_000);
  expect(answers.map(({ status }) => status)).toEqual(["gone", "claimed"]);
});

test("children, wake-ups and their removal come with the commit", async () => {
  await using db = await createTestDatabase();
  const parent = await insert(db.sql, starting());
  const { executionId } = parent;
  const child = newExecution({ parentId: executionId, rootId: executionId, depth: 1 });
  const [keptId, stoppedId] = [newId<TimerId>(), newId<TimerId>()];
  const timer = (timerId: TimerId) => ({ executionId, timerId, delayMs: 0, input: '{"t":1}' });
  await insert(
    db.sql,
    group({
      executionId,
      expectedSeq: 1,
      newSeq: 2,
      timers: [keptId, stoppedId].map(timer),
      spawn: [child],
    }),
  );
  expect(await readHeads(db.sql, [child.executionId])).toMatchObject([
    { status: "pending", seq: 0, parentId: executionId, depth: 1 },
  ]);
  expect(await sweepDue(db.sql, ALL)).toMatchObject({ pending: [child.executionId] });
  await insert(db.sql, group({ executionId, expectedSeq: 2, newSeq: 3, stopTimers: [stoppedId] }));
  const { timers } = await sweepDue(db.sql, ALL);
  expect(timers).toEqual([{ executionId, timerId: keptId, input: { t: 1 } }]);

  await insert(db.sql, group({ executionId, expectedSeq: 3, newSeq: 4, isPurged: true }));
  expect((await sweepDue(db.sql, ALL)).timers).toEqual([]);
});
