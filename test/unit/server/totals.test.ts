import { expect, test } from "bun:test";
import { createTotals } from "../../../src/server/totals.ts";

test("totals are counted once for all who ask, and the rarer the longer it takes", async () => {
  const executions = { pending: 0, running: 0, completed: 0, failed: 0, cancelled: 0 };
  let nowMs = 1000;
  let counts = 0;
  const totals = createTotals(
    () => {
      counts++;
      nowMs += 40;
      return Promise.resolve({ executions, playbooks: counts, workers: 0 });
    },
    () => nowMs,
  );
  const [first, second] = await Promise.all([totals(), totals()]);
  expect([first.playbooks, second.playbooks, first.countedAtMs]).toEqual([1, 1, 1000]);
  nowMs += 3999;
  expect((await totals()).playbooks).toBe(1);
  nowMs += 1;
  expect((await totals()).playbooks).toBe(2);
});

test("a count that fails is tried again by who asks next", async () => {
  const executions = { pending: 0, running: 0, completed: 0, failed: 0, cancelled: 0 };
  let isDown = true;
  const totals = createTotals(() =>
    isDown
      ? Promise.reject(new Error("down"))
      : Promise.resolve({ executions, playbooks: 1, workers: 0 }),
  );
  await expect(totals()).rejects.toThrow("down");
  isDown = false;
  expect((await totals()).playbooks).toBe(1);
});
