/** Brings a database to this binary's schema: forward only, one migrator at a time. */
import { AppError } from "../core/errors.ts";
import type { Migration } from "./migrations.ts";
import { MIGRATIONS } from "./migrations.ts";
import type { Pool, Sql } from "./pool.ts";
import { isSchemaMissing } from "./sqlstate.ts";

/** Any number that no other program on the same database uses: "noetl" in ASCII. */
const LOCK_KEY = "474147222636";

const BREAKING = /^-- breaking\b/;

/**
 * Runs what is missing, each migration in a transaction of its own. Idempotent; concurrent calls
 * wait for each other.
 *
 * @returns the versions that this call applied.
 * @throws AppError conflict DATABASE_NEWER
 */
export async function migrate(
  pool: Pool,
  migrations: readonly Migration[] = MIGRATIONS,
): Promise<readonly number[]> {
  await pool.begin((sql) => createVersionTable(sql));
  const applied: number[] = [];
  for (const migration of migrations) {
    if (await pool.begin((sql) => apply(sql, migration))) {
      applied.push(migration.version);
    }
  }
  await checkSchema(pool, migrations);
  return applied;
}

/**
 * Checks that this binary can work with the database.
 *
 * @throws AppError conflict: DATABASE_NEWER (made by a newer, incompatible binary) or
 *   DATABASE_OUTDATED (migrations are missing).
 */
export async function checkSchema(
  sql: Sql,
  migrations: readonly Migration[] = MIGRATIONS,
): Promise<void> {
  const known = migrations.at(-1)?.version ?? 0;
  const { latest, breaking } = await readVersions(sql);
  if (breaking > known) {
    throw new AppError(
      "conflict",
      "DATABASE_NEWER",
      `The database has version ${breaking}, which this binary does not know (it knows ${known}): use a newer one`,
    );
  }
  if (latest < known) {
    throw new AppError(
      "conflict",
      "DATABASE_OUTDATED",
      `The database has version ${latest}, this binary needs ${known}: run "noetl db migrate"`,
    );
  }
}

/** Last applied and last incompatible version; 0 for none. */
async function readVersions(sql: Sql): Promise<{ latest: number; breaking: number }> {
  try {
    const [row] = await sql<{ latest: number; breaking: number }[]>`
      SELECT
        coalesce(max(version), 0) AS latest,
        coalesce(max(version) FILTER (WHERE is_breaking), 0) AS breaking
      FROM noetl.schema_version`;
    return row ?? { latest: 0, breaking: 0 };
  } catch (error) {
    if (isSchemaMissing(error)) {
      return { latest: 0, breaking: 0 };
    }
    throw error;
  }
}

async function createVersionTable(sql: Sql): Promise<void> {
  await lock(sql);
  await sql`CREATE SCHEMA IF NOT EXISTS noetl`;
  await sql`
    CREATE TABLE IF NOT EXISTS noetl.schema_version (
      version     integer PRIMARY KEY,
      name        text NOT NULL,
      is_breaking boolean NOT NULL,
      applied_at  timestamptz NOT NULL DEFAULT now()
    )`;
}

/** @returns false if it had been applied before. */
async function apply(sql: Sql, { version, name, text }: Migration): Promise<boolean> {
  await lock(sql);
  const inserted = await sql`
    INSERT INTO noetl.schema_version (version, name, is_breaking)
    VALUES (${version}, ${name}, ${BREAKING.test(text)})
    ON CONFLICT (version) DO NOTHING
    RETURNING version`;
  if (inserted.length === 0) {
    return false;
  }
  await sql.unsafe(text);
  return true;
}

/** Against other migrators, until the transaction ends. */
async function lock(sql: Sql): Promise<void> {
  await sql`SELECT pg_advisory_xact_lock(${LOCK_KEY}::bigint)`;
}
