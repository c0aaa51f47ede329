/** Many rows out of and into DuckDB as text, for transfers. */
import type { DuckDBAppender, DuckDBConnection, DuckDBResult, DuckDBType } from "@duckdb/node-api";
import type { DuckdbApi } from "./library.ts";
import type { SelectAnswer, TextRow } from "./protocol.ts";

/** An answer with rows ends behind the row that makes it so long. Characters. */
const FETCH_LENGTH_MAX = 1024 * 1024;

/** The rows of one query, read as they are asked for. */
export class Cursor {
  readonly #result: DuckDBResult;
  /** Rows that DuckDB has given, and how many of them are gone. */
  #rows: readonly TextRow[] = [];
  #position = 0;

  private constructor(result: DuckDBResult) {
    this.#result = result;
  }

  static async open(
    api: DuckdbApi,
    connection: DuckDBConnection,
    sql: string,
  ): Promise<{ readonly cursor: Cursor; readonly columns: SelectAnswer["columns"] }> {
    const plain = await connection.prepare(sql);
    const columns = Array.from({ length: plain.columnCount }, (_, index) => ({
      name: plain.columnName(index),
      type: plain.columnType(index).toString(),
      text: textOf(api, plain.columnType(index), `c${index}`),
    }));
    plain.destroySync();
    const names = columns.map((_, index) => `c${index}`).join(", ");
    const texts = columns.map(({ text }) => text).join(", ");
    const result = await connection.stream(`SELECT ${texts} FROM (${sql}\n) AS s(${names})`);
    return {
      cursor: new Cursor(result),
      columns: columns.map(({ name, type }) => ({ name, type })),
    };
  }

  /** None at the end. */
  async fetch(rowCountMax: number): Promise<readonly TextRow[]> {
    const rows: TextRow[] = [];
    let length = 0;
    while (rows.length < rowCountMax && length < FETCH_LENGTH_MAX) {
      const row = this.#rows[this.#position++];
      if (row !== undefined) {
        rows.push(row);
        length += row.reduce((sum, text) => sum + (text?.length ?? 0), 0);
      } else if (!(await this.#refill())) {
        break;
      }
    }
    return rows;
  }

  async #refill(): Promise<boolean> {
    const chunk = await this.#result.fetchChunk();
    this.#rows = (chunk?.getRows() ?? []) as readonly TextRow[];
    this.#position = 0;
    return this.#rows.length > 0;
  }
}

/** Expression for a column's value as text: nested ones as JSON, bytes as `\x` and hexadecimal. */
function textOf(api: DuckdbApi, { typeId }: DuckDBType, name: string): string {
  const { LIST, ARRAY, STRUCT, MAP, UNION, VARIANT, BLOB } = api.DuckDBTypeId;
  switch (typeId) {
    case LIST:
    case ARRAY:
    case STRUCT:
    case MAP:
    case UNION:
    case VARIANT:
      return `CAST(to_json(${name}) AS VARCHAR)`;
    case BLOB:
      return `'\\x' || lower(hex(${name}))`;
    default:
      return `CAST(${name} AS VARCHAR)`;
  }
}

/** Adds rows of text to a temporary table whose columns are all `VARCHAR`. */
export class Filler {
  readonly table: string;
  readonly #appender: DuckDBAppender;

  private constructor(table: string, appender: DuckDBAppender) {
    this.table = table;
    this.#appender = appender;
  }

  static async open(connection: DuckDBConnection, table: string): Promise<Filler> {
    return new Filler(table, await connection.createAppender(table, "main", "temp"));
  }

  append(rows: readonly TextRow[]): void {
    for (const row of rows) {
      for (const text of row) {
        if (text === null) {
          this.#appender.appendNull();
        } else {
          this.#appender.appendVarchar(text);
        }
      }
      this.#appender.endRow();
    }
  }

  flush(): void {
    this.#appender.closeSync();
  }
}
