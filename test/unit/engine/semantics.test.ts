/** The lines of the language's meaning, each as a document that runs: src/dsl/README.md names them. */
import { describe, expect, test } from "bun:test";
import { failureJson } from "../../../src/engine/value.ts";
import type { Answer } from "./run-document.ts";
import { done, failed, runDocument, workflow } from "./run-document.ts";

/** Says which input each `python` task got. */
function inputs(): { readonly answer: Answer; readonly seen: unknown[] } {
  const seen: unknown[] = [];
  const answer: Answer = ({ task, input }) => {
    if (task.kind === "python") {
      seen.push(input);
    }
    return undefined;
  };
  return { answer, seen };
}

describe("routing", () => {
  test("exclusive takes the first arc that holds, inclusive all of them", () => {
    const arcs = "arcs: [{step: a, when: 'no'}, {step: b, when: x == 1}, {step: c}]";
    const steps = (mode: string) =>
      `- {step: start, next: {spec: {mode: ${mode}}, ${arcs}}}\n- {step: a}\n- {step: b}\n- {step: c}`;
    const entered = (mode: string) =>
      runDocument(workflow(steps(mode), "workload: {x: 1}")).entered.toSorted();
    expect(entered("exclusive")).toEqual(["b", "start"]);
    expect(entered("inclusive")).toEqual(["b", "c", "start"]);
  });

  test("a step without next goes to an end that nothing else leads to, and its value is the result", () => {
    const steps =
      "- {step: start, next: [a, b]}\n- {step: a}\n- {step: b}\n- {step: end, tool: {kind: noop, result: {ok: 1}}}";
    const run = runDocument(workflow(steps));
    expect(run.entered.toSorted()).toEqual(["a", "b", "end", "start"]);
    expect(run.result).toEqual({ ok: 1 });
  });

  test("the value of a step is that of its last visit", () => {
    const steps = `- step: start
  tool: {kind: noop, result: {n: "{{ (ctx.n | default(0)) + 1 }}"}}
  set: {ctx.n: "{{ output.n }}"}
  next: {arcs: [{step: start, when: "ctx.n < 3"}, {step: last}]}
- {step: last, tool: {kind: noop, result: "{{ start.n }}"}}`;
    const run = runDocument(workflow(steps));
    expect(run.result).toBe(3);
    expect(run.entered).toEqual(["start", "start", "start", "last"]);
  });

  test("join any runs once for each token", () => {
    const steps =
      "- {step: start, next: [a, b]}\n- {step: a, next: c}\n- {step: b, next: c}\n- {step: c, spec: {join: any}}";
    expect(runDocument(workflow(steps)).entered.filter((name) => name === "c")).toEqual(["c", "c"]);
  });

  test("no_next_is_error fails an execution whose arcs all fail to match", () => {
    const steps = "- {step: start, next: {arcs: [{step: a, when: 'no'}]}}\n- {step: a}";
    const strict = "executor: {spec: {no_next_is_error: true}}";
    expect(runDocument(workflow(steps)).status).toBe("completed");
    expect(runDocument(workflow(steps, strict)).status).toBe("failed");
  });

  test("the set of a step comes before the guards, the set of an arc after, and both last", () => {
    const steps = `- step: start
  tool: {kind: noop, result: {n: 5}}
  set: {ctx.a: "{{ output.n }}", step.b: "{{ ctx.a + 1 }}", iter.c: "{{ b }}", bare: 4}
  next: {arcs: [{step: last, when: "ctx.a == 5 and b == 6", set: {ctx.d: "{{ c + 1 }}", ctx.deep.e: 1}}]}
- step: last
- step: end
  tool: {kind: noop, result: "{{ ctx }}"}`;
    expect(runDocument(workflow(steps)).result).toEqual({
      a: 5,
      b: 6,
      c: 6,
      bare: 4,
      d: 7,
      deep: { e: 1 },
    });
  });

  test("the older forms of next lead where they say", () => {
    const steps = `- {step: start, next: [{when: "x == 2", then: [{step: a}]}, {else: {step: b}}]}
- {step: a}
- {step: b, next: [{step: c, when: "x == 1"}]}
- {step: c, next: d}
- {step: d, next: [e, f]}
- {step: e}
- {step: f}`;
    const entered = runDocument(workflow(steps, "workload: {x: 1}")).entered;
    expect(entered.toSorted()).toEqual(["b", "c", "d", "e", "f", "start"]);
  });
});

describe("policies", () => {
  test("rules of a single tool decide", () => {
    const steps = `- step: start
  tool:
    kind: http
    url: http://x
    spec: {policy: {rules: [{when: "output.status == 'error'", then: {do: continue, set: {ctx.why: "{{ output.error.message }}"}}}]}}`;
    const run = runDocument(workflow(steps), { answer: () => failed("broken") });
    expect(run).toMatchObject({ status: "completed", ctx: { why: "broken" } });
  });

  test("an else of null beside then, and an else without then, do what they say", () => {
    const steps = `- step: start
  tool:
  - {name: a, kind: noop, spec: {policy: {rules: [{else: null, then: {do: continue, set: {ctx.a: 1}}}]}}}
  - {name: b, kind: noop, spec: {policy: {rules: [{else: {do: continue, set: {ctx.b: 2}}}]}}}`;
    expect(runDocument(workflow(steps)).ctx).toEqual({ a: 1, b: 2 });
  });

  test("break ends the step well, jump goes to a label, fail fails", () => {
    const steps = `- step: start
  tool:
  - {name: a, kind: noop, result: "{{ _attempt }}"}
  - {name: b, kind: noop, spec: {policy: {rules: [{when: "(iter.n | default(0)) < 2", then: {do: jump, to: a, set: {iter.n: "{{ (iter.n | default(0)) + 1 }}"}}}, {else: {then: {do: break, set: {ctx.n: "{{ iter.n }}"}}}}]}}}
  - {name: c, kind: noop, result: never}
  next: [last]
- step: last
  tool: {kind: noop, spec: {policy: {rules: [{when: "start.results.c is defined", then: {do: continue}}, {else: {then: {do: fail}}}]}}}`;
    const run = runDocument(workflow(steps));
    expect(run).toMatchObject({ status: "failed", ctx: { n: 2 } });
    expect(run.driver.state.failure).toMatchObject({ step: "last", code: "POLICY_FAIL" });
  });

  test("the older retry block tries again what may pass, a sub-playbook whatever failed it", () => {
    let count = 0;
    const steps = "- {step: start, tool: {kind: http, url: u, retry: {max_attempts: 4, delay: 0}}}";
    const answer: Answer = () => (++count < 4 ? failed() : done(count));
    expect(runDocument(workflow(steps), { answer }).result).toBe(4);
  });
});

describe("failure", () => {
  test("what failed is told with step, task, index, attempt, kind, code, message and stderr", () => {
    const steps = `- step: start
  loop: {in: [7], iterator: x, spec: {mode: parallel}}
  tool:
  - name: a
    kind: shell
    command: exit 3
    spec: {policy: {rules: [{when: "output.status == 'error'", then: {do: retry, attempts: 2, delay: 0}}]}}`;
    const failure = {
      kind: "exit_code",
      code: "EXIT_3",
      message: "bad",
      retryable: false,
    } as const;
    const answer: Answer = () => ({ ok: false, failure: { ...failure, stderr: "why" } });
    const { driver } = runDocument(workflow(steps), { answer });
    expect(failureJson(driver.state.failure ?? { ...failure })).toMatchObject({
      ...failure,
      stderr: "why",
      step: "start",
      task: "a",
      index: 0,
      attempt: 2,
    });
  });

  test("a sub-playbook whose result says error fails its step, which an arc may handle", () => {
    const steps = `- step: start
  tool: {kind: playbook, path: other}
  next: {arcs: [{step: fix, when: "event.name == 'call.error'"}, {step: last}]}
- {step: fix}
- {step: last}`;
    const child = () => ({ status: "error", message: "no" });
    expect(runDocument(workflow(steps), { child }).entered).toEqual(["start", "fix"]);
  });
});

describe("loops", () => {
  const loop = (source: string, more = "") =>
    workflow(
      `- step: start\n  loop: {in: ${source}, iterator: item${more}}\n  tool: {kind: noop, result: "{{ item }}"}\n- {step: end, tool: {kind: noop, result: "{{ start.results }}"}}`,
      "workload: {xs: [3, 1], n: 2, map: {a: 1}, text: '[5]'}",
    );

  test.each<[string, unknown]>([
    ["'{{ xs }}'", [3, 1]],
    ["'{{ map }}'", [{ key: "a", value: 1 }]],
    ["'{{ n }}'", [0, 1]],
    ["'{{ text }}'", [5]],
    ["[]", []],
  ])("items of %s", (source, items) => {
    expect(runDocument(loop(source)).result).toEqual(items as never);
  });

  test("what is nothing to iterate over fails the step loudly", () => {
    const { status, driver } = runDocument(loop("'{{ nothing }}'"));
    expect([status, driver.state.failure?.code]).toEqual(["failed", "NOT_ITERABLE"]);
  });

  test("items know their place, in every spelling", () => {
    const names = [
      "iter.item",
      "item",
      "iter.index",
      "iter.first",
      "iter.last",
      "iter._index",
      "iter._first",
      "iter._last",
      "iter._total",
      "_index",
      "_total",
      "loop_index",
      "loop.index",
      "loop.first",
      "loop.length",
      "loop.done",
    ];
    const row = `[${names.join(", ")}]`;
    const steps = `- {step: start, loop: {in: [x, y], iterator: item}, tool: {kind: noop, result: "{{ ${row} }}"}}\n- {step: end, tool: {kind: noop, result: "{{ start.data }}"}}`;
    expect(runDocument(workflow(steps)).result).toEqual([
      ["x", "x", 0, true, false, 0, true, false, 2, 0, 2, 0, 0, true, 2, false],
      ["y", "y", 1, false, true, 1, false, true, 2, 1, 2, 1, 1, false, 2, false],
    ]);
  });

  test("the value is a list with statistics, and loop.done is true once, at the end", () => {
    const steps = `- step: start
  loop: {in: [1, 2, 3], iterator: item, spec: {mode: parallel}}
  tool: {kind: noop, result: {n: "{{ item }}"}}
  next: {arcs: [{step: last, when: "event.name == 'loop.done' and loop.done and loop.length == 3"}]}
- step: last
  tool: {kind: noop, result: {count: "{{ start | length }}", first: "{{ start[0].n }}", total: "{{ start.stats.total }}", ok: "{{ start.stats.succeeded }}", last: "{{ (start.results | last).n }}"}}`;
    expect(runDocument(workflow(steps)).result).toEqual({
      count: 3,
      first: 1,
      total: 3,
      ok: 3,
      last: 3,
    });
  });

  test("iter that rules write lives with its item, ctx with the execution", () => {
    const steps = `- step: start
  loop: {in: [1, 2], iterator: item}
  tool:
    kind: noop
    result: "{{ iter.mine | default('none') }}"
    spec: {policy: {rules: [{else: {then: {do: continue, set: {iter.mine: "{{ item }}", ctx.sum: "{{ (ctx.sum | default(0)) + item }}"}}}}]}}
- {step: end, tool: {kind: noop, result: ["{{ start.data }}", "{{ ctx.sum }}"]}}`;
    expect(runDocument(workflow(steps)).result).toEqual([["none", "none"], 3]);
  });

  test.each<[string, string, unknown]>([
    ["fail_fast", "failed", undefined],
    ["continue", "completed", { total: 3, succeeded: 2, failed: 1 }],
    ["{max_failures: 1}", "completed", { total: 3, succeeded: 2, failed: 1 }],
    ["{max_failures: 0}", "failed", undefined],
  ])("failure: %s", (policy, status, stats) => {
    const steps = `- step: start\n  loop: {in: [1, 2, 3], iterator: item, spec: {policy: {failure: ${policy}}}}\n  tool: {kind: http, url: u, input: {item: "{{ item }}"}}`;
    const answer: Answer = ({ input }) => (input["item"] === 2 ? failed() : done(1));
    const run = runDocument(workflow(steps), { answer });
    expect(run.status).toBe(status);
    if (stats !== undefined) {
      expect(run.result).toMatchObject({ stats, results: [1, null, 1] } as never);
    }
  });
});

describe("values and templates", () => {
  test("a payload is merged over the workload, deep for maps, and never evaluated", () => {
    const steps = `- {step: start, tool: {kind: noop, result: "{{ workload }}"}}`;
    const run = runDocument(workflow(steps, "workload: {a: {b: 1, c: [1]}, d: 5, e: '{{ d }}'}"), {
      payload: { a: { c: [2], x: "{{ d }}" }, f: "007" },
    });
    expect(run.result).toEqual({
      a: { b: 1, c: [2], x: "{{ d }}" },
      d: 5,
      e: 5,
      f: "007",
    });
  });

  test("workload stays what it was, whatever set writes", () => {
    const steps = `- {step: start, set: {ctx.a: 2, workload.a: 3}}
- {step: end, tool: {kind: noop, result: ["{{ workload.a }}", "{{ a }}", "{{ ctx.a }}"]}}`;
    expect(runDocument(workflow(steps, "workload: {a: 1}")).result).toEqual([1, 2, 2]);
  });

  test("names in scope", () => {
    const steps = `- {step: start, tool: {kind: noop, result: {v: 1}}, set: {ctx.c: 2}}
- step: end
  tool:
    kind: noop
    result: ["{{ w }}", "{{ workload.w }}", "{{ c }}", "{{ ctx.c }}", "{{ start.v }}", "{{ steps.start.v }}", "{{ execution_id }}", "{{ job.uuid }}", "{{ job.execution_id }}", "{{ path }}", "{{ version }}", "{{ _attempt }}", "{{ env.HOME }}", "{{ nothing.at.all }}"]`;
    expect(runDocument(workflow(steps, "workload: {w: 0}")).result).toEqual([
      0,
      0,
      2,
      2,
      1,
      1,
      "1",
      "1",
      "1",
      "tests/run",
      1,
      1,
      null,
      null,
    ]);
  });

  test("a lone expression keeps its type, mixed text is text, numeric text stays text", () => {
    const { answer, seen } = inputs();
    const steps = `- step: start\n  tool: {kind: python, code: x, input: {a: "{{ n }}", b: "{{ zip }}", c: "n={{ n }}", d: "5", e: "{{ none_such }}", f: "[{{ none_such }}]", g: "{{ list }}"}}`;
    runDocument(workflow(steps, "workload: {n: 5, zip: '01234', list: [1]}"), { answer });
    expect(seen).toEqual([{ a: 5, b: "01234", c: "n=5", d: "5", e: null, f: "[]", g: [1] }]);
  });

  test("the value of a step answers to data, status, error, result and context", () => {
    const steps = `- {step: start, tool: {kind: noop, result: {v: 1}}}
- step: end
  tool: {kind: noop, result: ["{{ start.data.v }}", "{{ start.result.v }}", "{{ start.context.data.v }}", "{{ start.status }}", "{{ start.error }}"]}`;
    expect(runDocument(workflow(steps)).result).toEqual([1, 1, 1, "ok", null]);
  });

  test("a pipeline's value merges its tasks and keeps them by label", () => {
    const steps = `- step: start
  tool:
  - {name: a, kind: noop, result: {x: 1, y: 1}}
  - {name: b, kind: noop, result: {y: "{{ a.y + _prev.x + results.a.x }}"}, set: {n: "{{ output.y }}"}}
  - {name: c, kind: noop, result: {z: "{{ n }}"}}
- step: end
  tool: {kind: noop, result: ["{{ start.x }}", "{{ start.y }}", "{{ start.z }}", "{{ start.a.y }}", "{{ start.results.b.y }}"]}`;
    expect(runDocument(workflow(steps)).result).toEqual([1, 3, 3, 1, 3]);
  });

  test("step input, tool args and tool input become one input, the tool's winning", () => {
    const { answer, seen } = inputs();
    const steps = `- {step: start, args: {a: 1, b: 1, c: 1}, input: {b: 2, c: 2}, tool: {kind: python, code: x, args: {c: 3, d: 3}, input: {d: 4}}}`;
    runDocument(workflow(steps), { answer });
    expect(seen).toEqual([{ a: 1, b: 2, c: 3, d: 4 }]);
  });

  test("a workbook entry takes the step's input key by key", () => {
    const { answer, seen } = inputs();
    const book = "workbook: [{name: w, tool: {kind: python, code: x, input: {a: 1, b: 1}}}]";
    const steps = "- {step: start, tool: {kind: workbook, name: w, input: {b: 2}}}";
    runDocument(workflow(steps, book), { answer });
    expect(seen).toEqual([{ a: 1, b: 2 }]);
  });

  test("fields below tool.spec count as the tool's own", () => {
    const { answer, seen } = inputs();
    const steps = "- {step: start, tool: {kind: python, spec: {code: x, args: {a: 1}}}}";
    runDocument(workflow(steps), { answer });
    expect(seen).toEqual([{ a: 1 }]);
  });
});

describe("sub-playbooks", () => {
  test("get input, payload or workload, and give their result", () => {
    const got: unknown[] = [];
    const child = (_path: string, payload: unknown) => {
      got.push(payload);
      return { sum: 3 };
    };
    const steps = `- {step: start, tool: {kind: playbook, path: p, input: {a: 1}, payload: {b: 1}}, next: [x]}
- {step: x, tool: {kind: playbook, path: p, payload: {b: "{{ start.sum }}"}}, next: [y]}
- {step: y, tool: {kind: playbook, path: p, args: {c: 1}}}`;
    expect(runDocument(workflow(steps), { child }).result).toEqual({ sum: 3 });
    expect(got).toEqual([{ a: 1 }, { b: 3 }, { c: 1 }]);
  });
});
