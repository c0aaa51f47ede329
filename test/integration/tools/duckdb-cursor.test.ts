/** A cursor loop over rows of a DuckDB file, on a whole platform. */
import { afterAll, expect, test } from "bun:test";
import { join } from "node:path";
import { makeScratchDir } from "../../support/scratch.ts";
import { playbook, resultOf, startPlatform } from "../secrets/platform.ts";

const platform = await startPlatform();
afterAll(() => platform[Symbol.asyncDispose]());

const database = join(makeScratchDir("duckdb-cursor"), "work.duckdb");

test("takes each row once, in frames, until none is left", async () => {
  const ran = await platform.run(
    playbook(
      "tests/duckdb-cursor",
      `workflow:
  - step: start
    tool:
      kind: duckdb
      database: ${database}
      command: CREATE TABLE work AS SELECT range::INT AS id, 'pending' AS status FROM range(10)
    next: {arcs: [{step: drain}]}
  - step: drain
    loop:
      iterator: row
      cursor:
        kind: duckdb
        options: {database: ${database}}
        claim: |
          UPDATE work SET status = '{{ __claim_id }}'
          WHERE id IN (
            SELECT id FROM work WHERE status = 'pending' ORDER BY id LIMIT {{ __frame_max_rows }})
          RETURNING id
      spec: {mode: cursor, max_in_flight: 1, frame: {max_rows: 4}}
    tool:
      kind: javascript
      input: {id: "{{ iter.row.id }}"}
      code: return id * 10
    next: {arcs: [{step: check}]}
  - step: check
    tool:
      kind: duckdb
      database: ${database}
      command: SELECT count(*)::INT AS claimed, count(DISTINCT status)::INT AS claims FROM work WHERE status <> 'pending'
`,
    ),
  );
  expect(ran.error).toBeNull();
  expect(ran.status).toBe("COMPLETED");
  const drained = resultOf(ran.steps, "drain");
  expect(drained).toMatchObject({ stats: { total: 10, succeeded: 10, failed: 0, frames: 3 } });
  expect((drained as { results: number[] }).results.toSorted((a, b) => a - b)).toEqual(
    Array.from({ length: 10 }, (_, id) => id * 10),
  );
  expect(resultOf(ran.steps, "check")).toMatchObject({ rows: [{ claimed: 10, claims: 3 }] });
}, 60_000);

test("a claim that fails fails the loop, with DuckDB's words", async () => {
  const ran = await platform.run(
    playbook(
      "tests/duckdb-cursor-broken",
      `workflow:
  - step: drain
    loop:
      iterator: row
      cursor: {kind: duckdb, options: {database: ${database}}, claim: SELECT id FROM nowhere}
      spec: {mode: cursor}
    tool: {kind: noop}
`,
    ),
  );
  expect(ran.status).toBe("FAILED");
  expect(ran.message).toContain("nowhere");
}, 60_000);
