/** Commands that come with the answer to a report: no doorbell, no claim, the same guarantees. */
import { expect, test } from "bun:test";
import type { WorkerId } from "../../../src/core/ids.ts";
import type { GrantedCommand, HeldCommand } from "../../../src/engine/command.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import type { Server } from "./harness.ts";
import {
  claimNext,
  ONE_STEP,
  ok,
  playbook,
  report,
  startPlaybook,
  startServer,
  WORKER,
  watchToEnd,
} from "./harness.ts";

const TWO_STEPS = `${ONE_STEP}    next: { arcs: [{ step: second }] }
  - step: second
    tool: { kind: python, code: result = 2 }
`;

/** Reports success as a worker with idle slots and gives what came with the answer. */
async function reportAndTake(
  { orchestrator }: Server,
  { executionId, commandId, attempt }: HeldCommand,
  nextPool: string,
): Promise<readonly GrantedCommand[]> {
  const granted: GrantedCommand[] = [];
  const done = {
    executionId,
    commandId,
    attempt,
    workerId: WORKER,
    startedAtMs: 0,
    outcome: ok(1),
  };
  await orchestrator.report([{ ...done, nextPool }], (command) => granted.push(command));
  return granted;
}

test("a worker with idle slots gets the next command with the answer, and no doorbell rings", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const executionId = await startPlaybook(server, playbook("test/two", TWO_STEPS));
  const [next, ...more] = await reportAndTake(server, await claimNext(server), "cpu-01");
  expect(more).toEqual([]);
  expect(next).toMatchObject({ executionId, attempt: 1 });
  const [row] = await db.sql`SELECT status, worker_id, step FROM noetl.command`;
  expect(row).toEqual({ status: "running", worker_id: WORKER, step: "second" });
  expect(server.bus.published).toHaveLength(1);
  expect(await report(server, next as GrantedCommand, ok(2))).toBe("accepted");
  expect((await watchToEnd(server, executionId)).at(-1)?.event).toMatchObject({ result: 2 });
});

test("another pool's command is announced, not handed out", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await startPlaybook(server, playbook("test/two", TWO_STEPS));
  expect(await reportAndTake(server, await claimNext(server), "cpu-02")).toEqual([]);
  expect((await claimNext(server)).payload.step.name).toBe("second");
});

test("what may not run twice is announced, because an answer can get lost", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const once = TWO_STEPS.replace("kind: python, code: result = 2", "$&, idempotent: false");
  await startPlaybook(server, playbook("test/once", once));
  expect(await reportAndTake(server, await claimNext(server), "cpu-01")).toEqual([]);
  expect((await claimNext(server)).payload.step.name).toBe("second");
});

test("a command whose answer got lost goes to another worker when its lease ends", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url, { leaseMs: 300, heartbeatIntervalMs: 50 });
  const executionId = await startPlaybook(server, playbook("test/two", TWO_STEPS));
  const [lost] = await reportAndTake(server, await claimNext(server), "cpu-01");
  const other = "worker-2" as WorkerId;
  const again = await claimNext(server, other);
  expect(again).toMatchObject({ commandId: lost?.commandId, attempt: 2 });
  expect(await report(server, lost as GrantedCommand, ok("late"))).toBe("stale");
  expect(await report(server, again, ok("good"), other)).toBe("accepted");
  expect((await watchToEnd(server, executionId)).at(-1)?.event).toMatchObject({ result: "good" });
});
