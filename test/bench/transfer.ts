/** `T`: transfers of 1,000,000 rows between PostgreSQL and DuckDB. The worker's memory must stay bounded. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import postgres from "postgres";
import { peakGrowth } from "./memory.ts";
import type { Platform } from "./platform.ts";
import { POOL } from "./platform.ts";
import type { Context, Figure } from "./workloads.ts";

const ROWS = 1_000_000;
const WARM_ROWS = 20_000;
const GROWTH_MIB_MAX = 150;
const ROWS_PER_SECOND_MIN = 50_000;
const POLL_MS = 50;
const END_MS = 300_000;

interface Direction {
  readonly name: string;
  readonly source: "postgres" | "duckdb";
  readonly target: "postgres" | "duckdb";
  readonly mode: "append" | "replace" | "upsert";
}

const DIRECTIONS: readonly Direction[] = [
  { name: "postgres → postgres, replace", source: "postgres", target: "postgres", mode: "replace" },
  { name: "postgres → postgres, upsert", source: "postgres", target: "postgres", mode: "upsert" },
  { name: "postgres → duckdb, replace", source: "postgres", target: "duckdb", mode: "replace" },
  { name: "duckdb → postgres, append", source: "duckdb", target: "postgres", mode: "append" },
];

export async function runTransfers({ platform }: Context): Promise<readonly Figure[]> {
  const dir = mkdtempSync(join(tmpdir(), "noetl-bench-transfer-"));
  const sql = postgres(platform.databaseUrl, { max: 1, onnotice: () => undefined });
  try {
    await prepare(sql);
    const figures: Figure[] = [];
    for (const direction of DIRECTIONS) {
      figures.push(
        ...(await measure(platform, sql, { ...direction, file: join(dir, "t.duckdb") })),
      );
    }
    return figures;
  } finally {
    await sql.unsafe("DROP SCHEMA IF EXISTS bench_transfer CASCADE");
    await sql.end();
    rmSync(dir, { recursive: true, force: true });
  }
}

async function prepare(sql: postgres.Sql): Promise<void> {
  await sql.unsafe("DROP SCHEMA IF EXISTS bench_transfer CASCADE");
  await sql.unsafe("CREATE SCHEMA bench_transfer");
  await sql.unsafe(
    `CREATE TABLE bench_transfer.source AS
     SELECT n AS id, 'name ' || n AS name, round(n / 7.0, 3) AS amount, now() AS at_time,
            n % 2 = 0 AS is_even, md5(n::text) AS note
       FROM generate_series(1, ${ROWS}) n`,
  );
}

async function measure(
  platform: Platform,
  sql: postgres.Sql,
  direction: Direction & { readonly file: string },
): Promise<readonly Figure[]> {
  await sql.unsafe("DROP TABLE IF EXISTS bench_transfer.target");
  await sql.unsafe(
    "CREATE TABLE bench_transfer.target (LIKE bench_transfer.source, PRIMARY KEY (id))",
  );
  await platform.api.register(playbook(direction, platform.databaseUrl));
  await transferMs(platform, WARM_ROWS);
  await sql.unsafe("TRUNCATE bench_transfer.target");
  const worker = platform.rootPids().filter(({ name }) => name === "worker");
  let totalMs = 0;
  const [growth = 0] = await peakGrowth(worker, async () => {
    totalMs = await transferMs(platform, ROWS);
  });
  if (direction.target === "postgres") {
    await checkTarget(sql);
  }
  return [
    {
      name: `T ${direction.name}, 1,000,000 rows`,
      value: (ROWS * 1000) / totalMs,
      unit: "rows/s",
      target: { atLeast: ROWS_PER_SECOND_MIN },
    },
    {
      name: `T ${direction.name}, memory growth of worker`,
      value: growth,
      unit: "MiB",
      target: { atMost: GROWTH_MIB_MAX },
    },
  ];
}

async function transferMs({ api }: Platform, count: number): Promise<number> {
  const start = performance.now();
  const id = await api.execute("bench/transfer", { payload: { count } });
  await api.completed(id, POLL_MS, END_MS);
  const totalMs = performance.now() - start;
  const moved = (await api.steps(id)).find(({ step }) => step === "move");
  if (Object(moved?.result).rows_transferred !== count) {
    throw new Error(`The transfer of ${count} rows gave ${JSON.stringify(moved?.result)}`);
  }
  return totalMs;
}

async function checkTarget(sql: postgres.Sql): Promise<void> {
  const [row] = await sql<{ same: number }[]>`
    SELECT count(*)::int AS same FROM bench_transfer.source JOIN bench_transfer.target USING (id, name, amount, at_time, is_even, note)`;
  if (row?.same !== ROWS) {
    throw new Error(`Of ${ROWS} rows ${row?.same} arrived as they were`);
  }
}

/** Makes the tables that it needs in DuckDB itself; `count` rows are moved. */
function playbook(
  { source, target, mode, file }: Direction & { readonly file: string },
  url: string,
): string {
  const columns =
    "id INTEGER PRIMARY KEY, name VARCHAR, amount DECIMAL(18,3), at_time TIMESTAMPTZ, is_even BOOLEAN, note VARCHAR";
  const ends = {
    postgres: { type: "postgres", connection: url },
    duckdb: { type: "duckdb", database: file },
  };
  const from = source === "postgres" ? "bench_transfer.source" : "target";
  const table = target === "postgres" ? "bench_transfer.target" : "target";
  return JSON.stringify({
    apiVersion: "noetl.io/v2",
    kind: "Playbook",
    metadata: { name: "transfer", path: "bench/transfer" },
    executor: { pool: POOL },
    workload: { count: 1 },
    workflow: [
      {
        step: "start",
        tool: {
          kind: "duckdb",
          database: file,
          command: `CREATE TABLE IF NOT EXISTS target (${columns})`,
        },
        next: { arcs: [{ step: "move" }] },
      },
      {
        step: "move",
        tool: {
          kind: "transfer",
          source: { ...ends[source], query: `SELECT * FROM ${from} LIMIT {{ count }}` },
          target: { ...ends[target], table },
          mode,
        },
      },
    ],
  });
}
