import { expect, test } from "bun:test";
import type { CommandId, WorkerId } from "../../../src/core/ids.ts";
import type { Heartbeat, HeldCommand } from "../../../src/engine/command.ts";
import { appendBatch } from "../../../src/store/append.ts";
import { claimCommands } from "../../../src/store/claim.ts";
import {
  listForgotten,
  markNotified,
  noteStream,
  readHeldPayload,
  readHeldStep,
} from "../../../src/store/command.ts";
import { sweepDue } from "../../../src/store/sweep.ts";
import {
  listPools,
  listWorkers,
  removeSilentWorkers,
  removeWorker,
  renewLeases,
  saveWorker,
} from "../../../src/store/worker.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { group, insertCommands, WORKER } from "./factory.ts";

const ALL = { graceMs: 0, notifyGraceMs: 0, isExpiring: true, limit: 100, notifyLimit: 100 };
const TIMEOUT_MS = 10_000;

function registration(workerId: WorkerId, pool = "cpu-01") {
  return {
    workerId,
    name: workerId,
    pool,
    slots: 4,
    hostname: "host",
    pid: 1,
    version: "1",
    tools: ["python", "http"],
    labels: { zone: "a" },
  };
}

function heartbeat(held: readonly HeldCommand[], more: Partial<Heartbeat> = {}): Heartbeat {
  return {
    workerId: WORKER,
    held,
    freeSlots: 2,
    pullAgeMs: 12.4,
    eventLoopLagMs: 0.5,
    rssBytes: 5_000_000_000,
    cpuPercent: 12.5,
    isDraining: false,
    ...more,
  };
}

test("claimCommands() gives each command to one worker", async () => {
  await using db = await createTestDatabase();
  const { executionId, commandIds } = await insertCommands(db.sql, Array(60).fill({}));
  const answers = await Promise.all(
    ["a", "b", "c"].map((name) =>
      claimCommands(
        db.sql,
        commandIds.map((commandId) => ({
          executionId,
          commandId,
          attempt: 1,
          workerId: name as WorkerId,
        })),
        TIMEOUT_MS,
      ),
    ),
  );
  const claims = commandIds.map(
    (_, index) => answers.filter((answer) => answer[index]?.status === "claimed").length,
  );
  expect(claims).toEqual(commandIds.map(() => 1));
});

test("claimCommands() answers in order: claimed, later, gone", async () => {
  await using db = await createTestDatabase();
  const { executionId, commandIds } = await insertCommands(db.sql, [
    { delayMs: 60_000 },
    { payload: '{"b":1,"a":2}' },
  ]);
  const [later, now] = commandIds as [CommandId, CommandId];
  const ask = (commandId: CommandId, attempt = 1) => ({
    executionId,
    commandId,
    attempt,
    workerId: WORKER,
  });
  const missing = "1" as CommandId;
  const answers = await claimCommands(
    db.sql,
    [ask(missing), ask(later), ask(now, 2), ask(now)],
    TIMEOUT_MS,
  );
  expect(answers.map(({ status }) => status)).toEqual(["gone", "later", "gone", "claimed"]);
  expect(answers[3]).toMatchObject({ attempt: 1, payload: '{"b":1,"a":2}', pool: "cpu-01" });
  const delayMs = answers[1]?.status === "later" ? answers[1].delayMs : 0;
  expect(delayMs).toBeGreaterThan(30_000);
  expect(delayMs).toBeLessThanOrEqual(60_000);
});

test("claimCommands() repeats a lost answer to the same worker, and to no other", async () => {
  await using db = await createTestDatabase();
  const { executionId, commandIds } = await insertCommands(db.sql, [{}]);
  const ask = { executionId, commandId: commandIds[0] as CommandId, attempt: 1 };
  const claim = async (name: string) =>
    (await claimCommands(db.sql, [{ ...ask, workerId: name as WorkerId }], TIMEOUT_MS))[0];
  const first = await claim("a");
  expect(first?.status).toBe("claimed");
  expect(await claim("a")).toEqual(first);
  expect((await claim("b"))?.status).toBe("gone");
  expect(await readHeldStep(db.sql, "a" as WorkerId, ask)).toBeString();
  expect(await readHeldPayload(db.sql, "a" as WorkerId, ask)).toBeString();
  expect(await readHeldStep(db.sql, "a" as WorkerId, { ...ask, attempt: 2 })).toBeUndefined();
  expect(await readHeldPayload(db.sql, "b" as WorkerId, ask)).toBeUndefined();
});

test("claimCommands() does not wait for a commit that has the command", async () => {
  await using db = await createTestDatabase();
  const { executionId, commandIds } = await insertCommands(db.sql, [{}]);
  const commandId = commandIds[0] as CommandId;
  await db.sql.begin(async (tx) => {
    await appendBatch(tx, [group({ executionId, expectedSeq: 1, newSeq: 2, cancel: commandIds })]);
    const ask = { executionId, commandId, attempt: 1, workerId: WORKER };
    const [answer] = await claimCommands(db.sql, [ask], TIMEOUT_MS);
    expect(answer?.status).toBe("later");
  });
});

test("renewLeases() keeps what the worker holds and names what it must give up", async () => {
  await using db = await createTestDatabase();
  await saveWorker(db.sql, registration(WORKER));
  const { executionId, commandIds } = await insertCommands(db.sql, [{}, {}, {}]);
  const held = commandIds.map((commandId) => ({ executionId, commandId, attempt: 1 }));
  await claimCommands(
    db.sql,
    held.map((one) => ({ ...one, workerId: WORKER })),
    0,
  );
  await appendBatch(db.sql, [
    group({
      executionId,
      expectedSeq: 1,
      newSeq: 2,
      cancel: commandIds.slice(1, 2),
      remove: commandIds.slice(2),
    }),
  ]);
  const renewal = await renewLeases(db.sql, heartbeat(held), TIMEOUT_MS);
  expect(renewal).toEqual({
    isKnown: true,
    cancelling: new Set(commandIds.slice(1, 2)),
    lost: new Set(commandIds.slice(2)),
  });
  expect((await sweepDue(db.sql, ALL)).leases).toEqual([]);
  expect(await listWorkers(db.sql, TIMEOUT_MS)).toMatchObject([
    { heldCount: 3, freeSlots: 2, rssBytes: 5_000_000_000, status: "live", labels: { zone: "a" } },
  ]);
});

test("renewLeases() gives back a claim that a crash of the database undid", async () => {
  await using db = await createTestDatabase();
  await saveWorker(db.sql, registration(WORKER));
  const { executionId, commandIds } = await insertCommands(db.sql, [{}]);
  const held = { executionId, commandId: commandIds[0] as CommandId, attempt: 1 };
  expect((await renewLeases(db.sql, heartbeat([held]), TIMEOUT_MS)).lost.size).toBe(0);
  const [other] = await claimCommands(
    db.sql,
    [{ ...held, workerId: "w-other" as WorkerId }],
    TIMEOUT_MS,
  );
  expect(other?.status).toBe("gone");
  const late = { ...held, attempt: 2 };
  expect((await renewLeases(db.sql, heartbeat([late]), TIMEOUT_MS)).lost.size).toBe(1);
});

test("renewLeases() neither waits for nor loses a command that a commit is busy with", async () => {
  await using db = await createTestDatabase();
  const { executionId, commandIds } = await insertCommands(db.sql, [{}]);
  const held = { executionId, commandId: commandIds[0] as CommandId, attempt: 1 };
  await claimCommands(db.sql, [{ ...held, workerId: WORKER }], TIMEOUT_MS);
  await db.sql.begin(async (tx) => {
    await appendBatch(tx, [group({ executionId, expectedSeq: 1, newSeq: 2, remove: commandIds })]);
    const { lost } = await renewLeases(db.sql, heartbeat([held]), TIMEOUT_MS);
    expect(lost.size).toBe(0);
  });
});

test("an unknown worker is told so, and one that leaves gives its leases back", async () => {
  await using db = await createTestDatabase();
  const { executionId, commandIds } = await insertCommands(db.sql, [{}]);
  const held = { executionId, commandId: commandIds[0] as CommandId, attempt: 1 };
  await claimCommands(db.sql, [{ ...held, workerId: WORKER }], TIMEOUT_MS);
  expect((await renewLeases(db.sql, heartbeat([held]), TIMEOUT_MS)).isKnown).toBe(false);
  expect((await sweepDue(db.sql, ALL)).leases).toEqual([]);
  expect(await removeWorker(db.sql, WORKER)).toEqual([held]);
  expect((await sweepDue(db.sql, ALL)).leases).toMatchObject([{ ...held, workerId: WORKER }]);
  expect((await sweepDue(db.sql, { ...ALL, isExpiring: false })).leases).toEqual([]);
});

test("a command counts as unannounced until it is marked, and again when the stream is new", async () => {
  await using db = await createTestDatabase();
  const { executionId, commandIds } = await insertCommands(db.sql, [{ step: "work" }]);
  const commandId = commandIds[0] as CommandId;
  const mark = { executionId, commandId, attempt: 1 };
  const unnotified = async () => (await sweepDue(db.sql, ALL)).unnotified;
  expect(await unnotified()).toMatchObject([{ ...mark, step: "work", pool: "cpu-01" }]);
  await noteStream(db.sql, "S", "first");
  await markNotified(db.sql, [{ ...mark, attempt: 2 }]);
  expect(await unnotified()).toHaveLength(1);
  await markNotified(db.sql, [mark]);
  expect(await unnotified()).toEqual([]);
  expect(await noteStream(db.sql, "S", "first")).toBe(0);
  expect(await noteStream(db.sql, "S", "second")).toBe(1);
  expect(await unnotified()).toHaveLength(1);
});

test("listForgotten() finds old notifications of pools with a free worker only", async () => {
  await using db = await createTestDatabase();
  const old = await insertCommands(db.sql, [{ pool: "cpu-01" }, { pool: "gpu-01" }]);
  const marks = old.commandIds.map((commandId) => ({
    executionId: old.executionId,
    commandId,
    attempt: 1,
  }));
  await markNotified(db.sql, marks);
  await saveWorker(db.sql, registration(WORKER, "cpu-01"));
  const options = { olderThanMs: 60_000, workerTimeoutMs: TIMEOUT_MS, limit: 10 };
  expect(await listForgotten(db.sql, options)).toEqual([]);
  await db.sql`UPDATE noetl.command SET notified_at = now() - interval '2 minutes'`;
  const found = await listForgotten(db.sql, options);
  expect(found.map(({ commandId }) => commandId)).toEqual(old.commandIds.slice(0, 1));
  await renewLeases(db.sql, heartbeat([], { freeSlots: 0 }), TIMEOUT_MS);
  expect(await listForgotten(db.sql, options)).toEqual([]);
});

test("listPools() says why commands wait", async () => {
  await using db = await createTestDatabase();
  const reasons = async () =>
    Object.fromEntries(
      (await listPools(db.sql, TIMEOUT_MS)).map(({ pool, reason, queued }) => [
        pool,
        [reason, queued],
      ]),
    );
  await insertCommands(db.sql, [{ pool: "busy" }, { pool: "none" }]);
  await insertCommands(db.sql, [{ pool: "due", delayMs: 60_000 }]);
  for (const pool of ["busy", "due", "idle"]) {
    await saveWorker(db.sql, registration(`w-${pool}` as WorkerId, pool));
  }
  await db.sql`UPDATE noetl.worker SET free_slots = 0 WHERE pool = 'busy'`;
  expect(await reasons()).toEqual({
    busy: ["all_slots_busy", 1],
    due: ["not_due", 1],
    idle: [null, 0],
    none: ["no_live_worker", 1],
  });
});

test("removeSilentWorkers() forgets those that said nothing for so long", async () => {
  await using db = await createTestDatabase();
  await saveWorker(db.sql, registration(WORKER));
  await saveWorker(db.sql, registration("worker-2" as WorkerId));
  await db.sql`
    UPDATE noetl.worker SET heartbeat_at = now() - interval '1 hour' WHERE worker_id = ${WORKER}`;
  expect((await listWorkers(db.sql, TIMEOUT_MS)).map(({ status }) => status)).toEqual([
    "lost",
    "live",
  ]);
  expect(await removeSilentWorkers(db.sql, 60_000)).toEqual([{ workerId: WORKER, pool: "cpu-01" }]);
  expect(await listWorkers(db.sql, TIMEOUT_MS)).toHaveLength(1);
});
