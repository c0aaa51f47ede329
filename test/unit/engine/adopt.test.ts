/** A worker that takes over what a dead one has started, under the same attempt. */
import { describe, expect, test } from "bun:test";
import type { CommandId, WorkerId } from "../../../src/core/ids.ts";
import type { Decision } from "../../../src/engine/decision.ts";
import { Driver, makePlaybook } from "./harness.ts";

const OTHER = "other" as WorkerId;

/** `w` is who reports for a {@link Driver}. */
const DRIVER = "w" as WorkerId;

function started(): Driver {
  return new Driver(makePlaybook({ start: {} })).start();
}

function adopt(run: Driver, workerId: WorkerId, attempt = 1): Decision {
  const { commandId } = run.open("start");
  return run.give({ kind: "adopt", commandId, attempt, workerId });
}

describe("an adopted command", () => {
  test("is reported by who has it now, not by who started it", () => {
    const run = started();
    expect(adopt(run, OTHER).isStale).toBe(false);
    expect(run.ok("start").isStale).toBe(true);
    expect(run.state.status).toBe("running");
    expect(adopt(run, DRIVER).isStale).toBe(false);
    expect(run.ok("start").isStale).toBe(false);
    expect(run.state.status).toBe("completed");
    expect(run.count("command.adopted")).toBe(2);
    expect(run.isSameAsReplay()).toBe(true);
  });

  test("is adopted once by the same worker, however often that asks", () => {
    const run = started();
    expect([adopt(run, OTHER), adopt(run, OTHER)].map(({ isStale }) => isStale)).toEqual([
      false,
      false,
    ]);
    expect(run.count("command.adopted")).toBe(1);
  });

  test("that is handed out again is anybody's", () => {
    const run = started();
    adopt(run, OTHER);
    run.give({ kind: "lease_expired", commandId: run.open("start").commandId, attempt: 1 });
    expect(run.ok("start").isStale).toBe(false);
    expect(run.isSameAsReplay()).toBe(true);
  });

  test("that was cancelled is cancelled by who has it now", () => {
    const run = started();
    adopt(run, OTHER);
    run.give({ kind: "cancel", reason: "enough" });
    expect(run.report("start", { status: "cancelled" }).isStale).toBe(true);
    adopt(run, DRIVER);
    run.report("start", { status: "cancelled" });
    expect(run.state.status).toBe("cancelled");
    expect(run.isSameAsReplay()).toBe(true);
  });
});

test("nobody adopts another attempt, or a command that is over", () => {
  const run = started();
  expect(adopt(run, OTHER, 2).isStale).toBe(true);
  const unknown = { kind: "adopt", commandId: "77" as CommandId, attempt: 1 } as const;
  expect(run.give({ ...unknown, workerId: OTHER }).isStale).toBe(true);
  run.report("start", { status: "released", reason: "stop" });
  expect(adopt(run, OTHER, 1).isStale).toBe(true);
  run.ok("start");
  expect(run.give({ ...unknown, workerId: OTHER }).isStale).toBe(true);
});
