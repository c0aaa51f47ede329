/** Fields of a run form, from a playbook's `ui_schema`, and the payload from what was typed. Pure. */
import { readJson } from "./json-text.js";

const TYPES = {
  boolean: "boolean",
  bool: "boolean",
  number: "number",
  float: "number",
  integer: "number",
  int: "number",
  object: "json",
  array: "json",
  list: "json",
  map: "json",
  json: "json",
  text: "text",
  textarea: "text",
  multiline: "text",
};

/** `{name, label, help, type, options, isRequired, isSecret, initial}` of each; none without a schema. */
export function fieldsOf(schema) {
  return (schema?.fields ?? []).flatMap((field) => {
    const name = field.name ?? field.key;
    if (typeof name !== "string" || name === "") {
      return [];
    }
    const initial = field.default ?? field.value;
    return [
      {
        name,
        label: field.label ?? field.title ?? name,
        help: helpOf(field),
        isSecret: field.format === "password",
        type: TYPES[field.type ?? field.kind ?? field.widget] ?? typeOf(initial),
        options: field.options ?? field.enum ?? field.choices ?? [],
        isRequired: field.required === true,
        initial,
      },
    ];
  });
}

/** Without what its label says. */
function helpOf({ label, description, help }) {
  const text = description ?? help ?? "";
  const rest = label && text.startsWith(label) ? text.slice(label.length).trim() : text;
  return rest === "" ? undefined : rest;
}

function typeOf(value) {
  if (typeof value === "object" && value !== null) {
    return "json";
  }
  return typeof value === "boolean" || typeof value === "number" ? typeof value : "string";
}

export function fieldText(value) {
  if (value === undefined || value === null) {
    return "";
  }
  return typeof value === "object" ? JSON.stringify(value, null, 2) : String(value);
}

/** `{text}`, JSON of the fields that were filled in or have changed, or `{error}` that names a field. */
export function payloadOf(answers) {
  const parts = [];
  for (const { field, value } of answers) {
    const { name, label, isRequired, initial } = field;
    if (value === "" && isRequired) {
      return { error: `${label} is needed` };
    }
    const isSame = value === initial || value === fieldText(initial);
    if (isSame && !isRequired) {
      continue;
    }
    const { text, error } = valueText(field, value);
    if (error !== undefined) {
      return { error: `${label}: ${error}` };
    }
    parts.push(`${JSON.stringify(name)}: ${text}`);
  }
  return { text: `{${parts.join(", ")}}` };
}

function valueText({ type }, value) {
  if (type === "json") {
    const { error } = readJson(value);
    return error === undefined ? { text: value.trim() || "null" } : { error };
  }
  if (type === "number" && value !== "") {
    // As it was typed: a long id keeps its digits.
    return /^-?\d+(\.\d+)?([eE][+-]?\d+)?$/.test(value)
      ? { text: value.replace(/^(-?)0+(?=\d)/, "$1") }
      : { error: `${value} is no number` };
  }
  return { text: JSON.stringify(type === "number" ? null : value) };
}
