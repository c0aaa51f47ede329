/**
 * Runs SQL in DuckDB: in memory, or on a database file of the worker's machine.
 *
 * Statements run one after another on one connection, each in its own transaction unless the text
 * says `BEGIN`, and stop at the first that fails. What a task leaves open is rolled back.
 */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { attachCredentials, attachLake, quote, setUp } from "./duckdb/attach.ts";
import { databaseOf } from "./duckdb/check.ts";
import type { DuckdbDatabases } from "./duckdb/databases.ts";
import { DUCKDB, DUCKLAKE } from "./duckdb/description.ts";
import { duckdbFailure } from "./duckdb/failure.ts";
import type { StatementResult } from "./duckdb/protocol.ts";
import type { DuckdbSession, RunOptions } from "./duckdb/session.ts";
import { splitStatements } from "./postgres/statements.ts";
import { taskError, thrownFailure } from "./task-error.ts";
import type { Tool, ToolContext, ToolModule, ToolOutcome } from "./tool.ts";

export interface DuckdbToolOptions {
  readonly databases: DuckdbDatabases;
  /** Largest result, bytes of JSON. */
  readonly maxOutputBytes: number;
}

export const duckdbModule: ToolModule = {
  descriptions: [DUCKDB, DUCKLAKE],
  create: createDuckdbTools,
};

/** `duckdb`, and `ducklake`, which is the same with the catalog of a lake attached. */
export function createDuckdbTools(options: DuckdbToolOptions): readonly Tool[] {
  return [DUCKDB, DUCKLAKE].map((description) => ({
    description,
    run: (call, context) => runTask(options, call.config, context),
  }));
}

function sqlOf(config: JsonObject): string {
  const source =
    config["command"] ?? config["query"] ?? config["commands"] ?? config["sql"] ?? config["script"];
  const list: readonly Json[] = Array.isArray(source) ? source : [source ?? ""];
  return list
    .map((item) => (isJsonObject(item) ? sqlOf(item) : String(item ?? "")))
    .filter((text) => text.trim() !== "")
    .join("\n;\n");
}

async function runTask(
  { databases, maxOutputBytes }: DuckdbToolOptions,
  config: JsonObject,
  context: ToolContext,
): Promise<ToolOutcome> {
  let session: DuckdbSession | undefined;
  try {
    const sql = sqlOf(config);
    if (splitStatements(sql).length === 0) {
      throw taskError("schema", "STATEMENT_MISSING", "the SQL has no statement");
    }
    session = await databases.open(databaseOf(config), context.signal);
    await prepare(session, config, context);
    const hasObjects = config["as_objects"] !== false;
    const parameters = parametersOf(config["params"] ?? config["parameters"]);
    return await runAll(session, sql, {
      parameters,
      maxBytes: maxOutputBytes,
      hasObjects,
    });
  } catch (error) {
    const failure = thrownFailure(error);
    if (failure === undefined) {
      throw error;
    }
    return { ok: false, failure };
  } finally {
    await session?.close();
  }
}

async function prepare(
  session: DuckdbSession,
  config: JsonObject,
  context: ToolContext,
): Promise<void> {
  await attachCredentials(session, config, context);
  await attachLake(session, config);
  const { schema } = config;
  if (typeof schema === "string" && schema !== "") {
    await setUp(session, `SET schema = ${quote(schema)}`);
  }
}

function parametersOf(params: Json | undefined): RunOptions["parameters"] {
  if (params === undefined || params === null) {
    return [];
  }
  return Array.isArray(params) || isJsonObject(params) ? params : [params];
}

async function runAll(
  session: DuckdbSession,
  sql: string,
  options: RunOptions,
): Promise<ToolOutcome> {
  const { results, error } = await session.run(sql, options);
  if (error === undefined) {
    return { ok: true, value: taskValue(results) };
  }
  const failed = duckdbFailure(error);
  const limit = failed.code === "RESULT_TOO_LARGE" ? ` than ${options.maxBytes} bytes` : "";
  return {
    ok: false,
    failure: { ...failed, message: failed.message.replace(/too large$/, `larger${limit}`) },
    ...(results.length > 0 ? { value: taskValue(results) } : {}),
  };
}

/** The last statement's result on top, each as `command_N`. */
function taskValue(results: readonly StatementResult[]): JsonObject {
  const last = results.at(-1);
  const { rows = [], columns = [], row_count = 0 } = last ?? {};
  const affected = columns.length === 0 ? { affected_rows: row_count } : {};
  const each = results.map((result, index) => [`command_${index}`, { ...result }] as const);
  return { rows, columns, row_count, ...affected, ...Object.fromEntries(each) };
}
