/** DuckDB files that several workers write in turn, and queries in memory. */
import { arcs, RETRY, same } from "../playbook.ts";
import type { Turn, Workload } from "../workload.ts";

const FILES = 2;
const ROWS = 500;
const SUM = (ROWS * (ROWS - 1)) / 2;

export function duckdb(): Workload {
  const database = "chaos-{{ workload.file }}.duckdb";
  const write = `CREATE TABLE IF NOT EXISTS entry (turn text, item int);
    BEGIN;
    DELETE FROM entry WHERE turn = '{{ workload.turn }}';
    INSERT INTO entry SELECT '{{ workload.turn }}', i FROM range(${ROWS}) t(i);
    COMMIT`;
  const read = `SELECT count(*)::int AS items, sum(item)::int AS total
    FROM entry WHERE turn = '{{ workload.turn }}'`;
  const workflow = [
    {
      step: "write",
      tool: { kind: "duckdb", database, command: write, spec: RETRY },
      ...arcs(["read"]),
    },
    {
      step: "read",
      tool: { kind: "duckdb", database, query: read, spec: RETRY },
      ...arcs(["memory"]),
    },
    {
      step: "memory",
      tool: {
        kind: "duckdb",
        query: "SELECT sum(i)::bigint::int AS total FROM range({{ read.rows[0].items }}) t(i)",
        spec: RETRY,
      },
    },
  ];
  return {
    name: "duckdb",
    weight: 1,
    playbooks: [{ path: "chaos/duckdb", workload: { file: 0, turn: "" }, workflow }],
    ends: ["COMPLETED"],
    turn: writeOne,
    verify: ({ results }) => [
      ...same("read", Object(results["read"]).rows, [{ items: ROWS, total: SUM }]),
      ...same("memory", Object(results["memory"]).rows, [{ total: SUM }]),
    ],
  };
}

async function writeOne({ world, name, random, start }: Turn): Promise<void> {
  const file = Math.floor(random.between(0, FILES));
  await world.client.ended(await start({ payload: { file, turn: name } }));
}
