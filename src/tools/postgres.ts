/**
 * Runs SQL on a PostgreSQL database.
 *
 * Statements run one after another on one connection, each in its own transaction unless the text
 * says `BEGIN`, and stop at the first that fails. What a task leaves open is rolled back, and
 * settings that it made are reset, before another task gets the connection.
 */
import type postgres from "postgres";
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { Failure } from "../engine/failure.ts";
import { failure } from "../engine/failure.ts";
import type { Target } from "./postgres/connection.ts";
import { findTarget } from "./postgres/connection.ts";
import { POSTGRES } from "./postgres/description.ts";
import { databaseFailure } from "./postgres/failure.ts";
import type { Client } from "./postgres/pool.ts";
import { ClientPools } from "./postgres/pool.ts";
import type { Statement } from "./postgres/statements.ts";
import { splitStatements } from "./postgres/statements.ts";
import { decodeValue, toParameter } from "./postgres/values.ts";
import { stoppedFailure } from "./stopped.ts";
import { thrownFailure } from "./task-error.ts";
import type { Tool, ToolContext, ToolModule, ToolOutcome } from "./tool.ts";

export interface PostgresToolOptions {
  /** Largest result, bytes of the values' text. */
  readonly maxOutputBytes: number;
}

export const postgresModule: ToolModule = {
  descriptions: [POSTGRES],
  create: (parts) => [createPostgresTool(parts)],
};

/** Words after which the connection is not as it was. */
const LEAVES_TRACES =
  /\b(set|begin|start|temp|temporary|prepare|listen|declare|set_config|\w*advisory\w*)\b/i;
/** Wait for a cancelled statement to end before its connection is cut. */
const CANCEL_GRACE_MS = 2000;

export function createPostgresTool(options: PostgresToolOptions): Tool {
  const pools = new ClientPools();
  return {
    description: POSTGRES,
    run: async (call, context) => {
      try {
        const target = await findTarget(call.config, context);
        return target === undefined
          ? { ok: false, failure: unknownTarget() }
          : await runTask(pools, target, call.config, options, context);
      } catch (error) {
        const thrown = thrownFailure(error);
        if (thrown === undefined) {
          throw error;
        }
        return { ok: false, failure: thrown };
      }
    },
    close: () => pools.close(),
  };
}

function textsOf(config: JsonObject): readonly string[] {
  const names = ["command", "query", "commands", "sql", "script"];
  const source = names.map((name) => config[name] ?? "").find((text) => text !== "");
  const list: readonly Json[] = Array.isArray(source) ? source : [source ?? ""];
  return list
    .map((item) => (isJsonObject(item) ? textsOf(item).join(";\n") : String(item ?? "")))
    .filter((text) => text.trim() !== "");
}

function unknownTarget(): Failure {
  const message = "the task says no database: it needs `auth`, `connection_string` or `host`";
  return failure("schema", message, { code: "DATABASE_MISSING" });
}

async function runTask(
  pools: ClientPools,
  target: Target,
  config: JsonObject,
  options: PostgresToolOptions,
  context: ToolContext,
): Promise<ToolOutcome> {
  const statements = textsOf(config).flatMap(splitStatements);
  const parameters = parametersOf(config["params"] ?? config["parameters"]);
  const client = await pools.take(target);
  if (context.signal.aborted) {
    pools.release(target, client);
    return { ok: false, failure: stoppedFailure(context.signal) };
  }
  client.isLost = false;
  client.onNotice = (text) => context.log("stderr", text);
  const hasObjects = config["as_objects"] !== false;
  const run = new StatementRun(client, { ...options, hasObjects }, context);
  const error = await runAll(run, statements, parameters);
  if (run.mustCut || !(await tidy(client, statements))) {
    pools.destroy(target, client);
  } else {
    pools.release(target, client);
  }
  return error === undefined
    ? { ok: true, value: taskValue(run.results) }
    : {
        ok: false,
        failure: error,
        ...(run.results.length > 0 ? { value: taskValue(run.results) } : {}),
      };
}

function parametersOf(params: Json | undefined): readonly Json[] {
  if (params === undefined || params === null) {
    return [];
  }
  if (isJsonObject(params)) {
    return Object.values(params).map((value) => value ?? null);
  }
  return Array.isArray(params) ? params : [params];
}

async function runAll(
  run: StatementRun,
  statements: readonly Statement[],
  parameters: readonly Json[],
): Promise<Failure | undefined> {
  for (const [index, statement] of statements.entries()) {
    if (statement.parameterCount > parameters.length) {
      const message = `the statement uses $${statement.parameterCount}, \`params\` has ${parameters.length}`;
      return failure("schema", message, { code: "PARAMETER_MISSING" });
    }
    const error = await run.execute(statement, parameters.slice(0, statement.parameterCount));
    if (error !== undefined) {
      const where = statements.length > 1 ? `statement ${index + 1}: ` : "";
      return { ...error, message: where + error.message };
    }
  }
  return undefined;
}

interface StatementResult {
  /** Maps by column, or lists of values in the order of `columns`. */
  readonly rows: readonly Json[];
  readonly columns: readonly string[];
  readonly row_count: number;
  /** Command tag, for example `INSERT`. */
  readonly command: string;
  readonly status: "success";
}

/** One task's statements on one connection. */
class StatementRun {
  readonly results: StatementResult[] = [];
  /** True when the connection is in no state to be used again. */
  mustCut = false;
  readonly #client: Client;
  readonly #bytesMax: number;
  readonly #hasObjects: boolean;
  readonly #context: ToolContext;
  #bytes = 0;

  constructor(
    client: Client,
    options: PostgresToolOptions & { readonly hasObjects: boolean },
    context: ToolContext,
  ) {
    this.#client = client;
    this.#bytesMax = options.maxOutputBytes;
    this.#hasObjects = options.hasObjects;
    this.#context = context;
  }

  async execute(statement: Statement, values: readonly Json[]): Promise<Failure | undefined> {
    const rows: Json[] = [];
    const query = this.#client.sql
      .unsafe(statement.text, values.map(toParameter) as string[])
      .raw();
    const isTooLarge = (): boolean => this.#bytes > this.#bytesMax;
    const finished = followRows(query, (row, columns) => {
      this.#bytes += row.reduce((sum, field) => sum + (field?.length ?? 4), 0);
      if (isTooLarge()) {
        query.cancel();
      } else {
        rows.push(this.#hasObjects ? decodeRow(row, columns) : decodeList(row, columns));
      }
    });
    const stop = (): void => query.cancel();
    this.#context.signal.addEventListener("abort", stop, { once: true });
    try {
      const result = await this.#orCut(finished);
      if (isTooLarge()) {
        return this.#tooLarge();
      }
      this.results.push(resultOf(rows, result));
      return this.#client.isLost ? lostFailure() : undefined;
    } catch (error) {
      return this.#failureOf(error, statement, isTooLarge());
    } finally {
      this.#context.signal.removeEventListener("abort", stop);
    }
  }

  /** Waits for the statement; once it was cancelled, not for longer than the grace time. */
  async #orCut<T>(finished: Promise<T>): Promise<T> {
    const cut = Promise.withResolvers<never>();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const arm = (): void => {
      this.mustCut = true;
      timer = setTimeout(() => cut.reject(new Error("cancelled")), CANCEL_GRACE_MS);
    };
    this.#context.signal.addEventListener("abort", arm, { once: true });
    try {
      return await Promise.race([finished, cut.promise]);
    } finally {
      clearTimeout(timer);
      this.#context.signal.removeEventListener("abort", arm);
    }
  }

  #failureOf(error: unknown, statement: Statement, isTooLarge: boolean): Failure {
    if (this.#context.signal.aborted) {
      return stoppedFailure(this.#context.signal);
    }
    this.mustCut ||= this.#client.isLost;
    return isTooLarge ? this.#tooLarge() : databaseFailure(error, statement.text);
  }

  /** The connection is not used again: the cancel may still be on its way to the server. */
  #tooLarge(): Failure {
    this.mustCut = true;
    const message = `the result is larger than ${this.#bytesMax} bytes`;
    return failure("limit", message, { code: "RESULT_TOO_LARGE" });
  }
}

type RawRow = readonly (Uint8Array | null)[];
type Column = postgres.Column<string>;
interface Finished {
  readonly columns: readonly Column[];
  readonly count: number;
  readonly command: string;
}

/** Runs the query, row by row, so that a large result is stopped and never held whole. */
async function followRows(
  query: unknown,
  onRow: (row: RawRow, columns: readonly Column[]) => void,
): Promise<Finished> {
  const stream = query as {
    /** Described by the server before the first row. */
    readonly statement?: { readonly columns?: readonly Column[] };
    forEach(onEach: (row: RawRow) => void): Promise<Finished>;
  };
  return await stream.forEach((row) => {
    onRow(row, stream.statement?.columns ?? []);
  });
}

function decodeRow(row: RawRow, columns: readonly Column[]): JsonObject {
  const object: Record<string, Json> = {};
  for (const [index, field] of row.entries()) {
    const column = columns[index];
    if (column !== undefined) {
      object[column.name] = decodeField(field, column);
    }
  }
  return object;
}

function decodeList(row: RawRow, columns: readonly Column[]): readonly Json[] {
  return columns.map((column, index) => decodeField(row[index] ?? null, column));
}

function decodeField(field: Uint8Array | null, { type }: Column): Json {
  return field === null ? null : decodeValue(type, Buffer.from(field).toString("utf8"));
}

function resultOf(rows: readonly Json[], result: Finished): StatementResult {
  const columns = (result.columns ?? []).map((column) => column.name);
  const count = columns.length > 0 ? rows.length : (result.count ?? 0);
  return { rows, columns, row_count: count, command: result.command ?? "", status: "success" };
}

function lostFailure(): Failure {
  return failure("db_connection", "the connection to the database was lost");
}

/** The last statement's result on top, each as `command_N`. */
function taskValue(results: readonly StatementResult[]): JsonObject {
  const last = results.at(-1);
  const { rows = [], columns = [], row_count = 0 } = last ?? {};
  const affected = columns.length === 0 ? { affected_rows: row_count } : {};
  const each = results.map((result, index) => [`command_${index}`, { ...result }] as const);
  return { rows, columns, row_count, ...affected, ...Object.fromEntries(each) };
}

/** Makes the connection as it was; false if that does not work. */
async function tidy(client: Client, statements: readonly Statement[]): Promise<boolean> {
  if (!statements.some(({ text }) => LEAVES_TRACES.test(text)) || client.isLost) {
    return !client.isLost;
  }
  client.onNotice = () => undefined;
  try {
    await client.sql.unsafe("ROLLBACK");
    await client.sql.unsafe("DISCARD ALL");
    return true;
  } catch {
    return false;
  }
}
