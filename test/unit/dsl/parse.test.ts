import { describe, expect, test } from "bun:test";
import type { JsonObject } from "../../../src/core/json.ts";
import type { Next, Task } from "../../../src/dsl/playbook.ts";
import { documentOf, playbookOf, stepOf } from "./document.ts";

function taskOf(tool: string): Task {
  const [task] = stepOf(`- step: a\n  tool: ${tool}`).tasks;
  if (task === undefined) {
    throw new Error("The step has no task");
  }
  return task;
}

describe("documents", () => {
  test("a playbook has one form", () => {
    const playbook = playbookOf(`apiVersion: noetl.io/v10
kind: Playbook
metadata: {name: Title, path: a/b, description: What for, labels: {team: x, level: 2}}
executor: {pool: cpu-01, priority: 7, spec: {entry_step: go, no_next_is_error: true, timeout: 1h}}
workload: {id: 9007199254740993, list: [1, null], text: "5"}
keychain: [{name: k, kind: bearer}]
workflow:
- {step: go, desc: First, tool: {kind: noop}}`);
    expect(playbook).toEqual({
      name: "Title",
      path: "a/b",
      description: "What for",
      labels: { team: "x", level: "2" },
      entryStep: "go",
      workload: { id: "9007199254740993", list: [1, null], text: "5" },
      executor: { pool: "cpu-01", priority: 7, isNoMatchError: true, timeoutMs: 3_600_000 },
      keychain: [{ name: "k", kind: "bearer" }],
      steps: [
        {
          name: "go",
          description: "First",
          tasks: [
            {
              label: "go",
              kind: "noop",
              config: {},
              input: {},
              set: [],
              isIdempotent: true,
            },
          ],
          isPipeline: false,
          input: {},
          set: [],
          next: { mode: "exclusive", onNoMatch: "complete", arcs: [] },
          join: "auto",
          failure: "drain",
          admit: [],
          outputSelect: [],
        },
      ],
    });
  });

  test("the name stands for a path that is missing", () => {
    const text =
      "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: only}\nworkflow:\n- {step: a}";
    expect(playbookOf(text).path).toBe("only");
  });

  test.each([
    ["- {step: b}\n- {step: start}", "start"],
    ["- {step: b}\n- {step: a}", "b"],
  ])("the entry of %p is %p", (workflow, entry) => {
    expect(playbookOf(documentOf(workflow)).entryStep).toBe(entry);
  });

  test("anchors and merge keys are followed", () => {
    const workflow =
      "- {step: a, tool: &t {kind: noop, input: &i {x: 1, y: 1}}}\n- {step: b, tool: {<<: *t, input: {<<: *i, y: 2}}}";
    expect(stepOf(workflow, "b").tasks[0]?.input).toEqual({ x: 1, y: 2 });
  });

  test("a key named __proto__ is a key like others", () => {
    const playbook = playbookOf(`${documentOf("- {step: a}")}\nworkload: {__proto__: {x: 1}}`);
    expect(Object.keys(playbook.workload)).toEqual(["__proto__"]);
  });
});

describe("steps", () => {
  test("options are read from their places", () => {
    const step = stepOf(`- step: a
  spec:
    join: all
    timeout: 5m
    policy:
      failure: best_effort
      admit: {rules: [{when: x > 1, then: {allow: true}}, {else: {then: {allow: false}}}]}
  pool: gpu-01
  output: {output_select: [status, count]}
  set: {ctx.a: "{{ output.x }}", b: 2}
  tool: {kind: noop}`);
    expect(step.join).toBe("all");
    expect(step.timeoutMs).toBe(300_000);
    expect(step.failure).toBe("best_effort");
    expect(step.admit).toEqual([{ when: "{{ x > 1 }}", isAllowed: true }, { isAllowed: false }]);
    expect(step.pool).toBe("gpu-01");
    expect(step.outputSelect).toEqual(["status", "count"]);
    expect(step.set).toEqual([
      { target: "ctx.a", value: "{{ output.x }}" },
      { target: "b", value: 2 },
    ]);
  });

  test("an admit guard alone refuses when it fails", () => {
    const step = stepOf("- {step: a, spec: {policy: {admit: x}}, tool: {kind: noop}}");
    expect(step.admit).toEqual([{ when: "{{ x }}", isAllowed: true }, { isAllowed: false }]);
  });

  test("a step without a tool does nothing", () => {
    expect(stepOf("- {step: a}").tasks[0]?.kind).toBe("noop");
  });
});

describe("arcs", () => {
  test.each<[string, Next]>([
    [
      "{arcs: [{step: a, when: x == 1, set: {ctx.n: 1}}]}",
      {
        mode: "exclusive",
        onNoMatch: "complete",
        arcs: [{ step: "a", when: "{{ x == 1 }}", set: [{ target: "ctx.n", value: 1 }] }],
      },
    ],
    [
      "{spec: {mode: inclusive, on_no_match: quiet}, arcs: [{step: a, when: true}]}",
      { mode: "inclusive", onNoMatch: "quiet", arcs: [{ step: "a", when: true, set: [] }] },
    ],
    ["a", { mode: "inclusive", onNoMatch: "complete", arcs: [{ step: "a", set: [] }] }],
    [
      "[a, start]",
      {
        mode: "inclusive",
        onNoMatch: "complete",
        arcs: [
          { step: "a", set: [] },
          { step: "start", set: [] },
        ],
      },
    ],
    [
      "[{step: a, when: x}, {step: start}]",
      {
        mode: "exclusive",
        onNoMatch: "complete",
        arcs: [
          { step: "a", when: "{{ x }}", set: [] },
          { step: "start", set: [] },
        ],
      },
    ],
    [
      "{step: a, when: x}",
      { mode: "exclusive", onNoMatch: "complete", arcs: [{ step: "a", when: "{{ x }}", set: [] }] },
    ],
  ])("next: %s", (next, expected) => {
    const workflow = `- step: start\n  tool: {kind: noop}\n  next: ${next}\n- {step: a, tool: {kind: noop}}`;
    expect(stepOf(workflow, "start").next).toEqual(expected);
  });

  test("`then` and `else` of the list form share one decision", () => {
    const workflow = `- step: start\n  tool: {kind: noop}\n  next: [{when: x, then: {step: a}}, {then: b}]\n- {step: a}\n- {step: b}`;
    expect(stepOf(workflow, "start").next).toEqual({
      mode: "exclusive",
      onNoMatch: "complete",
      arcs: [
        { step: "a", when: "{{ x }}", set: [] },
        { step: "b", set: [] },
      ],
    });
  });

  test("steps without next go to an end that nothing else leads to", () => {
    const workflow = "- {step: start, next: [a, b]}\n- {step: a}\n- {step: b}\n- {step: end}";
    expect(stepOf(workflow, "a").next.arcs).toEqual([{ step: "end", set: [] }]);
    expect(stepOf(workflow, "b").next.arcs).toEqual([{ step: "end", set: [] }]);
    expect(stepOf(workflow, "end").next.arcs).toEqual([]);
  });

  test("one written arc to end is the only one", () => {
    const workflow =
      "- {step: start, next: [a, b]}\n- {step: a, next: end}\n- {step: b}\n- {step: end}";
    expect(stepOf(workflow, "b").next.arcs).toEqual([]);
  });
});

describe("tasks", () => {
  test("a tool's own fields stay, the platform's are lifted", () => {
    const task = taskOf(
      "{kind: http, url: '{{ u }}', method: POST, auth: cred, json: {a: 1}, timeout: 30, pool: gpu, input: {x: '{{ y }}'}, set: {n: 1}, idempotent: false, gpu: 1}",
    );
    expect(task).toEqual({
      label: "a",
      kind: "http",
      config: { url: "{{ u }}", method: "POST", auth: "cred", json: { a: 1 }, gpu: 1 },
      input: { x: "{{ y }}" },
      set: [{ target: "n", value: 1 }],
      timeoutMs: 30_000,
      pool: "gpu",
      isIdempotent: false,
      gpu: 1,
    });
  });

  test.each<[string, JsonObject]>([
    ["{kind: python, spec: {code: x, input: {a: 1}}}", { config: { code: "x" }, input: { a: 1 } }],
    [
      "{kind: python, code: x, args: {a: 1, b: 1}, input: {b: 2}}",
      { config: { code: "x" }, input: { a: 1, b: 2 } },
    ],
    ["{kind: container, image: i, args: [x]}", { config: { image: "i", args: ["x"] } }],
    [
      "{kind: postgres, query: q, pool: {max_size: 3}}",
      { config: { query: "q", pool: { max_size: 3 } } },
    ],
    ["{kind: http, url: u, timeout: '{{ t }}'}", { config: { url: "u", timeout: "{{ t }}" } }],
    ["{kind: http, url: u, spec: {timeout: {connect: 2, read: 3}}}", { timeoutMs: 5000 }],
    [
      "{kind: shell, command: c, timeout_seconds: 2}",
      { timeoutMs: 2000, config: { command: "c" } },
    ],
    [
      "{kind: nats, operation: object_get, bucket: b, name: n}",
      { config: { operation: "object_get", name: "n" } },
    ],
  ])("%s", (tool, expected) => {
    expect(taskOf(tool)).toMatchObject(expected);
  });

  test("a list is a pipeline, in every spelling of its labels", () => {
    const step = stepOf(`- step: a
  tool:
  - {name: first, kind: noop}
  - second: {kind: python, code: x}
  - {kind: noop}`);
    expect(step.isPipeline).toBe(true);
    expect(step.tasks.map(({ label, kind }) => [label, kind])).toEqual([
      ["first", "noop"],
      ["second", "python"],
      ["task_2", "noop"],
    ]);
  });
});

describe("rules", () => {
  function ruleOf(rule: string): unknown {
    return taskOf(`{kind: noop, spec: {policy: {rules: [${rule}]}}}`).policy?.rules[0];
  }

  const DEFAULTS = { set: [], attempts: 3, backoff: "fixed", delay: 1, hasJitter: false };

  test.each<[string, object]>([
    ["{when: output.x, then: {do: fail}}", { ...DEFAULTS, when: "{{ output.x }}", action: "fail" }],
    ["{when: true, then: {do: break}}", { ...DEFAULTS, when: true, action: "break" }],
    [
      "{else: {then: {do: continue, set: {iter.a: 1}}}}",
      { ...DEFAULTS, action: "continue", set: [{ target: "iter.a", value: 1 }] },
    ],
    [
      "{else: {do: continue, set: {a: 1}}}",
      { ...DEFAULTS, action: "continue", set: [{ target: "a", value: 1 }] },
    ],
    ["{else: null, then: {do: fail}}", { ...DEFAULTS, action: "fail" }],
    ["{else: {do: jump, to: a}}", { ...DEFAULTS, action: "jump", to: "a" }],
    [
      "{when: x, then: {do: retry, attempts: 5, backoff: exponential, delay: 0.5, max_delay: 10s, jitter: true}}",
      {
        when: "{{ x }}",
        action: "retry",
        set: [],
        attempts: 5,
        backoff: "exponential",
        delay: 0.5,
        maxDelayMs: 10_000,
        hasJitter: true,
      },
    ],
    [
      "{when: x, then: {do: retry, delay: '{{ d }}'}}",
      { ...DEFAULTS, when: "{{ x }}", action: "retry", delay: "{{ d }}" },
    ],
    [
      "{when: x, then: {do: retry, backoff: none}}",
      { ...DEFAULTS, when: "{{ x }}", action: "retry", backoff: "none", delay: 0 },
    ],
    [
      "{when: x, then: {do: retry, backoff: none, delay: 2}}",
      { ...DEFAULTS, when: "{{ x }}", action: "retry", delay: 2 },
    ],
  ])("%s", (rule, expected) => {
    expect(ruleOf(rule)).toEqual(expected);
  });

  test("`previous` is the label before", () => {
    const [, task] = stepOf(`- step: a
  tool:
  - {name: one, kind: noop}
  - {name: two, kind: noop, spec: {policy: {mode: inclusive, on_unmatched: fail, rules: [{else: {then: {do: jump, to: previous}}}]}}}`).tasks;
    expect(task?.policy).toMatchObject({
      mode: "inclusive",
      onUnmatched: "fail",
      rules: [{ to: "one" }],
    });
  });

  test.each<[string, object | undefined]>([
    [
      "{max_attempts: 4, delay: 2, backoff: linear}",
      {
        when: "{{ output.status == 'error' and output.error.retryable }}",
        action: "retry",
        attempts: 4,
        delay: 2,
        backoff: "linear",
      },
    ],
    ["5", { action: "retry", attempts: 5 }],
    ["{retry_when: 'output.data.again'}", { when: "{{ output.data.again }}", attempts: 3 }],
    ["{enabled: false}", undefined],
    ["false", undefined],
  ])("the older block retry: %s", (retry, expected) => {
    const policy = taskOf(`{kind: http, url: u, retry: ${retry}}`).policy;
    expect(policy?.rules[0]).toEqual(
      expected === undefined ? undefined : expect.objectContaining(expected),
    );
  });
});

describe("loops", () => {
  test.each<[string, object]>([
    [
      "{in: '{{ xs }}', iterator: x}",
      { in: "{{ xs }}", iterator: "x", mode: "sequential", maxInFlight: 1, failure: "fail_fast" },
    ],
    [
      "{in: [1], iterator: x, spec: {mode: parallel}}",
      { in: [1], iterator: "x", mode: "parallel", maxInFlight: 16, failure: "fail_fast" },
    ],
    [
      "{in: 5, iterator: x, spec: {mode: parallel, max_in_flight: '{{ n }}', policy: {exec: distributed, failure: continue}}}",
      { in: 5, iterator: "x", mode: "parallel", maxInFlight: "{{ n }}", failure: "continue" },
    ],
    [
      "{in: [1], iterator: x, spec: {mode: parallel, max_in_flight: '4', policy: {failure: {max_failures: 2}}}}",
      { in: [1], iterator: "x", mode: "parallel", maxInFlight: 4, failure: { maxFailures: 2 } },
    ],
  ])("%s", (loop, expected) => {
    expect(stepOf(`- {step: a, tool: {kind: noop}, loop: ${loop}}`).loop).toEqual(
      expected as never,
    );
  });
});

describe("workbook", () => {
  const text = (steps: string) => `${documentOf(steps)}
workbook:
- name: greet
  tool: {kind: python, code: c, input: {who: x, how: y}}
- name: both
  tool:
  - {name: one, kind: noop, input: {a: 1}}
  - two: {kind: noop, input: {b: 1}}`;

  test("an entry takes the step's input key by key", () => {
    const [step] = playbookOf(
      text("- {step: a, tool: {kind: workbook, name: greet, input: {who: z}, timeout: 5}}"),
    ).steps;
    expect(step?.isPipeline).toBe(false);
    expect(step?.tasks[0]).toMatchObject({
      label: "a",
      kind: "python",
      config: { code: "c" },
      input: { who: "z", how: "y" },
      timeoutMs: 5000,
    });
  });

  test("an entry may be a pipeline", () => {
    const [step] = playbookOf(
      text("- {step: a, tool: {kind: workbook, name: both, input: {a: 2}}}"),
    ).steps;
    expect(step?.isPipeline).toBe(true);
    expect(step?.tasks.map(({ label, input }) => [label, input])).toEqual([
      ["one", { a: 2 }],
      ["two", { b: 1, a: 2 }],
    ]);
  });

  test("a task of a pipeline may be an entry", () => {
    const [step] = playbookOf(
      text(
        "- step: a\n  tool:\n  - {name: greet, kind: workbook}\n  - hello: {kind: workbook, name: greet}",
      ),
    ).steps;
    expect(step?.tasks.map(({ label, kind }) => [label, kind])).toEqual([
      ["greet", "python"],
      ["hello", "python"],
    ]);
  });
});
