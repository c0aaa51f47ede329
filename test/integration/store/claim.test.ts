/** Priorities of claims: the more urgent first, and nothing lost or doubled by that. */
import { expect, test } from "bun:test";
import type { CommandId, ExecutionId, WorkerId } from "../../../src/core/ids.ts";
import type { ClaimRow } from "../../../src/store/claim.ts";
import { claimCommands, listTaken } from "../../../src/store/claim.ts";
import type { Sql } from "../../../src/store/pool.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { insertCommands, WORKER } from "./factory.ts";

interface Queued {
  readonly executionId: ExecutionId;
  readonly commandId: CommandId;
}

async function queue(
  sql: Sql,
  priorities: readonly number[],
  more: { readonly pool?: string; readonly delayMs?: number } = {},
): Promise<readonly Queued[]> {
  const { executionId, commandIds } = await insertCommands(
    sql,
    priorities.map((priority) => ({ priority, ...more })),
  );
  return commandIds.map((commandId) => ({ executionId, commandId }));
}

async function claim(
  sql: Sql,
  asked: readonly Queued[],
  workerId: WorkerId = WORKER,
): Promise<readonly ClaimRow[]> {
  const requests = asked.map((one) => ({ ...one, attempt: 1, workerId }));
  return await claimCommands(sql, requests, 10_000);
}

function given(rows: readonly ClaimRow[]): readonly (CommandId | string)[] {
  return rows.map((row) => (row.status === "claimed" ? row.commandId : row.status));
}

test("a more urgent command of the pool is given first, and the one asked for stays queued", async () => {
  await using db = await createTestDatabase();
  const [normal] = await queue(db.sql, [5]);
  const [urgent, higher] = await queue(db.sql, [7, 9]);
  if (normal === undefined || urgent === undefined || higher === undefined) {
    throw new Error("three commands are queued");
  }
  expect(given(await claim(db.sql, [normal]))).toEqual([higher.commandId]);
  expect(given(await claim(db.sql, [normal]))).toEqual([urgent.commandId]);
  expect(given(await claim(db.sql, [higher, urgent], "other" as WorkerId))).toEqual([
    "gone",
    "gone",
  ]);
  expect(given(await claim(db.sql, [normal]))).toEqual([normal.commandId]);
});

test("what is not due, of another pool or as urgent stays behind what is asked for", async () => {
  await using db = await createTestDatabase();
  const asked = await queue(db.sql, [6]);
  await queue(db.sql, [6, 5]);
  await queue(db.sql, [9], { pool: "other" });
  await queue(db.sql, [9], { delayMs: 60_000 });
  expect(given(await claim(db.sql, asked))).toEqual(asked.map(({ commandId }) => commandId));
});

test("less than the usual priority waits for the usual", async () => {
  await using db = await createTestDatabase();
  const low = await queue(db.sql, [1, 1, 1]);
  const usual = await queue(db.sql, [5, 5]);
  const rows = await claim(db.sql, low);
  expect(given(rows).toSorted()).toEqual(
    [...usual, low[0]].map((one) => one?.commandId ?? "").toSorted(),
  );
  expect(given(rows)[0]).toBe(low[0]?.commandId as never);
});

test("a claim of many gets the most urgent ones, each once", async () => {
  await using db = await createTestDatabase();
  const asked = await queue(db.sql, [5, 8, 5, 5, 9, 0]);
  const waiting = await queue(db.sql, [7, 9, 6, 1]);
  const rows = given(await claim(db.sql, asked));
  const idOf = (list: readonly Queued[], n: number) => list[n]?.commandId ?? "";
  expect(rows[1]).toBe(idOf(asked, 1));
  expect(rows[4]).toBe(idOf(asked, 4));
  const expected = [1, 4, 0].map((n) => idOf(asked, n));
  expect([...rows].toSorted()).toEqual(
    [...expected, ...[0, 1, 2].map((n) => idOf(waiting, n))].toSorted(),
  );
  expect(rows[5]).toBe(idOf(waiting, 1));
});

test("thousands behind and hundreds urgent: urgent first, then all, none twice", async () => {
  await using db = await createTestDatabase();
  const normal = await queue(db.sql, Array(2000).fill(5));
  const urgent = await queue(db.sql, Array(200).fill(9));
  const urgentIds = new Set<string>(urgent.map(({ commandId }) => commandId));
  const order: string[] = [];
  // Notifications: a queue from whose front each worker takes, and to which displaced ones return.
  const bells = [...normal, ...urgent];
  const work = async (workerId: WorkerId): Promise<void> => {
    const held = new Set<string>();
    while (bells.length > 0) {
      const asked = bells.splice(0, 16).filter(({ commandId }) => !held.has(commandId));
      const rows = given(await claim(db.sql, asked, workerId));
      for (const [n, row] of rows.entries()) {
        const bell = asked[n];
        if (row !== "gone" && row !== "later") {
          order.push(row);
          held.add(row);
        }
        if (bell !== undefined && row !== bell.commandId && row !== "gone") {
          bells.unshift(bell);
        }
      }
    }
  };
  await Promise.all(["a", "b", "c", "d"].map((name) => work(name as WorkerId)));
  expect(new Set(order).size).toBe(2200);
  expect(order).toHaveLength(2200);
  const positions = order.flatMap((id, n) => (urgentIds.has(id) ? [n] : []));
  // Workers that claim at the same time pass each other by one claim at most.
  expect(Math.max(...positions)).toBeLessThan(200 + 4 * 16);
}, 30_000);

test("what was given instead is found again when the answer was lost", async () => {
  await using db = await createTestDatabase();
  const normal = await queue(db.sql, [5]);
  const urgent = await queue(db.sql, [9]);
  await claim(db.sql, normal);
  const bells = normal.map(({ commandId }) => commandId);
  const bellId = bells[0] as CommandId;
  expect([...(await listTaken(db.sql, WORKER, bells))]).toEqual(
    urgent.map((one) => ({ ...one, bellId, attempt: 1 })),
  );
  expect(await listTaken(db.sql, "other" as WorkerId, bells)).toHaveLength(0);
  expect(given(await claim(db.sql, urgent))).toEqual(urgent.map(({ commandId }) => commandId));
});
