/** Playbooks by chance: branches, joins, bounded cycles, loops, cursors, pipelines, failures, children, waits. */
import type { Json, JsonObject } from "../../../src/core/json.ts";
import type { Arc, Loop, LoopFailure, Playbook, Policy, Task } from "../../../src/dsl/playbook.ts";
import type { StepSpec } from "./harness.ts";
import { makeCursor, makePlaybook, makeRule, makeTask } from "./harness.ts";

/** Numbers from a seed. */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** 0 to `limit - 1`. */
  below(limit: number): number {
    this.#state = (Math.imul(this.#state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((this.#state / 2 ** 32) * limit);
  }

  /** True in `percent` of all cases. */
  hits(percent: number): boolean {
    return this.below(100) < percent;
  }

  pick<T>(items: readonly [T, ...T[]]): T {
    return items[this.below(items.length)] ?? items[0];
  }
}

const STEP_COUNT_MAX = 8;
const BACK_COUNT_MAX = 2;

export function randomPlaybook(chance: Chance): Playbook {
  const count = 1 + chance.below(STEP_COUNT_MAX);
  const steps: Record<string, StepSpec> = {};
  for (let index = 0; index < count; index++) {
    steps[`s${index}`] = randomStep(chance, index, count);
  }
  const timeout = chance.hits(5) ? { timeoutMs: 100_000 } : {};
  const final = chance.hits(10) ? { finalStep: `s${chance.below(count)}` } : {};
  return makePlaybook(steps, {
    executor: { priority: 5, isNoMatchError: chance.hits(3), ...timeout, ...final },
    workload: { list: [1, 2, 3] },
  });
}

function randomStep(chance: Chance, index: number, count: number): StepSpec {
  const name = `s${index}`;
  return {
    tasks: randomTasks(chance),
    next: randomArcs(chance, name, index, count),
    nextMode: chance.hits(60) ? "inclusive" : "exclusive",
    join: chance.pick(["auto", "auto", "auto", "auto", "auto", "auto", "any", "all"] as const),
    failure: chance.pick(["drain", "drain", "fail_fast", "best_effort"] as const),
    set: chance.hits(30) ? [{ target: `ctx.${name}`, value: `{{ ${name}.v | default(0) }}` }] : [],
    ...(chance.hits(25) ? { loop: randomLoop(chance) } : {}),
    ...(chance.hits(10) ? { timeoutMs: 50_000 } : {}),
    ...(chance.hits(8)
      ? { admit: [{ when: "{{ (ctx.s0 | default(1)) > 2 }}", isAllowed: true }] }
      : {}),
  };
}

function randomTasks(chance: Chance): readonly Partial<Task>[] {
  const count = chance.pick([1, 1, 2, 3]);
  return Array.from({ length: count }, () => ({
    isIdempotent: !chance.hits(10),
    ...randomServerTask(chance),
    ...(chance.hits(5) ? { timeoutMs: 20_000 } : {}),
    ...(chance.hits(40) ? { policy: randomPolicy(chance, count) } : {}),
  }));
}

/** Names that the simulated world sends. */
export const SIGNALS = ["go", "stop"] as const;

function randomServerTask(chance: Chance): Partial<Task> {
  const roll = chance.below(100);
  if (roll < 20) {
    return { kind: "playbook", config: { path: "child", wait: !chance.hits(20) } };
  }
  return roll < 35 ? { kind: "wait", config: randomWait(chance) } : {};
}

function randomWait(chance: Chance): JsonObject {
  const signal = chance.pick(SIGNALS);
  return chance.pick<JsonObject>([
    { duration: chance.below(30) },
    { until: 1000 + chance.below(200) },
    { signal },
    { signal: "{{ 'go' }}", deadline: 5 + chance.below(60) },
    { signal, deadline: "20s", on_timeout: "continue" },
    { duration: chance.hits(30) ? "{{ nothing }}" : "{{ 1 + 1 }}", deadline: 1 },
  ]);
}

function randomPolicy(chance: Chance, taskCount: number): Policy {
  const retry = makeRule({
    when: "{{ output.status == 'error' }}",
    action: "retry",
    attempts: 1 + chance.below(3),
    backoff: "linear",
    delay: chance.below(10),
  });
  const jump = makeRule({
    when: "{{ (iter.n | default(0)) < 2 }}",
    action: "jump",
    to: taskCount > 1 ? "t0" : "previous",
    set: [
      { target: "iter.n", value: "{{ (iter.n | default(0)) + 1 }}" },
      { target: "ctx.jumps", value: "{{ iter.n }}" },
    ],
  });
  const rest = makeRule({
    action: chance.pick(["continue", "continue", "continue", "break", "break", "fail"]),
    when: "{{ (output.v | default(5)) > 4 }}",
  });
  const rules = [retry, ...(taskCount > 1 && chance.hits(50) ? [jump] : []), rest];
  return { mode: chance.hits(90) ? "exclusive" : "inclusive", rules };
}

function randomLoop(chance: Chance): Partial<Loop> {
  return chance.hits(30) ? randomCursor(chance) : randomItems(chance);
}

function randomCursor(chance: Chance): Partial<Loop> {
  const task = makeTask("claim", { kind: "postgres" });
  const isAcknowledged = chance.hits(50);
  return {
    mode: "cursor",
    maxInFlight: 1 + chance.below(3),
    failure: chance.pick<LoopFailure>(["fail_fast", "continue", "continue", { maxFailures: 1 }]),
    cursor: makeCursor({
      maxRows: 1 + chance.below(4),
      rowConcurrency: 1 + chance.below(3),
      process: chance.pick(["row", "row", "frame"]),
      maxAttempts: 1 + chance.below(4),
      ...(isAcknowledged ? { acknowledge: { ...task, label: "acknowledge" } } : {}),
      ...(isAcknowledged || chance.hits(20) ? { renew: { ...task, label: "renew" } } : {}),
    }),
  };
}

function randomItems(chance: Chance): Partial<Loop> {
  const source: Json = chance.pick<Json>([
    `{{ ${chance.below(6)} }}`,
    "{{ list }}",
    { a: 1, b: 2 },
    [],
    "{{ list }}",
    chance.hits(20) ? "{{ s0 }}" : 3,
    chance.hits(20) ? "{{ nothing }}" : 4,
  ]);
  return {
    in: source,
    mode: chance.hits(30) ? "sequential" : "parallel",
    maxInFlight: 1 + chance.below(3),
    failure: chance.pick<LoopFailure>(["fail_fast", "continue", { maxFailures: 1 }]),
  };
}

function randomArcs(
  chance: Chance,
  name: string,
  index: number,
  count: number,
): readonly (Partial<Arc> & { readonly step: string })[] {
  const arcs: (Partial<Arc> & { readonly step: string })[] = [];
  for (let arc = chance.below(4); arc > 0 && index + 1 < count; arc--) {
    const step = `s${index + 1 + chance.below(count - index - 1)}`;
    arcs.push({ step, ...randomGuard(chance, name) });
  }
  if (chance.hits(15)) {
    arcs.unshift(backArc(chance, name, index));
  }
  return arcs;
}

function randomGuard(chance: Chance, name: string): Partial<Arc> {
  const when = chance.pick([
    undefined,
    undefined,
    undefined,
    `{{ (${name}.v | default(3)) > 2 }}`,
    "{{ event.name == 'call.error' }}",
    "{{ output.status == 'error' }}",
  ]);
  return when === undefined ? {} : { when };
}

/** Taken a bounded number of times. */
function backArc(
  chance: Chance,
  name: string,
  index: number,
): Partial<Arc> & { readonly step: string } {
  const counter = `ctx.back_${name}`;
  return {
    step: `s${chance.below(index + 1)}`,
    when: `{{ (${counter} | default(0)) < ${BACK_COUNT_MAX} }}`,
    set: [{ target: counter, value: `{{ (${counter} | default(0)) + 1 }}` }],
  };
}
