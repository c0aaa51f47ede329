import { expect, test } from "bun:test";
import { reasonsToWait } from "../../../src/cli/reasons.ts";

const NONE = { status: {}, commands: [], pools: [] };

test("reasonsToWait() names the queue, and how to send the signal that a step waits for", () => {
  const status = {
    waiting_reason: 'waits for concurrency key "orders": 1 of 1 place taken, position 2 in line',
    waiting: [
      { step: "approve", signal: "approve" },
      { step: "sleep", signal: null },
      { step: "ask", signal: "it's up" },
    ],
  };
  expect(reasonsToWait("12", { ...NONE, status })).toEqual([
    'waits for concurrency key "orders": 1 of 1 place taken, position 2 in line',
    "approve waits for signal approve: noetl signal 12 approve",
    `ask waits for signal it's up: noetl signal 12 "it's up"`,
  ]);
});

test("reasonsToWait() names pools without a worker, and full ones only for steps that have no slot", () => {
  const command = (step: string, pool: string, status = "queued") => ({ step, pool, status });
  const commands = [
    command("train", "gpu"),
    command("many", "cpu", "running"),
    command("many", "cpu"),
    command("late", "cpu"),
    command("later", "cpu"),
  ];
  const pools = [{ name: "cpu", workers: 1, waiting_reason: "all slots of pool cpu are busy" }];
  expect(reasonsToWait("12", { ...NONE, commands, pools })).toEqual([
    "1 command of train waits: pool gpu has no live worker; start one with noetl worker --pool gpu",
    "2 commands of late, later wait: all slots of pool cpu are busy",
  ]);
  const going = [{ name: "cpu", workers: 1, waiting_reason: null }];
  expect(reasonsToWait("12", { ...NONE, commands: commands.slice(3), pools: going })).toEqual([]);
});
