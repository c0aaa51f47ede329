/** What templates read from. */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";

/** A value that is stored apart: resolves itself when a template looks inside. See ref.ts. */
export interface ResultRef extends JsonObject {
  /** `noetl://execution/<id>/result/<name>/<sha256>`, of a part of that with `#/name/0` behind it. */
  readonly $ref: string;
  /** Bytes of the value, about so many of a part. */
  readonly size: number;
  /** `binary`: no JSON, read as text or base64. */
  readonly type: "object" | "array" | "string" | "number" | "boolean" | "null" | "binary";
  /** Elements of a list, names of a map, characters of a text. */
  readonly length?: number;
  /** Parts by name or index: values, or references to them. */
  readonly fields?: JsonObject;
  /** True: there are more names than `fields` has. */
  readonly isPartial?: boolean;
  /** Beginning of the JSON text, for people. */
  readonly preview?: string;
  /** Item of a loop that it is the value of. */
  readonly index?: number;
}

const SCHEME = "noetl://execution/";

/** Copies of look-alikes that were found to be plain data, by what they are copies of. */
const copies = new WeakMap<ResultRef, Json>();
const plain = new WeakSet<object>();

/**
 * Data of others may have a `$ref` as well, such as a JSON schema: that is none of ours. Data that
 * looks just like one of ours is found out when it is loaded; see {@link LOOK_ALIKE}.
 */
export function isResultRef(value: unknown): value is ResultRef {
  if (!isJsonObject(value)) {
    return false;
  }
  const { $ref: ref, size } = value;
  const isAlike = typeof ref === "string" && ref.startsWith(SCHEME) && typeof size === "number";
  return isAlike && !plain.has(value);
}

/**
 * In place of a value that the execution may not read, because neither it nor one of its family has
 * stored it: what has the reference is data that came from outside and looks like one of ours.
 */
export const LOOK_ALIKE: unique symbol = Symbol("look-alike");

/** The same data, no longer taken for a reference. */
export function asPlainData(ref: ResultRef): Json {
  const known = copies.get(ref);
  if (known !== undefined) {
    return known;
  }
  const copy = { ...ref };
  plain.add(copy);
  copies.set(ref, copy);
  return copy;
}

/** In place of a stored value that may not be loaded where the template is rendered. */
export class UnreadableRef {
  readonly reason: string;

  constructor(reason: string) {
    this.reason = reason;
  }
}

/** Stored values that are at hand, by `$ref`. */
export type Resolved = ReadonlyMap<string, Json | UnreadableRef | typeof LOOK_ALIKE>;

/** Thrown when a template looks into a result that is not in {@link Scope.resolved}: load, repeat. */
export class RefNeededError extends Error {
  override readonly name = "RefNeededError";
  readonly ref: string;

  constructor(ref: string) {
    super(`result ${ref} is not loaded`);
    this.ref = ref;
  }
}

/**
 * A value with names that templates may read from it where it has none of its own, such as `.data`
 * of a step. Alone (`{{ step }}`) it is `value`; inside an expression it is `operand`.
 */
export class Aliased {
  readonly value: Json;
  /** What filters, indexes and loops work on, for example the list of a loop's results. */
  readonly operand: Json;
  readonly alias: (name: string) => unknown;
  /**
   * True: `alias` is asked before the value's own keys (`output`, whose `status` is not the data's,
   * and stored results, which resolve themselves). What it gives may be an {@link Aliased} again.
   */
  readonly isAliasFirst: boolean;

  constructor(
    value: Json,
    alias: (name: string) => unknown,
    operand: Json = value,
    isAliasFirst = false,
  ) {
    this.value = value;
    this.alias = alias;
    this.operand = operand;
    this.isAliasFirst = isAliasFirst;
  }
}

export interface Scope {
  /** Json, {@link Aliased} or undefined by top-level name. Looked up with own keys only. */
  readonly names: Readonly<Record<string, unknown>>;
  readonly resolved: Resolved;
  /** What `now()` gives. */
  readonly nowMs: number;
}
