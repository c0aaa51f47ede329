/** What templates read from. */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";

/** A value that is stored apart: resolves itself when a template looks inside. */
export interface ResultRef extends JsonObject {
  /** `noetl://execution/<id>/result/<name>/<sha256>`. */
  readonly $ref: string;
  /** Bytes of the JSON text. */
  readonly size: number;
  readonly type: "object" | "array" | "string" | "number" | "boolean" | "null";
}

export function isResultRef(value: unknown): value is ResultRef {
  return isJsonObject(value) && typeof value["$ref"] === "string";
}

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
  /** Stored results that are at hand, by `$ref`. */
  readonly resolved: ReadonlyMap<string, Json>;
  /** What `now()` gives. */
  readonly nowMs: number;
}
