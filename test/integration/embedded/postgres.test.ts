import { expect, test } from "bun:test";
import { mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import postgres from "postgres";
import { startEmbeddedPostgres } from "../../../src/embedded/postgres.ts";
import { SILENT_LOG } from "../../support/log.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import { waitFor } from "../../support/wait.ts";

const settings = { fsync: "off" };

test("startEmbeddedPostgres() keeps data, port and passwords over restarts", async () => {
  const dataDir = makeScratchDir("pg");
  const first = await startEmbeddedPostgres({ dataDir, settings, log: SILENT_LOG });
  const sql = postgres(first.url, { max: 1 });
  await sql`CREATE TABLE kept AS SELECT 7 AS n`;
  await sql.end();
  await first.stop();

  await using second = await startEmbeddedPostgres({ dataDir, settings, log: SILENT_LOG });
  expect(second.url).toBe(first.url);
  await using again = connect(second.url);
  expect(await again.sql`SELECT n FROM kept`).toEqual([{ n: 7 }] as never);
  expect(statSync(join(dataDir, "postgres.json")).mode & 0o777).toBe(0o600);
});

test("a killed server comes back on the same port with everything that was committed", async () => {
  const dataDir = makeScratchDir("pg");
  await using server = await startEmbeddedPostgres({ dataDir, settings, log: SILENT_LOG });
  await using client = connect(server.url);
  await client.sql`CREATE TABLE kept AS SELECT 7 AS n`;
  process.kill(server.pid, "SIGKILL");
  const rows = await waitFor("the server to answer again", async () => {
    return await client.sql`SELECT n FROM kept`;
  });
  expect(rows[0]).toEqual({ n: 7 });
});

test("the role of the playbooks owns its database and cannot connect to the platform's", async () => {
  const dataDir = makeScratchDir("pg");
  await using server = await startEmbeddedPostgres({ dataDir, settings, log: SILENT_LOG });
  await using playbooks = connect(server.playbooksUrl);
  await playbooks.sql`CREATE SCHEMA auth`;
  await playbooks.sql`CREATE TABLE public.t (n int)`;
  await using platform = connect(server.playbooksUrl.replace(/\/playbooks$/, "/noetl"));
  const refusal = await platform.sql`SELECT 1`.catch((error: unknown) => String(error));
  expect(refusal).toContain('permission denied for database "noetl"');
});

test("a data folder that the server's user cannot reach still works", async () => {
  const closed = join(makeScratchDir("pg"), "closed");
  mkdirSync(closed, { mode: 0o700 });
  const dataDir = join(closed, "data");
  await using server = await startEmbeddedPostgres({ dataDir, settings, log: SILENT_LOG });
  await using client = connect(server.url);
  const rows = await client.sql`SHOW data_directory`;
  await client.sql`SELECT 1`;
  expect(String(rows[0]?.["data_directory"])).toEndWith("/data");
});

test("createTestDatabase() gives databases that do not see each other", async () => {
  await using a = await createTestDatabase({ isMigrated: false });
  await using b = await createTestDatabase({ isMigrated: false });
  await a.sql`CREATE TABLE mine (n int)`;
  const found = await b.sql`SELECT to_regclass('mine') AS name`;
  expect(found[0]).toEqual({ name: null });
});

function connect(url: string): AsyncDisposable & { readonly sql: postgres.Sql } {
  const sql = postgres(url, { max: 1, onnotice: () => undefined });
  return { sql, [Symbol.asyncDispose]: () => sql.end({ timeout: 1 }) };
}
