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

test("the clock follows the database's and ignores the noise of measuring", () => {
  const clock = createDatabaseClock();
  const sentMs = Date.now();
  clock.adjust(sentMs + 5, sentMs);
  expect(Math.abs(clock.now() - Date.now())).toBeLessThan(2);
  clock.adjust(sentMs + 60_000, sentMs);
  expect(clock.now() - sentMs).toBeGreaterThanOrEqual(59_000);
});
