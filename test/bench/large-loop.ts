/** `L`: a parallel loop of 100,000 items. Memory must stay bounded, the time linear, the result exact. */
import { peakGrowth } from "./memory.ts";
import type { Platform } from "./platform.ts";
import { largeLoop } from "./playbooks.ts";
import type { Context, Figure } from "./workloads.ts";

const ITEMS = 100_000;
/** For the time per item that the large loop must not exceed by much. */
const ITEMS_SMALL = 10_000;
const GROWTH_MIB_MAX = 150;
const POLL_MS = 200;
const END_MS = 900_000;

export async function runLargeLoop({ platform }: Context): Promise<readonly Figure[]> {
  const figures: Figure[] = [];
  for (const kind of ["noop", "python"] as const) {
    await platform.api.register(largeLoop(kind));
    figures.push(...(await measure(platform, kind)));
  }
  return figures;
}

async function measure(platform: Platform, kind: "noop" | "python"): Promise<readonly Figure[]> {
  const processes = platform
    .rootPids()
    .filter(({ name }) => name === "server" || name === "worker");
  await loopMs(platform, kind, 1000);
  const smallMs = await loopMs(platform, kind, ITEMS_SMALL);
  let largeMs = 0;
  const growth = await peakGrowth(processes, async () => {
    largeMs = await loopMs(platform, kind, ITEMS);
  });
  return [
    { name: `L ${kind}, 100,000 items`, value: (ITEMS * 1000) / largeMs, unit: "items/s" },
    {
      name: `L ${kind}, time per item against 10,000 items`,
      value: largeMs / ITEMS / (smallMs / ITEMS_SMALL),
      unit: "times",
      target: { atMost: 1.5 },
    },
    ...processes.map(({ name }, index) => ({
      name: `L ${kind}, memory growth of ${name}`,
      value: growth[index] ?? 0,
      unit: "MiB",
      target: { atMost: GROWTH_MIB_MAX },
    })),
  ];
}

/** Also checks that the collected result is complete, exact and in order. */
async function loopMs(platform: Platform, kind: string, count: number): Promise<number> {
  const { api } = platform;
  const start = performance.now();
  const id = await api.execute(`bench/large_${kind}`, { payload: { count } });
  await api.completed(id, POLL_MS, END_MS);
  const totalMs = performance.now() - start;
  const checked = (await api.steps(id)).find(({ step }) => step === "check");
  const { length, is_exact: isExact } = Object(checked?.result);
  if (length !== count || isExact !== true) {
    throw new Error(`The loop of ${count} gave ${JSON.stringify(checked?.result)}`);
  }
  return totalMs;
}
