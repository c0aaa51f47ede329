import { expect, test } from "bun:test";
import type { ExecutionId } from "../../../src/core/ids.ts";
import type { IntakeItem } from "../../../src/orchestrator/intake.ts";
import { Intake, settle } from "../../../src/orchestrator/intake.ts";

interface Batch {
  readonly groups: readonly (readonly IntakeItem[])[];
  /** Settles all items and ends the batch. */
  readonly end: () => void;
}

function setUp(limit = 1000) {
  const batches: Batch[] = [];
  const depths: number[] = [];
  const intake = new Intake({
    limit,
    onDepth: (depth) => depths.push(depth),
    process: (groups) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      const end = (): void => {
        for (const item of groups.flat()) {
          settle(item, () => item.resolve({ isStale: false, status: "running" }));
        }
        resolve();
      };
      batches.push({ groups, end });
      return promise;
    },
  });
  const cancel = (id: string, reason: string) =>
    intake.submit({ executionId: id as ExecutionId, input: { kind: "cancel", reason } });
  return { intake, batches, depths, cancel };
}

/** Reasons by group. */
function reasons({ groups }: Batch): readonly (readonly string[])[] {
  return groups.map((group) =>
    group.map(({ input }) => (input.kind === "cancel" ? input.reason : input.kind)),
  );
}

/** Lets all promises that can go on go on. */
async function settleAll(): Promise<void> {
  await new Promise<void>((resolve) => setImmediate(resolve));
}

test("inputs of one execution stay in order and never run in two batches", async () => {
  const { batches, cancel } = setUp();
  const all = [cancel("1", "a")];
  await settleAll();
  const others = Array.from({ length: 32 }, (_, n) => cancel(`other-${n}`, "x"));
  all.push(cancel("1", "b"), ...others, cancel("1", "c"));
  await settleAll();
  expect(batches.map(reasons)).toEqual([[["a"]], others.map(() => ["x"])]);
  batches[1]?.end();
  await settleAll();
  expect(batches).toHaveLength(2);
  batches[0]?.end();
  await settleAll();
  expect(batches.map(reasons)[2]).toEqual([["b", "c"]]);
  batches[2]?.end();
  expect(await Promise.all(all)).toHaveLength(35);
});

test("what arrives together is taken together, up to the size of a batch", async () => {
  const { batches, cancel } = setUp();
  const all = Array.from({ length: 300 }, (_, n) => cancel(String(n), "r"));
  await settleAll();
  expect(batches.map(({ groups }) => groups.length)).toEqual([256, 44]);
  for (const batch of batches) {
    batch.end();
  }
  expect(await Promise.all(all)).toHaveLength(300);
});

test("a large group is split, and the rest follows in order", async () => {
  const { batches, cancel } = setUp();
  const all = Array.from({ length: 300 }, (_, n) => cancel("1", String(n)));
  await settleAll();
  batches[0]?.end();
  await settleAll();
  batches[1]?.end();
  await Promise.all(all);
  const order = batches.flatMap(reasons).flat();
  expect(order).toEqual(Array.from({ length: 300 }, (_, n) => String(n)));
});

test("a second batch starts only when much waits", async () => {
  const { batches, cancel } = setUp();
  for (const id of ["1", "2", "3"]) {
    void cancel(id, "r");
    await settleAll();
  }
  expect(batches).toHaveLength(1);
  for (let n = 0; n < 40; n++) {
    void cancel(`more-${n}`, "r");
  }
  await settleAll();
  expect(batches.map(({ groups }) => groups.length)).toEqual([1, 42]);
});

test("a full intake refuses what comes from outside, not what the platform needs", async () => {
  const { intake, batches, cancel } = setUp(2);
  void cancel("1", "a");
  void cancel("2", "b");
  await expect(cancel("3", "c")).rejects.toMatchObject({ code: "INTAKE_FULL" });
  void intake.force({ executionId: "3" as ExecutionId, input: { kind: "start_pending" } });
  await settleAll();
  expect(batches.flatMap(reasons)).toHaveLength(3);
});

test("a stopping intake ends what it has and takes no more", async () => {
  const { intake, batches, cancel } = setUp();
  const open = cancel("1", "a");
  await settleAll();
  const abort = new AbortController();
  const stopped = intake.service.run(abort.signal);
  abort.abort();
  await settleAll();
  await expect(cancel("2", "b")).rejects.toMatchObject({ code: "SHUTTING_DOWN" });
  batches[0]?.end();
  await stopped;
  expect(await open).toMatchObject({ isStale: false });
});

test("whenReleased() waits for the batch that decides on the execution", async () => {
  const { intake, batches, cancel } = setUp();
  await intake.whenReleased("1" as ExecutionId);
  void cancel("1", "a");
  await settleAll();
  let isReleased = false;
  const released = intake.whenReleased("1" as ExecutionId).then(() => {
    isReleased = true;
  });
  await settleAll();
  expect(isReleased).toBe(false);
  batches[0]?.end();
  await released;
  expect(isReleased).toBe(true);
});
