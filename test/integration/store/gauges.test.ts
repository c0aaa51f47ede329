import { expect, test } from "bun:test";
import { countOpen, countRateLimited } from "../../../src/store/gauges.ts";
import { connectStore } from "../../../src/store/pool.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { waitFor } from "../../support/wait.ts";

test("open executions are counted by status", async () => {
  await using database = await createTestDatabase();
  await database.sql`
    INSERT INTO noetl.execution (execution_id, path, root_id, status, seq, payload, ended_at)
    VALUES (1, 'a', 1, 'pending', 0, '{}', NULL), (2, 'a', 2, 'running', 1, '{}', NULL),
      (3, 'a', 3, 'running', 1, '{}', NULL), (4, 'a', 4, 'completed', 1, '{}', now())`;
  expect(await countOpen(database.sql)).toEqual({ pending: 1, running: 2 });
});

test("commands that wait for a permit are told apart from those that are only not due", async () => {
  await using database = await createTestDatabase();
  const insert = async (id: number, payload: unknown, isDue: boolean) =>
    await database.sql`
      INSERT INTO noetl.command (execution_id, command_id, event_seq, step, visit, tool, pool,
        priority, status, available_at, payload)
      VALUES (1, ${id}, 1, 's', 1, 'noop', 'cpu', 5, 'queued',
        now() + ${isDue ? -1 : 60} * interval '1 second', ${JSON.stringify(payload)}::text::json)`;
  await insert(1, { pipeline: { permitKey: "api" } }, false);
  await insert(2, { pipeline: {} }, false);
  await insert(3, { pipeline: { permitKey: "api" } }, true);
  expect([...(await countRateLimited(database.sql))]).toEqual([["cpu", 1]]);
});

test("statements and transactions under way are counted, parts of statements are not", async () => {
  await using database = await createTestDatabase();
  await using store = connectStore(database.url, { name: "test", max: 2 });
  const { load, quick, durable } = store;
  expect(load.quick).toEqual({ max: 2, underWay: 0 });
  const part = quick`pg_sleep(0)`;
  const ends = Promise.withResolvers<void>();
  const open = durable.begin(async (tx) => {
    await tx`SELECT 1`;
    await ends.promise;
  });
  const asleep = Array.from({ length: 3 }, async () => await quick`SELECT pg_sleep(0.3)`);
  await waitFor("all of them", () => load.quick.underWay === 3 && load.durable.underWay === 1);
  await quick`SELECT ${part}`;
  ends.resolve();
  await Promise.all([open, ...asleep]);
  await quick`SELECT nonsense`.catch(() => undefined);
  await waitFor("none", () => load.quick.underWay === 0 && load.durable.underWay === 0);
  expect([load.quick.underWay, load.durable.underWay]).toEqual([0, 0]);
});
