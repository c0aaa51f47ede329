import { expect, test } from "bun:test";
import { AppError } from "../../../src/core/errors.ts";
import type { Pool } from "../../../src/store/pool.ts";
import { connectStore } from "../../../src/store/pool.ts";
import { withTransaction } from "../../../src/store/transaction.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { waitFor } from "../../support/wait.ts";

async function insert(pool: Pool, name: string, then: () => Promise<unknown>): Promise<unknown> {
  return await withTransaction(pool, async (sql) => {
    await sql`INSERT INTO noetl.bus (name, stream) VALUES (${name}, 's')`;
    return await then();
  });
}

test("withTransaction() commits all, or nothing when it throws or a statement is refused", async () => {
  await using db = await createTestDatabase();
  await using store = connectStore(db.url, { name: "tx", max: 1 });
  const pool = store.durable;
  expect(await insert(pool, "a", () => Promise.resolve(7))).toBe(7);
  const refused = insert(pool, "b", () => Promise.reject(new AppError("invalid", "NO", "no")));
  await expect(refused).rejects.toMatchObject({ code: "NO" });
  await expect(insert(pool, "a", () => Promise.resolve())).rejects.toMatchObject({ code: "23505" });
  expect([...(await db.sql`SELECT name FROM noetl.bus`)]).toEqual([{ name: "a" }]);
  // The only connection is free again.
  expect(await insert(pool, "c", () => Promise.resolve(8))).toBe(8);
});

test("withTransaction() survives the loss of its connection at any statement", async () => {
  await using db = await createTestDatabase();
  await using store = connectStore(db.url, { name: "tx", max: 2 });
  const pool = store.durable;
  let done = 0;
  const work = Array.from({ length: 40 }, async (_, n) => {
    await waitFor(`transaction ${n}`, async () => {
      await withTransaction(pool, async (sql) => {
        await sql`INSERT INTO noetl.bus (name, stream) VALUES (${String(n)}, 's') ON CONFLICT DO NOTHING`;
        await sql`SELECT pg_sleep(0.005)`;
        await sql`UPDATE noetl.bus SET stream = 't' WHERE name = ${String(n)}`;
      });
      done++;
      return true;
    });
  });
  const killed = await waitFor("some broken connections", async () => {
    await db.sql`
      SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE datname = current_database() AND application_name = 'tx'`;
    return done > 5 ? done : undefined;
  });
  await Promise.all(work);
  expect(killed).toBeGreaterThan(5);
  const rows = await db.sql`SELECT 1 FROM noetl.bus WHERE stream = 't'`;
  expect(rows).toHaveLength(40);
}, 30_000);
