import { expect, test } from "bun:test";
import { createServerMetrics } from "../../../src/observability/metrics.ts";
import { createRegistry } from "../../../src/observability/registry.ts";
import { createHousekeeping } from "../../../src/orchestrator/housekeeping.ts";
import { connectStore } from "../../../src/store/pool.ts";
import { addRateKeys } from "../../../src/store/rate.ts";
import { SILENT_LOG } from "../../support/log.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { waitFor } from "../../support/wait.ts";

test("a duty that fails keeps no other from being done, and is done again", async () => {
  await using db = await createTestDatabase();
  await using store = connectStore(db.url, { name: "housekeeping-test", max: 2 });
  const metrics = createServerMetrics(createRegistry({ hasProcessMetrics: false }), "1.0.0");
  await db.sql`INSERT INTO noetl.dedup VALUES ('old', 1, now() - interval '1 minute')`;
  await addRateKeys(db.sql, ["idle"]);
  let tries = 0;
  const keep = async (): Promise<boolean> => {
    await Promise.resolve();
    throw new Error(`the store is away for the ${++tries}. time`);
  };
  const times = { everyMs: 10, againMs: 10 };
  const options = { store, metrics, log: SILENT_LOG, housekeeper: { keep }, ...times };
  const stop = new AbortController();
  const running = createHousekeeping(options).run(stop.signal);
  await waitFor("two rounds", () => tries >= 2);
  stop.abort();
  await running;
  const rows = await db.sql`SELECT FROM noetl.dedup UNION ALL SELECT FROM noetl.rate`;
  expect(rows).toHaveLength(0);
});
