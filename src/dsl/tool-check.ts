/**
 * Whether a task's fields are what its tool takes. The parser asks it of what a document says, as far
 * as that is no template; a worker asks the same of what templates have become.
 */
import { parseDuration } from "../core/duration.ts";
import { parseInstant } from "../core/instant.ts";
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { isTemplate } from "../template/lexer.ts";
import { suggestion } from "../template/nearest.ts";
import type { OwnField, ToolDescription, ToolNeed, ValueType } from "./tool-description.ts";
import { findField, SHARED_FIELDS } from "./tool-description.ts";

export interface ToolProblem {
  readonly code:
    | "TOOL_FIELD_MISSING"
    | "TOOL_FIELD_INVALID"
    | "TOOL_INVALID"
    | "DURATION_INVALID"
    | "TIME_INVALID";
  /** Absent: it is about the whole task. */
  readonly field?: string;
  /** A sentence. */
  readonly message: string;
}

/** Of rendered fields: no template is left. Empty: the tool may run. */
export function checkRendered(
  description: ToolDescription,
  config: JsonObject,
): readonly ToolProblem[] {
  return problemsOf(description, config, undefined);
}

/**
 * The same fields in the types that the tool wants: `"false"` is a truth value and a number a text,
 * because templates and YAML do not always give what was meant. For fields that are in order.
 */
export function withTypes(
  { fields }: Pick<ToolDescription, "fields">,
  config: JsonObject,
): JsonObject {
  const changed = Object.entries(config).flatMap(([name, value]): [string, Json][] => {
    const field = findField(fields, name);
    const wanted = field === undefined ? value : inType(typesOf(field), value);
    return wanted === value ? [] : [[name, wanted]];
  });
  return changed.length === 0 ? config : { ...config, ...Object.fromEntries(changed) };
}

function inType(types: readonly ValueType[], value: Json): Json {
  if (types.some((type) => TYPES[type].isExact?.(value) ?? TYPES[type].holds(value))) {
    return value;
  }
  if (types.includes("boolean")) {
    return flagOf(value) ?? value;
  }
  return types.includes("text") && typeof value !== "object" ? String(value) : value;
}

/** Of fields as they are written: what a template will give is not judged. */
export function checkWritten(
  description: ToolDescription,
  config: JsonObject,
): readonly ToolProblem[] {
  return problemsOf(description, config, (value) => typeof value === "string" && isTemplate(value));
}

/** @param isOpen whether a value is not known yet; undefined: all are known, however large. */
function problemsOf(
  description: ToolDescription,
  config: JsonObject,
  isOpen: ((value: Json) => boolean) | undefined,
): readonly ToolProblem[] {
  const { needs = [], check } = description;
  const problems = [
    ...needs.flatMap((need) => checkNeed(need, description.kind, config)),
    ...Object.entries(config).flatMap(([name, value]) =>
      isOpen?.(value) === true ? [] : checkField(description, name, value),
    ),
  ];
  if (problems.length > 0 || check === undefined) {
    return problems;
  }
  if (isOpen !== undefined && hasOpen(description, config, isOpen)) {
    return [];
  }
  return check(config).map((message) => ({
    code: "TOOL_INVALID",
    message,
    ...fieldNamed(message, config),
  }));
}

function checkNeed(
  { oneOf, text }: ToolNeed,
  kind: string,
  config: JsonObject,
): readonly ToolProblem[] {
  return oneOf.some((name) => isGiven(config[name]))
    ? []
    : [{ code: "TOOL_FIELD_MISSING", message: `${kind} needs ${text}` }];
}

/** Something that is not null, no blank text and no list of nothing but those. */
function isGiven(value: Json | undefined): boolean {
  if (Array.isArray(value)) {
    return (value as readonly Json[]).some(isGiven);
  }
  return value !== undefined && value !== null && !(typeof value === "string" && !value.trim());
}

/** Null and empty text count as absent. */
function checkField(
  { fields }: ToolDescription,
  name: string,
  value: Json,
): readonly ToolProblem[] {
  const field = findField(fields, name) ?? findField(SHARED_FIELDS, name);
  if (field === undefined || field.isIgnored === true || value === null || value === "") {
    return [];
  }
  const types = typesOf(field);
  if (!types.some((type) => TYPES[type].holds(value))) {
    return [{ code: codeOf(types), field: name, message: mustBe(name, field, value) }];
  }
  const { choices, minimum } = field;
  if (choices !== undefined && typeof value === "string" && !choices.includes(value)) {
    const message = `\`${name}\` must be one of ${choices.join(", ")}${suggestion(value, choices)}`;
    return [{ code: "TOOL_FIELD_INVALID", field: name, message }];
  }
  return minimum !== undefined && typeof value !== "object" && Number(value) < minimum
    ? [{ code: "TOOL_FIELD_INVALID", field: name, message: mustBe(name, field, value) }]
    : [];
}

function typesOf({ type }: OwnField): readonly ValueType[] {
  return typeof type === "string" ? [type] : type;
}

function codeOf(types: readonly ValueType[]): ToolProblem["code"] {
  if (types.includes("time")) {
    return "TIME_INVALID";
  }
  return types.includes("duration") ? "DURATION_INVALID" : "TOOL_FIELD_INVALID";
}

const VALUE_LENGTH_MAX = 60;

function mustBe(name: string, field: OwnField, value: Json): string {
  const least = field.minimum === undefined ? "" : ` from ${field.minimum} on`;
  const text = JSON.stringify(value);
  const shown = text.length > VALUE_LENGTH_MAX ? `${text.slice(0, VALUE_LENGTH_MAX)}…` : text;
  return `\`${name}\` must be ${typeText(field)}${least}, not ${shown}`;
}

/** In words: `a text or a list`. */
export function typeText(field: OwnField): string {
  const names = typesOf(field).map((type) => TYPES[type].text);
  const last = names.at(-1) ?? "";
  return names.length > 1 ? `${names.slice(0, -1).join(", ")} or ${last}` : last;
}

interface TypeCheck {
  readonly text: string;
  readonly holds: (value: Json) => boolean;
  /** Whether the tool can take it as it is; absent: whatever holds. */
  readonly isExact?: (value: Json) => boolean;
}

const TYPES: Readonly<Record<ValueType, TypeCheck>> = {
  any: { text: "any value", holds: () => true },
  boolean: {
    text: "true or false",
    holds: (value) => flagOf(value) !== undefined,
    isExact: (value) => typeof value === "boolean",
  },
  duration: {
    text: "a duration: seconds, or 30s, 5m, 2h",
    holds: (value) => parseDuration(value) !== undefined,
  },
  integer: { text: "a whole number", holds: (value) => Number.isInteger(numberOf(value)) },
  list: { text: "a list", holds: Array.isArray },
  map: { text: "a map", holds: isJsonObject },
  number: { text: "a number", holds: (value) => Number.isFinite(numberOf(value)) },
  scalar: { text: "a text or number", holds: (value) => typeof value !== "object" },
  text: {
    text: "a text",
    holds: (value) => typeof value !== "object",
    isExact: (value) => typeof value === "string",
  },
  time: {
    text: "a time such as 2026-01-31T08:00:00Z, or seconds since 1970",
    holds: (value) => parseInstant(value) !== undefined,
  },
};

/** True and false, and the texts that look the same: templates and quoted YAML give those. */
function flagOf(value: Json): boolean | undefined {
  switch (typeof value === "string" ? value.trim().toLowerCase() : value) {
    case true:
    case "true":
      return true;
    case false:
    case "false":
      return false;
    default:
      return undefined;
  }
}

/** Not a number: NaN. */
function numberOf(value: Json): number {
  const isDigits = typeof value === "string" && value.trim() !== "";
  return typeof value === "number" || isDigits ? Number(value) : Number.NaN;
}

/** Whether a check would see a value that is not known yet; a program is one, whatever braces it has. */
function hasOpen(
  { fields }: ToolDescription,
  config: JsonObject,
  isOpen: (value: Json) => boolean,
): boolean {
  const isOpenInside = (value: Json): boolean => {
    if (typeof value !== "object" || value === null) {
      return isOpen(value);
    }
    return Object.values(value).some((inner) => isOpenInside(inner as Json));
  };
  const isProgram = (name: string, value: Json): boolean =>
    typeof value === "string" && value.includes("\n") && findField(fields, name)?.holds === "code";
  return Object.entries(config).some(
    ([name, value]) => !isProgram(name, value) && isOpenInside(value),
  );
}

/** The field that a sentence begins with, where the task has it. */
function fieldNamed(message: string, config: JsonObject): { readonly field?: string } {
  const name = /^`([a-z_0-9]+)[`.]/.exec(message)?.[1];
  return name !== undefined && Object.hasOwn(config, name) ? { field: name } : {};
}
