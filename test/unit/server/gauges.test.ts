import { describe, expect, test } from "bun:test";
import { createServerMetrics } from "../../../src/observability/metrics.ts";
import { createRegistry } from "../../../src/observability/registry.ts";
import type { PoolRow, ServerReader } from "../../../src/server/backend.ts";
import { setBusGauges, setDatabaseGauges } from "../../../src/server/gauges.ts";

const IDLE: PoolRow = {
  pool: "cpu-01",
  workers: 1,
  slots: 4,
  freeSlots: 2,
  queued: 0,
  running: 2,
  reason: null,
};

function bench(pools: readonly PoolRow[], more: Partial<ServerReader> = {}) {
  const registry = createRegistry({ hasProcessMetrics: false });
  const metrics = createServerMetrics(registry, "1");
  const reader = {
    listPools: () => Promise.resolve(pools),
    listWorkers: () => Promise.resolve([]),
    countRateLimited: () => Promise.resolve(new Map([["cpu-01", 2]])),
    countOpen: () => Promise.resolve({ pending: 5, running: 7 }),
    countQueued: () => Promise.resolve(3),
    connectionUse: () => Promise.resolve({ open: 9, active: 2, blocked: 1 }),
    ...more,
  } as unknown as ServerReader;
  const value = async (series: string): Promise<number> => {
    const line = (await registry.text()).split("\n").find((each) => each.startsWith(`${series} `));
    return Number(line?.split(" ")[1]);
  };
  return { metrics, reader, value };
}

const REASONS = ["no_worker", "gpus_busy", "busy", "starting", "rate", "not_due"];

async function reasons(row: Partial<PoolRow>): Promise<readonly number[]> {
  const { metrics, reader, value } = bench([{ ...IDLE, ...row }]);
  await setDatabaseGauges(metrics, reader);
  return await Promise.all(
    REASONS.map((reason) => value(`noetl_queue_waiting{pool="cpu-01",reason="${reason}"}`)),
  );
}

describe("what queued commands wait for", () => {
  test.each([
    ["nothing waits", {}, [0, 0, 0, 0, 0, 0]],
    ["no worker", { queued: 6, workers: 0, freeSlots: 0 }, [6, 0, 0, 0, 0, 0]],
    ["all slots busy", { queued: 6, freeSlots: 0 }, [0, 0, 6, 0, 0, 0]],
    ["just announced", { queued: 6 }, [0, 0, 0, 6, 0, 0]],
    ["GPUs, others busy", { queued: 6, gpuWaiters: 4, freeSlots: 0 }, [0, 4, 2, 0, 0, 0]],
    ["not due, two for a rate limit", { queued: 6, scheduled: 5 }, [0, 0, 0, 1, 2, 3]],
    ["no worker and not due", { queued: 6, scheduled: 1, workers: 0 }, [5, 0, 0, 0, 1, 0]],
  ] as const)("%s", async (_name, row, expected) => {
    expect(await reasons(row)).toEqual([...expected]);
  });
});

test("executions that wait for a place are told apart from those about to start", async () => {
  const { metrics, reader, value } = bench([IDLE]);
  await setDatabaseGauges(metrics, reader);
  const open = ["pending", "queued", "running"].map((status) =>
    value(`noetl_executions_open{status="${status}"}`),
  );
  expect(await Promise.all(open)).toEqual([2, 3, 7]);
  expect(await value('noetl_database_connections{state="blocked"}')).toBe(1);
});

test("a pool whose consumer is gone shows no numbers of it, and no old ones", async () => {
  const lags = new Map([["cpu-01", { pendingCount: 4, unackedCount: 2, redeliveredCount: 1 }]]);
  const { metrics, reader, value } = bench([IDLE], {
    readLag: (pool) => Promise.resolve(lags.get(pool)),
  });
  await setBusGauges(metrics, reader, [IDLE]);
  expect(await value('noetl_consumer_redelivered{pool="cpu-01"}')).toBe(1);
  lags.clear();
  await setBusGauges(metrics, reader, [IDLE]);
  expect(await value('noetl_consumer_redelivered{pool="cpu-01"}')).toBeNaN();
});

test("NATS that does not answer holds no scrape up", async () => {
  const { metrics, reader } = bench([IDLE], { readLag: () => new Promise(() => undefined) });
  await expect(setBusGauges(metrics, reader, [IDLE])).rejects.toThrow("no answer within");
});
