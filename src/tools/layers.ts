/** A task's own fields over those of the credentials that it names. */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { ToolContext } from "./tool.ts";

/** Maps in which a field is looked up: the first that has it wins. */
export type Layers = readonly JsonObject[];

/**
 * What `auth` or `credential` gives: a credential by name, several by a list of names, or a map
 * that names one or has the fields itself.
 *
 * @throws CredentialError if a credential cannot be had.
 */
export async function loadAuth(
  auth: Json | undefined,
  context: Pick<ToolContext, "credential">,
): Promise<Layers> {
  if (typeof auth === "string" && auth !== "") {
    return [(await context.credential(auth)).data];
  }
  if (Array.isArray(auth)) {
    return (await Promise.all(auth.map((item) => loadAuth(item, context)))).flat();
  }
  if (!isJsonObject(auth)) {
    return [];
  }
  const named = await loadAuth(auth["credential"] ?? auth["name"], context);
  const nested = await Promise.all(
    Object.values(auth)
      .filter((value) => isJsonObject(value) && value["credential"] !== undefined)
      .map((value) => loadAuth(value, context)),
  );
  return [auth, ...named, ...nested.flat()];
}

/** The task's fields, then its `connection`, then its credentials. */
export async function loadLayers(
  config: JsonObject,
  context: Pick<ToolContext, "credential">,
): Promise<Layers> {
  const { connection } = config;
  return [
    config,
    ...(isJsonObject(connection) ? [connection] : []),
    ...(await loadAuth(config["auth"] ?? config["credential"], context)),
  ];
}

/** The first text, number or truth value under one of the spellings; empty text does not count. */
export function findText(layers: Layers, spellings: readonly string[]): string | undefined {
  for (const layer of layers) {
    for (const spelling of spellings) {
      const value = layer[spelling];
      if (value !== undefined && value !== null && value !== "" && !isJsonObject(value)) {
        return String(value);
      }
    }
  }
  return undefined;
}

/** The map without what is undefined. */
export function onlyGiven(map: Readonly<Record<string, Json | undefined>>): JsonObject {
  return Object.fromEntries(
    Object.entries(map).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
}
