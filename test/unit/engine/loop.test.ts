import { describe, expect, test } from "bun:test";
import { stepViews } from "../../../src/engine/view.ts";
import { Driver, makePlaybook } from "./harness.ts";

describe("loop items", () => {
  test.each([
    ["a list", [1, 2], [1, 2]],
    ["a template", "{{ xs }}", ["a", "b"]],
    ["a map", { a: 1 }, [{ key: "a", value: 1 }]],
    ["a number", "{{ 3 }}", [0, 1, 2]],
    ["JSON text", "[1, 2]", [1, 2]],
    ["JSON text of a map", '{"a": 1}', [{ key: "a", value: 1 }]],
  ])("come from %s", (_name, source, items) => {
    const run = new Driver(
      makePlaybook({ start: { loop: { in: source } } }, { workload: { xs: ["a", "b"] } }),
    ).start();
    const seen = [...run.commands.values()].map(({ payload }) => payload.scope.loop?.item);
    expect(seen).toEqual(items);
  });

  test.each([
    ["a word", "word"],
    ["null", null],
    ["undefined", "{{ nothing }}"],
    ["a boolean", true],
    ["a fraction", 1.5],
    ["a negative number", -1],
  ])("%s fails the step", (_name, source) => {
    const run = new Driver(makePlaybook({ start: { loop: { in: source } } })).start();
    expect(run.state.status).toBe("failed");
    expect(run.state.failure).toMatchObject({
      kind: "schema",
      code: "NOT_ITERABLE",
      step: "start",
    });
  });

  test("the results of an earlier loop are a list", () => {
    const run = new Driver(
      makePlaybook({
        start: { loop: { in: [1, 2] }, next: ["again"] },
        again: { loop: { in: "{{ start }}" } },
      }),
    ).start();
    run.okItem("start", 0, "a");
    run.okItem("start", 1, "b");
    expect(run.open("again", 1).payload.scope.loop?.item).toBe("b");
    expect(run.openSteps()).toEqual(["again[0]", "again[1]"]);
  });

  test("none at all completes the step with an empty result", () => {
    const run = new Driver(
      makePlaybook({
        start: { loop: { in: [] }, next: [{ step: "b", when: "{{ event.name == 'loop.done' }}" }] },
        b: { input: { n: "{{ start.stats.total }}" } },
      }),
    ).start();
    expect(run.openSteps()).toEqual(["b"]);
    expect(stepViews(run.state)[0]).toMatchObject({
      status: "ok",
      result: { results: [], data: [], stats: { total: 0, succeeded: 0, failed: 0 } },
    });
  });
});

describe("loop progress", () => {
  test("never runs more items than max_in_flight", () => {
    const run = new Driver(
      makePlaybook(
        { start: { loop: { in: "{{ 5 }}", maxInFlight: "{{ n }}" } } },
        { workload: { n: 2 } },
      ),
    ).start();
    expect(run.openSteps()).toEqual(["start[0]", "start[1]"]);
    run.okItem("start", 1);
    expect(run.openSteps()).toEqual(["start[0]", "start[2]"]);
  });

  test("a sequential loop runs one at a time", () => {
    const run = new Driver(
      makePlaybook({ start: { loop: { in: [1, 2], mode: "sequential" } } }),
    ).start();
    expect(run.openSteps()).toEqual(["start[0]"]);
    run.okItem("start", 0);
    expect(run.openSteps()).toEqual(["start[1]"]);
  });

  test("results are ordered by index, whatever the order of arrival", () => {
    const run = new Driver(makePlaybook({ start: { loop: { in: [1, 2, 3] } } })).start();
    for (const index of [2, 0, 1]) {
      run.okItem("start", index, index * 10);
    }
    expect(run.state.result).toEqual({
      results: [0, 10, 20],
      data: [0, 10, 20],
      stats: { total: 3, succeeded: 3, failed: 0 },
    });
    expect(run.isSameAsReplay()).toBe(true);
  });

  test("a max_in_flight that is no number fails the step", () => {
    const run = new Driver(
      makePlaybook({ start: { loop: { in: [1], maxInFlight: "{{ nothing }}" } } }),
    ).start();
    expect(run.state.failure?.code).toBe("MAX_IN_FLIGHT");
  });

  test("100,000 items take time in proportion", () => {
    const run = new Driver(
      makePlaybook({ start: { loop: { in: "{{ 100000 }}", maxInFlight: 100 } } }),
    ).start();
    for (const command of run.commands.values()) {
      run.give({
        kind: "report",
        report: {
          executionId: command.payload.scope.executionId,
          commandId: command.commandId,
          attempt: 1,
          workerId: "w" as never,
          startedAtMs: 0,
          outcome: { status: "ok", value: command.index ?? 0, ctx: {} },
        },
      });
    }
    expect(run.state.status).toBe("completed");
    expect(run.state.result).toMatchObject({ stats: { total: 100_000, succeeded: 100_000 } });
  });
});

describe("loop failure", () => {
  test("fail_fast starts no more items, lets running ones end, then fails", () => {
    const run = new Driver(
      makePlaybook({ start: { loop: { in: [1, 2, 3], maxInFlight: 2 } } }),
    ).start();
    run.fail("start", "bad", 0);
    expect(run.openSteps()).toEqual(["start[1]"]);
    run.okItem("start", 1, "b");
    expect(run.state.status).toBe("failed");
    expect(run.state.failure).toMatchObject({ step: "start", index: 0, message: "bad" });
    expect(stepViews(run.state)[0]?.result).toMatchObject({
      results: [null, "b", null],
      stats: { total: 3, succeeded: 1, failed: 1 },
    });
  });

  test("a fail_fast step cancels its running items", () => {
    const run = new Driver(
      makePlaybook({ start: { failure: "fail_fast", loop: { in: [1, 2] } } }),
    ).start();
    run.fail("start", "bad", 0);
    expect(run.open("start", 1).isCancelled).toBe(true);
    run.okItem("start", 1);
    expect(run.count("command.cancelled")).toBe(1);
    expect(run.state.status).toBe("failed");
  });

  test("continue lists the failed items in the result", () => {
    const run = new Driver(
      makePlaybook({ start: { loop: { in: [1, 2], failure: "continue" } } }),
    ).start();
    run.fail("start", "bad", 0);
    run.okItem("start", 1, "b");
    expect(run.state.status).toBe("completed");
    expect(run.state.result).toMatchObject({
      results: [null, "b"],
      stats: { total: 2, succeeded: 1, failed: 1 },
      errors: [{ index: 0, error: { message: "bad" } }],
    });
  });

  test("max_failures tolerates that many", () => {
    const run = new Driver(
      makePlaybook({ start: { loop: { in: [1, 2, 3], failure: { maxFailures: 1 } } } }),
    ).start();
    run.fail("start", "bad", 0);
    run.fail("start", "worse", 1);
    run.okItem("start", 2);
    expect(run.state.status).toBe("failed");
  });
});
