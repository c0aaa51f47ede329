import { expect, test } from "bun:test";
import type { ExecutionId } from "../../../src/core/ids.ts";
import { idFloor } from "../../../src/core/ids.ts";
import {
  addDeadLetter,
  addStarted,
  listDispatches,
  removeOldDispatches,
} from "../../../src/store/subscription-dispatch.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { newId } from "./factory.ts";

const DAY_MS = 24 * 60 * 60_000;

test("what was started long ago is forgotten, though nobody holds the subscription", async () => {
  await using db = await createTestDatabase();
  const subscriptionId = "1";
  await db.sql`
    INSERT INTO noetl.subscription (
      subscription_id, path, catalog_id, source, hook_path, spec, state, last_event_type
    )
    VALUES (1, 'hooks/one', 1, 'webhook', 'one', '{}', 'active', 'subscription.activated')`;
  const nowMs = Date.now();
  const idAt = (ageMs: number, n: number): string =>
    String(BigInt(idFloor(nowMs - ageMs)) + BigInt(n));
  const start = async (dispatchId: string, isCounted: boolean): Promise<void> => {
    const executionId = newId<ExecutionId>();
    await addStarted(db.sql, { dispatchId, subscriptionId, executionId, isCounted });
  };
  await start(idAt(5 * DAY_MS, 1), false);
  await start(idAt(5 * DAY_MS, 2), true);
  await start(idAt(DAY_MS, 3), false);
  const dead = { dispatchId: idAt(5 * DAY_MS, 4), subscriptionId, text: "{}", error: "no" };
  await addDeadLetter(db.sql, dead);

  expect(await removeOldDispatches(db.sql, { keepMs: 3 * DAY_MS, nowMs })).toBe(false);

  const page = { status: undefined, limit: 10, offset: 0 };
  const kept = (await listDispatches(db.sql, subscriptionId, page)).map((row) => row.dispatchId);
  expect(kept).toEqual([idAt(DAY_MS, 3), idAt(5 * DAY_MS, 4), idAt(5 * DAY_MS, 2)]);
});
