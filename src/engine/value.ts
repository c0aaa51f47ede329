/**
 * How stored values look from outside. State, events and commands keep the compact form (a pipeline
 * is a map from label to data, a loop has its list once); templates, the API and parents see merged
 * maps with aliases. The expanded form shares its parts with the compact one and is made once.
 */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { findLoaded, loadRef, outlined, outlinedObject } from "../template/ref.ts";
import type { Resolved, ResultRef } from "../template/scope.ts";
import { Aliased, isResultRef } from "../template/scope.ts";
import type { StepValue } from "./command.ts";
import type { Failure } from "./failure.ts";
import { parseAddress, placeUri } from "./result.ts";

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
  return Object.assign({}, ...Object.values(labels).map(fieldsOf), labels);
}

/** What a task's data adds to its pipeline: the fields of a map, as far as they are at hand. */
function fieldsOf(value: Json): Json {
  const fields = isResultRef(value) ? outlinedObject(value) : value;
  return fields !== undefined && isJsonObject(fields) ? fields : {};
}

function presentLoop(value: Json, presentItem: (item: Json) => Json): Json {
  const results = isJsonObject(value) ? value["results"] : undefined;
  if (!isJsonObject(value) || !isList(results)) {
    return isJsonObject(value) && isResultRef(results) ? { ...value, data: results } : value;
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
export function stepAliased(stored: StepValue, okWord: OkWord, resolved: Resolved): Aliased {
  const shown = presentValue(stored);
  if (isResultRef(shown)) {
    return refAliased(shown, stored, okWord, resolved);
  }
  const items = stored.shape === "loop" ? storedItems(stored.value) : undefined;
  const loaded = items === undefined ? undefined : findLoaded(items, resolved);
  if (loaded !== undefined && isJsonObject(stored.value)) {
    const value = { ...stored.value, results: loaded };
    return stepAliased({ ...stored, value }, okWord, resolved);
  }
  const list = stored.shape === "loop" ? itemsAliased(shown, stored, resolved) : undefined;
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
        return list ?? (labels === undefined ? undefined : labelsAliased(labels, resolved));
      case "_ref":
      case "_uri":
      case "_store":
      case "_size":
        return refName(lastRef(labels), name);
      default:
        return list === undefined
          ? (bodyField(shown, name, resolved) ?? labelField(labels, name, resolved))
          : ownField(shown, name);
    }
  };
  // The plain list of a loop's own value knows nothing of the aliases of its items.
  const isAliasFirst = list !== undefined && list.operand !== list.value;
  const self: Aliased = new Aliased(shown, alias, list?.operand ?? items ?? shown, isAliasFirst);
  return self;
}

/** All results of a loop as one list that is stored apart. */
function storedItems(value: Json): ResultRef | undefined {
  const results = isJsonObject(value) ? value["results"] : undefined;
  return isResultRef(results) ? results : undefined;
}

/** The results of a loop; what is stored apart resolves itself item by item. */
function itemsAliased(
  shown: Json,
  { value, itemShape }: StepValue,
  resolved: Resolved,
): Aliased | undefined {
  const list = loopList(shown);
  const raw = loopList(value);
  if (list === undefined || raw?.some(hasOwnRef) !== true) {
    return list === undefined ? undefined : new Aliased(list, () => undefined);
  }
  const shape = itemShape ?? "task";
  const items: readonly unknown[] = raw.map((item, index) =>
    hasOwnRef(item)
      ? stepAliased({ value: item, status: "ok", shape }, "ok", resolved)
      : list[index],
  );
  return new Aliased(list, () => undefined, items as Json);
}

/** True for a reference, and for a pipeline's map with one. */
function hasOwnRef(item: Json): boolean {
  return isResultRef(item) || lastRef(item) !== undefined;
}

/** A field of a task's data that is stored apart, without an outline that names all its fields. */
function labelField(labels: Json | undefined, name: string, resolved: Resolved): unknown {
  if (labels === undefined || !isJsonObject(labels)) {
    return undefined;
  }
  for (const value of Object.values(labels).reverse()) {
    const isOpen = isResultRef(value) && value.type === "object" && !outlinedObject(value);
    const found = isOpen ? member(taskAliased(value, resolved), name) : undefined;
    if (found !== undefined) {
      return found;
    }
  }
  return undefined;
}

/** A task's data inside its pipeline. */
export function taskAliased(value: Json, resolved: Resolved): Aliased {
  if (isResultRef(value)) {
    return refAliased(value, { value, status: "ok", shape: "task" }, "ok", resolved);
  }
  const shown = presentTask(value);
  const alias = (name: string): unknown =>
    SELF_NAMES.has(name) ? self : bodyField(shown, name, resolved);
  const self = new Aliased(shown, alias);
  return self;
}

/** `results` of a pipeline: each task's data by label. */
export function labelsAliased(results: Json, resolved: Resolved): Aliased {
  const alias = (label: string): unknown => {
    const value = ownField(results, label);
    return value === undefined ? undefined : taskAliased(value, resolved);
  };
  return new Aliased(results, alias, results, true);
}

const SELF_NAMES = new Set(["data", "result", "context"]);

/**
 * A stored value: names that say where it is, everything else from its outline where that knows, else
 * from the loaded value.
 */
function refAliased(
  ref: ResultRef,
  stored: StepValue,
  okWord: OkWord,
  resolved: Resolved,
): Aliased {
  const alias = (name: string): unknown => refName(ref, name) ?? aliasInside(name);
  const aliasInside = (name: string): unknown => {
    const value = findLoaded(ref, resolved) ?? outlinedObject(ref) ?? known(name);
    const inner = stepAliased({ ...stored, value }, okWord, resolved);
    const found = member(inner, name);
    return found === inner ? self : found;
  };
  /** Something that has the name, if that much is known; else the loaded value. */
  const known = (name: string): Json => {
    const part = outlined(ref, name);
    if (part.isKnown && part.value !== undefined) {
      return { [name]: part.value };
    }
    return ref.type === "object" || ref.type === "binary" ? loadRef(ref, resolved) : null;
  };
  const loaded = findLoaded(ref, resolved);
  const operand = loaded === undefined ? ref : presentValue({ ...stored, value: loaded });
  const self = new Aliased(ref, alias, operand, true);
  return self;
}

/** Names that say where a stored value is; undefined for other names, and without a reference. */
function refName(ref: ResultRef | undefined, name: string): Json | undefined {
  switch (ref === undefined ? "" : name) {
    case "_ref":
      return ref?.$ref;
    case "_uri":
      return ref && uriOf(ref);
    case "_store":
      return (ref?.size ?? 0) < KV_BYTES_MAX ? "kv" : "disk";
    case "_size":
      return ref?.size;
    default:
      return undefined;
  }
}

/** Of the last task of a pipeline whose data is stored apart. */
export function lastRef(labels: Json | undefined): ResultRef | undefined {
  return labels !== undefined && isJsonObject(labels)
    ? Object.values(labels).findLast(isResultRef)
    : undefined;
}

function uriOf({ $ref, index }: ResultRef): string {
  const address = parseAddress($ref);
  return address?.kind === "content" && address.pointer.length === 0
    ? placeUri(address.executionId, address.name, index)
    : $ref;
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

function bodyField(value: Json, name: string, resolved: Resolved): unknown {
  const http = httpParts(value);
  if (http === undefined) {
    return ownField(signalPayload(value), name);
  }
  return isResultRef(http.body)
    ? member(taskAliased(http.body, resolved), name)
    : ownField(http.body, name);
}

/** A reference has no fields of its own: they are in the value that it stands for. */
function ownField(value: unknown, name: string): Json | undefined {
  return isJsonObject(value) && !isResultRef(value) && Object.hasOwn(value, name)
    ? value[name]
    : undefined;
}
