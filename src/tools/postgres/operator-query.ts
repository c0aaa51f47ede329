/** One statement of an operator, in a transaction of its own on a connection of its own. */
import postgres from "postgres";
import { AppError, errorMessage } from "../../core/errors.ts";
import type { Json, JsonObject } from "../../core/json.ts";
import type { Target } from "./connection.ts";
import { databaseFailure } from "./failure.ts";
import type { Client } from "./pool.ts";
import { createClient } from "./pool.ts";
import { splitStatements } from "./statements.ts";
import { decodeValue, toParameter } from "./values.ts";

export interface OperatorStatement {
  readonly statement: string;
  readonly parameters: readonly Json[];
  readonly searchPath: string | undefined;
  readonly isReadOnly: boolean;
  /** Further rows are left out. */
  readonly rowCountMax: number;
  readonly timeoutMs: number;
}

export interface StatementRows {
  readonly columns: readonly string[];
  readonly rows: readonly JsonObject[];
  readonly rowCount: number;
  readonly isCut: boolean;
}

/** What a statement may begin with that only reads; a read-only transaction lets COPY … TO PROGRAM pass. */
const READING =
  /^\s*(?:(?:--[^\n]*\n|\/\*[\s\S]*?\*\/)\s*)*(select|with|values|table|show|explain)\b/i;
/** Of all rows together. */
const BYTES_MAX = 16 * 1024 * 1024;

/**
 * A read-only statement that gives more rows than wanted is stopped; one that writes is undone then.
 *
 * @throws AppError invalid STATEMENT_REFUSED, QUERY_FAILED, TOO_MANY_ROWS, unavailable DATABASE_UNREACHABLE.
 */
export async function runOperatorStatement(
  target: Target,
  request: OperatorStatement,
): Promise<StatementRows> {
  checkStatement(request);
  const client = createClient(target);
  try {
    return await runInTransaction(client, request);
  } catch (error) {
    throw explain(error, request.statement);
  } finally {
    await client.sql.end({ timeout: 0 });
  }
}

function checkStatement({ statement, isReadOnly }: OperatorStatement): void {
  const { length } = splitStatements(statement);
  if (length !== 1) {
    const message = `One statement is taken, not ${length}`;
    throw new AppError("invalid", "STATEMENT_REFUSED", message);
  }
  if (isReadOnly && !READING.test(statement)) {
    const message =
      "Only SELECT, WITH, VALUES, TABLE, SHOW and EXPLAIN are taken where nothing may be written";
    throw new AppError("invalid", "STATEMENT_REFUSED", message);
  }
}

async function runInTransaction(
  { sql }: Client,
  request: OperatorStatement,
): Promise<StatementRows> {
  await sql.unsafe(request.isReadOnly ? "BEGIN READ ONLY" : "BEGIN");
  // A query: from here on nothing can make the transaction writable any more.
  await sql.unsafe("SELECT set_config('statement_timeout', $1, true)", [`${request.timeoutMs}`]);
  if (request.searchPath !== undefined) {
    await sql.unsafe("SELECT set_config('search_path', $1, true)", [request.searchPath]);
  }
  const rows = await readRows(sql, request);
  if (!request.isReadOnly) {
    await sql.unsafe("COMMIT");
  }
  return rows;
}

type RawRow = readonly (Uint8Array | null)[];
interface RawQuery {
  /** Described by the server before the first row. */
  readonly statement?: { readonly columns?: readonly postgres.Column<string>[] };
  forEach(onEach: (row: RawRow) => void): Promise<{ readonly count: number | null }>;
  cancel(): void;
}

async function readRows(sql: postgres.Sql, request: OperatorStatement): Promise<StatementRows> {
  const parameters = request.parameters.map(toParameter);
  // Not the simple protocol, which would take several statements. Its types do not know the option.
  const options = { simple: false } as postgres.UnsafeQueryOptions;
  const query = sql
    .unsafe(request.statement, parameters as string[], options)
    .raw() as unknown as RawQuery;
  const columns = (): readonly postgres.Column<string>[] => query.statement?.columns ?? [];
  const rows: JsonObject[] = [];
  let bytes = 0;
  let isCut = false;
  const finished = query.forEach((row) => {
    bytes += row.reduce((sum, field) => sum + (field?.length ?? 4), 0);
    if (rows.length >= request.rowCountMax || bytes > BYTES_MAX) {
      isCut = true;
      query.cancel();
    } else if (!isCut) {
      rows.push(decodeRow(row, columns()));
    }
  });
  try {
    const { count } = await finished;
    if (isCut && !request.isReadOnly) {
      // All rows had come before the cancel did.
      throw tooMany(request);
    }
    return toResult(rows, columns(), { count: count ?? rows.length, isCut });
  } catch (error) {
    if (isCut && request.isReadOnly) {
      return toResult(rows, columns(), { count: rows.length, isCut });
    }
    throw isCut ? tooMany(request) : error;
  }
}

function tooMany({ rowCountMax }: OperatorStatement): AppError {
  const message = `The statement gives more than ${rowCountMax} rows: it was undone`;
  return new AppError("invalid", "TOO_MANY_ROWS", message);
}

function toResult(
  rows: readonly JsonObject[],
  columns: readonly postgres.Column<string>[],
  { count, isCut }: { readonly count: number; readonly isCut: boolean },
): StatementRows {
  return { columns: columns.map(({ name }) => name), rows, rowCount: count, isCut };
}

function decodeRow(row: RawRow, columns: readonly postgres.Column<string>[]): JsonObject {
  const fields = columns.map(({ name, type }, index): [string, Json] => {
    const field = row[index] ?? null;
    return [name, field === null ? null : decodeValue(type, Buffer.from(field).toString("utf8"))];
  });
  return Object.fromEntries(fields);
}

function explain(error: unknown, statement: string): AppError {
  if (error instanceof AppError) {
    return error;
  }
  const { kind, code, message } = databaseFailure(error, statement);
  return kind === "db_connection" && !(error instanceof postgres.PostgresError)
    ? new AppError("unavailable", "DATABASE_UNREACHABLE", message, { cause: error })
    : new AppError("invalid", "QUERY_FAILED", message || errorMessage(error), {
        cause: error,
        details: { sqlstate: code },
      });
}
