/** The beginning of a large value, for eyes: whoever wants all of it asks for it. */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";

export interface Clipped {
  /** With a text such as `… 99,900 more` in place of what was left out. */
  readonly value: Json;
  readonly isClipped: boolean;
}

/** Longest text that is shown as it is. */
const TEXT_MAX = 4000;

/** About so many characters of JSON; lists, maps and texts that do not fit end early. */
export function clipJson(value: Json, charsMax: number): Clipped {
  const budget = { left: charsMax, isClipped: false };
  return { value: clip(value, budget), isClipped: budget.isClipped };
}

interface Budget {
  left: number;
  isClipped: boolean;
}

function clip(value: Json, budget: Budget): Json {
  if (typeof value === "string") {
    return clipText(value, budget);
  }
  if (Array.isArray(value)) {
    return clipList(value, budget);
  }
  if (isJsonObject(value)) {
    return clipMap(value, budget);
  }
  budget.left -= 8;
  return value;
}

function clipText(text: string, budget: Budget): string {
  const length = Math.min(text.length, TEXT_MAX, Math.max(0, budget.left));
  budget.left -= length + 2;
  if (length === text.length) {
    return text;
  }
  budget.isClipped = true;
  return `${text.slice(0, length)}… ${more(text.length - length)} characters`;
}

function clipList(list: readonly Json[], budget: Budget): Json[] {
  const shown: Json[] = [];
  for (const item of list) {
    if (budget.left <= 0) {
      budget.isClipped = true;
      shown.push(`… ${more(list.length - shown.length)}`);
      break;
    }
    budget.left -= 2;
    shown.push(clip(item, budget));
  }
  return shown;
}

function clipMap(map: JsonObject, budget: Budget): JsonObject {
  const names = Object.keys(map);
  const shown: [string, Json][] = [];
  for (const name of names) {
    if (budget.left <= 0) {
      budget.isClipped = true;
      shown.push(["…", more(names.length - shown.length)]);
      break;
    }
    budget.left -= name.length + 4;
    shown.push([name, clip(map[name] ?? null, budget)]);
  }
  return Object.fromEntries(shown);
}

function more(count: number): string {
  return `${count.toLocaleString("en")} more`;
}
