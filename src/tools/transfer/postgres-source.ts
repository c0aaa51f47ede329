/** Rows of a PostgreSQL query, read through a cursor: one snapshot, however long it takes. */

import type { JsonObject } from "../../core/json.ts";
import type { TextRow } from "../copy-text.ts";
import { splitStatements } from "../postgres/statements.ts";
import { ARRAY_OIDS, decodeValue } from "../postgres/values.ts";
import type { Selection } from "./columns.ts";
import { selectColumns } from "./columns.ts";
import type { SourceKind, SourceOptions, TransferSource } from "./endpoint.ts";
import { textAt } from "./endpoint.ts";
import { PostgresSession } from "./postgres-session.ts";

/** Of the first read, and what a read should bring. */
const FIRST_COUNT = 100;
const READ_LENGTH = 1024 * 1024;
/** Lists of bytes: their elements would not be hexadecimal any more. */
const BYTEA_LIST = 1001;
const LISTS: ReadonlySet<number> = new Set(ARRAY_OIDS.filter((oid) => oid !== BYTEA_LIST));
const CURSOR = "noetl_transfer";

export const postgresSource: SourceKind = {
  check: checkQuery,
  open: async (options) => {
    const session = await PostgresSession.open("source", options.config, options.context);
    try {
      return await openCursor(session, options);
    } catch (error) {
      await session.close();
      throw error;
    }
  },
};

/** Also of other databases: `query`, or all of `table`. */
export function checkQuery(config: JsonObject): readonly string[] {
  return splitStatements(queryOf(config)).length > 0 ? [] : ["`source.query` is missing"];
}

export function queryOf(config: JsonObject): string {
  const table = textAt(config, "table");
  return (
    textAt(config, "query") ??
    textAt(config, "command") ??
    (table === undefined ? "" : `SELECT * FROM ${table}`)
  );
}

async function openCursor(
  session: PostgresSession,
  options: SourceOptions,
): Promise<TransferSource> {
  const statements = splitStatements(queryOf(options.config)).map(({ text }) => text);
  for (const text of statements.slice(0, -1)) {
    await session.run(text);
  }
  await session.run("BEGIN");
  // Planned to be read whole, not for its first rows.
  await session.run("SET LOCAL cursor_tuple_fraction = 1");
  await session.run(`DECLARE ${CURSOR} NO SCROLL CURSOR FOR ${statements.at(-1)}`);
  const { columns } = await session.run(`FETCH 0 FROM ${CURSOR}`);
  const selection = selectColumns(
    columns.map(({ name }) => name),
    options.mapping,
  );
  const types = columns.map(({ type }) => type);
  return new PostgresSource(session, { selection, types, rowCountMax: options.rowCountMax });
}

interface Plan {
  readonly selection: Selection;
  /** Of all columns of the query. */
  readonly types: readonly number[];
  readonly rowCountMax: number;
}

class PostgresSource implements TransferSource {
  readonly columns: readonly string[];
  readonly #session: PostgresSession;
  readonly #positions: readonly number[];
  readonly #types: readonly number[];
  readonly #hasLists: boolean;
  readonly #rowCountMax: number;
  #count: number;
  #isAtEnd = false;

  constructor(session: PostgresSession, { selection, types, rowCountMax }: Plan) {
    this.columns = selection.columns;
    this.#session = session;
    this.#positions = selection.positions;
    this.#types = types;
    this.#hasLists = types.some((type) => LISTS.has(type));
    this.#rowCountMax = rowCountMax;
    this.#count = Math.min(FIRST_COUNT, rowCountMax);
  }

  async read(): Promise<readonly TextRow[]> {
    if (this.#isAtEnd) {
      return [];
    }
    const { rows } = await this.#session.run(`FETCH ${this.#count} FROM ${CURSOR}`);
    this.#isAtEnd = rows.length < this.#count;
    const selected = rows.map((row) => this.#select(row));
    this.#adapt(selected);
    return selected;
  }

  async close(): Promise<void> {
    await this.#session.close();
  }

  #select(row: TextRow): TextRow {
    return this.#positions.map((position) => {
      const text = row[position] ?? null;
      const type = this.#types[position] ?? 0;
      const isList = this.#hasLists && text !== null && LISTS.has(type);
      return isList ? JSON.stringify(decodeValue(type, text)) : text;
    });
  }

  /** As many rows as make one read, whatever their size. */
  #adapt(rows: readonly TextRow[]): void {
    if (rows.length === 0) {
      return;
    }
    let length = 0;
    for (const row of rows) {
      for (const text of row) {
        length += text?.length ?? 0;
      }
    }
    const wanted = Math.floor(READ_LENGTH / Math.max(1, length / rows.length));
    this.#count = Math.max(1, Math.min(wanted, this.#count * 10, this.#rowCountMax));
  }
}
