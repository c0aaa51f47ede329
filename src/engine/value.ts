/**
 * How stored values look from outside. State, events and commands keep the compact form (a pipeline
 * is a map from label to data, a loop has its list once); templates, the API and parents see merged
 * maps with aliases. The expanded form shares its parts with the compact one and is made once.
 */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { ResultRef } from "../template/scope.ts";
import { Aliased, isResultRef, RefNeededError } from "../template/scope.ts";
import type { StepValue } from "./command.ts";
import type { Failure } from "./failure.ts";

/** What `status` says of a success: `success` where the template compares with that word. */
export type OkWord = "ok" | "success";

export interface HttpParts {
  readonly status: number;
  readonly headers: JsonObject;
  readonly body: Json;
}

/** Bytes below which a stored result says `_store: kv`. */
const KV_BYTES_MAX = 1_000_000;

const presented = new WeakMap<StepValue, Json>();

/** What a lone `{{ step }}`, the API and a parent get. A stored result stays a reference. */
export function presentValue(stored: StepValue): Json {
  const known = presented.get(stored);
  if (known !== undefined) {
    return known;
  }
  const value = isResultRef(stored.value) ? stored.value : expand(stored);
  presented.set(stored, value);
  return value;
}

function expand({ value, shape, itemShape }: StepValue): Json {
  switch (shape) {
    case "task":
      return presentTask(value);
    case "pipeline":
      return presentPipeline(value);
    case "loop":
      return presentLoop(value, itemShape === "pipeline" ? presentPipeline : presentTask);
  }
}

/** A task's data; of http calls with the body under both names. */
export function presentTask(value: Json): Json {
  return isJsonObject(value) && isBareHttp(value)
    ? { ...value, body: value["data"] ?? null }
    : value;
}

/** Fields of all tasks on top, later ones winning, then each task's data under its label. */
export function presentPipeline(results: Json): Json {
  if (!isJsonObject(results) || isResultRef(results)) {
    return results;
  }
  const labels = Object.fromEntries(
    Object.entries(results).map(([label, value]) => [label, presentTask(value)]),
  );
  const fields = Object.values(labels).filter(
    (value) => isJsonObject(value) && !isResultRef(value),
  );
  return Object.assign({}, ...fields, labels);
}

function presentLoop(value: Json, presentItem: (item: Json) => Json): Json {
  const results = isJsonObject(value) ? value["results"] : undefined;
  if (!isJsonObject(value) || !isList(results)) {
    return value;
  }
  const items = results.map(presentItem);
  return { ...value, results: items, data: items };
}

/** The list of a loop's presented value; undefined for anything else. */
export function loopList(value: Json): readonly Json[] | undefined {
  if (!isJsonObject(value) || !isJsonObject(value["stats"]) || !isList(value["results"])) {
    return undefined;
  }
  return value["results"];
}

export function isList(value: Json | undefined): value is readonly Json[] {
  return Array.isArray(value);
}

/** Status, headers and body of an http call's data; undefined for other data. */
export function httpParts(value: Json): HttpParts | undefined {
  if (!isJsonObject(value) || typeof value["status_code"] !== "number" || !("data" in value)) {
    return undefined;
  }
  const headers = value["headers"];
  return {
    status: value["status_code"],
    headers: isJsonObject(headers) ? headers : {},
    body: value["data"] ?? null,
  };
}

/** Payload of the signal that a wait got; undefined for other data. */
export function signalPayload(value: Json): Json | undefined {
  return isJsonObject(value) && typeof value["signal"] === "string" && "timed_out" in value
    ? value["payload"]
    : undefined;
}

function isBareHttp(value: JsonObject): boolean {
  return httpParts(value) !== undefined && !("body" in value);
}

/** `error` as templates and answers see it. */
export function failureJson(error: Failure): JsonObject {
  return { ...error };
}

/** A step's value under its name, with `.data`, `.status`, `.error`, `.result` and `.context`. */
export function stepAliased(
  stored: StepValue,
  okWord: OkWord,
  resolved: ReadonlyMap<string, Json>,
): Aliased {
  const shown = presentValue(stored);
  if (isResultRef(shown)) {
    return refAliased(shown, stored, okWord, resolved);
  }
  const list = stored.shape === "loop" ? loopList(shown) : undefined;
  const labels = stored.shape === "pipeline" ? stored.value : undefined;
  const alias = (name: string): unknown => {
    switch (name) {
      case "data":
        return list ?? self;
      case "result":
      case "context":
        return self;
      case "status":
        return stored.status === "ok" ? okWord : "error";
      case "error":
        return stored.error === undefined ? undefined : failureJson(stored.error);
      case "results":
        return list ?? (labels === undefined ? undefined : labelsAliased(labels));
      default:
        return list === undefined ? bodyField(shown, name) : ownField(shown, name);
    }
  };
  const self = new Aliased(shown, alias, list ?? shown);
  return self;
}

/** A task's data inside its pipeline. */
export function taskAliased(value: Json): Aliased {
  const shown = presentTask(value);
  const alias = (name: string): unknown =>
    name === "data" || name === "result" || name === "context" ? self : bodyField(shown, name);
  const self = new Aliased(shown, alias);
  return self;
}

/** `results` of a pipeline: each task's data by label. */
export function labelsAliased(results: Json): Aliased {
  const alias = (label: string): unknown => {
    const value = ownField(results, label);
    return value === undefined ? undefined : taskAliased(value);
  };
  return new Aliased(results, alias, results, true);
}

/** A stored result: names that say where it is, everything else from the loaded value. */
function refAliased(
  ref: ResultRef,
  stored: StepValue,
  okWord: OkWord,
  resolved: ReadonlyMap<string, Json>,
): Aliased {
  const alias = (name: string): unknown => {
    switch (name) {
      case "_ref":
      case "_uri":
        return ref.$ref;
      case "_store":
        return ref.size < KV_BYTES_MAX ? "kv" : "disk";
      case "_size":
        return ref.size;
      case "result":
      case "context":
        return self;
      default:
        return selected(ref, name) ?? member(load(), name);
    }
  };
  const load = (): Aliased => {
    const value = resolved.get(ref.$ref);
    if (value === undefined) {
      throw new RefNeededError(ref.$ref);
    }
    return stepAliased({ ...stored, value }, okWord, resolved);
  };
  const self = new Aliased(ref, alias, ref, true);
  return self;
}

/** A field that `output_select` kept beside the reference. */
function selected(ref: ResultRef, name: string): Json | undefined {
  const fields = ref["fields"];
  return fields === undefined ? undefined : ownField(fields, name);
}

/** One name of a value as templates look it up: its own first, unless it is alias-first. */
export function member(target: unknown, name: string): unknown {
  if (target instanceof Aliased) {
    return target.isAliasFirst
      ? (target.alias(name) ?? ownField(target.value, name))
      : (ownField(target.value, name) ?? target.alias(name));
  }
  return ownField(target, name);
}

function bodyField(value: Json, name: string): Json | undefined {
  const http = httpParts(value);
  return ownField(http === undefined ? signalPayload(value) : http.body, name);
}

function ownField(value: unknown, name: string): Json | undefined {
  return isJsonObject(value) && Object.hasOwn(value, name) ? value[name] : undefined;
}
