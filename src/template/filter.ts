/**
 * Filters that are ours: those that MiniJinja lacks or reads differently from Jinja2, and those
 * that playbooks use most, so that a path with filters needs no WebAssembly.
 *
 * A filter never throws from inside MiniJinja (that would break its instance): {@link Machine}
 * catches and reports. Values are JSON, undefined, or a bigint between two filters.
 */
import { parseJson } from "../core/json.ts";
import { TemplateFault } from "./error.ts";
import { formatBraces, formatPercent } from "./format.ts";
import { isTrue, toJson, toSafeInteger, toText } from "./value.ts";

export interface Filter {
  readonly run: FilterRun;
  /** True when it looks at everything inside the value, so references in there must be loaded. */
  readonly isDeep: boolean;
  /** True when a value that is there passes unread: a step stays a step, a reference unloaded. */
  readonly isTransparent: boolean;
  /** True when it wants nothing of the value but its length. */
  readonly isLength: boolean;
}

type FilterRun = (
  value: unknown,
  values: readonly unknown[],
  named: Readonly<Record<string, unknown>>,
) => unknown;

/** Longer texts are refused: characters. */
export const TEXT_LENGTH_MAX = 16 * 1024 * 1024;

const SHALLOW: Readonly<Record<string, FilterRun>> = {
  count: readLength,
  d: useDefault,
  default: useDefault,
  first: (value) => asList(value)[0],
  float: readFloat,
  get: readKey,
  int: readInteger,
  keys: (value) => Object.keys(asMap(value)),
  last: (value) => asList(value).at(-1),
  len: readLength,
  length: readLength,
  list: asList,
  safe: (value) => value,
  values: (value) => Object.values(asMap(value)),
};

const DEEP: Readonly<Record<string, FilterRun>> = {
  b64decode: (value) => decodeBase64(toText(value)),
  b64encode: (value) => new TextEncoder().encode(toText(value)).toBase64(),
  format: (value, values, named) => formatPercent(toText(value), values, named),
  format_map: (value, values, named) => formatBraces(toText(value), values, named),
  fromjson: readJson,
  isoformat: (value) => value,
  items: (value) => Object.entries(asMap(value)),
  join: joinItems,
  lower: (value) => toText(value).toLowerCase(),
  percent: (value, [operand]) => formatPercentOperand(value, operand),
  replace: replaceText,
  split: splitText,
  string: (value) => toText(value),
  text: (value) => toText(value),
  tojson: writeJson,
  trim: trimText,
  upper: (value) => toText(value).toUpperCase(),
  urlencode: (value) => encodeURIComponent(toText(value)),
};

/** By the name that templates use. */
export const FILTERS: ReadonlyMap<string, Filter> = new Map<string, Filter>([
  ...Object.entries(SHALLOW).map(
    ([name, run]) =>
      [
        name,
        {
          run,
          isDeep: false,
          isTransparent: run === useDefault,
          isLength: run === readLength,
        },
      ] as const,
  ),
  ...Object.entries(DEEP).map(
    ([name, run]) => [name, { run, isDeep: true, isTransparent: false, isLength: false }] as const,
  ),
]);

/** Python methods that are filters here: by method, the filter. */
export const METHOD_FILTERS: ReadonlyMap<string, string> = new Map([
  ["format", "format_map"],
  ["get", "get"],
  ["isoformat", "isoformat"],
  ["items", "items"],
  ["keys", "keys"],
  ["values", "values"],
]);

/** The name under which MiniJinja knows one of our filters. */
export function machineName(filter: string): string {
  return `${filter}_`;
}

/** Undefined and null give the fallback; with a true second argument anything false does. */
function useDefault(
  value: unknown,
  values: readonly unknown[],
  named: Readonly<Record<string, unknown>>,
): unknown {
  const fallback = values[0] ?? named["default_value"] ?? (values.length > 0 ? null : "");
  const isBoolean = isTrue(values[1] ?? named["boolean"]);
  const isMissing = value === undefined || value === null || (isBoolean && !isTrue(value));
  return isMissing ? fallback : value;
}

/** Key that no data of playbooks has. */
const LENGTH_MARK = "\u0000length";

/** Stands for a value of which only the length is known. */
export function lengthMark(length: number): object {
  return { [LENGTH_MARK]: length };
}

function readMark(value: unknown): unknown {
  if (value instanceof Map) {
    return value.get(LENGTH_MARK);
  }
  return typeof value === "object" && value !== null && LENGTH_MARK in value
    ? value[LENGTH_MARK]
    : undefined;
}

/** @param value may also be a {@link lengthMark}. */
function readLength(value: unknown): number {
  const mark = readMark(value);
  if (typeof mark === "number") {
    return mark;
  }
  if (typeof value === "string") {
    return [...value].length;
  }
  if (typeof value === "object" && value !== null) {
    return Array.isArray(value) ? value.length : Object.keys(value).length;
  }
  if (value === undefined || value === null) {
    return 0;
  }
  throw new TemplateFault(`a ${typeof value} has no length`);
}

/** Python's `int(value)`, or the default (0) for what is no number. */
function readInteger(
  value: unknown,
  values: readonly unknown[],
  named: Readonly<Record<string, unknown>>,
): unknown {
  const fallback = values[0] ?? named["default"] ?? 0;
  const base = values[1] ?? named["base"] ?? 10;
  switch (typeof value) {
    case "boolean":
      return value ? 1 : 0;
    case "bigint":
      return value;
    case "number":
      return Number.isFinite(value) ? truncate(value) : fallback;
    case "string":
      return parseInteger(value.trim(), Number(base)) ?? fallback;
    default:
      return fallback;
  }
}

const INTEGER = /^[+-]?\d+(?:_\d+)*$/;
const DECIMAL = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;
const DIGITS_MAX = 400;

function parseInteger(text: string, base: number): number | bigint | string | undefined {
  if (text.length > DIGITS_MAX) {
    return undefined;
  }
  if (base !== 10) {
    const value = Number.parseInt(text.replace(/^0[xob]/i, ""), base);
    return Number.isFinite(value) ? value : undefined;
  }
  if (INTEGER.test(text)) {
    return toMachineInteger(BigInt(text.replaceAll("_", "").replace("+", "")));
  }
  const value = DECIMAL.test(text) ? Number(text) : Number.NaN;
  return Number.isFinite(value) ? truncate(value) : undefined;
}

function truncate(value: number): number | bigint | string {
  const whole = Math.trunc(value) + 0;
  return Number.isSafeInteger(whole) ? whole : toMachineInteger(BigInt(whole));
}

const INT64_MAX = 2n ** 63n - 1n;

/** A bigint that MiniJinja can calculate with, or its decimal text beyond 64 bits. */
function toMachineInteger(value: bigint): number | bigint | string {
  const safe = toSafeInteger(value);
  const isInt64 = value <= INT64_MAX && value >= -INT64_MAX;
  return typeof safe === "string" && isInt64 ? value : safe;
}

function readFloat(
  value: unknown,
  values: readonly unknown[],
  named: Readonly<Record<string, unknown>>,
): unknown {
  const fallback = values[0] ?? named["default"] ?? 0;
  if (typeof value === "boolean" || typeof value === "bigint") {
    return Number(value);
  }
  if (typeof value === "string") {
    const text = value.trim();
    const parsed = DECIMAL.test(text) ? Number(text) : Number.NaN;
    return Number.isFinite(parsed) ? parsed : fallback;
  }
  return typeof value === "number" && Number.isFinite(value) ? value : fallback;
}

function readKey(value: unknown, [key, fallback]: readonly unknown[]): unknown {
  const map = asMap(value);
  const name = toText(key);
  return Object.hasOwn(map, name) ? map[name] : fallback;
}

function joinItems(
  value: unknown,
  [separator]: readonly unknown[],
  named: Readonly<Record<string, unknown>>,
): string {
  const attribute = named["attribute"];
  const items = asList(value).map((item) =>
    attribute === undefined ? item : readKey(item, [attribute]),
  );
  return limited(items.map(toText).join(toText(separator ?? named["d"])));
}

/** `replace(old, new, count)`. */
function replaceText(value: unknown, [before, after, count]: readonly unknown[]): string {
  const parts = toText(value).split(toText(before));
  const limit = typeof count === "number" ? count : parts.length;
  const replacement = toText(after);
  if ((parts.length - 1) * replacement.length > TEXT_LENGTH_MAX) {
    throw new TemplateFault(`a text is longer than ${TEXT_LENGTH_MAX} characters`);
  }
  const head = parts.slice(0, limit + 1).join(replacement);
  return limited([head, ...parts.slice(limit + 1)].join(toText(before)));
}

/** Without a separator at white space, as Python does. */
function splitText(value: unknown, [separator, count]: readonly unknown[]): readonly string[] {
  const text = toText(value);
  const isBlank = separator === undefined || separator === null;
  const mark = isBlank ? " " : toText(separator);
  const parts = isBlank ? text.split(/\s+/).filter((part) => part !== "") : text.split(mark);
  const limit = typeof count === "number" && count >= 0 ? count : parts.length;
  return parts.length > limit + 1
    ? [...parts.slice(0, limit), parts.slice(limit).join(mark)]
    : parts;
}

function trimText(value: unknown, [characters]: readonly unknown[]): string {
  const text = toText(value);
  if (characters === undefined || characters === null) {
    return text.trim();
  }
  const set = new Set(toText(characters));
  let start = 0;
  let end = text.length;
  while (start < end && set.has(text[start] ?? "")) {
    start++;
  }
  while (end > start && set.has(text[end - 1] ?? "")) {
    end--;
  }
  return text.slice(start, end);
}

/** Compact JSON, without the escapes for HTML that Jinja2 adds. */
function writeJson(
  value: unknown,
  values: readonly unknown[],
  named: Readonly<Record<string, unknown>>,
): string {
  const indent = values[0] ?? named["indent"];
  const width = typeof indent === "number" ? indent : undefined;
  return limited(JSON.stringify(toJson(value), undefined, width));
}

function readJson(value: unknown): unknown {
  if (typeof value !== "string") {
    return value;
  }
  try {
    return parseJson(value);
  } catch (error) {
    throw new TemplateFault("fromjson was given a text that is no JSON", { cause: error });
  }
}

function decodeBase64(text: string): string {
  try {
    return new TextDecoder().decode(Uint8Array.fromBase64(text.trim()));
  } catch (error) {
    throw new TemplateFault("b64decode was given a text that is no base64", { cause: error });
  }
}

function formatPercentOperand(value: unknown, operand: unknown): string {
  const isMap = typeof operand === "object" && operand !== null && !Array.isArray(operand);
  return isMap
    ? formatPercent(toText(value), [operand], asMap(operand))
    : formatPercent(toText(value), Array.isArray(operand) ? operand : [operand], {});
}

function asMap(value: unknown): Readonly<Record<string, unknown>> {
  if (value === undefined || value === null) {
    return {};
  }
  if (typeof value !== "object" || Array.isArray(value)) {
    throw new TemplateFault(`a ${Array.isArray(value) ? "list" : typeof value} is no map`);
  }
  return Object.fromEntries(Object.entries(value));
}

/** The items of a list, the characters of a text, the keys of a map; none of nothing. */
function asList(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) {
    return value;
  }
  if (typeof value === "string") {
    return [...value];
  }
  return Object.keys(asMap(value));
}

function limited(text: string): string {
  if (text.length > TEXT_LENGTH_MAX) {
    throw new TemplateFault(`a text is longer than ${TEXT_LENGTH_MAX} characters`);
  }
  return text;
}
