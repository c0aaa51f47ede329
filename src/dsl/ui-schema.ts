/**
 * What a form asks before a playbook is started: its workload's keys with their types and defaults, and
 * as labels the comments that stand above or behind them.
 */
import type { Pair, Scalar, YAMLMap } from "yaml";
import { isMap, isScalar, isSeq, parseDocument } from "yaml";
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { readYaml } from "./yaml.ts";

export interface UiSchema {
  readonly title: string;
  /** The playbook's description; "" if it has none. */
  readonly description: string;
  /** False: it asks not to be shown to users. */
  readonly isExposed: boolean;
  /** In the order of the document. */
  readonly fields: readonly UiField[];
}

export interface UiField {
  /** Key of the workload, or of the map that it is in. */
  readonly name: string;
  readonly type: "string" | "integer" | "number" | "boolean" | "array" | "object";
  readonly default: Json;
  /** First line of its comment, else its name in words. */
  readonly label: string;
  /** The whole comment; "" if there is none. */
  readonly description: string;
  /** True for what should not be shown while it is typed. */
  readonly isSecret: boolean;
  /** Of a map that has keys. */
  readonly fields?: readonly UiField[];
}

const DEPTH_MAX = 4;
const SECRET = /pass(word|wd)?$|secret|token|api_?key|private_?key/i;

/** @param text of a playbook without errors. */
export function readUiSchema(text: string): UiSchema {
  const { value } = readYaml(text);
  const root = isJsonObject(value) ? value : {};
  const metadata = isJsonObject(root["metadata"]) ? root["metadata"] : {};
  const workload = isJsonObject(root["workload"]) ? root["workload"] : {};
  return {
    title: textOf(metadata["name"]) || textOf(metadata["path"]),
    description: textOf(metadata["description"]).trim(),
    isExposed: metadata["exposed_in_ui"] !== false,
    fields: fieldsOf(workload, commentsOf(text), 1),
  };
}

function textOf(value: Json | undefined): string {
  return typeof value === "string" ? value : "";
}

function fieldsOf(map: JsonObject, node: YAMLMap | undefined, depth: number): readonly UiField[] {
  return Object.entries(map).map(([name, value]) => {
    const pair = pairOf(node, name);
    const description = pair === undefined ? "" : commentOf(pair, node);
    const inner = pair !== undefined && isMap(pair.value) ? pair.value : undefined;
    const hasFields = isJsonObject(value) && Object.keys(value).length > 0 && depth < DEPTH_MAX;
    return {
      name,
      type: typeOf(value),
      default: value,
      label: description.split("\n")[0] || wordsOf(name),
      description,
      isSecret: SECRET.test(name),
      ...(hasFields ? { fields: fieldsOf(value, inner, depth + 1) } : {}),
    };
  });
}

function typeOf(value: Json): UiField["type"] {
  switch (typeof value) {
    case "boolean":
      return "boolean";
    case "number":
      return Number.isInteger(value) ? "integer" : "number";
    case "string":
      return "string";
    default:
      return typeOfTree(value);
  }
}

/** A default of null may become anything: text is the least wrong. */
function typeOfTree(value: Json): UiField["type"] {
  if (value === null) {
    return "string";
  }
  return isJsonObject(value) ? "object" : "array";
}

/** `batch_size` → `Batch size`. */
function wordsOf(name: string): string {
  const words = name.replaceAll(/[_-]+/g, " ").trim();
  return words === "" ? name : words.charAt(0).toUpperCase() + words.slice(1);
}

/** The workload with its comments. The document has been read before: it is small and well-formed. */
function commentsOf(text: string): YAMLMap | undefined {
  const { contents } = parseDocument(text, { uniqueKeys: false, logLevel: "silent" });
  const value = isMap(contents) ? pairOf(contents, "workload")?.value : undefined;
  return isMap(value) ? value : undefined;
}

function pairOf(map: YAMLMap | undefined, name: string): Pair | undefined {
  return map?.items.find(({ key }) => isScalar(key) && String(key.value) === name);
}

/** Above the key, or behind its value. */
function commentOf({ key, value }: Pair, map: YAMLMap | undefined): string {
  const isFirst = map?.items[0]?.key === key;
  const above = isScalar(key) ? key.commentBefore : undefined;
  const first = isFirst ? map?.commentBefore : undefined;
  const behind = isScalar(value) || isMap(value) || isSeq(value) ? lineComment(value) : undefined;
  return (above ?? first ?? behind ?? "")
    .split("\n")
    .map((line) => line.trim())
    .join("\n")
    .trim();
}

/** Of a list or map it would be a comment below it. */
function lineComment(value: Scalar | { readonly comment?: string | null | undefined }) {
  return isScalar(value) ? value.comment : undefined;
}
