import { expect, test } from "bun:test";
import { checkSchema, migrate } from "../../../src/store/migrate.ts";
import { MIGRATIONS } from "../../../src/store/migrations.ts";
import type { Sql } from "../../../src/store/pool.ts";
import schema from "../../../src/store/schema.sql" with { type: "text" };
import { createTestDatabase } from "../../support/postgres.ts";

const EMPTY = { isMigrated: false };
const NEXT = (MIGRATIONS.at(-1)?.version ?? 0) + 1;

/** Columns, constraints and indexes of the schema, as PostgreSQL itself describes them. */
async function describeSchema(sql: Sql): Promise<unknown> {
  const columns = await sql`
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull,
      a.attstorage, pg_get_expr(d.adbin, d.adrelid) AS "default", c.reloptions
    FROM pg_class AS c
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
    LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = 'noetl'::regnamespace
    ORDER BY c.relname, a.attnum`;
  const constraints = await sql`
    SELECT conrelid::regclass::text AS relation, conname, pg_get_constraintdef(oid) AS definition
    FROM pg_constraint
    WHERE connamespace = 'noetl'::regnamespace
    ORDER BY 1, 2`;
  const indexes = await sql`
    SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'noetl' ORDER BY indexname`;
  return { columns: [...columns], constraints: [...constraints], indexes: [...indexes] };
}

test("schema.sql is what the migrations make", async () => {
  await using migrated = await createTestDatabase(EMPTY);
  await using described = await createTestDatabase(EMPTY);
  await migrate(migrated.sql);
  await described.sql.unsafe(`CREATE SCHEMA noetl; ${schema}`);
  expect(await describeSchema(described.sql)).toEqual(await describeSchema(migrated.sql));
});

test("migrate() applies each migration once, however many call it at a time", async () => {
  await using db = await createTestDatabase(EMPTY);
  const applied = await Promise.all([migrate(db.sql), migrate(db.sql), migrate(db.sql)]);
  expect(applied.flat().toSorted((a, b) => a - b)).toEqual(
    MIGRATIONS.map(({ version }) => version),
  );
  expect(await migrate(db.sql)).toEqual([]);
});

test("migrate() applies what is missing and keeps the rest", async () => {
  await using db = await createTestDatabase();
  const next = { version: NEXT, name: "extra", text: "CREATE TABLE noetl.extra (id int)" };
  expect(await migrate(db.sql, [...MIGRATIONS, next])).toEqual([NEXT]);
  expect(await db.sql`SELECT count(*)::int AS n FROM noetl.extra`).toEqual([{ n: 0 }] as never);
});

test("migrate() leaves nothing of a migration that fails", async () => {
  await using db = await createTestDatabase();
  const text = "CREATE TABLE noetl.extra (id int); SELECT no_such_function()";
  const broken = { version: NEXT, name: "broken", text };
  await expect(migrate(db.sql, [...MIGRATIONS, broken])).rejects.toThrow("no_such_function");
  const [row] = await db.sql`SELECT to_regclass('noetl.extra') AS extra`;
  expect(row?.["extra"]).toBeNull();
  await checkSchema(db.sql);
});

test("an older binary refuses a database after a breaking migration, and only then", async () => {
  await using db = await createTestDatabase();
  const extra = { version: NEXT, name: "extra", text: "CREATE TABLE noetl.extra (id int)" };
  await migrate(db.sql, [...MIGRATIONS, extra]);
  await checkSchema(db.sql, MIGRATIONS);
  const breaking = {
    version: NEXT + 1,
    name: "breaking",
    text: "-- breaking\nDROP TABLE noetl.extra",
  };
  await migrate(db.sql, [...MIGRATIONS, extra, breaking]);
  await expect(checkSchema(db.sql, MIGRATIONS)).rejects.toMatchObject({ code: "DATABASE_NEWER" });
  await expect(migrate(db.sql, MIGRATIONS)).rejects.toMatchObject({ code: "DATABASE_NEWER" });
});

test("checkSchema() says that migrations are missing, on an empty database too", async () => {
  await using db = await createTestDatabase(EMPTY);
  await expect(checkSchema(db.sql)).rejects.toMatchObject({ code: "DATABASE_OUTDATED" });
});
