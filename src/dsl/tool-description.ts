/**
 * What a kind of tool takes, gives and how it fails: written once, beside the tool, as data. From it
 * come the checks of the parser and of the workers, `noetl tools`, `GET /api/tools`, the JSON Schemas
 * and the table in src/tools/README.md.
 *
 * The parser gets descriptions through its options; those of the kinds that the server runs itself
 * are in server-tools.ts.
 */
import type { Json, JsonObject } from "../core/json.ts";

/**
 * `scalar` is a text, number or truth value, for names and passwords that YAML may read as numbers.
 * Whole numbers and numbers may be written as texts of digits, as templates give them.
 */
export type ValueType =
  | "any"
  | "boolean"
  | "duration"
  | "integer"
  | "list"
  | "map"
  | "number"
  | "scalar"
  | "text"
  | "time";

export interface OwnField {
  /** What its value may be; one of them. */
  readonly type: ValueType | readonly ValueType[];
  /** What it means, a few words. */
  readonly about: string;
  /** What counts when it is absent. */
  readonly default?: Json;
  /** The only values that there are. */
  readonly choices?: readonly string[];
  /** Least value of a number. */
  readonly minimum?: number;
  /**
   * `code`: program text, in which braces are no templates. `commands`: lines for a shell, where
   * they may be those of another language.
   */
  readonly holds?: "code" | "commands";
  /** Known, and without effect: a warning. */
  readonly isIgnored?: true;
}

/** Another name of a field. */
export interface SameField {
  readonly sameAs: string;
}

export type ToolFields = Readonly<Record<string, OwnField | SameField>>;

/** One of these has to be there, and not empty. */
export interface ToolNeed {
  readonly oneOf: readonly string[];
  /** The same in words, behind `<kind> needs `. */
  readonly text: string;
}

export interface ToolDescription {
  /** Name in playbooks. */
  readonly kind: string;
  /** One line: what it does and gives. */
  readonly summary: string;
  readonly runsOn: "worker" | "server";
  /** Its work outlives the worker and is found again by command and attempt, so each try has a command of its own. */
  readonly isDurable?: boolean;
  /** It runs on GPUs: how many a task of it wants that says nothing of them. */
  readonly gpuDefault?: number;
  /** Its own fields; those of every task are {@link SHARED_FIELDS}. */
  readonly fields: ToolFields;
  readonly needs?: readonly ToolNeed[];
  /** What it gives, by field; or in words where that has no fields of its own. */
  readonly result: Readonly<Record<string, string>> | string;
  /** Kinds of failure beyond {@link SHARED_FAILURES} and what brings them. */
  readonly failures?: Readonly<Record<string, string>>;
  /** A task, as YAML below `tool:`. A test holds it to be free of diagnostics. */
  readonly example: string;
  /** Programs of the system without which it cannot run. */
  readonly programs?: readonly string[];
  /**
   * What is wrong with the fields beyond their types, each a sentence that begins with the field in
   * backquotes where there is one. Pure: it is asked at registration, when nothing in the fields is a
   * template, and before each run; only when needs and types are met.
   */
  readonly check?: (config: JsonObject) => readonly string[];
}

/** By kind. */
export type ToolDescriptions = ReadonlyMap<string, ToolDescription>;

/** Fields of every task that reach its tool. The parser reads the others: src/dsl/task.ts. */
export const SHARED_FIELDS: ToolFields = {
  auth: {
    type: ["text", "list", "map"],
    about: "credential or keychain entry by name, several, or a map with the fields of one",
  },
  timeout: { type: ["duration", "map"], about: "limit of one try; {connect, read}: their sum" },
  timeout_seconds: { sameAs: "timeout" },
};

export const SHARED_FAILURES: Readonly<Record<string, string>> = {
  schema: "fields that are missing or wrong",
  template: "a template that cannot be rendered",
  auth: "a credential that is missing, or refused",
  timeout: "the limit of the try is over",
  cancelled: "the execution was cancelled, or the worker stopped",
  limit: "a result larger than NOETL_RESULT_BYTES",
  internal: "a bug, or something that the worker's machine lacks",
};

/** The field itself where `name` is another name for it; undefined if the tool has no such field. */
export function findField(fields: ToolFields, name: string): OwnField | undefined {
  const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
  return field !== undefined && "sameAs" in field ? findField(fields, field.sameAs) : field;
}

/** Names of fields of which `holds` is so. */
export function fieldsThatHold(
  { fields }: Pick<ToolDescription, "fields">,
  holds: "code" | "commands",
): readonly string[] {
  return Object.keys(fields).filter((name) => findField(fields, name)?.holds === holds);
}
