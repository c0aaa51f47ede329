/**
 * Databases for tests: one embedded cluster per test process, started when first asked for; each
 * test gets a database of its own, copied from a migrated template in some 30 ms.
 */
import postgres from "postgres";
import type { EmbeddedPostgres } from "../../src/embedded/postgres.ts";
import { startEmbeddedPostgres } from "../../src/embedded/postgres.ts";
import { migrate } from "../../src/store/migrate.ts";
import { SILENT_LOG } from "./log.ts";
import { afterRun, makeScratchDir, reapDeadRuns } from "./scratch.ts";

const TEMPLATE = "test_template";

let cluster: Promise<EmbeddedPostgres> | undefined;
let template: Promise<void> | undefined;
let count = 0;

export interface TestDatabase extends AsyncDisposable {
  readonly sql: postgres.Sql;
  /** Superuser of the whole cluster. */
  readonly url: string;
}

export interface TestDatabaseOptions {
  /** Default true: the platform's schema is there. */
  readonly isMigrated?: boolean;
}

/** A fresh database of its own, dropped at the end of the scope: `await using`. */
export async function createTestDatabase({
  isMigrated = true,
}: TestDatabaseOptions = {}): Promise<TestDatabase> {
  if (isMigrated) {
    template ??= createTemplate();
    await template;
  }
  const name = `test_${++count}`;
  await admin(`CREATE DATABASE ${name} TEMPLATE ${isMigrated ? TEMPLATE : "template0"}`);
  const url = await databaseUrl(name);
  const sql = postgres(url, { max: 4, onnotice: () => undefined });
  return {
    sql,
    url,
    [Symbol.asyncDispose]: async () => {
      await sql.end();
      await admin(`DROP DATABASE ${name} WITH (FORCE)`);
    },
  };
}

/** The cluster of this test process, for tests that kill or stop it. */
export function testCluster(): Promise<EmbeddedPostgres> {
  cluster ??= startCluster();
  return cluster;
}

async function startCluster(): Promise<EmbeddedPostgres> {
  await reapDeadRuns();
  const started = await startEmbeddedPostgres({
    dataDir: makeScratchDir("postgres"),
    // Tests kill processes, never the machine.
    settings: { fsync: "off", full_page_writes: "off", shared_buffers: "64MB" },
    log: SILENT_LOG,
  });
  afterRun(() => started.stop());
  return started;
}

async function createTemplate(): Promise<void> {
  await admin(`CREATE DATABASE ${TEMPLATE}`);
  const sql = postgres(await databaseUrl(TEMPLATE), { max: 2, onnotice: () => undefined });
  await migrate(sql);
  await sql.end();
}

async function admin(statement: string): Promise<void> {
  const sql = postgres(await databaseUrl("postgres"), { max: 1, onnotice: () => undefined });
  await sql.unsafe(statement);
  await sql.end();
}

async function databaseUrl(name: string): Promise<string> {
  const url = new URL((await testCluster()).url);
  url.pathname = `/${name}`;
  return url.toString();
}
