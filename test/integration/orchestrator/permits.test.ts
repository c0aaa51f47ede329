import { expect, test } from "bun:test";
import type { PermitAnswer } from "../../../src/engine/command.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { startServer } from "./harness.ts";

const DEMAND = { key: "api", perSecond: 10, burst: 5, isPromised: false };

function countGranted(answers: readonly PermitAnswer[]): number {
  return answers.filter(({ isGranted }) => isGranted).length;
}

test("a thousand tasks that ask two servers share one bucket", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  await using other = startServer(db.url);
  const asked = await Promise.all(
    Array.from({ length: 1000 }, (_, n) =>
      (n % 2 === 0 ? server : other).orchestrator.acquirePermits([DEMAND]),
    ),
  );
  const answers = asked.flat();
  // The burst, and what comes within three seconds.
  expect(countGranted(answers)).toBeGreaterThanOrEqual(35);
  expect(countGranted(answers)).toBeLessThan(50);
  const waits = answers.flatMap(({ isGranted, waitMs }) => (isGranted ? [] : [waitMs]));
  expect(Math.max(...waits)).toBeGreaterThan(90_000);
  expect(await db.sql`SELECT 1 FROM noetl.rate`).toHaveLength(1);
});

test("one key at two rates, and other keys, are answered each on its own", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const answers = await server.orchestrator.acquirePermits([
    { key: "a", perSecond: 1, burst: 1, isPromised: false },
    { key: "a", perSecond: 2, burst: 1, isPromised: false },
    { key: "b", perSecond: 1 / 3600, burst: 1, isPromised: false },
    { key: "b", perSecond: 1 / 3600, burst: 1, isPromised: false },
  ]);
  expect(answers.map(({ isGranted }) => isGranted)).toEqual([true, true, true, false]);
  expect(answers[0]?.waitMs).toBe(0);
  expect(answers[1]?.waitMs).toBeGreaterThan(900);
  expect(answers[3]?.waitMs).toBe(300_000);
});
