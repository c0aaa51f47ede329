import { describe, expect, test } from "bun:test";
import type { Json } from "../../../src/core/json.ts";
import type { Cursor, Loop } from "../../../src/dsl/playbook.ts";
import type { NewCommand } from "../../../src/engine/decision.ts";
import { stepViews } from "../../../src/engine/view.ts";
import type { StepSpec } from "./harness.ts";
import { Driver, makeCursor, makePlaybook } from "./harness.ts";

function start(
  cursor: Partial<Cursor> = {},
  loop: Partial<Loop> = {},
  step: StepSpec = {},
): Driver {
  const made = { mode: "cursor", maxInFlight: 1, cursor: makeCursor(cursor), ...loop } as const;
  return new Driver(
    makePlaybook({ start: { ...step, loop: made }, ...(step.next ? { b: {} } : {}) }),
  ).start();
}

/** What pullers have open, in order. */
function pulls(run: Driver): readonly (NewCommand & { attempt: number })[] {
  return [...run.commands.values()].filter(({ puller }) => puller !== undefined);
}

function names(run: Driver, puller = 0): unknown {
  const found = pulls(run).find((command) => command.puller === puller);
  return found?.payload.pipeline.locals;
}

/** The puller's command ends well; a claim with these items. */
function give(run: Driver, items: readonly Json[], more: { puller?: number; acks?: Json[] } = {}) {
  const { puller = 0, acks } = more;
  const command = pulls(run).find((each) => each.puller === puller);
  if (command === undefined) {
    throw new Error(`puller ${puller} does nothing: ${run.openSteps().join()}`);
  }
  const value = { items, rowCount: items.length, ...(acks === undefined ? {} : { acks }) };
  return run.give({
    kind: "report",
    report: {
      executionId: "1" as never,
      commandId: command.commandId,
      attempt: command.attempt,
      workerId: "w" as never,
      startedAtMs: run.nowMs,
      outcome: { status: "ok", value, ctx: {} },
    },
  });
}

function tasks(command: NewCommand | undefined): readonly string[] {
  return command?.payload.step.tasks.map(({ label }) => label) ?? [];
}

describe("a cursor", () => {
  test("claims, runs the rows of the frame, and claims again until there are none", () => {
    const run = start({ maxRows: 2, rowConcurrency: 2 });
    expect(run.openSteps()).toEqual(["start"]);
    give(run, ["a", "b"]);
    expect(run.openSteps()).toEqual(["start[0]", "start[1]"]);
    expect(run.open("start", 1).payload.scope.loop).toMatchObject({ item: "b", index: 1 });
    run.okItem("start", 1, 11);
    expect(pulls(run)).toEqual([]);
    run.okItem("start", 0, 10);
    give(run, ["c"]);
    run.okItem("start", 2, 12);
    expect(run.state.status).toBe("running");
    give(run, []);
    expect(run.state.status).toBe("completed");
    expect(run.state.result).toEqual({
      results: [10, 11, 12],
      data: [10, 11, 12],
      stats: { total: 3, succeeded: 3, failed: 0, frames: 2 },
    });
    expect(run.isSameAsReplay()).toBe(true);
  });

  test("without a single row completes its step", () => {
    const run = start({}, {}, { next: [{ step: "b", when: "{{ event.name == 'loop.done' }}" }] });
    give(run, []);
    expect(run.openSteps()).toEqual(["b"]);
    expect(stepViews(run.state)[0]?.result).toMatchObject({ results: [], stats: { total: 0 } });
  });

  test("hands claims the names that their statements read", () => {
    const run = start({ maxRows: 50, leaseMs: 60_000 });
    const first = names(run);
    expect(first).toEqual({
      __frame_max_rows: 50,
      __frame_lease_seconds: 60,
      __frame_acks: [],
      __claim_id: "1.4",
    });
    give(run, [1]);
    run.okItem("start", 0);
    expect(names(run)).toMatchObject({ __claim_id: "1.8" });
  });

  test("runs one row at a time, or as many as row_concurrency says", () => {
    const one = start();
    give(one, [1, 2]);
    expect(one.openSteps()).toEqual(["start[0]"]);
    const two = start({ rowConcurrency: 2 });
    give(two, [1, 2, 3]);
    expect(two.openSteps()).toEqual(["start[0]", "start[1]"]);
    two.okItem("start", 0);
    expect(two.openSteps()).toEqual(["start[1]", "start[2]"]);
  });

  test("says how the worker makes items of rows", () => {
    const run = start({ process: "frame", maxBytes: 100 });
    expect(pulls(run)[0]?.payload.frame).toEqual({ process: "frame", maxBytes: 100 });
    give(run, [[1, 2, 3]]);
    expect(run.open("start", 0).payload.scope.loop?.item).toEqual([1, 2, 3]);
    expect(run.open("start", 0).payload.frame).toBeUndefined();
  });

  test("keeps the newest results and all counts", () => {
    const run = start({ maxRows: 700, rowConcurrency: 1000 });
    for (const first of [0, 700, 1400]) {
      give(
        run,
        Array.from({ length: 700 }, (_, n) => first + n),
      );
      for (let index = first; index < first + 700; index++) {
        run.okItem("start", index, index);
      }
    }
    give(run, []);
    const result = run.state.result as { results: number[] };
    expect(result).toMatchObject({ omitted: 1100, stats: { total: 2100, frames: 3 } });
    expect(result.results).toEqual(Array.from({ length: 1000 }, (_, n) => 1100 + n));
    expect(run.isSameAsReplay()).toBe(true);
  });

  test("sees only what its statements mention", () => {
    const claim = { ...makeCursor().claim, config: { command: "{{ tenant }}" } };
    const loop = { mode: "cursor", maxInFlight: 1, cursor: makeCursor({ claim }) } as const;
    const workload = { tenant: 7, other: 8 };
    const run = new Driver(makePlaybook({ start: { loop } }, { workload })).start();
    expect(pulls(run)[0]?.payload.scope.workload).toEqual({ tenant: 7 });
  });
});

describe("pullers", () => {
  test("claim at the same time, as many as max_in_flight", () => {
    const run = start({}, { maxInFlight: "{{ 1 + 2 }}" });
    expect(pulls(run).map(({ puller }) => puller)).toEqual([0, 1, 2]);
    give(run, ["x"], { puller: 2 });
    give(run, ["y"], { puller: 0 });
    expect(run.openSteps()).toEqual(["start", "start[0]", "start[1]"]);
    expect(run.open("start", 0).payload.scope.loop?.item).toBe("x");
  });

  test("end one by one; the last claim is made after all rows have ended", () => {
    const run = start({ maxRows: 2 }, { maxInFlight: 2 });
    give(run, ["x"], { puller: 1 });
    give(run, [], { puller: 0 });
    expect(pulls(run)).toEqual([]);
    run.okItem("start", 0);
    expect(pulls(run).map(({ puller }) => puller)).toEqual([1]);
    give(run, [], { puller: 1 });
    expect(run.state.status).toBe("completed");
  });

  test("come back when a frame was full", () => {
    const run = start({ maxRows: 1 }, { maxInFlight: 2 });
    give(run, [], { puller: 0 });
    give(run, ["x"], { puller: 1 });
    expect(pulls(run).map(({ puller }) => puller)).toEqual([0]);
  });

  test("may not be too many", () => {
    expect(start({}, { maxInFlight: 1001 }).state.failure).toMatchObject({
      kind: "limit",
      code: "MAX_IN_FLIGHT",
    });
  });
});

describe("a failure in a cursor", () => {
  test("of a row stops claims and rows, lets running ones end, then fails the step", () => {
    const run = start({ rowConcurrency: 2 });
    give(run, ["a", "b", "c"]);
    run.fail("start", "bad", 0);
    expect(run.openSteps()).toEqual(["start[1]"]);
    run.okItem("start", 1);
    expect(run.state.status).toBe("failed");
    expect(run.state.failure).toMatchObject({ step: "start", index: 0, message: "bad" });
    expect(stepViews(run.state)[0]?.result).toMatchObject({
      stats: { total: 3, succeeded: 1, failed: 1 },
    });
  });

  test("is tolerated as the policy says, and listed", () => {
    const run = start({ rowConcurrency: 3 }, { failure: { maxFailures: 1 } });
    give(run, ["a", "b"]);
    run.fail("start", "bad", 0);
    run.okItem("start", 1);
    give(run, []);
    expect(run.state.result).toMatchObject({
      stats: { total: 2, succeeded: 1, failed: 1 },
      errors: [{ index: 0, error: { message: "bad" } }],
    });
  });

  test("of a claim fails the step, whatever the policy says of rows", () => {
    const run = start({}, { failure: "continue" });
    run.fail("start", "no such table");
    expect(run.state.failure).toMatchObject({ step: "start", message: "no such table" });
  });

  test("of a claim that gave something strange is told", () => {
    const run = start();
    run.ok("start", { rows: [] });
    expect(run.state.failure).toMatchObject({ kind: "schema", code: "CLAIM_INVALID" });
  });

  test("cancels the others if the step says so", () => {
    const run = start({ rowConcurrency: 2 }, {}, { failure: "fail_fast" });
    give(run, ["a", "b"]);
    run.fail("start", "bad", 0);
    expect(run.open("start", 1).isCancelled).toBe(true);
  });
});

describe("a lost worker", () => {
  test("costs no row: the claim and the rows are handed out again", () => {
    const run = start({ maxAttempts: 2 });
    const before = names(run);
    const lose = (index?: number) => {
      const { commandId, attempt } = run.open("start", index);
      run.give({ kind: "lease_expired", commandId, attempt });
    };
    lose();
    expect(pulls(run)[0]?.attempt).toBe(2);
    expect(names(run)).toEqual(before);
    give(run, ["a"]);
    lose(0);
    expect(run.open("start", 0).attempt).toBe(2);
    lose(0);
    expect(run.state.failure).toMatchObject({ kind: "worker_lost", index: 0 });
  });

  test("a claim that waits for its next try keeps its id", () => {
    const run = start();
    const before = names(run);
    const { pipeline } = pulls(run)[0]?.payload ?? {};
    if (pipeline !== undefined) {
      run.report("start", { status: "yielded", pipeline, delayMs: 5000 });
    }
    expect(names(run)).toEqual(before);
    give(run, []);
    expect(run.state.status).toBe("completed");
    expect(run.isSameAsReplay()).toBe(true);
  });
});

describe("acknowledging", () => {
  const cursor = (more: Partial<Cursor> = {}): Partial<Cursor> => ({
    acknowledge: { ...makeCursor().claim, label: "acknowledge" },
    renew: { ...makeCursor().claim, label: "renew" },
    heartbeatMs: 10_000,
    ...more,
  });

  test("comes with the next claim, for rows that went well", () => {
    const run = start(cursor({ rowConcurrency: 2 }), { failure: "continue" });
    expect(tasks(pulls(run)[0])).toEqual(["claim"]);
    give(run, ["a", "b"], { acks: ["A", "B"] });
    run.okItem("start", 0);
    run.fail("start", "bad", 1);
    expect(tasks(pulls(run)[0])).toEqual(["acknowledge", "claim"]);
    expect(names(run)).toMatchObject({ __frame_acks: ["A"] });
    give(run, []);
    expect(run.state.status).toBe("completed");
  });

  test("of a frame that is one item takes all its rows", () => {
    const run = start(cursor({ process: "frame" }));
    give(run, [["a", "b"]], { acks: [["A", "B"]] });
    run.okItem("start", 0);
    expect(names(run)).toMatchObject({ __frame_acks: ["A", "B"] });
  });

  test("is done before a failed loop ends", () => {
    const run = start(cursor());
    give(run, ["a", "b", "c"], { acks: ["A", "B", "C"] });
    run.okItem("start", 0);
    run.fail("start", "bad", 1);
    expect(tasks(pulls(run)[0])).toEqual(["acknowledge"]);
    expect(names(run)).toMatchObject({ __frame_acks: ["A"] });
    give(run, []);
    expect(run.state.failure).toMatchObject({ message: "bad" });
  });

  test("is done before the execution ends for what another branch did", () => {
    const made = makeCursor(cursor({ rowConcurrency: 2 }));
    const run = new Driver(
      makePlaybook({
        start: { next: ["rows", "other"], nextMode: "inclusive" },
        rows: { loop: { mode: "cursor", maxInFlight: 1, cursor: made } },
        other: {},
      }),
    ).start();
    run.ok("start");
    give(run, ["a", "b", "c"], { acks: ["A", "B", "C"] });
    run.fail("other", "bad");
    run.okItem("rows", 0);
    run.okItem("rows", 1);
    expect(run.openSteps()).toEqual(["rows"]);
    expect(tasks(pulls(run)[0])).toEqual(["acknowledge"]);
    expect(names(run)).toMatchObject({ __frame_acks: ["A", "B"] });
    give(run, []);
    expect(run.state.status).toBe("failed");
    expect(run.isSameAsReplay()).toBe(true);
  });

  test("the rows of a frame are renewed while they run, and no longer", () => {
    const run = start(cursor());
    give(run, ["a", "b"], { acks: ["A", "B"] });
    run.okItem("start", 0);
    run.fire("frame_renewal");
    expect(tasks(pulls(run)[0])).toEqual(["renew"]);
    expect(names(run)).toMatchObject({ __frame_acks: ["A", "B"] });
    run.fire("frame_renewal");
    expect(pulls(run)).toHaveLength(1);
    run.okItem("start", 1);
    expect(run.timers.size).toBe(0);
    run.fail("start", "NATS is away");
    expect(tasks(pulls(run)[0])).toEqual(["acknowledge", "claim"]);
    give(run, []);
    expect(run.state.status).toBe("completed");
    expect(run.isSameAsReplay()).toBe(true);
  });
});

test("a cancelled cursor drops its renewals and takes no late claim", () => {
  const run = start({ renew: makeCursor().claim }, { maxInFlight: 2 });
  give(run, ["a"], { puller: 0 });
  run.give({ kind: "cancel", reason: "enough" });
  expect([...run.timers.values()].map(({ purpose }) => purpose.kind)).toEqual(["cancel_deadline"]);
  run.okItem("start", 0);
  give(run, ["b"], { puller: 1 });
  expect(run.state.status).toBe("cancelled");
  expect(run.count("loop.frame")).toBe(1);
});

describe("a retry", () => {
  test("runs what had not gone well again, then claims on", () => {
    const run = start({ rowConcurrency: 2, acknowledge: makeCursor().claim });
    give(run, ["a", "b", "c"], { acks: ["A", "B", "C"] });
    run.okItem("start", 0, 10);
    run.fail("start", "bad", 1);
    run.okItem("start", 2, 12);
    give(run, []);
    expect(run.state.status).toBe("failed");
    run.give({ kind: "retry" });
    expect(run.openSteps()).toEqual(["start[1]"]);
    expect(run.open("start", 1).payload.scope.loop?.item).toBe("b");
    run.okItem("start", 1, 11);
    expect(names(run)).toMatchObject({ __frame_acks: ["B"] });
    give(run, ["d"], { acks: ["D"] });
    run.okItem("start", 3, 13);
    give(run, []);
    expect(run.state.result).toMatchObject({
      results: [10, 11, 12, 13],
      stats: { total: 4, succeeded: 4, failed: 0, frames: 2 },
    });
    expect(run.isSameAsReplay()).toBe(true);
  });

  test("of a failed claim claims again", () => {
    const run = start();
    run.fail("start", "no such table");
    run.give({ kind: "retry" });
    give(run, []);
    expect(run.state.status).toBe("completed");
  });
});
