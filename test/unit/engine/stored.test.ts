/** Results that are stored apart. */
import { expect, test } from "bun:test";
import { RefNeededError } from "../../../src/template/scope.ts";
import type { StepSpec } from "./harness.ts";
import { Driver, makePlaybook } from "./harness.ts";

const REF = { $ref: "noetl://execution/1/result/start/abc", size: 2_000_000, type: "object" };

function startWith(steps: Readonly<Record<string, StepSpec>>): Driver {
  return new Driver(makePlaybook(steps)).start();
}

test("a guard that looks inside asks for the result, then sees it", () => {
  const run = startWith({ start: { next: [{ step: "b", when: "{{ start.n == 2 }}" }] }, b: {} });
  expect(() => run.ok("start", REF)).toThrow(RefNeededError);
  run.state = run.replay();
  run.resolved.set(REF.$ref, { n: 2 });
  run.ok("start", REF);
  expect(run.openSteps()).toEqual(["b"]);
  expect(run.open("b").payload.scope.steps).toEqual({});
});

test("where it is stored can be read without loading it", () => {
  const run = startWith({
    start: {
      set: [
        { target: "ctx.ref", value: "{{ start._ref }}" },
        { target: "ctx.tier", value: "{{ start._store }}" },
        { target: "ctx.whole", value: "{{ start }}" },
        { target: "ctx.kept", value: "{{ start.count }}" },
      ],
    },
  });
  run.ok("start", { ...REF, fields: { count: 3 } });
  expect(run.state.ctx).toMatchObject({ ref: REF.$ref, tier: "disk", kept: 3 });
  expect(run.state.ctx["whole"]).toMatchObject(REF);
});

test("a stored pipeline shows its merged fields", () => {
  const run = startWith({
    start: { tasks: [{}, {}], set: [{ target: "ctx.x", value: "{{ start.x + start.t0.x }}" }] },
  });
  run.resolved.set(REF.$ref, { t0: { x: 1 }, t1: { x: 2 } });
  run.ok("start", REF);
  expect(run.state.ctx).toEqual({ x: 3 });
});

test("a loop iterates over a stored list", () => {
  const run = startWith({ start: { next: ["b"] }, b: { loop: { in: "{{ start }}" } } });
  run.resolved.set(REF.$ref, ["x", "y"]);
  run.ok("start", { ...REF, type: "array" });
  expect(run.openSteps()).toEqual(["b[0]", "b[1]"]);
});
