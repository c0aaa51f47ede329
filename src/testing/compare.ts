/** Compares what is with what was expected: the differences, each with its place. */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { isList } from "../engine/value.ts";
import { evaluateGuard, hasTemplate } from "../template/render.ts";
import type { Scope } from "../template/scope.ts";

export interface Difference {
  /** For example `result.rows[2].name`. */
  readonly path: string;
  /** Sentences for people; values as JSON. */
  readonly expected: string;
  readonly actual: string;
}

/** Of one value; more would only repeat what is wrong. */
const DIFFERENCES_MAX = 20;
const SHOWN_CHARS_MAX = 200;

/**
 * Maps by the keys that are expected, lists item by item, everything else by value. A text with a
 * template is a condition on the value, which it sees as `value`.
 */
export function compare(expected: Json, actual: Json, path: string): readonly Difference[] {
  const found: Difference[] = [];
  collect(found, expected, actual, path);
  return found.slice(0, DIFFERENCES_MAX);
}

function collect(found: Difference[], expected: Json, actual: Json, path: string): void {
  if (typeof expected === "string" && hasTemplate(expected)) {
    collectCondition(found, expected, actual, path);
  } else if (isList(expected) && isList(actual)) {
    collectList(found, expected, actual, path);
  } else if (isJsonObject(expected) && isJsonObject(actual)) {
    collectMap(found, expected, actual, path);
  } else if (expected !== actual) {
    found.push({ path, expected: show(expected), actual: show(actual) });
  }
}

function collectCondition(found: Difference[], guard: string, actual: Json, path: string): void {
  const problem = checkCondition(guard, { value: actual });
  if (problem !== undefined) {
    found.push({ path, expected: problem, actual: show(actual) });
  }
}

/** Undefined if it holds. */
export function checkCondition(
  guard: string,
  names: Readonly<Record<string, Json>>,
): string | undefined {
  const scope: Scope = { names, resolved: new Map(), nowMs: 0 };
  try {
    return evaluateGuard(guard, scope) ? undefined : guard;
  } catch (error) {
    return `${guard}, which cannot be evaluated: ${error instanceof Error ? error.message : error}`;
  }
}

function collectList(
  found: Difference[],
  expected: readonly Json[],
  actual: readonly Json[],
  path: string,
): void {
  if (expected.length !== actual.length) {
    found.push({
      path,
      expected: `${expected.length} items: ${show(expected)}`,
      actual: `${actual.length} items: ${show(actual)}`,
    });
    return;
  }
  for (const [index, item] of expected.entries()) {
    collect(found, item, actual[index] ?? null, `${path}[${index}]`);
  }
}

function collectMap(
  found: Difference[],
  expected: JsonObject,
  actual: JsonObject,
  path: string,
): void {
  for (const [key, value] of Object.entries(expected)) {
    const place = path === "" ? key : `${path}.${key}`;
    if (Object.hasOwn(actual, key)) {
      collect(found, value, actual[key] ?? null, place);
    } else {
      const others = Object.keys(actual);
      const known = others.length === 0 ? "the map is empty" : `there are ${others.join(", ")}`;
      found.push({ path: place, expected: show(value), actual: `nothing: ${known}` });
    }
  }
}

export function show(value: Json): string {
  const text = JSON.stringify(value);
  return text.length > SHOWN_CHARS_MAX ? `${text.slice(0, SHOWN_CHARS_MAX)}…` : text;
}
