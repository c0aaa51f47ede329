/**
 * Transfers that replace what is there, several at a time: whoever looks sees the old rows or the new
 * ones, all of them, and never both.
 */
import { arcs, RETRY, SQL_CREDENTIAL, same } from "../playbook.ts";
import type { Sink } from "../sink.ts";
import type { Outcome, Problems, Turn, Workload, World } from "../workload.ts";

const ROWS = 3000;
const TABLE = "chaos_transfer";
const FILE = "chaos-transfer.duckdb";
const LOOK = `SELECT count(*)::int AS rows, count(DISTINCT version)::int AS versions FROM ${TABLE}`;

export function transfer(sink: Sink): Workload {
  const postgres = { type: "postgres", auth: SQL_CREDENTIAL, table: TABLE };
  const duckdb = { type: "duckdb", database: FILE, table: TABLE };
  const create = `CREATE TABLE IF NOT EXISTS ${TABLE} (id int, version text, filler text)`;
  const workflow = [
    {
      step: "load",
      tool: {
        kind: "transfer",
        source: { type: "http", url: `${sink.url}/rows/{{ workload.version }}/${ROWS}` },
        target: { ...postgres, mode: "replace" },
        spec: RETRY,
      },
      ...arcs(["look"]),
    },
    {
      step: "look",
      tool: { kind: "postgres", auth: SQL_CREDENTIAL, query: LOOK, spec: RETRY },
      ...arcs(["table"]),
    },
    {
      step: "table",
      tool: { kind: "duckdb", database: FILE, command: create, spec: RETRY },
      ...arcs(["copy"]),
    },
    {
      step: "copy",
      tool: {
        kind: "transfer",
        source: postgres,
        target: { ...duckdb, mode: "replace" },
        spec: RETRY,
      },
      ...arcs(["look_again"]),
    },
    { step: "look_again", tool: { kind: "duckdb", database: FILE, query: LOOK, spec: RETRY } },
  ];
  return {
    name: "transfer",
    weight: 1,
    playbooks: [{ path: "chaos/transfer", workload: { version: "" }, workflow }],
    ends: ["COMPLETED"],
    prepare: async ({ sql }) => {
      await sql((db) => db.unsafe(`${create}`));
    },
    turn: replaceAll,
    watch: lookForMixes,
    verify,
  };
}

async function replaceAll({ world, name, start }: Turn): Promise<void> {
  await world.client.ended(await start({ payload: { version: name } }));
}

async function lookForMixes({ sql }: World, stop: AbortSignal): Promise<Problems> {
  const problems = new Set<string>();
  while (!stop.aborted) {
    const [seen] = await sql<{ rows: number; versions: number }>((db) => db.unsafe(LOOK));
    if (seen !== undefined && !(seen.rows === 0 || isWhole(seen))) {
      problems.add(`the table had ${seen.rows} rows of ${seen.versions} versions`);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return [...problems];
}

function isWhole({
  rows,
  versions,
}: {
  readonly rows: number;
  readonly versions: number;
}): boolean {
  return rows === ROWS && versions === 1;
}

function verify({ results }: Outcome): Problems {
  return ["look", "look_again"].flatMap((step) =>
    same(step, Object(results[step]).rows, [{ rows: ROWS, versions: 1 }]),
  );
}
