/** Which database a postgres task talks to. */
import type { Json, JsonObject } from "../../core/json.ts";
import { isJsonObject } from "../../core/json.ts";
import type { Layers } from "../layers.ts";
import { findText, loadAuth } from "../layers.ts";
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
  context: Pick<ToolContext, "credential">,
): Promise<Target | undefined> {
  const { connection } = config;
  const layers: Layers = [
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

function text<Name extends Exclude<keyof Target, "port">>(
  name: Name,
  layers: Layers,
): Partial<Record<Name, string>> {
  const value = findText(layers, FIELDS[name]);
  return value === undefined ? {} : ({ [name]: value } as Partial<Record<Name, string>>);
}

function port(layers: Layers): { readonly port?: number } {
  const value = findText(layers, FIELDS.port);
  return value === undefined ? {} : { port: Number(value) };
}

function mapOf(value: Json | undefined): JsonObject {
  return isJsonObject(value) ? value : {};
}
