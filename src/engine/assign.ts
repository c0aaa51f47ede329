/** Where `set` writes: `ctx.a.b`, `iter.a`, `step.a` or a bare name. */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";

export interface Target {
  readonly space: "ctx" | "iter" | "step" | "bare";
  /** At least one name; more of them reach into a map. */
  readonly names: readonly [string, ...string[]];
}

const SPACES = new Set(["ctx", "iter", "step"]);

export function parseTarget(text: string): Target {
  const [first = "", ...rest] = text.split(".");
  const [second, ...deeper] = rest;
  return SPACES.has(first) && second !== undefined
    ? { space: first as Target["space"], names: [second, ...deeper] }
    : { space: "bare", names: [first, ...rest] };
}

/** A copy of `map` in which the value stands at the place; maps on the way are made or kept. */
export function assign(
  map: JsonObject,
  names: readonly [string, ...string[]],
  value: Json,
): JsonObject {
  const [name, next, ...deeper] = names;
  if (next === undefined) {
    return { ...map, [name]: value };
  }
  const inner = Object.hasOwn(map, name) ? map[name] : undefined;
  return { ...map, [name]: assign(isJsonObject(inner) ? inner : {}, [next, ...deeper], value) };
}

/** `base` with `over` merged in, deep for maps; `over` wins everywhere else. */
export function mergeDeep(base: JsonObject, over: JsonObject): JsonObject {
  const entries = Object.entries(over);
  if (entries.length === 0) {
    return base;
  }
  const merged = entries.map(([key, value]): [string, Json] => {
    const old = Object.hasOwn(base, key) ? base[key] : undefined;
    const isDeep = isJsonObject(old) && isJsonObject(value);
    return [key, isDeep ? mergeDeep(old, value) : value];
  });
  return { ...base, ...Object.fromEntries(merged) };
}
