/** Tokens, joins, arcs, set. */
import { describe, expect, test } from "bun:test";
import { resultOf, stepViews, variables } from "../../../src/engine/view.ts";
import { Driver, makePlaybook } from "./harness.ts";

describe("start", () => {
  test("merges the payload over the defaults, deep for maps, and never evaluates it", () => {
    const playbook = makePlaybook(
      { start: {} },
      { workload: { a: { x: 1, y: 2 }, list: [1], id: "{{ execution_id }}" } },
    );
    const run = new Driver(playbook).start({ a: { y: 3 }, list: [], raw: "{{ 1 + 1 }}" });
    expect(run.state.start?.workload).toEqual({
      a: { x: 1, y: 3 },
      list: [],
      id: "1",
      raw: "{{ 1 + 1 }}",
    });
  });

  test("runs a single step from start to end", () => {
    const run = new Driver(makePlaybook({ start: {} })).start();
    expect(run.types()).toEqual(["playbook.started", "step.entered", "command.issued"]);
    run.ok("start", { x: 1 });
    expect(run.types().slice(3)).toEqual(["call.done", "step.exited", "playbook.completed"]);
    expect(run.state.result).toEqual({ x: 1 });
    expect(run.isSameAsReplay()).toBe(true);
  });

  test("a second start changes nothing", () => {
    const run = new Driver(makePlaybook({ start: {} })).start();
    run.start();
    expect(run.events.length).toBe(3);
  });

  test("a default that cannot be rendered fails the execution", () => {
    const run = new Driver(makePlaybook({ start: {} }, { workload: { a: "{{ 1 / }}" } })).start();
    expect(run.state.status).toBe("failed");
    expect(run.state.failure?.kind).toBe("template");
  });
});

describe("join auto", () => {
  const diamond = {
    start: { next: ["a", "b"], nextMode: "inclusive" },
    a: { next: ["end"] },
    b: { next: ["b2"] },
    b2: { next: ["end"] },
    end: {},
  } as const;

  test("parallel branches meet once, after the last of them", () => {
    const run = new Driver(makePlaybook(diamond)).start();
    run.ok("start");
    run.ok("a");
    expect(run.openSteps()).toEqual(["b"]);
    run.ok("b");
    run.ok("b2");
    expect(run.openSteps()).toEqual(["end"]);
    run.ok("end", { done: true });
    expect(run.state.status).toBe("completed");
    expect(run.count("step.entered", "end")).toBe(1);
  });

  test("alternatives converge at once", () => {
    const run = new Driver(
      makePlaybook({
        start: { next: [{ step: "a", when: "{{ start.hot }}" }, "b"] },
        a: { next: ["end"] },
        b: { next: ["end"] },
        end: {},
      }),
    ).start();
    run.ok("start", { hot: true });
    run.ok("a");
    expect(run.openSteps()).toEqual(["end"]);
  });

  test("a branch that dies does not block the join", () => {
    const run = new Driver(
      makePlaybook({ ...diamond, b: { next: [{ step: "b2", when: "{{ false }}" }] } }),
    ).start();
    run.ok("start");
    run.ok("a");
    run.ok("b");
    expect(run.openSteps()).toEqual(["end"]);
  });

  test("a back-edge does not block the entry of its cycle", () => {
    const run = new Driver(
      makePlaybook({
        start: { next: ["page"] },
        page: { next: ["check"] },
        check: { next: [{ step: "page", when: "{{ check.more }}" }, "end"] },
        end: {},
      }),
    ).start();
    run.ok("start");
    run.ok("page");
    run.ok("check", { more: true });
    run.ok("page");
    run.ok("check", { more: false });
    run.ok("end");
    expect(run.state.status).toBe("completed");
    expect(run.state.steps.get("page")?.visits).toBe(2);
  });

  test("tokens that wait for each other in a ring are released oldest first", () => {
    const run = new Driver(
      makePlaybook({
        start: { next: ["x", "y", "z"], nextMode: "inclusive" },
        x: { next: ["a"] },
        y: { next: ["b"] },
        z: {
          next: [
            { step: "a", when: "{{ false }}" },
            { step: "b", when: "{{ false }}" },
          ],
        },
        a: { next: [{ step: "b", when: "{{ not ctx.a }}", set: [{ target: "ctx.a", value: 1 }] }] },
        b: { next: [{ step: "a", when: "{{ false }}" }] },
      }),
    ).start();
    run.ok("start");
    run.ok("y");
    run.ok("x");
    expect(run.openSteps()).toEqual(["z"]);
    run.ok("z");
    expect(run.openSteps()).toEqual(["b"]);
    run.ok("b");
    expect(run.openSteps()).toEqual(["a"]);
    run.ok("a");
    expect(run.openSteps()).toEqual(["b"]);
    run.ok("b");
    expect(run.state.status).toBe("completed");
  });

  test("a step with one arc runs once per token", () => {
    const run = new Driver(
      makePlaybook({
        start: { next: ["a", "b"], nextMode: "inclusive" },
        a: { next: ["m"] },
        b: { next: ["m"] },
        m: { join: "any", next: ["tail"] },
        tail: {},
      }),
    ).start();
    run.ok("start");
    run.ok("a");
    run.ok("b");
    expect(run.openSteps()).toEqual(["m", "m"]);
    run.ok("m");
    run.ok("m");
    run.ok("tail");
    run.ok("tail");
    expect(run.count("step.entered", "tail")).toBe(2);
    expect(run.state.status).toBe("completed");
  });
});

describe("join all", () => {
  const steps = {
    start: { next: ["a", "b"], nextMode: "inclusive" },
    a: { next: ["end"] },
    b: { next: [{ step: "end", when: "{{ b.go }}" }] },
    end: { join: "all" },
  } as const;

  test("waits for a token on each arc", () => {
    const run = new Driver(makePlaybook(steps)).start();
    run.ok("start");
    run.ok("a");
    expect(run.openSteps()).toEqual(["b"]);
    run.ok("b", { go: true });
    run.ok("end");
    expect(run.state.status).toBe("completed");
  });

  test("fails the execution when an arc can no longer be taken", () => {
    const run = new Driver(makePlaybook(steps)).start();
    run.ok("start");
    run.ok("a");
    run.ok("b", { go: false });
    expect(run.state.status).toBe("failed");
    expect(run.state.failure?.code).toBe("JOIN_IMPOSSIBLE");
  });
});

describe("arcs and set", () => {
  test("writes the step's set, then reads guards, then writes the arc's set", () => {
    const run = new Driver(
      makePlaybook({
        start: {
          set: [
            { target: "ctx.n", value: "{{ start.n + 1 }}" },
            { target: "ctx.m", value: "{{ ctx.n * 10 }}" },
            { target: "ctx.deep.x", value: "{{ output.data.n }}" },
          ],
          next: [
            { step: "no", when: "{{ ctx.n == 1 }}" },
            { step: "yes", when: "{{ ctx.m == 20 }}", set: [{ target: "ctx.via", value: "yes" }] },
          ],
        },
        no: {},
        yes: { set: [{ target: "plain", value: "{{ ctx.via }}" }] },
      }),
    ).start();
    run.ok("start", { n: 1 });
    expect(variables(run.state)).toEqual({ n: 2, m: 20, deep: { x: 1 }, via: "yes" });
    run.ok("yes");
    expect(variables(run.state)["plain"]).toBe("yes");
    expect(run.count("ctx.updated")).toBe(3);
  });

  test.each([
    ["complete", "completed"],
    ["quiet", "completed"],
    ["fail", "failed"],
  ] as const)("on_no_match %s ends %s", (onNoMatch, status) => {
    const run = new Driver(
      makePlaybook({
        start: { onNoMatch, next: [{ step: "b", when: "{{ false }}" }] },
        b: {},
      }),
    ).start();
    run.ok("start");
    expect(run.state.status).toBe(status);
    const exit = run.events.map(({ event }) => event).find((e) => e.type === "step.exited");
    expect(exit?.type === "step.exited" && exit.isUnmatched === true).toBe(
      onNoMatch === "complete",
    );
  });

  test("a guard that cannot be rendered fails the step", () => {
    const run = new Driver(
      makePlaybook({ start: { next: [{ step: "b", when: "{{ 1 / }}" }] }, b: {} }),
    ).start();
    run.ok("start");
    expect(run.state.status).toBe("failed");
    expect(run.state.failure).toMatchObject({ kind: "template", step: "start" });
  });

  test("output and event say how the step ended", () => {
    const run = new Driver(
      makePlaybook({
        start: {
          next: [
            { step: "a", when: "{{ output.status == 'success' and event.name == 'call.done' }}" },
          ],
        },
        a: { next: [{ step: "b", when: "{{ output.status == 'ok' and a.status == 'ok' }}" }] },
        b: {},
      }),
    ).start();
    run.ok("start");
    run.ok("a");
    expect(run.openSteps()).toEqual(["b"]);
  });

  test("a step that is not admitted is skipped with its arcs", () => {
    const run = new Driver(
      makePlaybook({
        start: { next: ["a"] },
        a: {
          admit: [{ when: "{{ start.go }}", isAllowed: true }, { isAllowed: false }],
          next: ["b"],
        },
        b: {},
      }),
    ).start();
    run.ok("start", { go: false });
    expect(run.state.status).toBe("completed");
    expect(stepViews(run.state).map(({ step, status }) => [step, status])).toEqual([
      ["start", "ok"],
      ["a", "skipped"],
    ]);
  });

  test("a cycle that needs no worker ends as a runaway", () => {
    const run = new Driver(
      makePlaybook({
        start: { loop: { in: [] }, next: ["again"] },
        again: { loop: { in: [] }, next: ["start"] },
      }),
    ).start();
    expect(run.state.status).toBe("failed");
    expect(run.state.failure?.code).toBe("CYCLE_RUNAWAY");
  });
});

describe("result", () => {
  test("is the value of the step end where there is one", () => {
    const run = new Driver(
      makePlaybook({ start: { next: ["end", "side"], nextMode: "inclusive" }, end: {}, side: {} }),
    ).start();
    run.ok("start");
    run.ok("end", { r: 1 });
    run.ok("side", { r: 2 });
    expect(run.state.result).toEqual({ r: 1 });
    expect(resultOf(run.state, "side")).toEqual({ r: 2 });
  });

  test("else of the step whose token ended last", () => {
    const run = new Driver(
      makePlaybook({ start: { next: ["a", "b"], nextMode: "inclusive" }, a: {}, b: {} }),
    ).start();
    run.ok("start");
    run.ok("b", { r: "b" });
    run.ok("a", { r: "a" });
    expect(run.state.result).toEqual({ r: "a" });
  });
});
