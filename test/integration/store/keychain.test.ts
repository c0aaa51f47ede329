import { expect, test } from "bun:test";
import {
  claimRenewal,
  leaseKeychain,
  readKeychain,
  removeExpiredKeychain,
  storeKeychain,
} from "../../../src/store/keychain.ts";
import type { Sql } from "../../../src/store/pool.ts";
import { createTestDatabase } from "../../support/postgres.ts";

async function keep(sql: Sql, cacheKey: string, lifetimeMs: number): Promise<void> {
  const names = { name: "api", scope: "shared", catalogId: undefined } as const;
  await leaseKeychain(sql, { cacheKey, ...names, executionId: undefined }, 1000);
  const times = { lifetimeMs, renewInMs: 0 };
  await storeKeychain(sql, { cacheKey, sealed: "sealed", ...times, isUsed: true });
}

test("a renewal that is due is taken once, and not again before its time", async () => {
  await using db = await createTestDatabase();
  await keep(db.sql, "api:shared", 60_000);
  const claims = await Promise.all([1, 2, 3].map(() => claimRenewal(db.sql, "api:shared", 60_000)));
  expect(claims.filter(Boolean)).toHaveLength(1);
  expect(await claimRenewal(db.sql, "api:shared", 0)).toBe(false);
});

test("values that expired long ago are forgotten, those in use and those that hold are not", async () => {
  await using db = await createTestDatabase();
  const longAgoMs = -2 * 60 * 60_000;
  await keep(db.sql, "old", longAgoMs);
  await keep(db.sql, "in use", longAgoMs);
  await keep(db.sql, "holds", 60_000);
  await db.sql.begin(async (sql) => {
    await sql`SELECT 1 FROM noetl.keychain WHERE cache_key = 'in use' FOR UPDATE`;
    expect(await removeExpiredKeychain(db.sql)).toBe(false);
  });
  const kept = await readKeychain(db.sql, ["old", "in use", "holds"]);
  expect(kept.map(({ cacheKey }) => cacheKey).toSorted()).toEqual(["holds", "in use"]);
});
