/**
 * Documents by chance: steps, arcs, loops, cursors, pipelines, policies, waits, sub-playbooks, older
 * forms. Fields that do not decide the shape come from the samples of the table of the language, so
 * that every one of them stands in some document.
 */
import type * as fc from "fast-check";
import { integer } from "fast-check";
import { assert } from "../../../src/core/assert.ts";
import type { Json, JsonObject } from "../../../src/core/json.ts";
import { isJsonObject } from "../../../src/core/json.ts";
import { LANGUAGE } from "../dsl/language.ts";
import { SIGNALS } from "./random-playbook.ts";

/** Chance that fast-check may shrink. */
class Draw {
  readonly #value: fc.GeneratorValue;

  constructor(value: fc.GeneratorValue) {
    this.#value = value;
  }

  /** 0 to `limit - 1`. */
  below(limit: number): number {
    return this.#value(integer, { min: 0, max: limit - 1 });
  }

  /** True in `percent` of all cases; shrinks to false. */
  hits(percent: number): boolean {
    return this.below(100) >= 100 - percent;
  }

  /** Shrinks to the first. */
  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    assert(item !== undefined || items.length > 0, "there is something to pick from");
    return item as T;
  }

  /** The fields in `percent` of all cases, else none. */
  maybe(percent: number, fields: () => JsonObject): JsonObject {
    return this.hits(percent) ? fields() : {};
  }
}

/** Accepted samples of the table, by block. */
const SAMPLES = Map.groupBy(
  LANGUAGE.filter(({ fate }) => fate !== "refused"),
  ({ block }) => block,
);

/** Fields of one row of the block, without those that would change the document's shape. */
function sample(draw: Draw, block: string, without: readonly string[] = []): JsonObject {
  const rows = SAMPLES.get(block) ?? [];
  const { sample: fields } = draw.pick(rows);
  return Object.fromEntries(Object.entries(fields).filter(([key]) => !without.includes(key)));
}

/** As a name, because JavaScript takes maps with a `then` for promises. */
const THEN = "then";
const STEPS_MAX = 6;
const GUARDS: readonly Json[] = [
  true,
  "x == 1",
  "{{ (ctx.n | default(0)) < 3 }}",
  "event.name == 'loop.done' or event.name == 'call.done'",
  "event.name == 'call.error'",
  "{{ output.status == 'error' }}",
  "error.kind is defined",
  "output.v > 4",
  "{{ nothing.at.all }}",
  "{{ 1 / (ctx.n | default(0)) > 0 }}",
  "{% if x %}true{% endif %}",
];
const VALUES: readonly Json[] = [
  "{{ (ctx.n | default(0)) + 1 }}",
  "{{ output }}",
  "{{ output.v }}",
  "{{ start.data | default([]) }}",
  "{{ s0 }}{{ s1.status }}",
  "{{ results | tojson }}",
  "{{ iter.index }}",
  "{{ now() }}",
  "{{ x / 0 }}",
  ["{{ x }}", { a: "{{ workload }}" }],
  7,
  null,
];

/** A document that the parser accepts, as far as this can be said beforehand. */
export function drawDocument(value: fc.GeneratorValue): JsonObject {
  const draw = new Draw(value);
  const count = 1 + draw.below(STEPS_MAX);
  const names = Array.from({ length: count }, (_, index) =>
    index === count - 1 && draw.hits(20) ? "end" : `s${index}`,
  );
  return {
    apiVersion: draw.pick(["noetl.io/v2", "noetl.io/v10"]),
    kind: "Playbook",
    metadata: { path: "tests/drawn", ...draw.maybe(20, () => sample(draw, "metadata")) },
    ...draw.maybe(40, () => ({ executor: drawExecutor(draw, names) })),
    workload: { x: 1, list: [1, 2, 3], ...draw.maybe(20, () => ({ y: "{{ x }}" })) },
    ...draw.maybe(20, () => ({
      keychain: [{ name: "k", kind: "static", ...sample(draw, "keychain", ["name"]) }],
    })),
    workbook: [{ name: "w", tool: drawTask(draw, ["a"], false) }],
    workflow: names.map((name, index) => drawStep(draw, names, name, index)),
  };
}

function drawExecutor(draw: Draw, names: readonly string[]): JsonObject {
  const spec = {
    ...draw.maybe(50, () => sample(draw, "executor.spec", ["entry_step", "final_step"])),
    ...draw.maybe(20, () => ({ entry_step: draw.pick(names) })),
    ...draw.maybe(20, () => ({ final_step: draw.pick(names) })),
  };
  return { ...draw.maybe(50, () => sample(draw, "executor")), spec };
}

function drawStep(draw: Draw, names: readonly string[], name: string, index: number): JsonObject {
  const count = draw.pick([1, 1, 2, 3]);
  const labels = count === 1 ? [name] : ["a", "c", "d"].slice(0, count);
  return {
    step: name,
    ...drawTool(draw, labels),
    ...draw.maybe(30, () => sample(draw, "step", ["step", "tool", "next", "loop", "spec", "set"])),
    ...draw.maybe(30, () => ({ spec: drawSpec(draw) })),
    ...draw.maybe(20, () => ({ output: sample(draw, "output") })),
    ...draw.maybe(30, () => ({ loop: drawLoop(draw) })),
    ...draw.maybe(40, () => ({ set: drawSet(draw) })),
    ...drawNext(draw, names, index),
  };
}

function drawSpec(draw: Draw): JsonObject {
  const policy = {
    ...draw.maybe(50, () => sample(draw, "step.spec.policy", ["failure"])),
    ...draw.maybe(40, () => ({ failure: draw.pick(["drain", "fail_fast", "best_effort"]) })),
    ...draw.maybe(20, () => ({ admit: draw.pick<Json>([...GUARDS]) })),
    ...draw.maybe(10, () => ({ admit: { rules: [sample(draw, "step.spec.policy.admit.rules")] } })),
    ...draw.maybe(20, () => ({ lifecycle: sample(draw, "step.spec.policy.lifecycle") })),
  };
  return {
    ...draw.maybe(50, () => sample(draw, "step.spec", ["policy"])),
    ...draw.maybe(50, () => ({ join: draw.pick(["auto", "any", "all"]) })),
    policy,
  };
}

function drawSet(draw: Draw): JsonObject {
  const target = draw.pick(["ctx.n", "ctx.deep.x", "iter.n", "step.n", "bare", "other.x"]);
  return { [target]: draw.pick(VALUES), ...draw.maybe(20, () => ({ "ctx.m": draw.pick(VALUES) })) };
}

/** One task, a list of them in all spellings of labels, a workbook entry, a bare kind, or nothing. */
function drawTool(draw: Draw, labels: readonly string[]): JsonObject {
  if (labels.length > 1) {
    return { tool: labels.map((label) => drawLabelled(draw, labels, label)) };
  }
  const form = draw.below(20);
  if (form === 19) {
    return {};
  }
  if (form === 18) {
    return { tool: "noop" };
  }
  if (form === 17) {
    return { tool: { kind: "workbook", name: "w", input: { a: draw.pick(VALUES) } } };
  }
  return { tool: drawTask(draw, labels, true) };
}

function drawLabelled(draw: Draw, labels: readonly string[], label: string): JsonObject {
  const task = drawTask(draw, labels, true);
  return draw.hits(20) ? { [label]: task } : { name: label, ...task };
}

function drawTask(draw: Draw, labels: readonly string[], hasPolicy: boolean): JsonObject {
  const own = drawKind(draw);
  const isServer = own["kind"] === "wait" || own["kind"] === "playbook";
  const limits = isServer ? ["policy", "rate_limit"] : ["policy"];
  const spec = {
    ...draw.maybe(20, () => sample(draw, "tool.spec", limits)),
    ...(hasPolicy ? draw.maybe(40, () => ({ policy: drawPolicy(draw, labels) })) : {}),
  };
  return {
    ...own,
    ...draw.maybe(20, () => sample(draw, "tool", ["kind", "name", "spec", "rate_limit"])),
    ...draw.maybe(10, () => ({ gpu: sample(draw, "tool.gpu") })),
    ...draw.maybe(40, () => ({ input: { a: draw.pick(VALUES) } })),
    ...draw.maybe(20, () => ({ set: drawSet(draw) })),
    ...draw.maybe(20, () => ({ retry: sample(draw, "tool.retry") })),
    ...(isServer ? {} : draw.maybe(10, () => ({ rate_limit: drawRate(draw) }))),
    ...draw.maybe(10, () => ({ timeout: sample(draw, "tool.spec.timeout") })),
    spec,
  };
}

function drawRate(draw: Draw): JsonObject {
  const fields = sample(draw, "tool.rate_limit");
  return Object.keys(fields).length > 0 ? fields : { per_second: 1 };
}

function drawKind(draw: Draw): JsonObject {
  const roll = draw.below(100);
  if (roll < 40) {
    return { kind: "noop", result: draw.pick(VALUES) };
  }
  if (roll < 60) {
    return {
      kind: "playbook",
      path: draw.pick(["child", "{{ x }}", "{{ nothing }}"]),
      wait: !draw.hits(20),
    };
  }
  if (roll < 80) {
    return { kind: "wait", ...drawWait(draw) };
  }
  const kinds = (SAMPLES.get("kind") ?? []).filter(
    ({ sample: { kind: name } }) => name !== "workbook",
  );
  const row = draw.pick(kinds);
  const kind = String(row.sample["kind"]);
  const more = SAMPLES.has(`tool ${kind}`) && kind !== "wait" ? sample(draw, `tool ${kind}`) : {};
  return { ...row.sample, ...more };
}

function drawWait(draw: Draw): JsonObject {
  const signal = draw.pick([...SIGNALS, "{{ 'go' }}"]);
  return draw.pick<JsonObject>([
    { duration: 5 },
    { duration: "{{ x }}m" },
    { duration: "{{ nothing }}" },
    { until: 1100 },
    { until: "2026-01-31T08:00:00Z", deadline: "1h" },
    { signal },
    { signal, deadline: "20s", on_timeout: "continue" },
    { signal, timeout: 30 },
  ]);
}

function drawPolicy(draw: Draw, labels: readonly string[]): JsonObject {
  const rules: Json[] = Array.from({ length: draw.below(3) }, () => drawRule(draw, labels));
  const otherwise = draw.pick<JsonObject | undefined>([undefined, ...elses(drawThen(draw))]);
  return {
    rules: otherwise === undefined ? rules : [...rules, otherwise],
    ...draw.maybe(20, () => sample(draw, "policy", ["rules"])),
  };
}

/** `else` in all its forms. */
function elses(then: JsonObject): readonly JsonObject[] {
  return [{ else: { [THEN]: then } }, { else: then }, { else: null, [THEN]: then }];
}

function drawRule(draw: Draw, labels: readonly string[]): JsonObject {
  return draw.hits(20)
    ? jumpRule(draw.pick(labels))
    : { when: draw.pick(GUARDS), [THEN]: drawThen(draw) };
}

/** Taken twice: a million times, where it fails as a runaway, takes seconds. */
function jumpRule(to: string): JsonObject {
  const set = { "iter.jumps": "{{ (iter.jumps | default(0)) + 1 }}" };
  return { when: "(iter.jumps | default(0)) < 2", [THEN]: { do: "jump", to, set } };
}

function drawThen(draw: Draw): JsonObject {
  return {
    ...draw.maybe(30, () => sample(draw, "rule.then", ["do", "to", "set"])),
    do: draw.pick(["continue", "retry", "retry", "break", "fail"]),
    ...draw.maybe(50, () => ({ set: drawSet(draw) })),
  };
}

function drawLoop(draw: Draw): JsonObject {
  const idle = draw.maybe(10, () => ({ done: 1, element: "x" }));
  return { ...(draw.hits(30) ? drawCursor(draw) : drawItems(draw)), ...idle };
}

function drawItems(draw: Draw): JsonObject {
  const mode = draw.pick(["sequential", "parallel"]);
  return {
    in: draw.pick<Json>([
      "{{ list }}",
      3,
      [],
      { a: 1 },
      "[1, 2]",
      "{{ s0 }}",
      "{{ nothing }}",
      "word",
    ]),
    iterator: "item",
    spec: {
      mode,
      ...draw.maybe(40, () => ({
        max_in_flight: draw.pick<Json>([1, 2, "{{ x }}", "{{ nothing }}"]),
      })),
      ...draw.maybe(50, () => ({ policy: drawLoopPolicy(draw) })),
    },
  };
}

function drawLoopPolicy(draw: Draw): JsonObject {
  return {
    failure: draw.pick<Json>(["fail_fast", "continue", "best_effort", { max_failures: 1 }]),
    ...draw.maybe(20, () => ({ exec: "distributed" })),
  };
}

function drawCursor(draw: Draw): JsonObject {
  const isNats = draw.hits(40);
  const claim = isNats
    ? { kind: "nats", options: { stream: "S", consumer: "c" } }
    : {
        auth: "db",
        claim: "SELECT {{ __frame_max_rows }}",
        ...draw.maybe(30, () => ({ heartbeat: "SELECT 1" })),
      };
  return {
    iterator: "item",
    cursor: claim,
    spec: {
      mode: "cursor",
      max_in_flight: 1 + draw.below(3),
      frame: {
        max_rows: 1 + draw.below(4),
        ...draw.maybe(60, () => sample(draw, "loop.spec.frame")),
      },
      ...draw.maybe(50, () => ({ policy: drawLoopPolicy(draw) })),
    },
  };
}

/** Nothing, the router, or an older form. Arcs back are guarded, so that most documents end by themselves. */
function drawNext(draw: Draw, names: readonly string[], index: number): JsonObject {
  const later = names.slice(index + 1);
  const arcs = Array.from({ length: Math.min(later.length, draw.below(4)) }, () =>
    drawArc(draw, draw.pick(later)),
  );
  const back = draw.hits(15) ? [backArc(draw, names.slice(0, index + 1))] : [];
  const all = [...back, ...arcs];
  if (all.length === 0) {
    return {};
  }
  const form = draw.below(10);
  if (form === 9 && back.length === 0) {
    return { next: all.map(({ set: _, ...arc }) => arc) };
  }
  if (form === 8 && back.length === 0) {
    return { next: all.map(({ step }) => step ?? null) };
  }
  if (form === 7 && back.length === 0) {
    const targets = all.map(({ step }) => step ?? null);
    const [first = null] = targets;
    return {
      next: [{ when: draw.pick(GUARDS), [THEN]: targets, else: first }],
    };
  }
  const spec = {
    mode: draw.pick(["exclusive", "inclusive"]),
    ...draw.maybe(20, () => sample(draw, "next.spec", ["mode"])),
  };
  return { next: { spec, arcs: all } };
}

function drawArc(draw: Draw, step: string): JsonObject {
  return {
    step,
    ...draw.maybe(50, () => ({ when: draw.pick(GUARDS) })),
    ...draw.maybe(30, () => ({ set: drawSet(draw) })),
    ...draw.maybe(10, () => sample(draw, "arc", ["step", "when", "set"])),
  };
}

function backArc(draw: Draw, earlier: readonly string[]): JsonObject {
  return {
    step: draw.pick(earlier),
    when: "(ctx.rounds | default(0)) < 3",
    set: { "ctx.rounds": "{{ (ctx.rounds | default(0)) + 1 }}" },
  };
}

/** Names of all fields in a document, to see that none is missing from all of them. */
export function fieldsIn(value: Json, into: Set<string>): void {
  if (Array.isArray(value)) {
    for (const item of value as readonly Json[]) {
      fieldsIn(item, into);
    }
  } else if (isJsonObject(value)) {
    for (const [key, child] of Object.entries(value)) {
      into.add(key);
      fieldsIn(child, into);
    }
  }
}
