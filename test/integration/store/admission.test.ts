import { expect, test } from "bun:test";
import type { ExecutionId } from "../../../src/core/ids.ts";
import { enterQueues } from "../../../src/store/admission.ts";
import { appendBatch } from "../../../src/store/append.ts";
import type { Sql } from "../../../src/store/pool.ts";
import { giveUpReservation, reservePlace } from "../../../src/store/reservation.ts";
import { sweepDue } from "../../../src/store/sweep.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { waitFor } from "../../support/wait.ts";
import { applicant, group, newExecution, newId } from "./factory.ts";

const SWEEP = { graceMs: 0, notifyGraceMs: 0, isExpiring: true, limit: 10, notifyLimit: 10 };

test("a sweep finds the place that a retry gave up before anybody passed it on", async () => {
  await using db = await createTestDatabase();
  const first = applicant("queue");
  const { executionId } = first;
  await enterQueues(db.sql, [first], "{}");
  const end = { status: "failed", error: "{}", hasEnded: true } as const;
  await appendBatch(db.sql, [group({ executionId, ...end })]);
  await reservePlace(db.sql, executionId, { key: "k", limit: 1 });
  await enterQueues(db.sql, [applicant("queue")], "{}");
  expect((await sweepDue(db.sql, SWEEP)).freedKeys).toEqual([]);

  await giveUpReservation(db.sql, executionId);

  expect((await sweepDue(db.sql, SWEEP)).freedKeys).toEqual(["k"]);
});

test("two servers that start under the same dedup keys never wait for each other", async () => {
  await using db = await createTestDatabase();
  const apply = (key: string, dedupKeys: readonly string[]) => {
    const applicants = dedupKeys.map((dedupKey) => {
      const executionId = newId<ExecutionId>();
      const dedup = { key: dedupKey, windowMs: 60_000 };
      return applicant("queue", { key, create: newExecution({ executionId, dedup }), executionId });
    });
    return enterQueues(db.sql, applicants, "{}");
  };
  const admissions = await db.sql.begin(async (sql) => {
    // Both have what is first in their order, and wait here for the second.
    await sql`INSERT INTO noetl.dedup VALUES ('k2', 1, now())`;
    const both = Promise.all([apply("a", ["k1", "k2", "k3"]), apply("b", ["k3", "k2", "k1"])]);
    await waitFor("both starts to wait", async () => (await countWaiting(db.sql)) === 2);
    return { both };
  });
  const absent = (await admissions.both).map((admission) => admission.absent.size);
  expect(absent.toSorted()).toEqual([0, 3]);
});

async function countWaiting(sql: Sql): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    SELECT count(*)::int AS count FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'`;
  return row?.count ?? 0;
}
