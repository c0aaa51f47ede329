/** Retries of finished executions, and the final step. */
import { describe, expect, test } from "bun:test";
import type { Decision } from "../../../src/engine/decision.ts";
import type { StepSpec } from "./harness.ts";
import { Driver, makePlaybook } from "./harness.ts";

function retry(run: Driver, steps?: readonly string[]): Decision {
  return run.give({ kind: "retry", ...(steps === undefined ? {} : { steps }) });
}

function start(steps: Readonly<Record<string, StepSpec>>, executor = {}): Driver {
  const options = { priority: 5, isNoMatchError: false, ...executor };
  return new Driver(makePlaybook(steps, { executor: options })).start();
}

const FORK: Readonly<Record<string, StepSpec>> = {
  start: { next: ["good", "bad"], nextMode: "inclusive" },
  good: { next: ["end"], failure: "best_effort" },
  bad: { next: ["end"] },
  end: {},
};

describe("a retry", () => {
  test("runs what failed again and keeps the rest", () => {
    const run = start(FORK);
    run.ok("start");
    run.ok("good", { n: 1 });
    run.fail("bad");
    expect(run.state.status).toBe("failed");
    expect(retry(run).isStale).toBe(false);
    expect(run.openSteps()).toEqual(["bad"]);
    expect(run.state.endedAtMs).toBeUndefined();
    run.ok("bad");
    expect(run.openSteps()).toEqual(["end"]);
    run.ok("end", { done: true });
    expect(run.state.status).toBe("completed");
    expect(run.count("step.entered", "good")).toBe(1);
    expect(run.count("step.entered", "end")).toBe(1);
    expect(run.isSameAsReplay()).toBe(true);
  });

  test("of a failed retry is another retry", () => {
    const run = start({ start: {} });
    run.fail("start");
    retry(run);
    run.fail("start", "again");
    expect(run.state.failure?.message).toBe("again");
    retry(run);
    run.ok("start");
    expect(run.types().filter((type) => type === "playbook.resumed")).toHaveLength(2);
    expect(run.state.status).toBe("completed");
  });

  test("of a loop runs only the items that did not go well", () => {
    const run = start({ start: { loop: { in: [0, 1, 2, 3, 4], maxInFlight: 2 } } });
    run.okItem("start", 0, { n: 0 });
    run.fail("start", "no", 1);
    run.okItem("start", 2, { n: 2 });
    expect(run.state.status).toBe("failed");
    retry(run);
    expect(run.openSteps()).toEqual(["start[1]", "start[3]"]);
    run.okItem("start", 1, { n: 1 });
    run.okItem("start", 3, { n: 3 });
    run.okItem("start", 4, { n: 4 });
    expect(run.state.result).toMatchObject({
      results: [0, 1, 2, 3, 4].map((n) => ({ n })),
      stats: { total: 5, succeeded: 5, failed: 0 },
    });
    expect(run.isSameAsReplay()).toBe(true);
  });

  test("of a cancelled execution goes on where that was cut off", () => {
    const run = start(FORK);
    run.ok("start");
    run.ok("good");
    run.give({ kind: "cancel", reason: "by hand" });
    run.report("bad", { status: "cancelled" });
    expect(run.state.status).toBe("cancelled");
    retry(run);
    expect(run.openSteps()).toEqual(["bad"]);
    run.ok("bad");
    run.ok("end");
    expect(run.state.status).toBe("completed");
  });

  test("starts a sub-playbook anew", () => {
    const run = start({ start: { tasks: [{ kind: "playbook", config: { path: "child" } }] } });
    const [childId] = [...run.children.keys()];
    if (childId !== undefined) {
      run.give({ kind: "child_done", child: { childId, status: "failed", value: null } });
    }
    retry(run);
    expect([...run.state.children.keys()]).toHaveLength(1);
    expect([...run.state.children.keys()]).not.toEqual([childId]);
  });

  test("of some steps leaves the others failed, and the execution with them", () => {
    const run = start({
      start: { next: ["a", "b"], nextMode: "inclusive" },
      a: { failure: "best_effort" },
      b: { failure: "best_effort" },
    });
    run.ok("start");
    run.fail("a", "a is broken");
    run.fail("b");
    expect(retry(run, ["b"]).isStale).toBe(false);
    expect(run.openSteps()).toEqual(["b"]);
    run.ok("b");
    expect(run.state).toMatchObject({ status: "failed", failure: { message: "a is broken" } });
    retry(run);
    run.ok("a");
    expect(run.state.status).toBe("completed");
  });

  test("is refused while there is nothing to retry", () => {
    const run = start({ start: {} });
    expect(retry(run).refusal?.code).toBe("EXECUTION_RUNNING");
    run.fail("start");
    const refusal = retry(run, ["other"]).refusal;
    expect(refusal?.code).toBe("STEP_NOT_RETRYABLE");
    expect(refusal?.message).toContain("start");
    retry(run);
    run.ok("start");
    expect(retry(run).refusal?.code).toBe("EXECUTION_COMPLETED");
    const broken = new Driver(makePlaybook({ start: {} }, { workload: { a: "{{ 1 / 0 }}" } }));
    broken.start();
    expect(broken.state.status).toBe("failed");
    expect(retry(broken).refusal?.code).toBe("NOTHING_TO_RETRY");
  });

  test("gives the execution its whole time again", () => {
    const run = start({ start: {} }, { timeoutMs: 60_000 });
    run.nowMs += 50_000;
    run.fail("start");
    retry(run);
    const [timer] = run.timers.values();
    expect(timer?.dueMs).toBe(run.nowMs + 60_000);
  });

  test("lets late reports of the time before go stale", () => {
    const run = start({ start: {} });
    const old = run.open("start");
    run.give({ kind: "finalize", status: "failed", reason: "stuck" });
    retry(run);
    expect(run.open("start").commandId).not.toBe(old.commandId);
    const expired = { kind: "lease_expired", commandId: old.commandId, attempt: 1 } as const;
    expect(run.give(expired).isStale).toBe(true);
  });
});

describe("the final step", () => {
  const FINAL = { finalStep: "cleanup" };

  test("runs once everything has come to rest", () => {
    const run = start({ ...FORK, cleanup: {} }, FINAL);
    run.ok("start");
    run.ok("good");
    run.ok("bad");
    run.ok("end");
    expect(run.openSteps()).toEqual(["cleanup"]);
    run.ok("cleanup");
    expect(run.state.status).toBe("completed");
    expect(run.isSameAsReplay()).toBe(true);
  });

  test("runs after a failure, which it does not heal", () => {
    for (const failure of ["drain", "fail_fast", "best_effort"] as const) {
      const run = start({ start: { failure }, cleanup: {} }, FINAL);
      run.fail("start", "broken");
      expect(run.openSteps()).toEqual(["cleanup"]);
      run.ok("cleanup");
      expect(run.state).toMatchObject({ status: "failed", failure: { message: "broken" } });
      expect(run.isSameAsReplay()).toBe(true);
    }
  });

  test("does not run after a cancel", () => {
    const run = start({ start: {}, cleanup: {} }, FINAL);
    run.give({ kind: "cancel", reason: "by hand" });
    run.report("start", { status: "cancelled" });
    expect(run.state.status).toBe("cancelled");
    expect(run.count("step.entered", "cleanup")).toBe(0);
  });

  test("that fails fails the execution, and runs again with a retry", () => {
    const run = start({ start: {}, cleanup: {} }, FINAL);
    run.ok("start");
    run.fail("cleanup");
    expect(run.state.status).toBe("failed");
    retry(run);
    expect(run.openSteps()).toEqual(["cleanup"]);
    run.ok("cleanup");
    expect(run.state.status).toBe("completed");
    expect(run.count("step.entered", "start")).toBe(1);
  });
});
