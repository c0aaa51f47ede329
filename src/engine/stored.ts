/** How loaded values look: as they would if they had never been stored apart. */
import type { Json } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { isResultRef } from "../template/scope.ts";
import type { ScopeData, StepValue } from "./command.ts";
import { isList, presentValue } from "./value.ts";

/** By `$ref`: how the loaded value looks. */
type Views = ReadonlyMap<string, (loaded: Json) => Json>;

const known = new WeakMap<ScopeData["steps"], Views>();

/** The value of a step, of items of a loop or of a task in a pipeline as others see it. */
export function presentStored({ steps }: ScopeData, ref: string, loaded: Json): Json {
  const views = known.get(steps) ?? findViews(steps);
  known.set(steps, views);
  return views.get(ref)?.(loaded) ?? loaded;
}

function findViews(steps: ScopeData["steps"]): Views {
  const views = new Map<string, (loaded: Json) => Json>();
  for (const stored of Object.values(steps)) {
    addView(views, stored);
  }
  return views;
}

function addView(views: Map<string, (loaded: Json) => Json>, stored: StepValue): void {
  const { value, shape, itemShape } = stored;
  if (isResultRef(value)) {
    views.set(value.$ref, (loaded) => presentValue({ ...stored, value: loaded }));
    return;
  }
  if (!isJsonObject(value) || shape === "task") {
    return;
  }
  const part = { status: "ok", shape: shape === "loop" ? (itemShape ?? "task") : "task" } as const;
  const results = shape === "loop" ? value["results"] : undefined;
  if (isResultRef(results)) {
    const present = (item: Json): Json => presentValue({ ...part, value: item });
    views.set(results.$ref, (loaded) => (isList(loaded) ? loaded.map(present) : loaded));
  }
  for (const inner of isList(results) ? results : Object.values(shape === "loop" ? {} : value)) {
    addView(views, { ...part, value: inner });
  }
}
