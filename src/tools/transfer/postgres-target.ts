/**
 * Writes rows into a PostgreSQL table by COPY, in one transaction: a transfer that does not get to
 * its end leaves the table as it was.
 */

import type { Json } from "../../core/json.ts";
import type { TextRow } from "../copy-text.ts";
import { splitStatements } from "../postgres/statements.ts";
import { encodePlain } from "../postgres/values.ts";
import { taskError } from "../task-error.ts";
import { keysOf, listOf, matchColumns } from "./columns.ts";
import type { ColumnForm, TargetKind, TargetOptions, TransferTarget } from "./endpoint.ts";
import { textAt } from "./endpoint.ts";
import type { Copy } from "./postgres-session.ts";
import { PostgresSession } from "./postgres-session.ts";

const STAGE = "noetl_transfer";
const ROW = "noetl_row";

export const postgresTarget: TargetKind = {
  check: (config, mode) => {
    const hasTable = textAt(config, "table") !== undefined;
    const query = textAt(config, "query");
    const count = query === undefined ? 0 : splitStatements(query).length;
    return [
      ...(hasTable || query !== undefined ? [] : ["`target.table` (or `target.query`) is missing"]),
      ...(count > 1 ? ["`target.query` must be one statement"] : []),
      ...(query !== undefined && mode !== "append"
        ? [`\`mode: ${mode}\` needs \`target.table\`: with \`target.query\` the statement decides`]
        : []),
    ];
  },
  open: async (options) => {
    const session = await PostgresSession.open("target", options.config, options.context);
    const query = textAt(options.config, "query");
    return query === undefined
      ? new PostgresTable(session, options)
      : new PostgresStatement(session, query);
  },
};

interface TableColumn {
  readonly name: string;
  readonly isList: boolean;
  readonly isJson: boolean;
}

class PostgresTable implements TransferTarget {
  readonly #session: PostgresSession;
  readonly #options: TargetOptions;
  readonly #table: string;
  #columns: readonly TableColumn[] = [];
  #keys: readonly string[] = [];
  /** The table's name as SQL text. */
  #name = "";
  #copy: Copy | undefined;
  #hasLists = false;

  constructor(session: PostgresSession, options: TargetOptions) {
    this.#session = session;
    this.#options = options;
    this.#table = textAt(options.config, "table") ?? "";
  }

  async begin(columns: readonly string[]): Promise<readonly ColumnForm[]> {
    await this.#session.run("BEGIN");
    this.#name = await this.#resolve();
    const existing = await this.#describe();
    const names = matchColumns(this.#table, [...existing.keys()], columns);
    this.#columns = names.flatMap((name) => existing.get(name) ?? []);
    this.#hasLists = this.#columns.some(({ isList }) => isList);
    const { mode } = this.#options;
    if (mode === "upsert" && names.length > 0) {
      await this.#beginUpsert(names);
    } else if (mode === "replace") {
      // Against another replace, and against writers; readers go on and see the old rows.
      await this.#session.run(`LOCK TABLE ${this.#name} IN SHARE ROW EXCLUSIVE MODE`);
      await this.#session.run(`DELETE FROM ${this.#name}`);
    }
    const into = mode === "upsert" ? STAGE : this.#name;
    if (names.length > 0) {
      this.#copy = await this.#session.copy(`COPY ${into} (${quoted(names)}) FROM STDIN`);
    }
    return this.#columns.map(({ isJson }) => (isJson ? "json" : "text"));
  }

  async write(rows: readonly TextRow[]): Promise<void> {
    await this.#copy?.write(this.#hasLists ? rows.map((row) => this.#withLists(row)) : rows);
  }

  async commit(): Promise<void> {
    await this.#copy?.finish();
    if (this.#options.mode === "upsert" && this.#columns.length > 0) {
      await this.#merge();
    }
    await this.#session.run("COMMIT");
  }

  async close(): Promise<void> {
    await this.#session.close();
  }

  async #resolve(): Promise<string> {
    const { rows } = await this.#session.run("SELECT to_regclass($1)::oid::regclass::text", [
      this.#table,
    ]);
    const name = rows[0]?.[0];
    if (typeof name !== "string") {
      const message = `target: there is no table ${this.#table}; create it with a postgres task first`;
      throw taskError("db_error", "42P01", message);
    }
    return name;
  }

  async #describe(): Promise<ReadonlyMap<string, TableColumn>> {
    const { rows } = await this.#session.run(
      `SELECT a.attname, t.typcategory = 'A', t.typname IN ('json', 'jsonb')
         FROM pg_attribute a
         JOIN pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped
          AND a.attgenerated = ''
        ORDER BY a.attnum`,
      [this.#name],
    );
    return new Map(
      rows.map(([name, isList, isJson]) => [
        name ?? "",
        { name: name ?? "", isList: isList === "t", isJson: isJson === "t" },
      ]),
    );
  }

  async #beginUpsert(names: readonly string[]): Promise<void> {
    const { rows } = await this.#session.run(
      `SELECT a.attname
         FROM pg_index i
         JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
        WHERE i.indrelid = $1::regclass AND i.indisprimary`,
      [this.#name],
    );
    const primary = rows.map(([name]) => name ?? "");
    this.#keys = keysOf(this.#table, { keys: this.#options.keys, primary, columns: names });
    await this.#session.run(
      `CREATE TEMP TABLE ${STAGE} ON COMMIT DROP AS
       SELECT ${quoted(names)} FROM ${this.#name} WITH NO DATA`,
    );
    await this.#session.run(
      `ALTER TABLE ${STAGE} ADD COLUMN ${ROW} bigint GENERATED ALWAYS AS IDENTITY`,
    );
  }

  /** Of rows with the same key the last one counts. */
  async #merge(): Promise<void> {
    const names = this.#columns.map(({ name }) => name);
    const keys = quoted(this.#keys);
    await this.#refuseNullKeys();
    const rest = names.filter((name) => !this.#keys.includes(name));
    const sets = rest.map((name) => `${quoteName(name)} = EXCLUDED.${quoteName(name)}`);
    await this.#session.run(
      `INSERT INTO ${this.#name} (${quoted(names)})
       SELECT DISTINCT ON (${keys}) ${quoted(names)} FROM ${STAGE} ORDER BY ${keys}, ${ROW} DESC
       ON CONFLICT (${keys}) DO ${sets.length === 0 ? "NOTHING" : `UPDATE SET ${sets.join(", ")}`}`,
    );
  }

  async #refuseNullKeys(): Promise<void> {
    const isNull = this.#keys.map((name) => `${quoteName(name)} IS NULL`).join(" OR ");
    const { rows } = await this.#session.run(`SELECT count(*) FROM ${STAGE} WHERE ${isNull}`);
    const count = Number(rows[0]?.[0] ?? 0);
    if (count > 0) {
      const message = `source: ${count} rows have no value for the key ${listOf(this.#keys)}`;
      throw taskError("db_constraint", "KEY_NULL", message);
    }
  }

  #withLists(row: TextRow): TextRow {
    return row.map((text, index) =>
      this.#columns[index]?.isList && text?.startsWith("[")
        ? encodePlain(JSON.parse(text) as Json)
        : text,
    );
  }
}

/** A statement of the author's own with `$1` for the first column, run for each row. */
class PostgresStatement implements TransferTarget {
  readonly #session: PostgresSession;
  readonly #query: string;
  #parameterCount = 0;

  constructor(session: PostgresSession, query: string) {
    this.#session = session;
    this.#query = query;
  }

  async begin(columns: readonly string[]): Promise<readonly ColumnForm[]> {
    this.#parameterCount = splitStatements(this.#query)[0]?.parameterCount ?? 0;
    if (this.#parameterCount > columns.length) {
      const message = `target: the query uses $${this.#parameterCount}, a row has ${columns.length} values`;
      throw taskError("schema", "PARAMETER_MISSING", message);
    }
    await this.#session.run("BEGIN");
    return columns.map(() => "text");
  }

  async write(rows: readonly TextRow[]): Promise<void> {
    await this.#session.runEach(
      this.#query,
      rows.map((row) => row.slice(0, this.#parameterCount)),
    );
  }

  async commit(): Promise<void> {
    await this.#session.run("COMMIT");
  }

  async close(): Promise<void> {
    await this.#session.close();
  }
}

function quoted(names: readonly string[]): string {
  return names.map(quoteName).join(", ");
}

function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
