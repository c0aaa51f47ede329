/**
 * Keeps commands small: what a step's templates read of a large collection or of a large input goes to
 * the store once, and each command gets a reference. The engine cannot store: it says what is to be
 * stored, and whoever asked for the decision stores it and asks again.
 */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { ResultRef } from "../template/scope.ts";
import { isResultRef } from "../template/scope.ts";
import type { ScopeData, StepValue } from "./command.ts";
import type { Draft } from "./draft.ts";
import { boundedSize } from "./outline.ts";
import { isList } from "./value.ts";

/** Characters of JSON, about; parts that are not larger travel with each command. */
export const PART_CHARS_MAX = 256 * 1024;

/** A part of what templates see that is to be stored apart. */
export interface LargePart {
  /** Says which of the execution's parts it is; the same part has the same key in each decision. */
  readonly key: string;
  /** For people: the step, or `workload.NAME`. */
  readonly name: string;
  readonly value: Json;
}

/** Thrown when a part is not in {@link Environment.stored}: store it, decide again. */
export class StoreNeededError extends Error {
  override readonly name = "StoreNeededError";
  readonly part: LargePart;

  constructor(part: LargePart) {
    super(`${part.name} is too large for a command and not stored apart`);
    this.part = part;
  }
}

/** The same data with references for its large parts. @throws StoreNeededError */
export function offloaded(draft: Draft, data: ScopeData): ScopeData {
  const { stored } = draft.environment;
  if (stored === undefined) {
    return data;
  }
  const workload = mapValues(data.workload, (name, value) => {
    if (!isLarge(value)) {
      return value;
    }
    return refTo(stored, { key: `workload.${name}`, name: `workload.${name}`, value });
  });
  const steps = mapValues(data.steps, (name, value) => smallStep(draft, stored, name, value));
  return workload === data.workload && steps === data.steps ? data : { ...data, workload, steps };
}

type Stored = ReadonlyMap<string, ResultRef>;

/** Only the collections of loops grow that large: other values are stored apart by workers. */
function smallStep(draft: Draft, stored: Stored, name: string, step: StepValue): StepValue {
  const results = isJsonObject(step.value) ? step.value["results"] : undefined;
  if (step.shape !== "loop" || !isJsonObject(step.value) || !isList(results) || !isLarge(results)) {
    return step;
  }
  const visit = draft.state.steps.get(name)?.visits ?? 0;
  const part = { key: `${name}#${visit}`, name, value: results };
  return { ...step, value: { ...step.value, results: refTo(stored, part) } };
}

/** @throws StoreNeededError */
function refTo(stored: Stored, part: LargePart): ResultRef {
  const ref = stored.get(part.key);
  if (ref === undefined) {
    throw new StoreNeededError(part);
  }
  return ref;
}

const sizes = new WeakMap<object, boolean>();

function isLarge(value: Json): boolean {
  if (typeof value === "string") {
    return value.length > PART_CHARS_MAX;
  }
  if (typeof value !== "object" || value === null || isResultRef(value)) {
    return false;
  }
  const large = sizes.get(value) ?? boundedSize(value, PART_CHARS_MAX) === undefined;
  sizes.set(value, large);
  return large;
}

/** The same object when no value changed. */
function mapValues<T extends JsonObject | Readonly<Record<string, StepValue>>>(
  map: T,
  change: (name: string, value: T[string]) => unknown,
): T {
  const changed = new Map<string, unknown>();
  for (const [name, value] of Object.entries(map)) {
    const next = change(name, value as T[string]);
    if (next !== value) {
      changed.set(name, next);
    }
  }
  if (changed.size === 0) {
    return map;
  }
  const entries = Object.entries(map).map(([name, value]) => [name, changed.get(name) ?? value]);
  return Object.fromEntries(entries) as T;
}
