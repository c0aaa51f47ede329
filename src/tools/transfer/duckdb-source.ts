/** Rows of a DuckDB query, read as DuckDB makes them. */

import { attachCredentials, setUp } from "../duckdb/attach.ts";
import { databaseOf } from "../duckdb/check.ts";
import type { DuckdbSession } from "../duckdb/session.ts";
import { splitStatements } from "../postgres/statements.ts";
import { selectColumns } from "./columns.ts";
import type { SourceKind, SourceOptions, TransferSource } from "./endpoint.ts";
import { checkQuery, queryOf } from "./postgres-source.ts";
import { atSide } from "./side.ts";

export const duckdbSource: SourceKind = {
  check: checkQuery,
  open: (options) =>
    atSide("source", async () => {
      const { databases, config, context } = options;
      const session = await databases.open(databaseOf(config), context.signal);
      try {
        return await openQuery(session, options);
      } catch (error) {
        await session.close();
        throw error;
      }
    }),
};

async function openQuery(
  session: DuckdbSession,
  { config, context, mapping, rowCountMax }: SourceOptions,
): Promise<TransferSource> {
  await attachCredentials(session, config, context);
  const statements = splitStatements(queryOf(config)).map(({ text }) => text);
  if (statements.length > 1) {
    await setUp(session, statements.slice(0, -1).join(";\n"));
  }
  const found = await session.select(statements.at(-1) ?? "");
  const { columns, positions } = selectColumns(
    found.map(({ name }) => name),
    mapping,
  );
  return {
    columns,
    read: () =>
      atSide("source", async () => {
        const rows = await session.fetch(rowCountMax);
        return rows.map((row) => positions.map((position) => row[position] ?? null));
      }),
    close: () => session.close(),
  };
}
