/** The credentials of a duckdb task, as SQL that makes them usable in its connection. */
import type { Json, JsonObject } from "../../core/json.ts";
import { isJsonObject } from "../../core/json.ts";
import { findTarget } from "../postgres/connection.ts";
import { TaskError, taskError } from "../task-error.ts";
import type { Credential, ToolContext } from "../tool.ts";
import { duckdbFailure, installHint } from "./failure.ts";
import type { DuckdbSession } from "./session.ts";

/** One credential that a task names. */
interface Use {
  readonly name: string;
  /** Of the secret and of the attached database. */
  readonly alias: string;
  readonly type: string | undefined;
  /** Prefix of the addresses that a secret is for. */
  readonly scope: string | undefined;
}

const SETUP_BYTES_MAX = 64 * 1024;
const NAME_FIELDS = ["credential", "key", "name"] as const;
const OBJECT_STORES: ReadonlySet<string> = new Set(["s3", "gcs", "r2"]);

/** Parameter of a secret for an object store -> spellings of its field in credentials. */
const STORE_FIELDS: Readonly<Record<string, readonly string[]>> = {
  KEY_ID: ["key_id", "access_key_id", "aws_access_key_id", "access_key", "hmac_key_id"],
  SECRET: ["secret", "secret_key", "secret_access_key", "aws_secret_access_key", "hmac_secret"],
  SESSION_TOKEN: ["session_token", "aws_session_token"],
  REGION: ["region", "aws_region"],
  ENDPOINT: ["endpoint"],
  URL_STYLE: ["url_style"],
  ACCOUNT_ID: ["account_id"],
};

/**
 * Attaches postgres credentials under their aliases and makes secrets of those for object stores.
 *
 * @throws TaskError; CredentialError if a credential cannot be had.
 */
export async function attachCredentials(
  session: DuckdbSession,
  config: JsonObject,
  context: ToolContext,
): Promise<void> {
  const fields = ["auth", "credentials", "gcs_credential"];
  for (const use of fields.flatMap((field) => usesOf(config[field]))) {
    const credential = await context.credential(use.name);
    const type = (use.type ?? credential.type).toLowerCase();
    if (type === "postgres" || type === "postgresql") {
      await requireExtension(session, "postgres", "postgres_scanner");
      await setUp(session, await postgresSql(use, credential, context));
    } else if (OBJECT_STORES.has(type)) {
      await requireExtension(session, "httpfs", "httpfs");
      await setUp(session, storeSql(use, type, credential.data));
    } else {
      const message = `DuckDB cannot use credential "${use.name}" of type ${type}: only postgres, s3, gcs and r2`;
      throw taskError("auth", "CREDENTIAL_TYPE", message);
    }
  }
}

/** A name, a list, a map that names one, or a map of alias to one of these. */
function usesOf(auth: Json | undefined, alias?: string): readonly Use[] {
  if (typeof auth === "string" && auth !== "") {
    return [{ name: auth, alias: alias ?? auth, type: undefined, scope: undefined }];
  }
  if (Array.isArray(auth)) {
    return auth.flatMap((item) => usesOf(item));
  }
  if (!isJsonObject(auth)) {
    return [];
  }
  const field = NAME_FIELDS.find((each) => typeof auth[each] === "string");
  if (field === undefined) {
    return Object.entries(auth).flatMap(([key, use]) => usesOf(use, key));
  }
  const name = String(auth[field]);
  return [
    {
      name,
      alias: text(auth["alias"]) ?? text(auth["as"]) ?? alias ?? name,
      type: text(auth["type"]),
      scope: text(auth["scope"]),
    },
  ];
}

async function postgresSql(
  { alias }: Use,
  credential: Credential,
  context: ToolContext,
): Promise<string> {
  const target = (await findTarget(credential.data, context)) ?? {};
  if (target.url !== undefined) {
    return `ATTACH ${quote(target.url)} AS ${quoteName(alias)} (TYPE postgres)`;
  }
  const secret = secretSql(alias, "postgres", {
    HOST: target.host,
    PORT: target.port === undefined ? undefined : String(target.port),
    DATABASE: target.database,
    USER: target.user,
    PASSWORD: target.password,
  });
  return `${secret}; ATTACH '' AS ${quoteName(alias)} (TYPE postgres, SECRET ${quoteName(alias)})`;
}

function storeSql({ alias, scope }: Use, type: string, data: JsonObject): string {
  const fields = Object.entries(STORE_FIELDS).map(([name, spellings]) => {
    const value = spellings.map((spelling) => text(data[spelling])).find((each) => each);
    return [name, value] as const;
  });
  const isPlain = data["use_ssl"] === false || data["use_ssl"] === "false";
  return secretSql(alias, type, {
    ...Object.fromEntries(fields),
    USE_SSL: isPlain ? "false" : undefined,
    SCOPE: scope === "" ? undefined : scope,
  });
}

function secretSql(
  alias: string,
  type: string,
  fields: Readonly<Record<string, string | undefined>>,
): string {
  const parts = Object.entries(fields).flatMap(([name, value]) =>
    value === undefined ? [] : [`, ${name} ${quote(value)}`],
  );
  return `CREATE OR REPLACE SECRET ${quoteName(alias)} (TYPE ${type}${parts.join("")})`;
}

/** Opens the catalog of a ducklake task, if it names one, and makes it the current database. */
export async function attachLake(session: DuckdbSession, config: JsonObject): Promise<void> {
  const catalog = text(config["catalog_connection"]);
  if (catalog === undefined) {
    return;
  }
  await requireExtension(session, "ducklake", "ducklake");
  const address = catalog.startsWith("ducklake:") ? catalog : `ducklake:${catalog}`;
  const name = quoteName(text(config["catalog_name"]) ?? "lake");
  const path = text(config["data_path"]);
  const options = path === undefined ? "" : ` (DATA_PATH ${quote(path)})`;
  await setUp(session, `ATTACH ${quote(address)} AS ${name}${options}; USE ${name}`);
}

/** Loads an extension that is installed; DuckDB itself would begin a download. */
async function requireExtension(
  session: DuckdbSession,
  name: string,
  fullName: string,
): Promise<void> {
  const found = await setUp(
    session,
    `SELECT 1 FROM duckdb_extensions() WHERE extension_name = ${quote(fullName)} AND installed`,
  );
  if (found === 0) {
    const message = `DuckDB's extension "${name}" is not installed on this worker. ${installHint(name)}`;
    throw taskError("db_error", "EXTENSION_MISSING", message);
  }
  await setUp(session, `LOAD ${name}`);
}

/** Runs SQL of our own; gives the number of rows. */
export async function setUp(session: DuckdbSession, sql: string): Promise<number> {
  const answer = await session.run(sql, {
    parameters: [],
    maxBytes: SETUP_BYTES_MAX,
    hasObjects: true,
  });
  if (answer.error !== undefined) {
    throw new TaskError(duckdbFailure(answer.error));
  }
  return answer.results.at(-1)?.row_count ?? 0;
}

function text(value: Json | undefined): string | undefined {
  return typeof value === "string" || typeof value === "number" ? String(value) : undefined;
}

export function quote(value: string): string {
  return `'${value.replaceAll("'", "''")}'`;
}

export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
