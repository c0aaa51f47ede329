/** The static shape of a playbook: who leads where. Computed once per playbook. */
import { assert } from "../core/assert.ts";
import type { Playbook, Step } from "../dsl/playbook.ts";

export interface Graph {
  /** @throws (a bug) when there is no such step. */
  step(name: string): Step;
  /** Ids of the arcs that lead to a step, from steps that an execution can reach. */
  incoming(name: string): readonly string[];
  /** True if one or more arcs lead from one step to the other. */
  reaches(from: string, to: string): boolean;
}

/** Where the token of a new execution comes from. No arc id is empty. */
export const START = "";

/** Name of an arc: its step and position there. */
export function arcId(step: string, index: number): string {
  return `${step}#${index}`;
}

/** The step that an arc leaves. */
export function arcSource(id: string): string {
  return id.slice(0, id.lastIndexOf("#"));
}

const graphs = new WeakMap<Playbook, Graph>();

export function graphOf(playbook: Playbook): Graph {
  const known = graphs.get(playbook) ?? buildGraph(playbook);
  graphs.set(playbook, known);
  return known;
}

function buildGraph(playbook: Playbook): Graph {
  const steps = new Map(playbook.steps.map((step) => [step.name, step]));
  const reach = new Map<string, ReadonlySet<string>>();
  const reachable = (from: string): ReadonlySet<string> => {
    const known = reach.get(from) ?? walk(steps, from);
    reach.set(from, known);
    return known;
  };
  const live = new Set([playbook.entryStep, ...reachable(playbook.entryStep)]);
  const incoming = incomingArcs(playbook, live);
  return {
    step: (name) => {
      const step = steps.get(name);
      assert(step !== undefined, `playbook ${playbook.path} has a step ${name}`);
      return step;
    },
    incoming: (name) => incoming.get(name) ?? [],
    reaches: (from, to) => reachable(from).has(to),
  };
}

function walk(steps: ReadonlyMap<string, Step>, from: string): ReadonlySet<string> {
  const seen = new Set<string>();
  const open = [from];
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    for (const arc of steps.get(name)?.next.arcs ?? []) {
      if (!seen.has(arc.step)) {
        seen.add(arc.step);
        open.push(arc.step);
      }
    }
  }
  return seen;
}

function incomingArcs(
  playbook: Playbook,
  live: ReadonlySet<string>,
): ReadonlyMap<string, readonly string[]> {
  const incoming = new Map<string, string[]>();
  for (const step of playbook.steps.filter(({ name }) => live.has(name))) {
    for (const [index, arc] of step.next.arcs.entries()) {
      const ids = incoming.get(arc.step) ?? [];
      ids.push(arcId(step.name, index));
      incoming.set(arc.step, ids);
    }
  }
  return incoming;
}
