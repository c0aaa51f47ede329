/** How loaded values look: as they would if they had never been stored apart. */
import type { Json } from "../core/json.ts";
import { splitRef } from "../template/ref.ts";
import { isResultRef } from "../template/scope.ts";
import type { ScopeData, StepValue } from "./command.ts";
import { isList, presentTask, presentValue } from "./value.ts";

/** By `$ref`: what the value is of. */
type Origins = ReadonlyMap<string, StepValue>;

const known = new WeakMap<ScopeData["steps"], Origins>();

/** The value of a step, an item of a loop or a task in a pipeline as others see it. */
export function presentStored({ steps }: ScopeData, ref: string, loaded: Json): Json {
  const origins = known.get(steps) ?? findOrigins(steps);
  known.set(steps, origins);
  const origin = origins.get(ref);
  if (origin !== undefined) {
    return presentValue({ ...origin, value: loaded });
  }
  const { base, pointer } = splitRef(ref);
  const isLabel = pointer.length === 1 && origins.get(base)?.shape === "pipeline";
  return isLabel ? presentTask(loaded) : loaded;
}

function findOrigins(steps: ScopeData["steps"]): Origins {
  const origins = new Map<string, StepValue>();
  for (const stored of Object.values(steps)) {
    const { value } = stored;
    if (isResultRef(value)) {
      origins.set(value.$ref, stored);
    } else {
      addParts(origins, stored);
    }
  }
  return origins;
}

function addParts(origins: Map<string, StepValue>, { value, shape, itemShape }: StepValue): void {
  if (typeof value !== "object" || value === null || shape === "task") {
    return;
  }
  const results = shape === "loop" && "results" in value ? value["results"] : undefined;
  const parts = isList(results) ? results : Object.values(shape === "pipeline" ? value : {});
  const partShape = shape === "loop" ? (itemShape ?? "task") : "task";
  for (const part of parts) {
    const stored: StepValue = { value: part, status: "ok", shape: partShape };
    if (isResultRef(part)) {
      origins.set(part.$ref, stored);
    } else if (partShape === "pipeline") {
      addParts(origins, stored);
    }
  }
}
