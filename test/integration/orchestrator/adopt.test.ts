/** Containers whose workers are gone: who gets their commands, and whose word counts from then on. */
import { expect, test } from "bun:test";
import type { WorkerId } from "../../../src/core/ids.ts";
import type {
  AdoptionAnswer,
  ClaimedCommand,
  GrantedCommand,
  Heartbeat,
  LogLine,
} from "../../../src/engine/command.ts";
import { createTestDatabase } from "../../support/postgres.ts";
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

const NEXT = "worker-2" as WorkerId;

async function ask(
  { orchestrator }: Server,
  workerId: WorkerId,
  { executionId, commandId, attempt }: ClaimedCommand,
  isOwnerDead = false,
  ownerId = WORKER,
): Promise<AdoptionAnswer<GrantedCommand> | undefined> {
  const held = { executionId, commandId, attempt };
  const [answer] = await orchestrator.adopt(workerId, [
    { held, ownerId, isOwnerDead, isReusable: false },
  ]);
  return answer;
}

function heartbeat(held: readonly ClaimedCommand[], workerId = WORKER): Heartbeat {
  return {
    ...{ workerId, held, freeSlots: 1, pullAgeMs: 0, eventLoopLagMs: 0, rssBytes: 1 },
    ...{ cpuPercent: 0, isDraining: false },
  };
}

function line({ executionId, commandId, attempt }: ClaimedCommand, timeMs: number): LogLine {
  const place = { step: "start", task: "start", stream: "stdout" } as const;
  return { executionId, commandId, attempt, ...place, timeMs, text: "a line" };
}

async function startClaimed(server: Server): Promise<ClaimedCommand> {
  await registerWorker(server);
  await registerWorker(server, NEXT);
  await startPlaybook(server, playbook("test/one", ONE_STEP));
  return await claimNext(server);
}

test("a dead worker's command goes to the one that found its container, under the same attempt", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const command = await startClaimed(server);
  await server.orchestrator.appendLogs([line(command, 5), line(command, 7)], WORKER);
  const answer = await ask(server, NEXT, command, true);
  const { executionId, commandId } = command;
  expect(answer).toMatchObject({
    status: "adopted",
    command: { executionId, commandId, attempt: 1, loggedUntilMs: 7 },
  });
  expect(await ask(server, NEXT, command, true)).toEqual(answer as never);
  expect(await report(server, command, ok("good"), NEXT)).toBe("accepted");
  const events = await watchToEnd(server, executionId);
  expect(events.map(({ event }) => event.type)).toContain("command.adopted");
  expect(events.at(-1)?.event).toMatchObject({ type: "playbook.completed", result: "good" });
  expect(await ask(server, NEXT, command, true)).toEqual({ status: "disowned" });
});

test("a frozen worker that wakes up has lost what another has taken over: lease, log and report", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url, { heartbeatIntervalMs: 100 });
  const command = await startClaimed(server);
  expect(await ask(server, NEXT, command)).toEqual({ status: "later" });
  await db.sql`
    UPDATE noetl.worker SET heartbeat_at = now() - interval '1 second' WHERE worker_id = ${WORKER}`;
  expect(await ask(server, NEXT, command)).toMatchObject({ status: "adopted" });
  expect(await server.orchestrator.heartbeat(heartbeat([command]))).toEqual([
    { kind: "lost", commandId: command.commandId, attempt: 1 },
  ]);
  expect(await server.orchestrator.appendLogs([line(command, 1)], WORKER)).toBe(1);
  expect(await report(server, command, ok("late"))).toBe("stale");
  expect(await ask(server, WORKER, command, true)).toEqual({ status: "later" });
  expect(await server.orchestrator.appendLogs([line(command, 1)], NEXT)).toBe(0);
  expect(await report(server, command, ok("good"), NEXT)).toBe("accepted");
});

test("what a worker leaves to the next one keeps its lease for as long as it asks, but no day", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const command = await startClaimed(server);
  for (const [leaveMs, minutes] of [
    [120_000, 2],
    [86_400_000, 10],
  ] as const) {
    await server.orchestrator.heartbeat({ ...heartbeat([command]), leaveMs });
    const [row] = await db.sql<{ left: number }[]>`
      SELECT round(extract(epoch FROM lease_until - now()) / 60)::integer AS left
      FROM noetl.command WHERE command_id = ${command.commandId}`;
    expect(row?.left).toBe(minutes);
  }
});

test("a command of another pool, or of a living worker, is not taken over", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const command = await startClaimed(server);
  const other = "worker-3" as WorkerId;
  await registerWorker(server, other, "gpu-01");
  expect(await ask(server, other, command, true)).toEqual({ status: "later" });
  expect(await ask(server, NEXT, command, false)).toEqual({ status: "later" });
  expect(await ask(server, "unknown" as WorkerId, command, true)).toEqual({ status: "later" });
  expect(await report(server, command, ok(1))).toBe("accepted");
});

test("of two workers that find the same container one gets it", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const command = await startClaimed(server);
  const third = "worker-3" as WorkerId;
  await registerWorker(server, third);
  const answers = await Promise.all([
    ask(server, NEXT, command, true),
    ask(server, third, command, true),
  ]);
  expect(answers.map((answer) => answer?.status).toSorted()).toEqual(["adopted", "later"]);
});

test("what is over, or another attempt's, is nobody's", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const command = await startClaimed(server);
  expect(await ask(server, NEXT, { ...command, attempt: 2 }, true)).toEqual({
    status: "disowned",
  });
  await report(server, command, { status: "released", reason: "stopped" });
  expect(await ask(server, NEXT, command, true)).toEqual({ status: "disowned" });
  expect(await ask(server, NEXT, { ...command, commandId: "x" as never }, true)).toEqual({
    status: "disowned",
  });
});

test("what a later attempt would go on with is kept until the command is over", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const command = await startClaimed(server);
  await report(server, command, { status: "released", reason: "stopped" });
  const { executionId, commandId } = command;
  const held = { executionId, commandId, attempt: 1 };
  const question = { held, ownerId: WORKER, isOwnerDead: true, isReusable: true };
  expect(await server.orchestrator.adopt(NEXT, [question])).toEqual([{ status: "later" }]);
  await report(server, await claimNext(server, NEXT), ok(1), NEXT);
  expect(await server.orchestrator.adopt(NEXT, [question])).toEqual([{ status: "disowned" }]);
});

test("a cancelled command is taken over too, so that somebody ends it", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const command = await startClaimed(server);
  const { executionId, commandId } = command;
  await server.orchestrator.cancel(executionId, { reason: "enough", cascade: true });
  expect(await ask(server, NEXT, command, true)).toMatchObject({ status: "adopted" });
  expect(await server.orchestrator.heartbeat(heartbeat([command], NEXT))).toEqual([
    { kind: "cancel", commandId, attempt: 1 },
  ]);
  expect(await report(server, command, { status: "cancelled" }, NEXT)).toBe("accepted");
  expect((await watchToEnd(server, executionId)).at(-1)?.event.type).toBe("playbook.cancelled");
});

test("a claim that a crash of the database has undone goes to who has its container", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const command = await startClaimed(server);
  await db.sql`
    UPDATE noetl.command
    SET status = 'queued', worker_id = NULL, claimed_at = NULL, lease_until = NULL`;
  expect(await ask(server, NEXT, command, true)).toMatchObject({ status: "adopted" });
  expect(await report(server, command, ok(1), NEXT)).toBe("accepted");
});

test("all workers of a platform are told the same id of it", async () => {
  await using db = await createTestDatabase();
  await using one = startServer(db.url);
  await using two = startServer(db.url);
  const registration = {
    ...{ workerId: WORKER, name: "w", pool: "p", slots: 1, hostname: "h", pid: 1, version: "1" },
    ...{ tools: [], labels: {} },
  };
  const answers = await Promise.all(
    [one, two].map(({ orchestrator }) => orchestrator.register(registration)),
  );
  expect(answers[0]?.platformId).toMatch(/^[0-9a-f-]{36}$/);
  expect(answers[0]?.platformId).toBe(answers[1]?.platformId ?? "");
});
