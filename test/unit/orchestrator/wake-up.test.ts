import { expect, test } from "bun:test";
import type { ExecutionId, TimerId } from "../../../src/core/ids.ts";
import { parseJson } from "../../../src/core/json.ts";
import { createDatabaseClock } from "../../../src/orchestrator/database-clock.ts";
import type { WakeUp } from "../../../src/orchestrator/wake-up.ts";
import { decodeWakeUp, encodeWakeUp, toInput } from "../../../src/orchestrator/wake-up.ts";

test("wake-ups come back from their rows as inputs of the engine", () => {
  const timerId = "5" as TimerId;
  const child = { childId: "7" as ExecutionId, status: "completed", value: [1] } as const;
  const wakeUps: readonly WakeUp[] = [
    { kind: "timer", purpose: { kind: "step_timeout", step: "s", visit: 2 } },
    { kind: "child_done", child },
    { kind: "cancel", reason: "r" },
  ];
  const inputs = wakeUps.map((wakeUp) => {
    const decoded = decodeWakeUp(parseJson(encodeWakeUp(wakeUp)));
    return decoded && toInput(decoded, timerId);
  });
  expect(inputs).toEqual([
    { kind: "timer", timerId, purpose: { kind: "step_timeout", step: "s", visit: 2 } },
    { kind: "child_done", child },
    { kind: "cancel", reason: "r" },
  ]);
  expect(decodeWakeUp({ kind: "signal" })).toBeUndefined();
});

test("the clock follows the database's, and a slow answer that fits it changes nothing", () => {
  let localMs = 1_000_000;
  const clock = createDatabaseClock(() => localMs);
  const ask = (databaseMs: number, tookMs: number): number => {
    const sentMs = localMs;
    localMs += tookMs;
    clock.adjust(databaseMs, sentMs);
    return clock.now() - localMs;
  };
  expect(ask(localMs + 60_005, 10)).toBe(59_995);
  // The database was away for most of the time, before it looked at its clock or afterwards.
  expect(ask(localMs + 59_996, 5000)).toBe(59_995);
  expect(ask(localMs + 64_994, 5000)).toBe(59_995);
  expect(ask(localMs + 30_000, 10)).toBe(30_000);
  expect(ask(localMs - 2000, 10)).toBe(-2000);
});
