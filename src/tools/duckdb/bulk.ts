/** Many rows out of and into DuckDB as text, for transfers. */
import type { DuckDBAppender, DuckDBConnection, DuckDBResult, DuckDBType } from "@duckdb/node-api";
import type { TextRow } from "../copy-text.ts";
import type { DuckdbApi } from "./library.ts";
import type { SelectAnswer } from "./protocol.ts";

/** An answer with rows ends behind the row that makes it so long. Characters. */
const FETCH_LENGTH_MAX = 1024 * 1024;

/** The rows of one query, read as they are asked for. DuckDB itself makes a line of each. */
export class Cursor {
  readonly #result: DuckDBResult;
  /** Lines that DuckDB has given, and how many of them are gone. */
  #lines: readonly string[] = [];
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
    }));
    const texts = columns.map((_, index) => textOf(api, plain.columnType(index), `c${index}`));
    plain.destroySync();
    const names = columns.map((_, index) => `c${index}`).join(", ");
    const line = texts.join(", chr(9), ");
    const result = await connection.stream(`SELECT concat(${line}) FROM (${sql}\n) AS s(${names})`);
    return { cursor: new Cursor(result), columns };
  }

  /** Lines, see `src/tools/copy-text.ts`; empty at the end. */
  async fetch(rowCountMax: number): Promise<string> {
    const lines: string[] = [];
    let length = 0;
    while (lines.length < rowCountMax && length < FETCH_LENGTH_MAX) {
      const line = this.#lines[this.#position++];
      if (line !== undefined) {
        lines.push(line);
        length += line.length;
      } else if (!(await this.#refill())) {
        break;
      }
    }
    return lines.length === 0 ? "" : `${lines.join("\n")}\n`;
  }

  async #refill(): Promise<boolean> {
    const chunk = await this.#result.fetchChunk();
    // The one at the end has neither rows nor columns.
    const hasRows = chunk !== null && chunk.rowCount > 0;
    this.#lines = hasRows ? (chunk.getColumnValues(0) as readonly string[]) : [];
    this.#position = 0;
    return hasRows;
  }
}

/** Expression for a column's value: nested ones as JSON, bytes as `\x` and hexadecimal. */
function textOf(api: DuckdbApi, { typeId }: DuckDBType, name: string): string {
  const { LIST, ARRAY, STRUCT, MAP, UNION, VARIANT, BLOB, VARCHAR, ENUM } = api.DuckDBTypeId;
  switch (typeId) {
    case VARCHAR:
    case ENUM:
      return escaped(`CAST(${name} AS VARCHAR)`);
    case LIST:
    case ARRAY:
    case STRUCT:
    case MAP:
    case UNION:
    case VARIANT:
      return escaped(`CAST(to_json(${name}) AS VARCHAR)`);
    case BLOB:
      return escaped(`'\\x' || lower(hex(${name}))`);
    default:
      // Numbers, times and the like: there is nothing to escape in them.
      return `coalesce(CAST(${name} AS VARCHAR), '\\N')`;
  }
}

/** As `encodeCopy` writes it. */
function escaped(text: string): string {
  const pairs = [
    ["'\\'", "'\\\\'"],
    ["chr(9)", "'\\t'"],
    ["chr(10)", "'\\n'"],
    ["chr(13)", "'\\r'"],
  ];
  const replaced = pairs.reduce((inner, [from, to]) => `replace(${inner}, ${from}, ${to})`, text);
  return `coalesce(${replaced}, '\\N')`;
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
