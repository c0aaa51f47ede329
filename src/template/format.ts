/** Python's two ways to format: `"%s: %05.2f" % (…)` and `"{}: {name}".format(…)`. */
import { TemplateFault } from "./error.ts";
import { toText } from "./value.ts";

const WIDTH_MAX = 1000;
const PERCENT = /%(?:\((\w+)\))?([-+ 0#]*)(\d+)?(?:\.(\d+))?([a-zA-Z%])/g;
const BRACES = /\{\{|\}\}|\{(\w*)(?::([<>^]?)([+0]*)(\d+)?(,)?(?:\.(\d+))?([a-zA-Z%])?)?\}/g;

/** @throws TemplateFault on a missing value or an unknown conversion. */
export function formatPercent(
  text: string,
  values: readonly unknown[],
  named: Readonly<Record<string, unknown>>,
): string {
  let index = 0;
  return text.replace(PERCENT, (match, name, flags, width, precision, type) => {
    if (type === "%") {
      return "%";
    }
    const value = name === undefined ? nextValue(values, index++, match) : named[name];
    return pad(convert(value, type, precision, flags), width, flags, match);
  });
}

/** @throws TemplateFault on a missing value or an unknown conversion. */
export function formatBraces(
  text: string,
  values: readonly unknown[],
  named: Readonly<Record<string, unknown>>,
): string {
  let index = 0;
  return text.replace(BRACES, (match, name, align, flags = "", width, comma, precision, type) => {
    if (name === undefined) {
      return match.slice(1);
    }
    const value = pickValue(name, values, named, () => index++, match);
    const converted = convert(
      value,
      type ?? (precision === undefined ? "s" : "f"),
      precision,
      flags,
    );
    const grouped =
      comma === undefined ? converted : converted.replace(/\B(?=(\d{3})+(?!\d))/g, ",");
    const isLeft = align === "<" || (align !== ">" && typeof value === "string");
    return pad(grouped, width, isLeft ? `-${flags}` : flags, match);
  });
}

function pickValue(
  name: string,
  values: readonly unknown[],
  named: Readonly<Record<string, unknown>>,
  nextIndex: () => number,
  match: string,
): unknown {
  if (name === "") {
    return nextValue(values, nextIndex(), match);
  }
  return /^\d+$/.test(name) ? nextValue(values, Number(name), match) : named[name];
}

function nextValue(values: readonly unknown[], index: number, match: string): unknown {
  if (index >= values.length) {
    throw new TemplateFault(`there is no value for "${match}"`);
  }
  return values[index];
}

function convert(
  value: unknown,
  type: string,
  precision: string | undefined,
  flags: string,
): string {
  switch (type) {
    case "s":
      return precision === undefined ? toText(value) : toText(value).slice(0, Number(precision));
    case "r":
      return typeof value === "string" ? `'${value}'` : toText(value);
    case "d":
    case "i":
      return signed(String(Math.trunc(readNumber(value))), flags);
    case "f":
    case "F":
      return signed(readNumber(value).toFixed(Math.min(Number(precision ?? 6), 100)), flags);
    case "e":
      return signed(readNumber(value).toExponential(Math.min(Number(precision ?? 6), 100)), flags);
    case "x":
      return Math.trunc(readNumber(value)).toString(16);
    case "o":
      return Math.trunc(readNumber(value)).toString(8);
    case "%":
      return `${(readNumber(value) * 100).toFixed(Math.min(Number(precision ?? 6), 100))}%`;
    default:
      throw new TemplateFault(`unknown conversion "${type}"`);
  }
}

function readNumber(value: unknown): number {
  const number = typeof value === "string" && value.trim() === "" ? Number.NaN : Number(value);
  if (value === null || value === undefined || Number.isNaN(number)) {
    throw new TemplateFault(`${JSON.stringify(toText(value))} is no number`);
  }
  return number;
}

function signed(text: string, flags: string): string {
  return flags.includes("+") && !text.startsWith("-") ? `+${text}` : text;
}

function pad(text: string, width: string | undefined, flags: string, match: string): string {
  const size = Number(width ?? 0);
  if (size > WIDTH_MAX) {
    throw new TemplateFault(`"${match}" is wider than ${WIDTH_MAX} characters`);
  }
  if (flags.includes("-")) {
    return text.padEnd(size);
  }
  const sign = flags.includes("0") ? (/^[+-]/.exec(text)?.[0] ?? "") : "";
  return flags.includes("0")
    ? sign + text.slice(sign.length).padStart(size - sign.length, "0")
    : text.padStart(size);
}
