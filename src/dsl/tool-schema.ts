/** A tool's description for others: as JSON, and as a JSON Schema for editors. */
import type { Json, JsonObject } from "../core/json.ts";
import type { OwnField, ToolDescription, ToolNeed, ValueType } from "./tool-description.ts";
import { findField, SHARED_FAILURES, SHARED_FIELDS } from "./tool-description.ts";

/** Everything that there is to know, in snake_case. */
export function viewTool(description: ToolDescription): JsonObject {
  const { kind, summary, runsOn, needs = [], result, failures = {} } = description;
  const { example, programs = [] } = description;
  return {
    kind,
    summary,
    runs_on: runsOn,
    programs: [...programs],
    needs: needs.map(({ oneOf, text }) => ({ one_of: [...oneOf], text })),
    fields: Object.keys(description.fields).map((name) => viewField(description, name)),
    result: typeof result === "string" ? { "": result } : { ...result },
    failures: { ...SHARED_FAILURES, ...failures },
    example,
    schema: toolSchema(description),
  };
}

function viewField(description: ToolDescription, name: string): JsonObject {
  const written = description.fields[name];
  const field = findField(description.fields, name);
  if (field === undefined) {
    return { name };
  }
  const { about, choices, minimum, holds, isIgnored } = field;
  return {
    name,
    type: [...typesOf(field)],
    about,
    ...(written !== undefined && "sameAs" in written ? { same_as: written.sameAs } : {}),
    ...(field.default === undefined ? {} : { default: field.default }),
    ...(choices === undefined ? {} : { choices: [...choices] }),
    ...(minimum === undefined ? {} : { minimum }),
    ...(holds === undefined ? {} : { holds }),
    ...(isIgnored === undefined ? {} : { ignored: true }),
  };
}

/** Of a task of that kind as it is written: any value may be a template. */
export function toolSchema(description: ToolDescription): JsonObject {
  const { kind, summary, fields, needs = [] } = description;
  const all = { ...SHARED_FIELDS, ...fields };
  const properties = Object.keys(all).flatMap((name): [string, JsonObject][] => {
    const field = findField(all, name);
    return field === undefined ? [] : [[name, fieldSchema(field)]];
  });
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: kind,
    description: summary,
    type: "object",
    properties: { kind: { const: kind }, ...Object.fromEntries(properties) },
    required: ["kind"],
    ...(needs.length === 0 ? {} : { allOf: needs.map(needSchema) }),
  };
}

function needSchema({ oneOf }: ToolNeed): JsonObject {
  return { anyOf: oneOf.map((name) => ({ required: [name] })) };
}

const TEMPLATE: JsonObject = { type: "string", pattern: "\\{[{%]" };
const DURATION = "^\\s*(\\d+(\\.\\d+)?\\s*(ms|s|m|h|d)?\\s*)+$";

const TYPES: Readonly<Record<ValueType, readonly JsonObject[]>> = {
  any: [],
  boolean: [{ type: "boolean" }],
  duration: [
    { type: "number", minimum: 0 },
    { type: "string", pattern: DURATION },
  ],
  integer: [{ type: "integer" }, { type: "string", pattern: "^\\s*-?\\d+\\s*$" }],
  list: [{ type: "array" }],
  map: [{ type: "object" }],
  number: [{ type: "number" }, { type: "string", pattern: "^\\s*-?\\d+(\\.\\d+)?\\s*$" }],
  scalar: [{ type: ["string", "number", "boolean"] }],
  text: [{ type: "string" }],
  time: [{ type: "number", minimum: 0 }, { type: "string" }],
};

function fieldSchema(field: OwnField): JsonObject {
  const about = { description: field.about, ...defaultOf(field) };
  const types = typesOf(field);
  if (types.includes("any")) {
    return about;
  }
  if (field.choices !== undefined) {
    return { ...about, anyOf: [{ enum: [...field.choices] }, TEMPLATE] };
  }
  const least = field.minimum === undefined ? {} : { minimum: field.minimum };
  const schemas = types.flatMap((type) => TYPES[type]);
  const all = [
    ...schemas.map((schema) => (isNumeric(schema) ? { ...schema, ...least } : schema)),
    ...(schemas.some(takesTemplate) ? [] : [TEMPLATE]),
    { type: "null" },
  ];
  return { ...about, anyOf: all };
}

/** Not those defaults that are sentences. */
function defaultOf(field: OwnField): JsonObject {
  const isValue =
    field.default !== undefined && (typeof field.default !== "string" || isWord(field.default));
  return isValue && field.default !== undefined ? { default: field.default } : {};
}

function isWord(text: string): boolean {
  return !text.includes(" ");
}

function isNumeric({ type }: JsonObject): boolean {
  return type === "integer" || type === "number";
}

/** Any text will do, so a template too. */
function takesTemplate(schema: JsonObject): boolean {
  const { type, pattern }: Readonly<Record<string, Json | undefined>> = schema;
  return pattern === undefined && [type].flat().includes("string");
}

function typesOf({ type }: OwnField): readonly ValueType[] {
  return typeof type === "string" ? [type] : type;
}
