/** A misspelt key would make a test that checks nothing: in test files unknown ones are errors. */
import type { Json, JsonObject } from "../core/json.ts";
import type { Fields } from "../dsl/report.ts";
import { suggestion } from "../template/nearest.ts";

export function refuseOthers(fields: Fields, known: readonly string[]): void {
  for (const key of Object.keys(fields.map).filter((name) => !known.includes(name))) {
    const near = suggestion(key, known);
    const hint = near === "" ? `; known: ${known.join(", ")}` : near;
    fields.error("FIELD_UNKNOWN", key, `unknown field "${key}"${hint}`);
  }
}

/** Values as texts; what is no text as JSON. */
export function textMap(map: JsonObject): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(map).map(([key, value]) => [key, asText(value)]));
}

function asText(value: Json): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}
