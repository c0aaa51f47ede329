import { describe, expect, test } from "bun:test";
import type { ExecutionId } from "../../../src/core/ids.ts";
import type { Json } from "../../../src/core/json.ts";
import type { Rule, Task } from "../../../src/dsl/playbook.ts";
import type { ScopeData } from "../../../src/engine/command.ts";
import { PIPELINE_START } from "../../../src/engine/command.ts";
import { failure } from "../../../src/engine/failure.ts";
import type { TaskOutcome } from "../../../src/engine/output.ts";
import type { PipelineNext, PipelineRun } from "../../../src/engine/pipeline.ts";
import { renderTask, settleTask, taskScope } from "../../../src/engine/pipeline.ts";
import { renderValue } from "../../../src/template/render.ts";
import { makeRule, makeStep } from "./harness.ts";

const DATA: ScopeData = {
  executionId: "1" as ExecutionId,
  path: "p",
  version: 1,
  workload: { base: "http://x" },
  ctx: { seen: { a: 1 } },
  steps: {},
};
const ERROR = { ok: false, failure: failure("server_error", "503", { status: 503 }) } as const;

function runOf(tasks: readonly Partial<Task>[], pipeline = PIPELINE_START): PipelineRun {
  return { step: makeStep("s", { tasks }), pipeline, data: DATA, options: { nowMs: 0 } };
}

function withRules(...rules: readonly Partial<Rule>[]): Partial<Task> {
  return { policy: { mode: "exclusive", rules: rules.map(makeRule) } };
}

function settle(task: Partial<Task>, outcome: TaskOutcome, tries = 0): PipelineNext {
  const tasks = [task, { label: "second" }];
  return settleTask(runOf(tasks, { ...PIPELINE_START, tries }), outcome);
}

const done = (value: Json): TaskOutcome => ({ ok: true, value });

describe("settleTask()", () => {
  test("without rules goes on after a success and fails after an error", () => {
    expect(settle({}, done(1))).toMatchObject({
      kind: "next",
      pipeline: { position: 1, tries: 0 },
    });
    expect(settle({}, ERROR)).toMatchObject({
      kind: "failed",
      error: { kind: "server_error", task: "t0", step: "s", attempt: 1 },
    });
  });

  test("the value of a single task is its own, of several a map by label", () => {
    expect(settleTask(runOf([{}]), done({ x: 1 }))).toMatchObject({
      kind: "done",
      value: { x: 1 },
    });
    const position = { ...PIPELINE_START, position: 1, results: { t0: 1 } };
    expect(settleTask(runOf([{}, {}], position), done(2))).toEqual({
      kind: "done",
      value: { t0: 1, t1: 2 },
      ctx: {},
    });
  });

  test("the first rule that matches decides", () => {
    const task = withRules(
      { when: "{{ output.status == 'error' }}", action: "fail" },
      { when: "{{ output.status == 'success' }}", action: "break" },
      { action: "fail" },
    );
    expect(settle(task, done(1)).kind).toBe("done");
    expect(settle(task, ERROR).kind).toBe("failed");
  });

  test.each([
    ["none", undefined, 0],
    ["fixed", undefined, 2000],
    ["linear", undefined, 6000],
    ["exponential", undefined, 8000],
    ["exponential", 5000, 5000],
  ])("retry with backoff %s and limit %p waits %d ms", (backoff, maxDelayMs, delayMs) => {
    const rule = { action: "retry", attempts: 9, backoff, delay: "{{ 1 + 1 }}" } as Partial<Rule>;
    const limit = maxDelayMs === undefined ? {} : { maxDelayMs };
    expect(settle(withRules({ ...rule, ...limit }), ERROR, 2)).toMatchObject({
      kind: "retry",
      delayMs,
      pipeline: { tries: 3, results: {} },
    });
  });

  test("retry honours Retry-After and stops after all attempts", () => {
    const limited: TaskOutcome = {
      ok: false,
      failure: failure("rate_limit", "429", { retryAfterMs: 7000 }),
    };
    const task = withRules({ action: "retry", attempts: 2 });
    expect(settle(task, limited)).toMatchObject({ kind: "retry", delayMs: 7000 });
    expect(settle(task, limited, 1)).toMatchObject({ kind: "failed", error: { attempt: 2 } });
  });

  test("retries of a run add up, over all its tasks and with the newest failure", () => {
    const task = withRules({ action: "retry", attempts: 3 });
    const first = settle(task, ERROR);
    expect(first).toMatchObject({ pipeline: { retries: { count: 1, last: ERROR.failure } } });
    const pipeline = first.kind === "retry" ? first.pipeline : PIPELINE_START;
    const second = settleTask(runOf([task], pipeline), done(1));
    expect(second).toMatchObject({
      kind: "retry",
      pipeline: { retries: { count: 2, last: ERROR.failure } },
    });
    const later = second.kind === "retry" ? second.pipeline : PIPELINE_START;
    const end = settleTask(runOf([task], later), ERROR);
    expect(end).toMatchObject({ kind: "failed", retries: { count: 2, last: ERROR.failure } });
    expect(settle(withRules({ action: "fail" }), ERROR)).not.toHaveProperty("retries");
  });

  test("jitter is the same every time", () => {
    const task = withRules({ action: "retry", backoff: "exponential", delay: 10, hasJitter: true });
    const first = settle(task, ERROR);
    expect(first).toEqual(settle(task, ERROR));
    expect(first.kind === "retry" && first.delayMs).toBeWithin(7500, 12_501);
  });

  test("jump goes to a label; an unknown one fails", () => {
    const back = { action: "jump", to: "t0" } as const;
    const position = { ...PIPELINE_START, position: 1 };
    const jump = settleTask(runOf([{}, withRules(back)], position), done(1));
    expect(jump).toMatchObject({ kind: "next", pipeline: { position: 0 } });
    const lost = settle(withRules({ ...back, to: "nowhere" }), done(1));
    expect(lost).toMatchObject({ kind: "failed", error: { code: "JUMP_UNKNOWN" } });
  });

  test("set writes ctx, iter and bare names, each seeing the ones before", () => {
    const task = withRules({
      set: [
        { target: "ctx.n", value: "{{ output.data.n }}" },
        { target: "ctx.seen.b", value: "{{ ctx.n + 1 }}" },
        { target: "iter.page", value: "{{ (iter.page | default(0)) + 1 }}" },
        { target: "local", value: "{{ iter.page }}" },
      ],
    });
    expect(settle(task, done({ n: 4 }))).toMatchObject({
      kind: "next",
      pipeline: {
        ctx: { n: 4, seen: { a: 1, b: 5 } },
        iter: { page: 1 },
        locals: { local: 1 },
      },
    });
  });

  test("a task's own set sees the whole output with .data", () => {
    const body = { data: [1, 2], paging: { page: 1 } };
    const value = { status_code: 200, headers: {}, data: body };
    const next = settle({ set: [{ target: "got", value: "{{ output }}" }] }, done(value));
    const locals = next.kind === "next" ? next.pipeline.locals : {};
    expect(locals).toEqual({ got: { ...value, body } });
  });

  test("inclusive rules all write; the last action counts", () => {
    const rules = [
      makeRule({ set: [{ target: "a", value: 1 }] }),
      makeRule({ action: "break", set: [{ target: "b", value: 2 }] }),
    ];
    const next = settle({ policy: { mode: "inclusive", rules } }, done(0));
    expect(next.kind).toBe("done");
  });

  test("on_unmatched decides where no rule matches", () => {
    const policy = { mode: "exclusive", onUnmatched: "fail", rules: [] } as const;
    expect(settle({ policy }, done(0))).toMatchObject({
      kind: "failed",
      error: { code: "POLICY_FAIL" },
    });
  });

  test("a rule that cannot be rendered fails the task", () => {
    expect(settle(withRules({ when: "{{ 1 / }}" }), done(0))).toMatchObject({
      kind: "failed",
      error: { kind: "template" },
    });
  });

  test("stops a pipeline that jumps for ever", () => {
    const pipeline = { ...PIPELINE_START, taskCount: 1_000_000 };
    expect(settleTask(runOf([{}], pipeline), done(0))).toMatchObject({
      kind: "failed",
      error: { kind: "limit", code: "PIPELINE_RUNAWAY" },
    });
  });
});

describe("output", () => {
  const body = { items: [1], meta: { page: 2 }, data: "inner" };
  const http: TaskOutcome = {
    ok: true,
    value: { status_code: 200, headers: { a: "b" }, data: body },
    http: { status: 200, headers: { a: "b" } },
  };
  test.each([
    ["{{ output.status }}", http, "ok"],
    ["{{ 'yes' if output.status == 'success' }}", http, "yes"],
    ["{{ output.data }}", http, body],
    ["{{ output.data.items }}", http, [1]],
    ["{{ output.data.data.items }}", http, [1]],
    ["{{ output.data.status_code }}", http, 200],
    ["{{ output.items }}", http, [1]],
    ["{{ output.body.meta.page }}", http, 2],
    ["{{ output.http.status }}", http, 200],
    ["{{ output.error.retryable }}", http, null],
    ["{{ output.status }}", ERROR, "error"],
    ["{{ output.http.status }}", ERROR, 503],
    ["{{ output.error.kind }}", ERROR, "server_error"],
    ["{{ output.error.status in [500, 503] }}", ERROR, true],
    ["{{ output.rows }}", done({ rows: [1], row_count: 1 }), [1]],
    ["{{ output.data.rows }}", done({ rows: [1], row_count: 1 }), [1]],
    ["{{ output.data.data.rows }}", done({ rows: [1] }), [1]],
    ["{{ output }}", done({ a: 1 }), { a: 1, data: { a: 1 } }],
    ["{{ output }}", done([1]), [1]],
    ["{{ output.status }}", done({ status: "initialized" }), "ok"],
    ["{{ output.data.status }}", done({ status: "initialized" }), "initialized"],
    ["{{ t0.body.items }}", http, [1]],
    ["{{ results.t0.data.items }}", http, [1]],
  ])("%s", (value, outcome, expected) => {
    const next = settle(withRules({ set: [{ target: "x", value }] }), outcome);
    expect(next.kind === "next" && next.pipeline.locals["x"]).toEqual(expected);
  });
});

describe("scope of a task", () => {
  const data: ScopeData = {
    ...DATA,
    workload: { base: "http://x", clash: "workload", path: "mine" },
    ctx: { clash: "ctx" },
    steps: {
      clash: { value: { from: "step" }, status: "ok", shape: "task" },
      many: {
        value: { results: [{ a: 1 }, { a: 2 }], stats: { total: 2, succeeded: 2, failed: 0 } },
        status: "ok",
        shape: "loop",
      },
      pipe: { value: { one: { x: 1 }, two: { x: 2, y: 3 } }, status: "ok", shape: "pipeline" },
      bad: {
        value: null,
        status: "error",
        error: failure("auth", "no"),
        shape: "task",
      },
    },
    loop: { iterator: "row", item: { id: 5 }, index: 1, total: 2 },
  };
  const pipeline = {
    ...PIPELINE_START,
    position: 1,
    tries: 2,
    results: { t0: { v: 9 } },
    locals: { bare: 1 },
    iter: { page: 3 },
    ctx: { fresh: true },
  };
  const scope = taskScope({ ...runOf([{}, {}], pipeline), data });
  test.each([
    ["{{ clash }}", "ctx"],
    ["{{ path }}", "mine"],
    ["{{ steps.clash.from }}", "step"],
    [
      "{{ many }}",
      {
        results: [{ a: 1 }, { a: 2 }],
        data: [{ a: 1 }, { a: 2 }],
        stats: { total: 2, succeeded: 2, failed: 0 },
      },
    ],
    ["{{ many | length }}", 2],
    ["{{ many[1].a }}", 2],
    ["{{ many.stats.total }}", 2],
    ["{{ many.data[0].a }}", 1],
    ["{{ pipe.x }}{{ pipe.y }}", "23"],
    ["{{ pipe.one.x }}", 1],
    ["{{ pipe.results.one.x }}", 1],
    ["{{ pipe }}", { x: 2, y: 3, one: { x: 1 }, two: { x: 2, y: 3 } }],
    ["{{ bad.status }}", "error"],
    ["{{ bad.error.kind }}", "auth"],
    ["{{ clash.data.from | default('none') }}", "none"],
    ["{{ steps.clash.context.data.from }}", "step"],
    ["{{ row.id }}", 5],
    ["{{ iter.row.id }}", 5],
    ["{{ iter.page }}", 3],
    ["{{ loop_index }}", 1],
    ["{{ iter._last and not iter.first }}", true],
    ["{{ loop.length }}", 2],
    ["{{ t0.v }}", 9],
    ["{{ t0.data.v }}", 9],
    ["{{ results.t0.v }}", 9],
    ["{{ _prev.v }}", 9],
    ["{{ _attempt }}", 3],
    ["{{ bare }}", 1],
    ["{{ ctx.fresh }}", true],
    ["{{ job.uuid }}", "1"],
    ["{{ execution_id }}", "1"],
  ])("%s", (template, expected) => {
    expect(renderValue(template, scope)).toEqual(expected as Json);
  });
});

test("renderTask() lets the configuration read the input", () => {
  const task = {
    input: { page: "{{ 1 + 1 }}" },
    config: { url: "{{ base }}/p/{{ page }}", code: "{{ raw }}" },
  };
  const { input, config } = renderTask(runOf([task]), new Set(["code"]));
  expect(input).toEqual({ page: 2 });
  expect(config).toEqual({ url: "http://x/p/2", code: "{{ raw }}" });
});
