/** `workbook`: named tools that steps use with `kind: workbook`. They are put in place here. */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { suggestion } from "../template/nearest.ts";
import { Fields } from "./report.ts";

const ENTRY_KEYS = ["name", "tool", "desc", "description"];
const ENTRY_IGNORED_KEYS = ["assert", "sink"];
/** What names the entry, and is not handed on. */
const REFERENCE_KEYS = new Set(["kind", "name", "task", "workbook", "input", "args"]);

export class Workbook {
  readonly #tools = new Map<string, Json>();

  constructor(root: Fields) {
    for (const [index, item] of root.list("workbook").entries()) {
      const path = `${root.at("workbook")}[${index}]`;
      this.#add(Fields.of(root.report, item, path));
    }
  }

  /**
   * The entry's tool with the reference's own fields over it, input key by key; a list when the
   * entry is a pipeline; undefined, and reported, when there is no such entry.
   */
  inline(reference: Fields, name: string | undefined): Json | undefined {
    const tool = name === undefined ? undefined : this.#tools.get(name);
    if (tool === undefined) {
      const names = [...this.#tools.keys()];
      const message =
        name === undefined
          ? 'kind: workbook needs a "name"'
          : `the workbook has no "${name}"${suggestion(name, names)}`;
      reference.report.error("WORKBOOK_UNKNOWN", reference.path, message);
      return undefined;
    }
    return isJsonObject(tool) ? merge(tool, reference) : mergePipeline(tool, reference);
  }

  #add(entry: Fields): void {
    entry.checkKeys(ENTRY_KEYS, ENTRY_IGNORED_KEYS);
    const name = entry.text("name");
    const tool = entry.get("tool");
    if (name === undefined || tool === undefined) {
      entry.report.error(
        "WORKBOOK_INVALID",
        entry.path,
        'a workbook entry needs "name" and "tool"',
      );
      return;
    }
    if (this.#tools.has(name)) {
      entry.error("WORKBOOK_DUPLICATE", "name", `the workbook has two entries named "${name}"`);
    }
    if (isJsonObject(tool) && tool["kind"] === "workbook") {
      entry.error("WORKBOOK_NESTED", "tool", "a workbook entry cannot be a workbook reference");
      return;
    }
    this.#tools.set(name, tool);
  }
}

function merge(tool: JsonObject, reference: Fields): JsonObject {
  const own = Object.entries(reference.map).filter(([key]) => !REFERENCE_KEYS.has(key));
  const args = isJsonObject(tool["args"]) ? { args: null } : {};
  return { ...tool, ...Object.fromEntries(own), ...args, input: mergeInputs(tool, reference) };
}

/** Every task of the pipeline gets the reference's input under its own. */
function mergePipeline(tool: Json, reference: Fields): Json {
  const items: readonly Json[] = Array.isArray(tool) ? tool : [];
  return items.map((item) => mergeItem(item, reference));
}

function mergeItem(item: Json, reference: Fields): Json {
  if (!isJsonObject(item)) {
    return item;
  }
  const [label = "", ...others] = Object.keys(item);
  const isLabelled = others.length === 0 && label !== "kind" && isJsonObject(item[label]);
  return isLabelled
    ? { [label]: mergeItem(item[label] ?? null, reference) }
    : { ...item, input: mergeInputs(item, reference) };
}

function mergeInputs(tool: JsonObject, reference: Fields): JsonObject {
  return {
    ...mapOf(tool["args"]),
    ...mapOf(tool["input"]),
    ...mapOf(reference.get("args")),
    ...mapOf(reference.get("input")),
  };
}

function mapOf(value: Json | undefined): JsonObject {
  return isJsonObject(value) ? value : {};
}
