/**
 * The playbooks of the load, each with what must be true of it in the end, whatever was killed
 * meanwhile.
 *
 * Tasks that run in a process of their own retry on any error: a killed runner is a failed task,
 * and a failed task is the author's to retry.
 */
import type { Sink } from "./sink.ts";

export interface Scenario {
  /** Catalog path `chaos/<name>`. */
  readonly name: string;
  readonly workflow: readonly unknown[];
  /** How often it is chosen, relative to the others; 0 for a sub-playbook. */
  readonly weight: number;
  readonly expected: "COMPLETED" | "FAILED" | "CANCELLED";
  /** Cancelled by the load after a while. */
  readonly isCancelled?: boolean;
  /** Says what is wrong with the steps' results; nothing when all is well. */
  readonly verify?: (outcome: Outcome) => readonly string[];
}

export interface Outcome {
  readonly executionId: string;
  /** By step name. */
  readonly results: Readonly<Record<string, unknown>>;
  readonly sink: Sink;
}

/** Credential of the database that the `sql` scenario writes to. */
export const SQL_CREDENTIAL = "chaos_sql";

/** Table of the `sql` scenario. */
export const SQL_TABLE = `
  CREATE TABLE chaos_effect (
    execution_id text, item int, tries int NOT NULL DEFAULT 1, PRIMARY KEY (execution_id, item))`;

const RETRY = {
  policy: {
    rules: [
      {
        when: "{{ output.status == 'error' }}",
        // biome-ignore lint/suspicious/noThenProperty: a word of the playbook language.
        then: { do: "retry", attempts: 30, backoff: "none", delay: 0.5 },
      },
      // biome-ignore lint/suspicious/noThenProperty: a word of the playbook language.
      { else: { then: { do: "continue" } } },
    ],
  },
};

export function scenarios(sinkUrl: string): readonly Scenario[] {
  return [
    chain(),
    squares(),
    fan(sinkUrl),
    flaky(sinkUrl),
    parent(),
    child(),
    effects(sinkUrl),
    sqlEffects(),
    broken(),
    slow(),
    endless(),
    probe(),
  ];
}

export function document(scenario: Scenario): string {
  const metadata = { name: `chaos_${scenario.name}`, path: `chaos/${scenario.name}` };
  const { workflow } = scenario;
  return JSON.stringify({ apiVersion: "noetl.io/v2", kind: "Playbook", metadata, workflow });
}

function chain(): Scenario {
  const length = 6;
  const workflow = Array.from({ length }, (_, index) => ({
    step: `c${index}`,
    tool: {
      kind: index % 2 === 0 ? "javascript" : "python",
      input: { n: index === 0 ? 0 : `{{ c${index - 1} }}` },
      code: index % 2 === 0 ? "return n + 1;" : "result = n + 1",
      spec: RETRY,
    },
    ...arcs(index < length - 1 ? [`c${index + 1}`] : []),
  }));
  return {
    name: "chain",
    workflow,
    weight: 3,
    expected: "COMPLETED",
    verify: ({ results }) => same("c5", results["c5"], length),
  };
}

function squares(): Scenario {
  const total = 12;
  return {
    name: "squares",
    workflow: [
      {
        step: "items",
        loop: {
          in: `{{ range(${total}) | list }}`,
          iterator: "item",
          spec: { mode: "parallel", max_in_flight: 4 },
        },
        tool: { kind: "javascript", code: "return item * item;", spec: RETRY },
        ...arcs(["sum"]),
      },
      {
        step: "sum",
        tool: {
          kind: "python",
          input: { squares: "{{ items.results }}" },
          code: "result = sum(squares)",
          spec: RETRY,
        },
      },
    ],
    weight: 3,
    expected: "COMPLETED",
    verify: ({ results }) => [
      ...same(
        "items",
        loopResults(results["items"]),
        [0, 1, 4, 9, 16, 25, 36, 49, 64, 81, 100, 121],
      ),
      ...same("sum", results["sum"], 506),
    ],
  };
}

function fan(sinkUrl: string): Scenario {
  const branch = (step: string, tool: object): object => ({ step, tool, ...arcs(["join"]) });
  return {
    name: "fan",
    workflow: [
      { step: "start", tool: { kind: "noop" }, ...arcs(["one", "two", "three"], "inclusive") },
      branch("one", { kind: "javascript", code: "return 1;", spec: RETRY }),
      branch("two", { kind: "python", code: "result = 2", spec: RETRY }),
      branch("three", {
        kind: "http",
        method: "POST",
        url: `${sinkUrl}/effect`,
        json: { execution: "{{ execution_id }}", item: 3 },
      }),
      {
        step: "join",
        tool: {
          kind: "javascript",
          input: { one: "{{ one }}", two: "{{ two }}", three: "{{ three.body.item }}" },
          code: "return one + two + three;",
          spec: RETRY,
        },
      },
    ],
    weight: 2,
    expected: "COMPLETED",
    verify: ({ results }) => same("join", results["join"], 6),
  };
}

function flaky(sinkUrl: string): Scenario {
  return {
    name: "flaky",
    workflow: [
      {
        step: "call",
        tool: { kind: "http", url: `${sinkUrl}/flaky/{{ execution_id }}`, spec: RETRY },
        ...arcs(["after"]),
      },
      {
        step: "after",
        tool: {
          kind: "javascript",
          input: { answer: "{{ call.body.answer }}" },
          code: "return answer;",
          spec: RETRY,
        },
      },
    ],
    weight: 2,
    expected: "COMPLETED",
    verify: ({ results }) => same("after", results["after"], 42),
  };
}

function parent(): Scenario {
  return {
    name: "parent",
    workflow: [
      {
        step: "one",
        tool: { kind: "playbook", path: "chaos/child", input: { n: 7 } },
        ...arcs(["many"]),
      },
      {
        step: "many",
        loop: { in: [1, 2, 3], iterator: "item", spec: { mode: "parallel", max_in_flight: 2 } },
        tool: { kind: "playbook", path: "chaos/child", input: { n: "{{ item }}" } },
        ...arcs(["after"]),
      },
      {
        step: "after",
        tool: {
          kind: "python",
          input: { one: "{{ one }}", many: "{{ many.results }}" },
          code: "result = [one, *many]",
          spec: RETRY,
        },
      },
    ],
    weight: 2,
    expected: "COMPLETED",
    verify: ({ results }) => same("after", results["after"], [70, 10, 20, 30]),
  };
}

function child(): Scenario {
  return {
    name: "child",
    workflow: [
      {
        step: "first",
        tool: { kind: "python", input: { n: "{{ workload.n }}" }, code: "result = n", spec: RETRY },
        ...arcs(["last"]),
      },
      {
        step: "last",
        tool: {
          kind: "javascript",
          input: { n: "{{ first }}" },
          code: "return n * 10;",
          spec: RETRY,
        },
      },
    ],
    weight: 0,
    expected: "COMPLETED",
  };
}

/** Items of the scenarios that count effects. */
export const EFFECT_ITEMS = 8;

function effects(sinkUrl: string): Scenario {
  return {
    name: "effects",
    workflow: [
      {
        step: "items",
        loop: {
          in: `{{ range(${EFFECT_ITEMS}) | list }}`,
          iterator: "item",
          spec: { mode: "parallel", max_in_flight: 3 },
        },
        tool: {
          kind: "http",
          method: "POST",
          url: `${sinkUrl}/effect`,
          json: { execution: "{{ execution_id }}", item: "{{ item }}" },
        },
      },
    ],
    weight: 2,
    expected: "COMPLETED",
    verify: ({ executionId, results, sink }) => [
      ...same("items", loopResults(results["items"]).length, EFFECT_ITEMS),
      ...Array.from({ length: EFFECT_ITEMS }, (_, item) => item)
        .filter((item) => sink.effects(executionId, item) === 0)
        .map((item) => `item ${item} is done but had no effect`),
    ],
  };
}

function sqlEffects(): Scenario {
  return {
    name: "sql",
    workflow: [
      {
        step: "items",
        loop: { in: [0, 1, 2, 3], iterator: "item", spec: { mode: "sequential" } },
        tool: {
          kind: "postgres",
          auth: SQL_CREDENTIAL,
          query: `INSERT INTO chaos_effect (execution_id, item) VALUES ($1, $2)
            ON CONFLICT (execution_id, item) DO UPDATE SET tries = chaos_effect.tries + 1
            RETURNING item`,
          params: ["{{ execution_id }}", "{{ item }}"],
          spec: RETRY,
        },
      },
    ],
    weight: 2,
    expected: "COMPLETED",
    verify: ({ results }) =>
      same(
        "items",
        loopResults(results["items"]).map((result) => Object(result).rows?.[0]?.item),
        [0, 1, 2, 3],
      ),
  };
}

function broken(): Scenario {
  return {
    name: "broken",
    workflow: [
      { step: "start", tool: { kind: "noop" }, ...arcs(["raise"]) },
      {
        step: "raise",
        tool: { kind: "javascript", code: "throw new Error('as intended');" },
        ...arcs(["never"]),
      },
      { step: "never", tool: { kind: "noop" } },
    ],
    weight: 1,
    expected: "FAILED",
    verify: ({ results }) => ("never" in results ? ["a step ran after the failure"] : []),
  };
}

function slow(): Scenario {
  const code = "import time\ntime.sleep(1.5)\nresult = 'slept'";
  return {
    name: "slow",
    workflow: [{ step: "sleep", tool: { kind: "python", code, spec: RETRY } }],
    weight: 2,
    expected: "COMPLETED",
    verify: ({ results }) => same("sleep", results["sleep"], "slept"),
  };
}

function endless(): Scenario {
  const code = "import time\ntime.sleep(3600)";
  return {
    name: "endless",
    workflow: [{ step: "sleep", tool: { kind: "python", code, spec: RETRY } }],
    weight: 1,
    expected: "CANCELLED",
    isCancelled: true,
  };
}

/** The smallest execution that goes through all parts: shows when they work together again. */
function probe(): Scenario {
  return {
    name: "probe",
    workflow: [{ step: "only", tool: { kind: "noop" } }],
    weight: 0,
    expected: "COMPLETED",
  };
}

function arcs(targets: readonly string[], mode = "exclusive"): object {
  return targets.length === 0
    ? {}
    : { next: { spec: { mode }, arcs: targets.map((step) => ({ step })) } };
}

function loopResults(value: unknown): readonly unknown[] {
  const list = Array.isArray(value) ? value : Object(value).results;
  return Array.isArray(list) ? list : [];
}

function same(what: string, actual: unknown, expected: unknown): readonly string[] {
  return Bun.deepEquals(actual, expected)
    ? []
    : [`${what} is ${JSON.stringify(actual)} instead of ${JSON.stringify(expected)}`];
}
