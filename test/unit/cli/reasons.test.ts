import { expect, test } from "bun:test";
import { holderLines, reasonsToWait } from "../../../src/cli/reasons.ts";

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

test("a command that wants GPUs says itself what it waits for, unless nobody is there", () => {
  const waiting_reason = "waiting for 1 GPU of pool gpu-01: 4 of 4 leased";
  const command = (index: number, more = {}) => ({
    ...{ step: "train", index, pool: "gpu-01", status: "queued", waiting_reason },
    ...more,
  });
  const pools = [
    { name: "gpu-01", workers: 1, waiting_reason: "all slots of pool gpu-01 are busy" },
  ];
  const asked = { ...NONE, pools };
  expect(reasonsToWait("12", { ...asked, commands: [command(3)] })).toEqual([
    `train[3]: ${waiting_reason}`,
  ]);
  const commands = [command(3), command(4), command(5, { waiting_reason: null })];
  expect(reasonsToWait("12", { ...asked, commands })).toEqual([
    `2 commands of train: ${waiting_reason}`,
    "1 command of train waits: all slots of pool gpu-01 are busy",
  ]);
  expect(reasonsToWait("12", { ...NONE, commands: [command(3)] })).toEqual([
    "1 command of train waits: pool gpu-01 has no live worker; start one with noetl worker --pool gpu-01",
  ]);
});

test("the GPUs of running commands are named, of the first ten", () => {
  const gpus = [{ id: "GPU-0f2c0a41-9d1e", name: "NVIDIA L4" }];
  const command = { step: "train", index: null, status: "running", gpus };
  const stopped = { ...command, status: "cancelling", index: 1 };
  expect(holderLines([command, stopped, { ...command, gpus: [] }])).toEqual([
    "train runs on NVIDIA L4 (GPU-0f2c0a41)",
    "train[1] is being stopped on NVIDIA L4 (GPU-0f2c0a41)",
  ]);
  const many = holderLines(Array.from({ length: 12 }, () => command));
  expect([many.length, many.at(-1)]).toEqual([11, "and 2 more: noetl gpu list"]);
});
