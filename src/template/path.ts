/**
 * Static paths such as `start.rows[0].id`: looked up in JavaScript, own keys only, so that a
 * template reaches nothing but data, and only data that it mentions is ever converted.
 */
import type { Json } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { TemplateFault } from "./error.ts";
import { lengthMark } from "./filter.ts";
import { findLoaded, loadRef, outlined, outlinedLength } from "./ref.ts";
import type { ResultRef, Scope } from "./scope.ts";
import { Aliased, isResultRef } from "./scope.ts";

export interface Path {
  readonly root: string;
  /** Names and indexes, negative ones counting from the end. */
  readonly steps: readonly (string | number)[];
  /** What is wanted of the value, where that is less than all of it. */
  readonly probe?: Probe;
}

/** `length`: a mark of its length, if that is known. `presence`: true if it is not null. */
export type Probe = "length" | "presence";

/** Deeper data is no data: the recursive conversions stop here. */
const DEPTH_MAX = 200;

/**
 * What the path leads to: {@link Json}, an {@link Aliased}, or undefined where a step finds nothing.
 *
 * @throws RefNeededError if a step leads into a stored result that is not loaded.
 */
export function lookUp(path: Path, scope: Scope): unknown {
  let value: unknown = ownValue(scope.names, path.root);
  for (const step of path.steps) {
    if (value === undefined || value === null) {
      return undefined;
    }
    value = stepInto(value, step, scope);
  }
  return value;
}

/** What the path's probe wants of a value; undefined where the probe has no answer of its own. */
export function probe(path: Path, value: unknown, scope: Scope): unknown {
  const operand = value instanceof Aliased ? value.operand : value;
  if (path.probe === "length") {
    const length = Array.isArray(operand)
      ? operand.length
      : outlinedLength(operand, scope.resolved);
    return length === undefined ? undefined : lengthMark(length);
  }
  return path.probe === "presence" && operand !== undefined && operand !== null ? true : undefined;
}

function stepInto(value: unknown, step: string | number, scope: Scope): unknown {
  if (value instanceof Aliased) {
    return typeof step === "number"
      ? stepInto(value.operand, step, scope)
      : stepIntoAliased(value, step, scope);
  }
  if (isResultRef(value)) {
    return stepIntoRef(value, step, scope);
  }
  if (Array.isArray(value) || typeof value === "string") {
    return typeof step === "number" ? value.at(step) : undefined;
  }
  return isJsonObject(value) ? ownValue(value, String(step)) : undefined;
}

/** Of the loaded value if that is at hand, else of its outline. */
function stepIntoRef(ref: ResultRef, step: string | number, scope: Scope): unknown {
  const loaded = findLoaded(ref, scope.resolved);
  if (loaded === undefined) {
    const known = outlined(ref, step);
    if (known.isKnown) {
      return known.value;
    }
  }
  return stepInto(loaded ?? loadRef(ref, scope.resolved), step, scope);
}

function stepIntoAliased(value: Aliased, step: string, scope: Scope): unknown {
  const aliased = value.isAliasFirst ? value.alias(step) : undefined;
  if (aliased !== undefined) {
    return aliased;
  }
  const own = ownOrStored(value.value, step, scope);
  return own === undefined && !value.isAliasFirst ? value.alias(step) : own;
}

function ownOrStored(value: Json, step: string, scope: Scope): unknown {
  if (isResultRef(value)) {
    return stepIntoRef(value, step, scope);
  }
  return isJsonObject(value) ? ownValue(value, step) : undefined;
}

/** What filters and operators work on. References inside the value stay. */
export function toOperand(value: unknown, scope: Scope): unknown {
  const operand = value instanceof Aliased ? value.operand : value;
  return isResultRef(operand) ? toOperand(loadRef(operand, scope.resolved), scope) : operand;
}

/** As {@link toOperand}, with every reference inside the value replaced by what it stands for. */
export function toDeepOperand(value: unknown, scope: Scope, depth = 0): unknown {
  const operand = toOperand(value, scope);
  if (typeof operand !== "object" || operand === null) {
    return operand;
  }
  if (depth >= DEPTH_MAX) {
    throw new TemplateFault(`a value is nested deeper than ${DEPTH_MAX} levels`);
  }
  return mapChildren(operand, (child) => toDeepOperand(child, scope, depth + 1));
}

/** The same object when no child changed. */
function mapChildren(value: object, map: (child: unknown) => unknown): unknown {
  if (Array.isArray(value)) {
    const items = value.map(map);
    return items.some((item, index) => item !== value[index]) ? items : value;
  }
  const entries = Object.entries(value).map(([key, child]) => [key, map(child), child] as const);
  return entries.some(([, mapped, child]) => mapped !== child)
    ? Object.fromEntries(entries)
    : value;
}

function ownValue(object: Readonly<Record<string, unknown>>, key: string): unknown {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}
