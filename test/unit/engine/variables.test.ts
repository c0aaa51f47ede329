import { describe, expect, test } from "bun:test";
import { Driver, makePlaybook } from "./harness.ts";

function start(): Driver {
  return new Driver(
    makePlaybook({
      first: {
        set: [{ target: "ctx.a", value: 1 }],
        next: [{ step: "second", when: "{{ ctx.b == 2 }}" }],
      },
      second: { tasks: [{ input: { given: "{{ ctx.b }}" } }] },
    }),
  ).start();
}

describe("variables written from outside", () => {
  test("are ctx for guards and for what starts afterwards", () => {
    const run = start();
    const decision = run.give({ kind: "variables", values: { b: 2 }, removed: [] });
    expect(decision.events).toEqual([{ type: "ctx.updated", values: { b: 2 } }]);
    run.ok("first");
    expect(run.openSteps()).toEqual(["second"]);
    expect(run.state.ctx).toEqual({ a: 1, b: 2 });
    expect(run.open("second").payload.scope.ctx).toMatchObject({ b: 2 });
    expect(run.isSameAsReplay()).toBe(true);
  });

  test("can be removed; what is not there is no event", () => {
    const run = start();
    run.give({ kind: "variables", values: { b: 2, c: 3 }, removed: [] });
    run.give({ kind: "variables", values: {}, removed: ["b", "unknown"] });
    expect(run.state.ctx).toEqual({ c: 3 });
    const again = run.give({ kind: "variables", values: {}, removed: ["b"] });
    expect(again).toMatchObject({ events: [], isStale: false });
    expect(run.isSameAsReplay()).toBe(true);
  });

  test("come too late once the execution has ended", () => {
    const run = start();
    run.give({ kind: "cancel", reason: "enough" });
    run.report("first", { status: "cancelled" });
    const decision = run.give({ kind: "variables", values: { b: 2 }, removed: [] });
    expect(decision).toMatchObject({ events: [], isStale: true });
  });
});
