/** Failing, cancelling, timeouts, lost workers. */
import { describe, expect, test } from "bun:test";
import type { ExecutionId } from "../../../src/core/ids.ts";
import { PIPELINE_START } from "../../../src/engine/command.ts";
import { failure } from "../../../src/engine/failure.ts";
import { stepViews } from "../../../src/engine/view.ts";
import type { StepSpec } from "./harness.ts";
import { Driver, makePlaybook } from "./harness.ts";

const FORK: Readonly<Record<string, StepSpec>> = {
  start: { next: ["a", "b"], nextMode: "inclusive" },
  a: {},
  b: { next: ["c"] },
  c: {},
};

describe("a failed step", () => {
  test("fails the execution, which says where and how", () => {
    const run = new Driver(makePlaybook({ start: { next: ["b"] }, b: {} })).start();
    run.fail("start");
    expect(run.state.status).toBe("failed");
    expect(run.state.failure).toMatchObject({
      step: "start",
      attempt: 1,
      kind: "server_error",
      message: "no luck",
    });
    expect(run.count("step.entered", "b")).toBe(0);
  });

  test.each([
    "{{ event.name == 'call.error' }}",
    "{{ output.status == 'error' }}",
    "{{ error.kind == 'server_error' }}",
    "{{ start.status == 'error' }}",
    "output.error.retryable",
  ])("is handled by an arc with %s", (when) => {
    const run = new Driver(
      makePlaybook({ start: { next: ["b", { step: "fix", when }] }, b: {}, fix: {} }),
    ).start();
    run.fail("start");
    expect(run.openSteps()).toEqual(["fix"]);
    run.ok("fix");
    expect(run.state.status).toBe("completed");
  });

  test("is not handled by an arc that looks at something else", () => {
    const run = new Driver(
      makePlaybook({ start: { next: [{ step: "b", when: "{{ 1 == 1 }}" }] }, b: {} }),
    ).start();
    run.fail("start");
    expect(run.state.status).toBe("failed");
  });

  test("drain dispatches nothing more and lets running tasks end", () => {
    const run = new Driver(makePlaybook(FORK)).start();
    run.ok("start");
    run.fail("a");
    expect(run.state.status).toBe("running");
    expect(run.open("b").isCancelled).toBe(false);
    run.ok("b");
    expect(run.state.status).toBe("failed");
    expect(run.count("step.entered", "c")).toBe(0);
  });

  test("fail_fast cancels what runs and ends when it is gone", () => {
    const run = new Driver(makePlaybook({ ...FORK, a: { failure: "fail_fast" } })).start();
    run.ok("start");
    run.fail("a");
    expect(run.open("b").isCancelled).toBe(true);
    expect(run.state.status).toBe("running");
    run.ok("b");
    expect(run.count("command.cancelled")).toBe(1);
    expect(run.count("call.done", "b")).toBe(0);
    expect(run.state.status).toBe("failed");
  });

  test("best_effort lets the other branches go on and fails at the end", () => {
    const run = new Driver(makePlaybook({ ...FORK, a: { failure: "best_effort" } })).start();
    run.ok("start");
    run.fail("a");
    run.ok("b");
    run.ok("c");
    expect(run.state.status).toBe("failed");
    expect(run.state.failure?.step).toBe("a");
  });
});

describe("reports", () => {
  test("of another attempt are stale and change nothing", () => {
    const run = new Driver(makePlaybook({ start: {} })).start();
    const { commandId } = run.open("start");
    run.give({ kind: "lease_expired", commandId, attempt: 1 });
    const command = run.open("start");
    expect(command.attempt).toBe(2);
    command.attempt = 1;
    const decision = run.ok("start");
    expect(decision).toMatchObject({ isStale: true, events: [] });
    command.attempt = 2;
    expect(run.ok("start").isStale).toBe(false);
    expect(run.state.status).toBe("completed");
  });

  test("that come twice are stale the second time", () => {
    const run = new Driver(makePlaybook({ start: { next: ["b"] }, b: {} })).start();
    const command = run.open("start");
    run.ok("start");
    run.commands.set(command.commandId, command);
    expect(run.ok("start").isStale).toBe(true);
  });

  test("released hands the command out again and does not count as a loss", () => {
    const run = new Driver(makePlaybook({ start: {} })).start();
    for (let round = 0; round < 5; round++) {
      run.report("start", { status: "released", reason: "shutdown" });
    }
    expect(run.open("start").attempt).toBe(6);
    expect(run.state.commands.get(run.open("start").commandId)?.losses).toBe(0);
  });

  test("a worker lost three times fails the command", () => {
    const run = new Driver(makePlaybook({ start: {} })).start();
    for (let attempt = 1; attempt <= 3; attempt++) {
      run.give({ kind: "lease_expired", commandId: run.open("start").commandId, attempt });
    }
    expect(run.state.status).toBe("failed");
    expect(run.state.failure?.kind).toBe("worker_lost");
  });

  test("a task that is not idempotent is not run again", () => {
    const run = new Driver(makePlaybook({ start: { tasks: [{ isIdempotent: false }] } })).start();
    run.give({ kind: "lease_expired", commandId: run.open("start").commandId, attempt: 1 });
    expect(run.state.failure?.kind).toBe("worker_lost");
  });

  test("yielded goes on later from where it stood", () => {
    const run = new Driver(makePlaybook({ start: { tasks: [{}, {}] } })).start();
    const { pipeline, scope } = run.open("start").payload;
    const moved = { ...pipeline, position: 1, tries: 2, results: { t0: 1 } };
    run.report("start", { status: "yielded", pipeline: moved, delayMs: 5000 });
    const next = run.open("start");
    expect(next.availableAtMs).toBe(run.nowMs + 5000);
    expect(next.payload.pipeline).toEqual(moved);
    expect(next.payload.scope).toEqual(scope);
    run.ok("start", { t0: 1, t1: { x: 2 } });
    expect(run.state.result).toEqual({ x: 2, t0: 1, t1: { x: 2 } });
    expect(run.isSameAsReplay()).toBe(true);
  });

  test("write their ctx when they end", () => {
    const run = new Driver(makePlaybook({ start: { next: ["b"] }, b: {} })).start();
    run.ok("start", {}, { n: 1 });
    expect(run.state.ctx).toEqual({ n: 1 });
  });
});

describe("cancel", () => {
  test("ends when the last command is confirmed gone", () => {
    const run = new Driver(makePlaybook(FORK)).start();
    run.ok("start");
    run.give({ kind: "cancel", reason: "enough" });
    expect(run.state.status).toBe("running");
    run.report("a", { status: "cancelled" });
    expect(run.state.status).toBe("running");
    run.report("b", { status: "ok", value: 1, ctx: {} });
    expect(run.state.status).toBe("cancelled");
    expect(run.types().filter((type) => type === "playbook.cancelling").length).toBe(1);
    expect(run.isSameAsReplay()).toBe(true);
  });

  test("a second one changes nothing", () => {
    const run = new Driver(makePlaybook(FORK)).start();
    run.give({ kind: "cancel", reason: "enough" });
    expect(run.give({ kind: "cancel", reason: "again" }).events).toEqual([]);
  });

  test("declares lost what is not confirmed by the deadline", () => {
    const run = new Driver(makePlaybook(FORK)).start();
    run.give({ kind: "cancel", reason: "enough" });
    run.fire("cancel_deadline");
    expect(run.state.status).toBe("cancelled");
    expect(run.events.at(-2)?.event).toMatchObject({ type: "command.cancelled", isLost: true });
  });

  test("a lost lease confirms it", () => {
    const run = new Driver(makePlaybook(FORK)).start();
    run.give({ kind: "cancel", reason: "enough" });
    run.give({ kind: "lease_expired", commandId: run.open("start").commandId, attempt: 1 });
    expect(run.state.status).toBe("cancelled");
  });

  test("shows the steps it stopped", () => {
    const run = new Driver(makePlaybook(FORK)).start();
    run.give({ kind: "cancel", reason: "enough" });
    run.report("start", { status: "cancelled" });
    expect(stepViews(run.state)[0]?.status).toBe("cancelled");
  });
});

describe("timeouts", () => {
  test("of a step cancels its commands; a late success does not count", () => {
    const run = new Driver(
      makePlaybook({ start: { timeoutMs: 1000, next: ["b"] }, b: {} }),
    ).start();
    expect(run.open("start").payload.timeoutMs).toBe(1000);
    run.fire("step_timeout");
    expect(run.open("start").isCancelled).toBe(true);
    run.ok("start");
    expect(run.state.status).toBe("failed");
    expect(run.state.failure).toMatchObject({ kind: "timeout", code: "STEP_TIMEOUT" });
  });

  test("of a step stop its timer when it ends in time", () => {
    const run = new Driver(makePlaybook({ start: { timeoutMs: 1000 } })).start();
    const decision = run.ok("start");
    expect(decision.stopTimers.length).toBe(1);
    expect(run.timers.size).toBe(0);
  });

  test("of the execution cancels everything and fails it", () => {
    const run = new Driver(
      makePlaybook(FORK, { executor: { priority: 5, isNoMatchError: false, timeoutMs: 5 } }),
    ).start();
    run.ok("start");
    run.fire("execution_timeout");
    run.report("a", { status: "cancelled" });
    run.report("b", { status: "cancelled" });
    expect(run.state.status).toBe("failed");
    expect(run.state.failure?.code).toBe("EXECUTION_TIMEOUT");
  });

  test("that are stale are ignored", () => {
    const run = new Driver(makePlaybook({ start: { timeoutMs: 1000 } })).start();
    const [timer] = [...run.timers.values()];
    run.ok("start");
    const purpose = { kind: "cancel_deadline" } as const;
    const decision = run.give({
      kind: "timer",
      timerId: timer?.timerId ?? ("0" as never),
      purpose,
    });
    expect(decision.events).toEqual([]);
  });
});

describe("finalize", () => {
  test("ends the execution at once and drops its commands", () => {
    const run = new Driver(makePlaybook(FORK)).start();
    run.ok("start", { x: 1 });
    const decision = run.give({ kind: "finalize", status: "failed", reason: "by hand" });
    expect(decision.remove.length).toBe(2);
    expect(decision.cancel.length).toBe(2);
    expect(run.state.status).toBe("failed");
    expect(run.state.failure?.message).toBe("by hand");
  });

  test("does nothing to one that has ended", () => {
    const run = new Driver(makePlaybook({ start: {} })).start();
    run.ok("start");
    const decision = run.give({ kind: "finalize", status: "failed", reason: "by hand" });
    expect(decision.isStale).toBe(true);
    expect(run.state.status).toBe("completed");
  });
});

test("inputs after the end are stale", () => {
  const run = new Driver(makePlaybook({ start: {} })).start();
  run.ok("start");
  const child = {
    childId: "9" as ExecutionId,
    status: "failed",
    value: null,
    error: failure("internal", "x"),
  } as const;
  expect(run.give({ kind: "cancel", reason: "late" }).isStale).toBe(true);
  expect(run.give({ kind: "child_done", child }).isStale).toBe(true);
});

describe("retries inside a worker", () => {
  const last = failure("connection", "down");

  test("count as attempts, each once, also when the slot was given back in between", () => {
    const run = new Driver(makePlaybook({ start: {} })).start();
    const pipeline = { ...PIPELINE_START, tries: 2, retries: { count: 2, last } };
    run.report("start", { status: "yielded", pipeline, delayMs: 5000 });
    expect(stepViews(run.state)[0]?.attempts).toBe(3);
    expect(run.open("start").payload.pipeline.retries).toEqual({ count: 2, last });
    run.report("start", { status: "ok", value: 1, ctx: {}, retries: { count: 3, last } });
    expect(stepViews(run.state)[0]?.attempts).toBe(4);
    expect(run.events.map(({ event }) => event)).toContainEqual(
      expect.objectContaining({ type: "call.done", retries: { count: 3, last } }),
    );
    expect(run.isSameAsReplay()).toBe(true);
  });

  test("leave no trace in the log when there were none", () => {
    const run = new Driver(makePlaybook({ start: {} })).start();
    run.ok("start");
    expect(stepViews(run.state)[0]?.attempts).toBe(1);
    expect(JSON.stringify(run.events)).not.toContain("retries");
  });
});
