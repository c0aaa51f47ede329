/** Waits for times and signals, which the engine runs itself. */
import { describe, expect, test } from "bun:test";
import type { Json, JsonObject } from "../../../src/core/json.ts";
import type { Task } from "../../../src/dsl/playbook.ts";
import type { Decision, Signal } from "../../../src/engine/decision.ts";
import { SIGNAL_COUNT_MAX } from "../../../src/engine/signal.ts";
import { stepViews } from "../../../src/engine/view.ts";
import type { StepSpec } from "./harness.ts";
import { Driver, makePlaybook, makeRule } from "./harness.ts";

function wait(config: JsonObject, more: Partial<Task> = {}): Partial<Task> {
  return { kind: "wait", config, ...more };
}

function runStep(task: Partial<Task>, more: StepSpec = {}, workload: JsonObject = {}): Driver {
  return new Driver(makePlaybook({ start: { tasks: [task], ...more } }, { workload })).start();
}

function signal(
  run: Driver,
  name: string,
  payload: Json = null,
  more: Partial<Signal> = {},
): Decision {
  return run.give({ kind: "signal", signal: { name, payload, ...more } });
}

describe("a wait for a time", () => {
  test("lasts as long as it says, holds no command, and takes a template", () => {
    const run = runStep(wait({ duration: "{{ pause }}" }), {}, { pause: "90s" });
    expect(run.commands.size).toBe(0);
    const [timer] = run.timers.values();
    expect(timer?.dueMs).toBe(run.nowMs + 90_000);
    run.fire("wait");
    expect(run.state.status).toBe("completed");
    expect(run.state.result).toEqual({ until: "1970-01-01T00:18:10.000Z", waited_seconds: 90 });
    expect(run.isSameAsReplay()).toBe(true);
  });

  test("takes points in time as texts and as seconds", () => {
    for (const until of ["1970-01-01T01:00:00+00:00", 3600, "3600", "{{ 1800 * 2 }}"]) {
      const run = runStep(wait({ until }));
      const [timer] = run.timers.values();
      expect(timer?.dueMs).toBe(3_600_000);
    }
  });

  test("that has passed ends at once", () => {
    const run = runStep(wait({ until: 1 }));
    expect([...run.timers.values()][0]?.dueMs).toBe(run.nowMs);
    run.fire("wait");
    expect(run.state.status).toBe("completed");
  });

  test("fails when it says nothing that can be understood", () => {
    for (const config of [{ duration: "soon" }, { until: "{{ nothing }}" }, { signal: "" }]) {
      const run = runStep(wait(config));
      expect(run.state.failure).toMatchObject({ kind: "client_error", code: "WAIT_INVALID" });
    }
    expect(runStep(wait({ until: 1e12 })).state.failure?.code).toBe("WAIT_TOO_LONG");
  });

  test("is given up at its deadline", () => {
    const run = runStep(wait({ duration: "1h" }, { timeoutMs: 5000 }));
    run.fire("wait");
    expect(run.state.failure).toMatchObject({ kind: "timeout", code: "WAIT_TIMEOUT" });
  });
});

describe("a wait for a signal", () => {
  test("ends with its payload, also under the payload's own names", () => {
    const run = runStep(
      wait({ signal: "approve-{{ id }}" }),
      {
        set: [
          { target: "ctx.whole", value: "{{ start.payload.by }}" },
          { target: "ctx.short", value: "{{ start.by }}" },
          { target: "ctx.output", value: "{{ output.by }}" },
          { target: "ctx.sender", value: "{{ start.sender }}" },
        ],
      },
      { id: 7 },
    );
    expect(stepViews(run.state)[0]).toMatchObject({
      status: "running",
      waiting: { kind: "signal", signal: "approve-7", count: 1 },
    });
    expect(signal(run, "other").isStale).toBe(false);
    signal(run, "approve-7", { by: "Ada" }, { sender: "web" });
    expect(run.state.status).toBe("completed");
    expect(run.state.ctx).toEqual({ whole: "Ada", short: "Ada", output: "Ada", sender: "web" });
    expect(run.state.result).toMatchObject({
      signal: "approve-7",
      payload: { by: "Ada" },
      received_at: "1970-01-01T00:16:40.000Z",
      timed_out: false,
    });
    expect(run.isSameAsReplay()).toBe(true);
  });

  test("takes signals that came before it, in order, each once", () => {
    const run = new Driver(
      makePlaybook({
        start: { next: ["first"] },
        first: { tasks: [wait({ signal: "go" })], next: ["second"] },
        second: { tasks: [wait({ signal: "go" })], next: ["third"] },
        third: { tasks: [wait({ signal: "go" })] },
      }),
    ).start();
    signal(run, "go", 1);
    signal(run, "go", 2);
    run.ok("start");
    expect(run.state.steps.get("first")?.value?.value).toMatchObject({ payload: 1 });
    expect(run.state.steps.get("second")?.value?.value).toMatchObject({ payload: 2 });
    expect(run.state.steps.get("third")?.status).toBe("running");
    signal(run, "go", 3);
    expect(run.state.status).toBe("completed");
  });

  test("of several the oldest gets it, a broadcast all", () => {
    const run = runStep(wait({ signal: "go" }), { loop: { in: [1, 2, 3, 4] } });
    signal(run, "go", "one");
    expect(run.state.waits.size).toBe(3);
    expect(stepViews(run.state)[0]?.waiting).toMatchObject({ index: 1, count: 3 });
    signal(run, "go", "all", { isBroadcast: true });
    expect(run.state.status).toBe("completed");
    const { results } = run.state.result as { results: { payload: string }[] };
    expect(results.map(({ payload }) => payload)).toEqual(["one", "all", "all", "all"]);
    expect(run.isSameAsReplay()).toBe(true);
  });

  test("with the same dedup key counts once", () => {
    const run = runStep(wait({ signal: "go" }), { loop: { in: [1, 2] } });
    expect(signal(run, "go", 1, { dedupKey: "a" }).isStale).toBe(false);
    expect(signal(run, "go", 1, { dedupKey: "a" })).toMatchObject({ isStale: true, events: [] });
    expect(run.state.waits.size).toBe(1);
  });

  test("fails at its deadline, or goes on without a payload", () => {
    const failed = runStep(wait({ signal: "go", deadline: "10s" }));
    failed.fire("wait");
    expect(failed.state.failure).toMatchObject({ kind: "timeout", step: "start" });
    const went = runStep(wait({ signal: "go", on_timeout: "continue" }, { timeoutMs: 1000 }));
    went.fire("wait");
    expect(went.state.status).toBe("completed");
    expect(went.state.result).toMatchObject({ signal: "go", payload: null, timed_out: true });
  });

  test("obeys the policy of its task", () => {
    const rules = [
      makeRule({
        when: "{{ output.error.kind == 'timeout' }}",
        action: "retry",
        attempts: 2,
        backoff: "fixed",
      }),
    ];
    const run = runStep(
      wait({ signal: "go" }, { timeoutMs: 1000, policy: { mode: "exclusive", rules } }),
    );
    run.fire("wait");
    run.fire("retry");
    expect(run.state.waits.size).toBe(1);
    signal(run, "go", 5);
    expect(run.state.status).toBe("completed");
    expect(run.state.steps.get("start")?.attempts).toBe(2);
  });

  test("stands anywhere in a pipeline", () => {
    const run = new Driver(
      makePlaybook({ start: { tasks: [wait({ signal: "go" }, { label: "a" }), { label: "b" }] } }),
    ).start();
    signal(run, "go", { x: 1 });
    expect(run.open("start").payload.pipeline).toMatchObject({
      position: 1,
      results: { a: { payload: { x: 1 } } },
    });
  });

  test("is refused when it comes too late or too often", () => {
    const run = runStep({});
    for (let count = 0; count < SIGNAL_COUNT_MAX; count++) {
      signal(run, "go");
    }
    expect(signal(run, "go")).toMatchObject({ isStale: true, refusal: { code: "SIGNALS_FULL" } });
    run.give({ kind: "cancel", reason: "enough" });
    expect(signal(run, "go").refusal?.code).toBe("EXECUTION_ENDING");
  });
});

describe("a wait that nobody needs any more", () => {
  test("is given up when the execution fails", () => {
    const run = new Driver(
      makePlaybook({
        start: { next: ["bad", "approve"], nextMode: "inclusive" },
        bad: {},
        approve: { tasks: [wait({ signal: "go" })] },
      }),
    ).start();
    run.ok("start");
    run.fail("bad");
    expect(run.state.status).toBe("failed");
    expect(run.state.steps.get("approve")?.status).toBe("cancelled");
    expect(run.isSameAsReplay()).toBe(true);
  });

  test("ends with a cancel and with its step's timeout", () => {
    const cancelled = runStep(wait({ duration: 60 }));
    cancelled.give({ kind: "cancel", reason: "by hand" });
    expect(cancelled.state.status).toBe("cancelled");
    expect(cancelled.timers.size).toBe(0);
    const late = runStep(wait({ signal: "go" }), { timeoutMs: 1000 });
    late.fire("step_timeout");
    expect(late.state.failure?.code).toBe("STEP_TIMEOUT");
  });
});
