/** Sub-playbooks, which the engine runs itself. */
import { describe, expect, test } from "bun:test";
import type { ExecutionId } from "../../../src/core/ids.ts";
import type { Json, JsonObject } from "../../../src/core/json.ts";
import type { Task } from "../../../src/dsl/playbook.ts";
import { failure } from "../../../src/engine/failure.ts";
import { stepViews } from "../../../src/engine/view.ts";
import { Driver, makePlaybook, makeRule } from "./harness.ts";

function call(config: JsonObject = {}, more: Partial<Task> = {}): Partial<Task> {
  return { kind: "playbook", config: { path: "lib/child", ...config }, ...more };
}

function endChild(run: Driver, value: Json, status: "completed" | "failed" = "completed"): void {
  const [childId] = run.children.keys();
  const id = childId ?? ("0" as ExecutionId);
  run.children.delete(id);
  const error = status === "failed" ? { error: failure("db_error", "boom") } : {};
  run.give({ kind: "child_done", child: { childId: id, status, value, ...error } });
}

describe("a playbook task", () => {
  test("starts a child, holds no command, and takes its value", () => {
    const run = new Driver(
      makePlaybook(
        { start: { tasks: [call({ return_step: "final" }, { input: { user: "{{ name }}" } })] } },
        { workload: { name: "Ada" } },
      ),
    ).start();
    expect(run.commands.size).toBe(0);
    const [child] = run.children.values();
    expect(child).toMatchObject({
      path: "lib/child",
      payload: { user: "Ada" },
      depth: 1,
      returnStep: "final",
      isWaited: true,
    });
    endChild(run, { score: 7 });
    expect(run.state.status).toBe("completed");
    expect(run.state.result).toEqual({ score: 7 });
    expect(run.isSameAsReplay()).toBe(true);
  });

  test("stands anywhere in a pipeline", () => {
    const run = new Driver(
      makePlaybook({
        start: {
          tasks: [{ label: "a" }, call({}, { label: "b" }), { label: "c" }],
        },
      }),
    ).start();
    const { pipeline } = run.open("start").payload;
    run.report("start", {
      status: "yielded",
      pipeline: { ...pipeline, position: 1, results: { a: { x: 1 } } },
      delayMs: 0,
    });
    endChild(run, { y: 2 });
    const { payload, tool } = run.open("start");
    expect(tool).toBe("noop");
    expect(payload.pipeline).toMatchObject({ position: 2, results: { a: { x: 1 }, b: { y: 2 } } });
    run.ok("start", { ...payload.pipeline.results, c: { z: 3 } });
    expect(run.state.result).toEqual({ x: 1, y: 2, z: 3, a: { x: 1 }, b: { y: 2 }, c: { z: 3 } });
    expect(run.isSameAsReplay()).toBe(true);
  });

  test("runs per item of a loop, as many at a time as allowed", () => {
    const run = new Driver(
      makePlaybook({ start: { tasks: [call()], loop: { in: [1, 2, 3], maxInFlight: 2 } } }),
    ).start();
    expect(run.children.size).toBe(2);
    for (let index = 0; index < 3; index++) {
      endChild(run, index);
    }
    expect(run.state.result).toMatchObject({ results: [0, 1, 2] });
  });

  test("that fails is a failed task, named after the child", () => {
    const run = new Driver(makePlaybook({ start: { tasks: [call()] } })).start();
    endChild(run, null, "failed");
    expect(run.state.failure).toMatchObject({
      kind: "db_error",
      code: "CHILD_FAILED",
      step: "start",
    });
    expect(run.state.failure?.message).toContain("lib/child");
    expect(run.state.failure?.message).toContain("boom");
  });

  test("fails on a result that says error", () => {
    const run = new Driver(makePlaybook({ start: { tasks: [call()] } })).start();
    endChild(run, { status: "error" });
    expect(run.state.status).toBe("failed");
  });

  test("is tried again after its delay, by a timer", () => {
    const rule = makeRule({ when: "{{ output.status == 'error' }}", action: "retry", attempts: 2 });
    const policy = {
      mode: "exclusive",
      rules: [{ ...rule, backoff: "linear", delay: 5 }],
    } as const;
    const run = new Driver(makePlaybook({ start: { tasks: [call({}, { policy })] } })).start();
    endChild(run, null, "failed");
    expect(run.state.status).toBe("running");
    expect([...run.timers.values()][0]?.dueMs).toBe(run.nowMs + 5000);
    run.fire("retry");
    expect(run.children.size).toBe(1);
    endChild(run, { ok: 1 });
    expect(run.state.status).toBe("completed");
    expect(stepViews(run.state)[0]?.attempts).toBe(2);
    const ends = run.events.flatMap(({ event }) => (event.type === "child.done" ? [event] : []));
    const last = { code: "CHILD_FAILED", message: expect.stringContaining("lib/child") };
    expect(ends.map((end) => end.retries ?? end.pipeline?.retries)).toEqual([
      { count: 1, last: expect.objectContaining(last) },
      { count: 1, last: expect.objectContaining(last) },
    ]);
    expect(run.isSameAsReplay()).toBe(true);
  });

  test("that is not waited for gives its id at once", () => {
    const run = new Driver(makePlaybook({ start: { tasks: [call({ wait: false })] } })).start();
    expect(run.state.status).toBe("completed");
    expect(run.state.result).toMatchObject({ status: "started", path: "lib/child" });
  });

  test.each([
    ["no path", { path: "{{ nothing }}" }, "CHILD_PATH"],
    ["a path that cannot be rendered", { path: "{{ 1 / }}" }, "TEMPLATE_ERROR"],
  ])("with %s fails", (_name, config, code) => {
    const run = new Driver(makePlaybook({ start: { tasks: [call(config)] } })).start();
    expect(run.state.status).toBe("failed");
    expect(run.state.failure?.code).toBe(code);
    expect(run.isSameAsReplay()).toBe(true);
  });

  test("nests to a depth of 16", () => {
    const playbook = makePlaybook({ start: { tasks: [call()] } });
    const parent = { executionId: "7" as ExecutionId, depth: 16 };
    const run = new Driver(playbook).start({}, { parent });
    expect(run.state.failure).toMatchObject({ kind: "limit", code: "DEPTH_LIMIT" });
  });

  test("times out by a timer, and its child is cancelled", () => {
    const run = new Driver(
      makePlaybook({ start: { tasks: [call({}, { timeoutMs: 100 })] } }),
    ).start();
    const decision = run.fire("child_timeout");
    expect(decision.cancelChildren.length).toBe(1);
    expect(run.state.failure?.code).toBe("CHILD_TIMEOUT");
  });
});

test("cancelling a parent cancels its children and waits for them", () => {
  const run = new Driver(makePlaybook({ start: { tasks: [call()] } })).start();
  run.give({ kind: "cancel", reason: "enough" });
  expect([...run.children.values()][0]?.isCancelled).toBe(true);
  expect(run.state.status).toBe("running");
  expect(run.fire("cancel_deadline").cancelChildren.length).toBe(1);
  endChild(run, { late: true });
  expect(run.state.status).toBe("cancelled");
});
