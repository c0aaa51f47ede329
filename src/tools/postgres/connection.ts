/** Which database a postgres task talks to. */
import type { Json, JsonObject } from "../../core/json.ts";
import { isJsonObject } from "../../core/json.ts";
import type { ToolContext } from "../tool.ts";

/** Plain data, so that its JSON text is the key of a pool. */
export interface Target {
  readonly url?: string;
  readonly host?: string;
  readonly port?: number;
  readonly user?: string;
  readonly password?: string;
  readonly database?: string;
  readonly ssl?: string;
  /** Schemas to search, in order. */
  readonly searchPath?: string;
}

/** Spellings of each field, in the order in which they are tried. */
const FIELDS = {
  url: ["connection_string", "dsn", "url", "uri"],
  host: ["host", "db_host", "hostname"],
  port: ["port", "db_port"],
  user: ["user", "db_user", "username"],
  password: ["password", "db_password"],
  database: ["database", "db_name", "dbname", "db"],
  ssl: ["sslmode", "ssl", "db_sslmode"],
  searchPath: ["schema", "db_schema", "search_path"],
} as const;

/**
 * The task's own fields over those of the credentials that it names; undefined when neither says
 * where the database is.
 *
 * @throws CredentialError if a credential cannot be had.
 */
export async function findTarget(
  config: JsonObject,
  context: ToolContext,
): Promise<Target | undefined> {
  const { connection } = config;
  const layers: readonly JsonObject[] = [
    config,
    typeof connection === "string" ? { url: connection } : mapOf(connection),
    ...(await loadAuth(config["auth"] ?? config["credential"], context)),
  ];
  const target: Target = {
    ...text("url", layers),
    ...text("host", layers),
    ...port(layers),
    ...text("user", layers),
    ...text("password", layers),
    ...text("database", layers),
    ...text("ssl", layers),
    ...text("searchPath", layers),
  };
  return target.url === undefined && target.host === undefined ? undefined : target;
}

/** A name, a list of names, or a map that names one or has the fields itself. */
async function loadAuth(
  auth: Json | undefined,
  context: ToolContext,
): Promise<readonly JsonObject[]> {
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

function text<Name extends Exclude<keyof Target, "port">>(
  name: Name,
  layers: readonly JsonObject[],
): Partial<Record<Name, string>> {
  const value = find(name, layers);
  return value === undefined ? {} : ({ [name]: value } as Partial<Record<Name, string>>);
}

function port(layers: readonly JsonObject[]): { readonly port?: number } {
  const value = find("port", layers);
  return value === undefined ? {} : { port: Number(value) };
}

function find(name: keyof typeof FIELDS, layers: readonly JsonObject[]): string | undefined {
  for (const layer of layers) {
    for (const spelling of FIELDS[name]) {
      const value = layer[spelling];
      if (value !== undefined && value !== null && value !== "" && !isJsonObject(value)) {
        return String(value);
      }
    }
  }
  return undefined;
}

function mapOf(value: Json | undefined): JsonObject {
  return isJsonObject(value) ? value : {};
}
