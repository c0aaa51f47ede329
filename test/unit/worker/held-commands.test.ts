import { expect, test } from "bun:test";
import type { CommandId, ExecutionId } from "../../../src/core/ids.ts";
import { HeldCommands, stopReason } from "../../../src/worker/held-commands.ts";

function held(commandId: string, attempt = 1) {
  return { executionId: "1" as ExecutionId, commandId: commandId as CommandId, attempt };
}

test("slots are taken and given back once", () => {
  let freed = 0;
  const commands = new HeldCommands(2, () => freed++);
  const entry = commands.take(held("1"));
  commands.take(held("2"));
  expect(commands.freeSlots).toBe(0);
  commands.release(entry);
  commands.release(entry);
  expect(commands.freeSlots).toBe(1);
  expect(freed).toBe(1);
});

test("only what the server gave has a lease or can be stopped", () => {
  const commands = new HeldCommands(2, () => undefined);
  const entry = commands.take(held("1"));
  expect(commands.leased()).toEqual([]);
  expect(commands.stop("1" as CommandId, 1, "cancelled")).toBe(false);
  entry.state = "running";
  expect(commands.leased()).toEqual([held("1")]);
  expect(commands.stop("1" as CommandId, 2, "cancelled")).toBe(false);
  expect(commands.stop("1" as CommandId, 1, "cancelled")).toBe(true);
  expect(stopReason(entry.stop.signal)).toBe("cancelled");
});

test("empty() waits for the last one", async () => {
  const commands = new HeldCommands(1, () => undefined);
  await commands.empty();
  const entry = commands.take(held("1"));
  let isEmpty = false;
  const done = commands.empty().then(() => {
    isEmpty = true;
  });
  expect(isEmpty).toBe(false);
  commands.release(entry);
  await done;
  expect(isEmpty).toBe(true);
});
