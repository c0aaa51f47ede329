/** Reads a table of options from flags and the environment. All faults are reported together. */
import { AppError } from "../core/errors.ts";
import type { Option, OptionTable, Values } from "./option.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/** As the command line library gives them: by key; repeated flags as a list. */
export type Flags = Readonly<Record<string, unknown>>;

/** The process's environment; nothing else reads it. */
export function processEnvironment(): Environment {
  return process.env;
}

/** One thing that is wrong, by the name under which the user has written it. */
export interface Fault {
  readonly name: string;
  readonly message: string;
}

/**
 * The value of every option: from its flag, else its environment variable, else its default.
 *
 * @param check finds what is wrong between options; one that is itself faulty is undefined here.
 * @throws AppError `CONFIGURATION_INVALID` naming every fault.
 */
export function readOptions<Table extends OptionTable>(
  table: Table,
  sources: { readonly flags: Flags; readonly env: Environment },
  check: (values: Values<Table>) => readonly Fault[] = () => [],
): Values<Table> {
  const faults: Fault[] = [];
  const values: Record<string, unknown> = {};
  for (const [key, option] of Object.entries(table)) {
    const given = sourceOf(key, option, sources);
    values[key] = given === undefined ? undefined : parseGiven(option, given, faults);
  }
  // Every key of the table is there with the type that its option gives.
  const typed = Object.freeze(values) as Values<Table>;
  faults.push(...check(typed));
  if (faults.length > 0) {
    throw configurationError(faults);
  }
  return typed;
}

interface Given {
  readonly name: string;
  readonly text: string;
}

function sourceOf(
  key: string,
  option: Option<unknown>,
  { flags, env }: { readonly flags: Flags; readonly env: Environment },
): Given | undefined {
  const flag = flags[key];
  if (option.hasFlag && flag !== undefined) {
    return { name: flagName(key), text: Array.isArray(flag) ? flag.join(",") : String(flag) };
  }
  const name = envName(key, option);
  const variable = env[name];
  if (variable !== undefined && variable !== "") {
    return { name, text: variable };
  }
  return option.default === undefined ? undefined : { name, text: option.default };
}

function parseGiven(option: Option<unknown>, { name, text }: Given, faults: Fault[]): unknown {
  const parsed = option.parse(text);
  if (parsed.ok) {
    return parsed.value;
  }
  const shown = option.isSecret ? "" : `, not ${JSON.stringify(text)}`;
  faults.push({ name, message: `must be ${parsed.mustBe}${shown}` });
  return undefined;
}

export function configurationError(faults: readonly Fault[]): AppError {
  const lines = faults.map(({ name, message }) => `  ${name}: ${message}`);
  return new AppError(
    "invalid",
    "CONFIGURATION_INVALID",
    `The configuration has ${faults.length === 1 ? "a fault" : `${faults.length} faults`}:\n${lines.join("\n")}`,
  );
}

/** `dataDir` → `--data-dir`. */
export function flagName(key: string): string {
  return `--${words(key).join("-")}`;
}

/** `dataDir` → `NOETL_DATA_DIR`, unless the option has a name of its own. */
export function envName(key: string, option: Option<unknown>): string {
  return option.env ?? `NOETL_${words(key).join("_").toUpperCase()}`;
}

function words(key: string): readonly string[] {
  return key.split(/(?=[A-Z])/).map((word) => word.toLowerCase());
}

/** Names of the variables that hold secrets. */
export function secretNames(table: OptionTable): readonly string[] {
  return Object.entries(table)
    .filter(([, option]) => option.isSecret)
    .map(([key, option]) => envName(key, option));
}
