/** What can be said of a transfer from its fields alone. */
import type { Json, JsonObject } from "../../core/json.ts";
import { isJsonObject } from "../../core/json.ts";
import type { Mode } from "./endpoint.ts";
import { MODES, textAt } from "./endpoint.ts";
import { SOURCES, TARGETS } from "./ends.ts";

/** What is wrong with a transfer, ends included. */
export function checkTransfer(config: JsonObject): readonly string[] {
  const { source, target } = config;
  const mode = modeOf(config);
  const from = kindOf(source);
  const to = kindOf(target);
  return [
    ...endProblems("source", from, Object.keys(SOURCES)),
    ...endProblems("target", to, Object.keys(TARGETS)),
    ...(SOURCES[from]?.check(mapOf(source)) ?? []),
    ...(TARGETS[to]?.check(mapOf(target), mode ?? "append") ?? []),
    ...(mode === undefined ? [`\`mode\` must be one of ${MODES.join(", ")}`] : []),
    ...mappingProblems(config),
  ];
}

function endProblems(name: string, kind: string, known: readonly string[]): readonly string[] {
  const kinds = known.join(", ");
  if (kind === "") {
    return [`\`${name}.type\` is missing: one of ${kinds}`];
  }
  return known.includes(kind) ? [] : [`\`${name}.type\` is "${kind}": it must be one of ${kinds}`];
}

function mappingProblems(config: JsonObject): readonly string[] {
  const mapping = mapOf(config["target"])["mapping"] ?? config["mapping"] ?? {};
  const isFine =
    isJsonObject(mapping) && Object.values(mapping).every((name) => typeof name === "string");
  return isFine ? [] : ["`target.mapping` must map columns of the target to names of the source"];
}

export function mapOf(value: Json | undefined): JsonObject {
  return isJsonObject(value) ? value : {};
}

const OTHER_NAMES: Readonly<Record<string, string>> = { postgresql: "postgres", pg: "postgres" };

/** `type`, under its older names too. */
export function kindOf(end: Json | undefined): string {
  const config = mapOf(end);
  const name = textAt(config, "type") ?? textAt(config, "kind") ?? textAt(config, "tool") ?? "";
  return OTHER_NAMES[name.toLowerCase()] ?? name.toLowerCase();
}

export function modeOf(config: JsonObject): Mode | undefined {
  const mode = config["mode"] ?? mapOf(config["target"])["mode"] ?? "append";
  return MODES.find((each) => each === mode);
}
