/**
 * Writes rows into a DuckDB table: first as text into a temporary one, then all at once, in one
 * transaction. A transfer that does not get to its end leaves the table as it was.
 */
import type { TextRow } from "../copy-text.ts";
import { quoteName, setUp } from "../duckdb/attach.ts";
import { databaseOf } from "../duckdb/check.ts";
import { duckdbFailure } from "../duckdb/failure.ts";
import type { StatementResult } from "../duckdb/protocol.ts";
import type { DuckdbSession } from "../duckdb/session.ts";
import { TaskError } from "../task-error.ts";
import { keysOf, matchColumns } from "./columns.ts";
import type { ColumnForm, TargetKind, TargetOptions, TransferTarget } from "./endpoint.ts";
import { textAt } from "./endpoint.ts";
import { atSide } from "./side.ts";

const STAGE = "noetl_transfer";
/** Of the description of one table. */
const DESCRIBE_BYTES_MAX = 16 * 1024 * 1024;

export const duckdbTarget: TargetKind = {
  check: (config) => [
    ...(textAt(config, "table") === undefined ? ["`target.table` is missing"] : []),
    ...(databaseOf(config) === undefined
      ? ["`target.database` is missing: rows in memory would be gone with the task"]
      : []),
  ],
  open: async (options) => {
    const { databases, config, context } = options;
    const session = await atSide("target", () =>
      databases.open(databaseOf(config), context.signal),
    );
    return new DuckdbTarget(session, options);
  },
};

interface TableColumn {
  readonly name: string;
  readonly type: string;
  readonly isPrimary: boolean;
}

class DuckdbTarget implements TransferTarget {
  readonly #session: DuckdbSession;
  readonly #options: TargetOptions;
  readonly #table: string;
  readonly #name: string;
  #columns: readonly TableColumn[] = [];
  #keys: readonly string[] = [];

  constructor(session: DuckdbSession, options: TargetOptions) {
    this.#session = session;
    this.#options = options;
    this.#table = textAt(options.config, "table") ?? "";
    this.#name = quoteTable(this.#table);
  }

  begin(columns: readonly string[]): Promise<readonly ColumnForm[]> {
    return atSide("target", async () => {
      const existing = await this.#describe();
      const all = existing.map(({ name }) => name);
      const names = matchColumns(this.#table, all, columns);
      this.#columns = names.flatMap((name) => existing.find((each) => each.name === name) ?? []);
      if (names.length === 0) {
        return [];
      }
      if (this.#options.mode === "upsert") {
        const primary = existing.filter(({ isPrimary }) => isPrimary).map(({ name }) => name);
        const { keys } = this.#options;
        this.#keys = keysOf(this.#table, { keys, primary, columns: names });
      }
      const texts = names.map((name) => `${quoteName(name)} VARCHAR`);
      await setUp(this.#session, `CREATE TEMP TABLE ${STAGE} (${texts.join(", ")})`);
      return this.#columns.map(({ type }) => (type === "JSON" ? "json" : "text"));
    });
  }

  write(rows: readonly TextRow[]): Promise<void> {
    return atSide("target", () => this.#session.append(STAGE, rows));
  }

  commit(): Promise<void> {
    return atSide("target", async () => {
      await this.#session.flush();
      const { mode } = this.#options;
      await setUp(this.#session, "BEGIN");
      if (mode === "replace") {
        await setUp(this.#session, `DELETE FROM ${this.#name}`);
      }
      if (this.#columns.length > 0) {
        await setUp(this.#session, mode === "upsert" ? this.#upsertSql() : this.#insertSql());
      }
      await setUp(this.#session, "COMMIT");
    });
  }

  async close(): Promise<void> {
    await this.#session.close();
  }

  async #describe(): Promise<readonly TableColumn[]> {
    const { results, error } = await this.#session.run(
      `SELECT column_name, column_type, key FROM (DESCRIBE ${this.#name})`,
      { parameters: [], maxBytes: DESCRIBE_BYTES_MAX, hasObjects: false },
    );
    if (error !== undefined) {
      throw new TaskError(duckdbFailure(error));
    }
    const rows: StatementResult["rows"] = results.at(-1)?.rows ?? [];
    return rows.flatMap((row) =>
      Array.isArray(row)
        ? [{ name: String(row[0]), type: String(row[1]), isPrimary: row[2] === "PRI" }]
        : [],
    );
  }

  #insertSql(): string {
    const values = this.#columns.map(valueSql).join(", ");
    return `INSERT INTO ${this.#name} (${this.#names()}) SELECT ${values} FROM temp.${STAGE}`;
  }

  /** Of rows with the same key the last one counts. */
  #upsertSql(): string {
    const keys = this.#keys.map(quoteName).join(", ");
    const rest = this.#columns.filter(({ name }) => !this.#keys.includes(name));
    const sets = rest.map(({ name }) => `${quoteName(name)} = EXCLUDED.${quoteName(name)}`);
    const action = sets.length === 0 ? "NOTHING" : `UPDATE SET ${sets.join(", ")}`;
    return (
      `${this.#insertSql()} QUALIFY row_number() OVER (PARTITION BY ${keys} ORDER BY rowid DESC) = 1 ` +
      `ON CONFLICT (${keys}) DO ${action}`
    );
  }

  #names(): string {
    return this.#columns.map(({ name }) => quoteName(name)).join(", ");
  }
}

/** A column's value from its text. */
function valueSql({ name, type }: TableColumn): string {
  const text = quoteName(name);
  if (type === "BLOB") {
    return `CASE WHEN starts_with(${text}, '\\x') THEN from_hex(substr(${text}, 3)) ELSE encode(${text}) END`;
  }
  const isNested = type.endsWith("]") || /^(STRUCT|MAP|UNION)\(/.test(type);
  return isNested ? `CAST(CAST(${text} AS JSON) AS ${type})` : `CAST(${text} AS ${type})`;
}

/** `schema.table` with each part quoted; parts may be quoted already. */
function quoteTable(table: string): string {
  const parts = table.match(/"(?:[^"]|"")*"|[^."]+/g) ?? [table];
  return parts.map((part) => (part.startsWith('"') ? part : quoteName(part.trim()))).join(".");
}
