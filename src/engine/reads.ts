/**
 * What templates that the server renders will read of a step's value: guards, `set`, what loops run
 * over, and inputs of sub-playbooks. A worker that stores the value apart keeps these parts at hand.
 */
import { isJsonObject } from "../core/json.ts";
import type { Playbook, Step } from "../dsl/playbook.ts";
import { mentionedPaths } from "../template/mentions.ts";
import type { Path } from "../template/path.ts";
import type { ReadPath } from "./outline.ts";
import { isServerKind } from "./server-task.ts";

/** More are left to be loaded. */
const READS_MAX = 64;

const known = new WeakMap<Playbook, ReadonlyMap<string, readonly ReadPath[]>>();

/** Paths into the step's value, or into one item's of its loop; without doubles. */
export function readsOf(playbook: Playbook, step: string): readonly ReadPath[] {
  const reads = known.get(playbook) ?? collectReads(playbook);
  known.set(playbook, reads);
  return reads.get(step) ?? [];
}

function collectReads(playbook: Playbook): ReadonlyMap<string, readonly ReadPath[]> {
  const steps = new Map(playbook.steps.map((step) => [step.name, step]));
  const found = new Map<string, Map<string, ReadPath>>();
  for (const step of playbook.steps) {
    for (const path of routingPaths(step)) {
      const read = toRead(path, step, steps);
      if (read !== undefined && read.path.length > 0) {
        const reads = found.get(read.step) ?? new Map<string, ReadPath>();
        reads.set(JSON.stringify(read.path), read.path);
        found.set(read.step, reads);
      }
    }
  }
  return new Map(
    [...found].map(([name, reads]) => [name, [...reads.values()].slice(0, READS_MAX)]),
  );
}

function routingPaths(step: Step): readonly Path[] {
  const { loop, set, next, admit, tasks, input } = step;
  const children = tasks.filter(({ kind }) => isServerKind(kind));
  return [
    ...pathsIn({ in: loop?.in, most: loop?.maxInFlight }),
    ...pathsIn(set),
    ...pathsIn(next.arcs),
    ...pathsIn(admit),
    ...(children.length === 0 ? [] : pathsIn([input, children])),
  ];
}

/** `when` is a template without braces too. */
function pathsIn(value: unknown, key = ""): readonly Path[] {
  if (typeof value === "string") {
    const isBare = key === "when" && !value.includes("{{") && !value.includes("{%");
    return mentionedPaths(isBare ? `{{ ${value} }}` : value);
  }
  if (Array.isArray(value)) {
    return value.flatMap((item) => pathsIn(item));
  }
  return isJsonObject(value)
    ? Object.entries(value).flatMap(([name, inner]) => pathsIn(inner, name))
    : [];
}

function toRead(
  { root, steps }: Path,
  reader: Step,
  all: ReadonlyMap<string, Step>,
): { readonly step: string; readonly path: ReadPath } | undefined {
  const isPrefixed = root === "steps" || root === "output";
  const name = root === "output" ? reader.name : String(root === "steps" ? steps[0] : root);
  const step = all.get(name);
  if (step === undefined) {
    return undefined;
  }
  const path = isPrefixed && root === "steps" ? steps.slice(1) : steps;
  return { step: name, path: step.loop === undefined ? path : itemPath(path) };
}

/** `results[3].x` of a loop is `x` of an item. */
function itemPath(path: ReadPath): ReadPath {
  const at = path.findIndex((step) => typeof step === "number");
  return at === -1 ? [] : path.slice(at + 1);
}
