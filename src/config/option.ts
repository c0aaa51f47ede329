/**
 * One option: what it accepts, what it is when nobody says anything, and what it is for. Its
 * environment variable, its flag, its line in `--help` and its row in README.md all come from here.
 */
import { parseDuration } from "../core/duration.ts";
import { Secret } from "../core/secret.ts";

export interface Option<T> {
  /** Checks the text and gives the value, or says what the text must be. */
  readonly parse: (text: string) => Parsed<T>;
  /** Text of the default, or undefined when there is none; what it is then goes into the description. */
  readonly default: string | undefined;
  /** Without a full stop; for `--help` and README.md. */
  readonly description: string;
  /** Default: derived from the key: `dataDir` → `NOETL_DATA_DIR`. */
  readonly env?: string;
  /** False: environment only. */
  readonly hasFlag: boolean;
  /** Never shown, not even in error messages. */
  readonly isSecret: boolean;
  /** Shown in `--help` as `--flag <placeholder>`. */
  readonly placeholder: string;
}

export type Parsed<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly mustBe: string };

/** Options of one role by key. */
export type OptionTable = Readonly<Record<string, Option<unknown>>>;

export type ValueOf<O> = O extends Option<infer T> ? T : never;

/** What reading a table gives. */
export type Values<Table> = { readonly [Key in keyof Table]: ValueOf<Table[Key]> };

interface Common {
  readonly description: string;
  readonly env?: string;
  readonly hasFlag?: boolean;
}

function option<T>(
  parse: Option<T>["parse"],
  placeholder: string,
  { description, env, hasFlag = true }: Common,
  fallback: string | undefined,
): Option<T> {
  return {
    parse,
    default: fallback,
    description,
    hasFlag,
    isSecret: false,
    placeholder,
    ...(env === undefined ? {} : { env }),
  };
}

const good = <T>(value: T): Parsed<T> => ({ ok: true, value });
const bad = (mustBe: string): Parsed<never> => ({ ok: false, mustBe });

/** Any text but the empty one. */
export function text(common: Common & { readonly default: string }): Option<string> {
  return option((value) => good(value), "text", common, common.default);
}

/** A text that may be absent. */
export function optionalText(
  common: Common & { readonly placeholder?: string },
): Option<string | undefined> {
  return option((value) => good(value), common.placeholder ?? "text", common, undefined);
}

export function integer(
  common: Common & {
    readonly default: number;
    readonly min: number;
    readonly max: number;
    readonly placeholder?: string;
  },
): Option<number> {
  const { min, max } = common;
  const parse = (value: string): Parsed<number> => {
    const number = /^-?\d+$/.test(value) ? Number(value) : Number.NaN;
    return number >= min && number <= max ? good(number) : bad(`an integer from ${min} to ${max}`);
  };
  return option(parse, common.placeholder ?? "n", common, String(common.default));
}

export function port(common: Common & { readonly default: number }): Option<number> {
  return integer({ ...common, min: 0, max: 65_535, placeholder: "port" });
}

/** A port whose default depends on the machine; the description says how. */
export function optionalPort(common: Common): Option<number | undefined> {
  const { parse } = port({ ...common, default: 0 });
  return option<number | undefined>(parse, "port", common, undefined);
}

/** Milliseconds; written as `500ms`, `30s`, `5m`, or a number of seconds. */
export function duration(common: Common & { readonly default: string }): Option<number> {
  const parse = (value: string): Parsed<number> => {
    const ms = parseDuration(value);
    return ms === undefined ? bad("a duration such as 30s or 5m") : good(ms);
  };
  return option(parse, "duration", common, common.default);
}

/** Milliseconds, or undefined for `never`. */
export function optionalDuration(common: Common): Option<number | undefined> {
  const parse = (value: string): Parsed<number | undefined> => {
    const ms = value === "never" ? undefined : parseDuration(value);
    return ms === undefined && value !== "never"
      ? bad("a duration such as 12h or 30d, or never")
      : good(ms);
  };
  return option<number | undefined>(parse, "duration", common, undefined);
}

const UNIT_BYTES: Readonly<Record<string, number>> = { "": 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };

/** Bytes; written as `65536`, `64KiB`, `8MiB`, `1GiB` (`KB`, `MB`, `GB` mean the same). */
export function bytes(common: Common & { readonly default: string }): Option<number> {
  const parse = (value: string): Parsed<number> => {
    const [, digits = "", unit = ""] = /^(\d{1,12})\s*([kmg]?)(?:i?b)?$/i.exec(value) ?? [];
    return digits === ""
      ? bad("a size such as 64KiB, 8MiB or 1GiB")
      : good(Number(digits) * (UNIT_BYTES[unit.toLowerCase()] ?? 1));
  };
  return option(parse, "size", common, common.default);
}

export function choice<const T extends string>(
  common: Common & { readonly of: readonly T[]; readonly default: T },
): Option<T> {
  const parse = (value: string): Parsed<T> => {
    const found = common.of.find((one) => one === value);
    return found === undefined ? bad(`one of ${common.of.join(", ")}`) : good(found);
  };
  return option(parse, common.of.join("|"), common, common.default);
}

/** Written in the environment as `true` or `false`; the flag takes no value. */
export function toggle(common: Common): Option<boolean> {
  const parse = (value: string): Parsed<boolean> => {
    if (["true", "1", "yes", "on"].includes(value)) {
      return good(true);
    }
    return ["false", "0", "no", "off"].includes(value) ? good(false) : bad("true or false");
  };
  return option(parse, "", common, "false");
}

/** Comma-separated; on the command line the flag may also be repeated. */
export function list(
  common: Common & {
    readonly default: string;
    readonly placeholder: string;
    readonly each?: { readonly pattern: RegExp; readonly mustBe: string };
  },
): Option<readonly string[]> {
  const parse = (value: string): Parsed<readonly string[]> => {
    const parts = value
      .split(",")
      .map((part) => part.trim())
      .filter((part) => part !== "");
    const { each } = common;
    return each !== undefined && !parts.every((part) => each.pattern.test(part))
      ? bad(each.mustBe)
      : good(parts);
  };
  return option(parse, common.placeholder, common, common.default);
}

export function url(
  common: Common & { readonly schemes: readonly string[] },
): Option<string | undefined> {
  const parse = (value: string): Parsed<string> => {
    const isFine = value.split(",").every((one) => {
      const parsed = URL.parse(one.trim());
      return parsed !== null && common.schemes.includes(parsed.protocol.slice(0, -1));
    });
    return isFine
      ? good(value)
      : bad(`a URL that begins with ${common.schemes.map((s) => `${s}://`).join(" or ")}`);
  };
  return option<string | undefined>(parse, "url", common, undefined);
}

/** The same option with its value hidden: it is not shown anywhere, not even when it is wrong. */
export function secret(open: Option<string | undefined>): Option<Secret | undefined> {
  const parse = (value: string): Parsed<Secret | undefined> => {
    const parsed = open.parse(value);
    return parsed.ok ? good(new Secret(parsed.value ?? "")) : parsed;
  };
  return { ...open, parse, isSecret: true };
}
