/** `noetl db migrate`. */
import { databaseUrlOf } from "../config/decide.ts";
import { configurationError, readOptions } from "../config/read.ts";
import { databaseOptions, migrateOptions } from "../config/tables.ts";
import { migrate } from "../store/migrate.ts";
import { connectStore } from "../store/pool.ts";
import type { CliContext, ExitReason } from "./context.ts";
import { withDatabase } from "./database.ts";

export async function migrateDatabase(
  { env, out, signal }: CliContext,
  flags: { readonly json?: boolean | undefined; readonly [name: string]: unknown },
): Promise<ExitReason> {
  const values = readOptions({ ...databaseOptions, ...migrateOptions }, { flags, env });
  const url = databaseUrlOf(values);
  if (url === undefined) {
    const message = "or POSTGRES_HOST is required: the database to migrate";
    throw configurationError([{ name: "DATABASE_URL", message }]);
  }
  // An index on a large table takes as long as it takes.
  await using store = connectStore(url.reveal(), {
    max: 2,
    name: "noetl db migrate",
    statementTimeoutMs: 0,
  });
  const patience = { url, patienceMs: values.databaseWait, signal };
  const applied = await withDatabase(() => migrate(store.durable), patience);
  if (flags.json === true) {
    out(JSON.stringify({ applied }));
  } else {
    out(applied.length === 0 ? "Nothing to do." : `Applied ${applied.join(", ")}.`);
  }
  return "ok";
}
