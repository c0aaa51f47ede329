/** Runs SQL text in a DuckDB connection and writes what it gives as JSON. */
import type {
  DuckDBConnection,
  DuckDBExtractedStatements,
  DuckDBPreparedStatement,
  DuckDBResult,
} from "@duckdb/node-api";
import { errorMessage } from "../../core/errors.ts";
import type { Json } from "../../core/json.ts";
import type { DuckdbApi } from "./library.ts";
import type { Request, RunnerError } from "./protocol.ts";
import type { Decode } from "./values.ts";
import { createDecoder } from "./values.ts";

export type RunRequest = Extract<Request, { readonly type: "run" }>;

const INT32_MAX = 2 ** 31 - 1;
const EXTRACT_PREFIX = "Failed to extract statements: ";

/** A failure that is not DuckDB's. */
export class RunnerProblem extends Error {
  override readonly name = "RunnerProblem";
  readonly code: NonNullable<RunnerError["code"]>;

  constructor(code: NonNullable<RunnerError["code"]>, message: string) {
    super(message);
    this.code = code;
  }
}

export function describeError(error: unknown): RunnerError {
  const message = errorMessage(error);
  return error instanceof RunnerProblem ? { message, code: error.code } : { message };
}

/**
 * Statements one after another, up to the first that fails. All are parsed first: text with a
 * syntax error changes nothing.
 *
 * @returns JSON text of a `RunAnswer`.
 */
export async function runStatements(
  api: DuckdbApi,
  connection: DuckDBConnection,
  request: RunRequest,
): Promise<string> {
  const results: string[] = [];
  try {
    const statements = await extract(connection, request.sql);
    let room = request.maxBytes;
    for (let index = 0; index < statements.count; index++) {
      const text = await runOne(api, await statements.prepare(index), request, room);
      room -= text.length;
      results.push(text);
    }
    return `{"results":[${results.join(",")}]}`;
  } catch (error) {
    const where = results.length > 0 ? `statement ${results.length + 1}: ` : "";
    const described = describeError(error);
    const failed = JSON.stringify({ ...described, message: where + described.message });
    return `{"results":[${results.join(",")}],"error":${failed}}`;
  }
}

async function extract(
  connection: DuckDBConnection,
  sql: string,
): Promise<DuckDBExtractedStatements> {
  try {
    return await connection.extractStatements(sql);
  } catch (error) {
    throw new Error(errorMessage(error).replace(EXTRACT_PREFIX, ""), { cause: error });
  }
}

/** @returns JSON text of a `StatementResult`. */
async function runOne(
  api: DuckdbApi,
  statement: DuckDBPreparedStatement,
  request: RunRequest,
  room: number,
): Promise<string> {
  try {
    bindAll(statement, request.parameters);
    const result = await statement.stream();
    const isQuery = result.returnType === api.ResultReturnType.QUERY_RESULT;
    const columns = isQuery ? result.deduplicatedColumnNames() : [];
    const rows = await readRows(createDecoder(api), result, {
      columns: request.hasObjects ? columns : undefined,
      isKept: isQuery,
      room,
    });
    const rest = JSON.stringify({
      columns,
      row_count: isQuery ? rows.length : result.rowsChanged,
      command: api.StatementType[result.statementType],
      status: "success",
    });
    return `{"rows":[${rows.join(",")}],${rest.slice(1)}`;
  } finally {
    statement.destroySync();
  }
}

interface Reading {
  /** Names of the columns; undefined: rows are lists. */
  readonly columns: readonly string[] | undefined;
  /** False: the rows only say how many were changed. */
  readonly isKept: boolean;
  /** Bytes that they may take. */
  readonly room: number;
}

/** Reads to the end, so that nothing holds the database open. */
async function readRows(
  decode: Decode,
  result: DuckDBResult,
  { columns, isKept, room }: Reading,
): Promise<readonly string[]> {
  const types = result.columnTypes();
  const rows: string[] = [];
  let bytes = 0;
  for (let chunk = await nextChunk(result); chunk.length > 0; chunk = await nextChunk(result)) {
    for (const row of isKept ? chunk : []) {
      const values = row.map((value, index) => {
        const type = types[index];
        return type === undefined ? null : decode(value, type);
      });
      const text = JSON.stringify(columns === undefined ? values : named(columns, values));
      bytes += Buffer.byteLength(text);
      if (bytes > room) {
        throw new RunnerProblem("RESULT_TOO_LARGE", "the result is too large");
      }
      rows.push(text);
    }
  }
  return rows;
}

async function nextChunk(
  result: DuckDBResult,
): Promise<ReturnType<NonNullable<Awaited<ReturnType<DuckDBResult["fetchChunk"]>>>["getRows"]>> {
  return (await result.fetchChunk())?.getRows() ?? [];
}

function named(columns: readonly string[], values: readonly Json[]): Json {
  const row: Record<string, Json> = {};
  for (const [index, name] of columns.entries()) {
    row[name] = values[index] ?? null;
  }
  return row;
}

function bindAll(statement: DuckDBPreparedStatement, parameters: RunRequest["parameters"]): void {
  for (let index = 1; index <= statement.parameterCount; index++) {
    const name = nameOf(statement, index);
    const value = name === undefined ? undefined : parameterOf(parameters, name);
    if (value === undefined) {
      const message =
        name === undefined
          ? "the statement's parameters must be numbered from $1 on, without a gap"
          : `the statement uses $${name}, which \`params\` does not have`;
      throw new RunnerProblem("PARAMETER_MISSING", message);
    }
    bind(statement, index, value);
  }
}

function nameOf(statement: DuckDBPreparedStatement, index: number): string | undefined {
  try {
    return statement.parameterName(index);
  } catch {
    // DuckDB looks for a parameter of that number.
    return undefined;
  }
}

/** `$1` and `?` go by position, also in a map; `$name` by name. */
function parameterOf(parameters: RunRequest["parameters"], name: string): Json | undefined {
  const own = (parameters as Readonly<Record<string, Json>>)[name];
  if (/^\d+$/.test(name)) {
    return Object.values(parameters)[Number(name) - 1];
  }
  return Array.isArray(parameters) ? undefined : own;
}

function bind(statement: DuckDBPreparedStatement, index: number, value: Json): void {
  if (value === null) {
    statement.bindNull(index);
  } else if (typeof value === "boolean") {
    statement.bindBoolean(index, value);
  } else if (typeof value === "number") {
    bindNumber(statement, index, value);
  } else {
    statement.bindVarchar(index, typeof value === "string" ? value : JSON.stringify(value));
  }
}

function bindNumber(statement: DuckDBPreparedStatement, index: number, value: number): void {
  if (!Number.isSafeInteger(value)) {
    statement.bindDouble(index, value);
  } else if (Math.abs(value) <= INT32_MAX) {
    statement.bindInteger(index, value);
  } else {
    statement.bindBigInt(index, BigInt(value));
  }
}
