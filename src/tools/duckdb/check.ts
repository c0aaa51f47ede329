import type { JsonObject } from "../../core/json.ts";

/** Path of the database file; undefined: in memory. */
export function databaseOf(config: JsonObject): string | undefined {
  const path = config["database"] ?? config["db_path"];
  return typeof path === "string" && path !== "" ? path : undefined;
}
