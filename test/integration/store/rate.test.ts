/** Rate limits held by rows: never more than the limit allows, however many ask together. */
import { expect, test } from "bun:test";
import { addRateKeys, removeIdleRates, takePermits } from "../../../src/store/rate.ts";
import { createTestDatabase } from "../../support/postgres.ts";

const SOON_MS = 3000;

test("an unused key gives its burst at once, then permits one step apart, then promises", async () => {
  await using db = await createTestDatabase();
  await addRateKeys(db.sql, ["k"]);
  const group = { key: "k", stepMs: 1000, burst: 3, promised: 0, fresh: 10 };
  const [first] = await takePermits(db.sql, [group], SOON_MS);
  // Three at once, three more within the next three seconds, the rest is put off.
  expect(first).toMatchObject({ key: "k", promised: 0, fresh: 6 });
  const baseMs = first?.baseMs ?? 0;
  expect(baseMs).toBeCloseTo(first?.nowMs ?? 0, 0);
  expect(first?.lineMs).toBeCloseTo(baseMs + 4000, 0);
  const [row] = await db.sql<{ spent: number; line: number }[]>`
    SELECT spent_until AS spent, line_until AS line FROM noetl.rate`;
  expect(row?.spent).toBeCloseTo(baseMs + 6000, 0);
  expect(row?.line).toBeCloseTo(baseMs + 8000, 0);
});

test("those who come back as promised go before those who ask first", async () => {
  await using db = await createTestDatabase();
  await addRateKeys(db.sql, ["k"]);
  const group = { key: "k", stepMs: 1000, burst: 1, promised: 0, fresh: 9 };
  const [first] = await takePermits(db.sql, [group], SOON_MS);
  expect(first?.fresh).toBe(4);
  // Some seconds pass: the row moves back instead.
  await db.sql`UPDATE noetl.rate SET spent_until = spent_until - 2500, line_until = line_until - 2500`;
  const [mixed] = await takePermits(db.sql, [{ ...group, promised: 2, fresh: 5 }], SOON_MS);
  expect(mixed).toMatchObject({ promised: 2, fresh: 0 });
});

test("permits that promised ones never came back for are given to whoever asks", async () => {
  await using db = await createTestDatabase();
  await addRateKeys(db.sql, ["k"]);
  const group = { key: "k", stepMs: 1000, burst: 1, promised: 0, fresh: 10_000 };
  await takePermits(db.sql, [group], SOON_MS);
  await db.sql`UPDATE noetl.rate SET spent_until = spent_until - 5000, line_until = line_until - 5000`;
  const [after] = await takePermits(db.sql, [{ ...group, fresh: 1 }], SOON_MS);
  expect(after).toMatchObject({ fresh: 1 });
});

test("keys without a row are left out, and idle rows go", async () => {
  await using db = await createTestDatabase();
  await addRateKeys(db.sql, ["a", "b"]);
  const group = { stepMs: 60_000, burst: 1, promised: 0, fresh: 1 };
  const keys = ["a", "none"].map((key) => ({ ...group, key }));
  expect((await takePermits(db.sql, keys, SOON_MS)).map(({ key }) => key)).toEqual(["a"]);
  await removeIdleRates(db.sql);
  const rows = await db.sql<{ key: string }[]>`SELECT rate_key AS key FROM noetl.rate`;
  expect(rows.map(({ key }) => key)).toEqual(["a"]);
});

test("many servers at once never give more than the limit", async () => {
  await using db = await createTestDatabase();
  await addRateKeys(db.sql, ["k"]);
  const burst = 5;
  const stepMs = 40;
  const dueMs: number[] = [];
  for (let round = 0; round < 10; round++) {
    const counts = [1, 7, 3, 2];
    const spans = await Promise.all(
      counts.map((fresh, n) =>
        takePermits(db.sql, [{ key: "k", stepMs, burst, promised: n, fresh }], SOON_MS),
      ),
    );
    for (const { nowMs, baseMs, promised, fresh } of spans.flat()) {
      for (let n = 0; n < promised + fresh; n++) {
        dueMs.push(Math.max(nowMs, baseMs + (n - burst + 1) * stepMs));
      }
    }
  }
  dueMs.sort((a, b) => a - b);
  expect(dueMs.length).toBeGreaterThan(50);
  for (const [n, ms] of dueMs.entries()) {
    const earlier = dueMs[n - burst];
    // Any burst + 1 permits span at least one step; half a millisecond for rounding.
    expect(ms - (earlier ?? Number.NEGATIVE_INFINITY)).toBeGreaterThan(stepMs - 0.5);
  }
});

test("idle keys are forgotten without waiting for those that somebody uses", async () => {
  await using db = await createTestDatabase();
  await addRateKeys(db.sql, ["a", "b", "c"]);
  await db.sql.begin(async (sql) => {
    await sql`SELECT 1 FROM noetl.rate WHERE rate_key = 'b' FOR UPDATE`;
    expect(await removeIdleRates(db.sql)).toBe(false);
  });
  const rows = await db.sql<{ key: string }[]>`SELECT rate_key AS key FROM noetl.rate`;
  expect(rows.map(({ key }) => key)).toEqual(["b"]);
});
