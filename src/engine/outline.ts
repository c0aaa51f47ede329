/**
 * Outlines of values that are stored apart: small parts of them, and references to the large ones, so
 * that most templates need not load the value. Made by the worker that stores it, which is told what
 * the server's templates will read.
 */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { joinRef } from "../template/ref.ts";
import type { ResultRef } from "../template/scope.ts";
import { httpParts, isList } from "./value.ts";

/** A path of names and indexes into a step's value. */
export type ReadPath = readonly (string | number)[];

export interface OutlineOptions {
  /** Reference to the whole value. */
  readonly ref: ResultRef;
  /** What templates on the server will read. */
  readonly reads: readonly ReadPath[];
  /** `output_select`: fields to keep under their last name. */
  readonly select: readonly string[];
  /** Bytes for parts that nobody asked for. */
  readonly spareBytes: number;
}

/** Bytes for parts that templates or `output_select` name, all together. */
const WANTED_BYTES = 24 * 1024;
/** One such part; a larger one is a reference. */
const WANTED_PART_BYTES = 8 * 1024;
/** Lists and maps that are not larger are kept without being asked for. */
const SMALL_BYTES = 256;
const TEXT_CHARS = 256;
const DEPTH_MAX = 4;
/** More names make a partial outline. */
const NAMES_MAX = 64;
/** About what a reference takes, without its fields. */
const STUB_BYTES = 200;

/** The reference with an outline of the value. */
export function withOutline(value: Json, options: OutlineOptions): ResultRef {
  const wanted: Wanted = { parts: new Map(), isLeaf: false };
  const selected = new Map<string, ReadPath>();
  for (const read of options.reads) {
    want(wanted, follow(value, read));
  }
  for (const text of options.select) {
    const path = follow(value, text.split("."));
    want(wanted, path);
    if (path !== undefined) {
      selected.set(text.split(".").at(-1) ?? text, path);
    }
  }
  const outliner = new Outliner(options.ref, options.spareBytes);
  const outline = outliner.stub(value, [], wanted);
  const fields = Object.fromEntries(
    [...selected].map(([name, path]) => [name, outliner.part(at(value, path), path, LEAF)]),
  );
  return { ...options.ref, ...outline, ...mergedFields(outline, fields) };
}

function mergedFields({ fields }: Pick<ResultRef, "fields">, more: JsonObject) {
  return fields === undefined && Object.keys(more).length === 0
    ? {}
    : { fields: { ...fields, ...more } };
}

/** Parts that are asked for, as a tree of names. */
interface Wanted {
  readonly parts: Map<string, Wanted>;
  isLeaf: boolean;
}

const LEAF: Wanted = { parts: new Map(), isLeaf: true };

function want(root: Wanted, path: ReadPath | undefined): void {
  if (path === undefined || path.length === 0) {
    return;
  }
  let node = root;
  for (const step of path) {
    const next = node.parts.get(String(step)) ?? { parts: new Map(), isLeaf: false };
    node.parts.set(String(step), next);
    node = next;
  }
  node.isLeaf = true;
}

type Stub = Pick<ResultRef, "type"> & Partial<Pick<ResultRef, "length" | "fields" | "isPartial">>;

class Outliner {
  readonly #ref: ResultRef;
  #spareBytes: number;
  #wantedBytes = WANTED_BYTES;

  constructor(ref: ResultRef, spareBytes: number) {
    this.#ref = ref;
    this.#spareBytes = spareBytes;
  }

  /** The value itself where it is small enough, else a reference to it. */
  part(value: Json, pointer: ReadPath, wanted: Wanted | undefined): Json {
    const isLeaf = wanted?.isLeaf === true;
    const bytes = boundedSize(value, isLeaf ? WANTED_PART_BYTES : partLimit(value));
    if (bytes !== undefined && this.#take(bytes, isLeaf)) {
      return value;
    }
    this.#take(STUB_BYTES, wanted !== undefined);
    const $ref = joinRef(this.#ref.$ref, pointer);
    return { $ref, size: this.#ref.size, ...this.stub(value, pointer, wanted) };
  }

  stub(value: Json, pointer: ReadPath, wanted: Wanted | undefined): Stub {
    if (typeof value === "string") {
      return { type: "string", length: [...value].length };
    }
    if (isList(value)) {
      return { type: "array", length: value.length, ...this.#elements(value, pointer, wanted) };
    }
    return isJsonObject(value)
      ? { type: "object", ...this.#names(value, pointer, wanted) }
      : { type: typeOf(value) };
  }

  #elements(list: readonly Json[], pointer: ReadPath, wanted: Wanted | undefined) {
    const parts = [...(wanted?.parts ?? [])].filter(([index]) => Object.hasOwn(list, index));
    return parts.length === 0
      ? {}
      : {
          fields: Object.fromEntries(
            parts.map(([index, inner]) => [
              index,
              this.part(list[Number(index)] ?? null, [...pointer, Number(index)], inner),
            ]),
          ),
        };
  }

  #names(map: JsonObject, pointer: ReadPath, wanted: Wanted | undefined) {
    const names = Object.keys(map);
    const isShown = pointer.length < DEPTH_MAX && names.length <= NAMES_MAX;
    const fields: Record<string, Json> = {};
    let isPartial = false;
    for (const name of names) {
      const inner = wanted?.parts.get(name);
      if (inner === undefined && !(isShown && this.#take(name.length + 4, false))) {
        isPartial = true;
      } else {
        fields[name] = this.part(map[name] ?? null, [...pointer, name], inner);
      }
    }
    return { length: names.length, fields, ...(isPartial ? { isPartial } : {}) };
  }

  /** What is asked for may also use what is spare. */
  #take(bytes: number, isWanted: boolean): boolean {
    if (isWanted && this.#wantedBytes >= bytes) {
      this.#wantedBytes -= bytes;
      return true;
    }
    if (this.#spareBytes < bytes) {
      return false;
    }
    this.#spareBytes -= bytes;
    return true;
  }
}

function partLimit(value: Json): number {
  return typeof value === "string" ? TEXT_CHARS : SMALL_BYTES;
}

function typeOf(value: Json): ResultRef["type"] {
  if (value === null) {
    return "null";
  }
  return typeof value === "number" ? "number" : "boolean";
}

/** Characters of about its JSON text; undefined if there are more than `max`, which costs O(max). */
export function boundedSize(value: Json, max: number): number | undefined {
  let left = max;
  const visit = (inner: Json): boolean => {
    if (typeof inner === "string") {
      left -= inner.length + 2;
    } else if (typeof inner !== "object" || inner === null) {
      left -= 8;
    } else {
      left -= 2;
      for (const name in inner) {
        left -= isList(inner) ? 1 : name.length + 4;
        if (left < 0 || !visit((inner as JsonObject)[name] ?? null)) {
          return false;
        }
      }
    }
    return left >= 0;
  };
  return visit(value) ? max - left : undefined;
}

function at(value: Json, path: ReadPath): Json {
  let current: Json | undefined = value;
  for (const step of path) {
    current = (current as JsonObject | undefined)?.[step];
  }
  return current ?? null;
}

/** Names that lead to the value itself where it has no such field. */
const SELF_NAMES = new Set(["data", "result", "context", "body"]);

/**
 * The path in the value as it is stored, for one that templates may write: with the aliases of
 * value.ts, such as `.data`, a task's label left out, or the fields of an http body.
 *
 * @param isPipeline the value is a pipeline's map from label to data.
 * @returns undefined where the path leads nowhere.
 */
export function follow(value: Json, steps: ReadPath, isPipeline = false): ReadPath | undefined {
  let path: ReadPath = [];
  let current: Json = value;
  for (const step of steps) {
    const next = stepsTo(current, step, isPipeline && path.length === 0);
    if (next === undefined) {
      return undefined;
    }
    path = [...path, ...next];
    current = at(current, next);
  }
  return path;
}

function stepsTo(value: Json, step: string | number, isRoot: boolean): ReadPath | undefined {
  if (isList(value)) {
    const index = typeof step === "number" && step < 0 ? value.length + step : step;
    if (Object.hasOwn(value, index)) {
      return [Number(index)];
    }
    return SELF_NAMES.has(String(step)) ? [] : undefined;
  }
  if (!isJsonObject(value)) {
    return SELF_NAMES.has(String(step)) ? [] : undefined;
  }
  return own(value, step) ?? inBody(value, step) ?? aliased(value, String(step), isRoot);
}

function own(value: Json | undefined, step: string | number): ReadPath | undefined {
  return isJsonObject(value) && Object.hasOwn(value, String(step)) ? [String(step)] : undefined;
}

function inBody(value: JsonObject, step: string | number): ReadPath | undefined {
  const http = httpParts(value);
  if (http === undefined) {
    return undefined;
  }
  return step === "body" ? ["data"] : own(http.body, step) && ["data", String(step)];
}

function aliased(value: JsonObject, step: string, isRoot: boolean): ReadPath | undefined {
  if (isRoot) {
    const label = Object.keys(value).findLast((name) => ofTask(value[name], step) !== undefined);
    if (label !== undefined) {
      return [label, ...(ofTask(value[label], step) ?? [])];
    }
  }
  return SELF_NAMES.has(step) || (isRoot && step === "results") ? [] : undefined;
}

function ofTask(task: Json | undefined, step: string): ReadPath | undefined {
  return isJsonObject(task) ? (own(task, step) ?? inBody(task, step)) : undefined;
}
