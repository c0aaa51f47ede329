/** The workloads and the idle check. Each gives its figures for one round. */

import { sleep } from "../../src/core/clock.ts";
import { runContainers } from "./containers.ts";
import { runLargeLoop } from "./large-loop.ts";
import type { Limits } from "./limits.ts";
import type { Platform } from "./platform.ts";
import type { Language } from "./playbooks.ts";
import { chain, fibCode, parallelLoop, single, stamp } from "./playbooks.ts";
import { processCpuMs, residentBytes, treeCpuMs } from "./process-tree.ts";
import { clockOffset, median, nowMs, percentile } from "./statistics.ts";
import { runTransfers } from "./transfer.ts";

/** One number that a round gives. */
export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** Absent: reported beside, without a mark to reach. */
  readonly target?: { readonly atMost: number } | { readonly atLeast: number };
}

export interface Context {
  readonly platform: Platform;
  readonly limits: Limits;
}

/** By letter; `I` is the idle check, `L` takes minutes. */
export const WORKLOADS: Readonly<Record<string, (context: Context) => Promise<readonly Figure[]>>> =
  {
    A: runChain,
    B: runParallelLoop,
    C: runFlood,
    D: runTrigger,
    E: runHeavyChain,
    I: runIdle,
    K: runContainers,
    L: runLargeLoop,
    T: runTransfers,
  };

/** Measured once in a run: more rounds would only take time. */
export const SINGLE_ROUND: ReadonlySet<string> = new Set(["I", "K", "L", "T"]);

const LANGUAGES: readonly Language[] = ["javascript", "python"];
const CHAIN_STEPS = 40;
const CHAIN_FLOWS = 8;

async function runChain({ platform, limits }: Context): Promise<readonly Figure[]> {
  const { commitMs, rpcMs, deliveryMs } = limits;
  const fromLimits = 2 * (commitMs + 2 * rpcMs + deliveryMs) + 1;
  const figures: Figure[] = [];
  for (const language of LANGUAGES) {
    await platform.api.register(chain(language, 10, CHAIN_STEPS));
    const flows = await repeat(CHAIN_FLOWS, () => flowMs(platform, `bench/chain_${language}_10`));
    const target = { atMost: Math.min(3, fromLimits) };
    figures.push({
      name: `A ${language}, per step`,
      value: median(flows) / CHAIN_STEPS,
      unit: "ms",
      target,
    });
  }
  return figures;
}

const LOOP_ITEMS = 400;
const LOOP_FLOWS = 4;

async function runParallelLoop({ platform }: Context): Promise<readonly Figure[]> {
  const figures: Figure[] = [];
  for (const language of LANGUAGES) {
    await platform.api.register(parallelLoop(language, LOOP_ITEMS, 10));
    const flows = await repeat(LOOP_FLOWS, () => flowMs(platform, `bench/loop_${language}`));
    figures.push({
      name: `B ${language}`,
      value: (LOOP_ITEMS * 1000) / median(flows),
      unit: "tasks/s",
      ...(language === "javascript" ? { target: { atLeast: 1000 } } : {}),
    });
  }
  return figures;
}

const FLOOD_FLOWS = 5000;
const FLOOD_IN_FLIGHT = 64;
const FLOOD_POLL_MS = 50;

async function runFlood({ platform }: Context): Promise<readonly Figure[]> {
  await platform.api.register(single());
  await flood(platform, 500);
  const roots = platform.rootPids();
  const before = roots.map(({ pid }) => treeCpuMs(pid));
  const worker = roots.find(({ name }) => name === "worker")?.pid ?? 0;
  const workerBefore = processCpuMs(worker);
  const clientBefore = process.cpuUsage();
  const { totalMs, submitMs } = await flood(platform, FLOOD_FLOWS);
  const client = process.cpuUsage(clientBefore);
  const perFlow = roots.map(({ name, pid }, index) => ({
    name,
    ms: (treeCpuMs(pid) - (before[index] ?? 0)) / FLOOD_FLOWS,
  }));
  return [
    {
      name: "C end to end",
      value: (FLOOD_FLOWS * 1000) / totalMs,
      unit: "flows/s",
      target: { atLeast: 1500 },
    },
    {
      name: "C processor time",
      value: perFlow.reduce((sum, { ms }) => sum + ms, 0),
      unit: "ms/flow",
      target: { atMost: 1.2 },
    },
    ...perFlow.map(({ name, ms }) => ({ name: `C … ${name}`, value: ms, unit: "ms/flow" })),
    {
      name: "C … … worker without its tools",
      value: (processCpuMs(worker) - workerBefore) / FLOOD_FLOWS,
      unit: "ms/flow",
    },
    {
      name: "C … client (not counted)",
      value: (client.user + client.system) / 1000 / FLOOD_FLOWS,
      unit: "ms/flow",
    },
    { name: "C accepted", value: (FLOOD_FLOWS * 1000) / submitMs, unit: "flows/s" },
  ];
}

/** Submits `count` one-step flows and waits until all are over. */
async function flood(
  platform: Platform,
  count: number,
): Promise<{ readonly totalMs: number; readonly submitMs: number }> {
  const endedBefore = await platform.endedExecutions();
  const start = performance.now();
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) {
      next++;
      await platform.api.execute("bench/single");
    }
  };
  await Promise.all(Array.from({ length: FLOOD_IN_FLIGHT }, lane));
  const submitMs = performance.now() - start;
  while ((await platform.endedExecutions()) < endedBefore + count) {
    if (performance.now() - start > 120_000) {
      throw new Error("The flood has not drained after 120 s");
    }
    await sleep(FLOOD_POLL_MS);
  }
  return { totalMs: performance.now() - start, submitMs };
}

const TRIGGERS = 200;

async function runTrigger({ platform }: Context): Promise<readonly Figure[]> {
  await platform.api.register(stamp());
  const triggers: { readonly fine: number; readonly wall: number }[] = [];
  const starts: { readonly fine: number; readonly wall: number }[] = [];
  for (let count = 0; count < TRIGGERS + 10; count++) {
    const trigger = { fine: nowMs(), wall: Date.now() };
    const id = await platform.api.execute("bench/stamp");
    await sleep(40);
    await platform.api.completed(id, 20);
    const [step] = await platform.api.steps(id);
    if (count >= 10) {
      triggers.push(trigger);
      starts.push(Object(step?.result));
    }
  }
  const drift = clockOffset(starts) - clockOffset(triggers);
  const delays = starts.map(({ fine }, index) => fine - (triggers[index]?.fine ?? 0) - drift);
  return [
    { name: "D trigger to task, p50", value: median(delays), unit: "ms", target: { atMost: 4 } },
    {
      name: "D trigger to task, p99",
      value: percentile(delays, 99),
      unit: "ms",
      target: { atMost: 15 },
    },
  ];
}

const HEAVY_STEPS = 10;

/**
 * Against the faster of two ways to run the same code bare: one function called again and again, and
 * one compiled anew for each call, which this engine may optimise better.
 */
async function runHeavyChain({ platform }: Context): Promise<readonly Figure[]> {
  await platform.api.register(chain("javascript", 33, HEAVY_STEPS));
  const bare: number[] = [];
  const flows: number[] = [];
  await flowMs(platform, "bench/chain_javascript_33");
  for (let count = 0; count < 3; count++) {
    bare.push(Math.min(await bareMs(KEPT, HEAVY_STEPS), await bareMs(ANEW, HEAVY_STEPS)));
    flows.push(await flowMs(platform, "bench/chain_javascript_33"));
  }
  const [bareMedian, flowMedian] = [median(bare), median(flows)];
  return [
    {
      name: "E overhead over bare execution",
      value: (flowMedian / bareMedian - 1) * 100,
      unit: "%",
      target: { atMost: 5 },
    },
    { name: "E bare, per task", value: bareMedian / HEAVY_STEPS, unit: "ms" },
    { name: "E in the platform, per task", value: flowMedian / HEAVY_STEPS, unit: "ms" },
  ];
}

const KEPT = `const task = new Function(code); const run = () => task();`;
const ANEW = `let count = 0; const run = () => new Function("/*" + count++ + "*/" + code)();`;

/** Time of `count` tasks in a Bun that does nothing else, warmed up by as many. */
async function bareMs(way: string, count: number): Promise<number> {
  const script = `
    const code = ${JSON.stringify(fibCode("javascript", 33))};
    ${way}
    for (let index = 0; index < ${count}; index++) run();
    const start = performance.now();
    for (let index = 0; index < ${count}; index++) run();
    console.log(performance.now() - start);`;
  const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe" });
  const text = await new Response(child.stdout).text();
  await child.exited;
  return Number(text);
}

const IDLE_MS = 20_000;

async function runIdle({ platform }: Context): Promise<readonly Figure[]> {
  await sleep(5000);
  const roots = platform.rootPids();
  const before = roots.map(({ pid }) => treeCpuMs(pid));
  const transactions = await platform.transactions();
  await sleep(IDLE_MS);
  const figures = roots.map(({ name, pid }, index) => ({
    name: `idle, processor of ${name}`,
    value: ((treeCpuMs(pid) - (before[index] ?? 0)) / IDLE_MS) * 100,
    unit: "% of a core",
    ...(name === "server" || name === "worker" ? { target: { atMost: 1 } } : {}),
  }));
  const statements = ((await platform.transactions()) - transactions) / (IDLE_MS / 1000);
  const memory = roots.map(({ name, pid }) => ({
    name: `idle, memory of ${name}`,
    value: residentBytes(pid) / 2 ** 20,
    unit: "MiB",
    ...(name === "worker" ? { target: { atMost: 120 } } : {}),
  }));
  return [
    { name: "idle, statements", value: statements, unit: "1/s", target: { atMost: 5 } },
    ...figures,
    ...memory.filter(({ name }) => /server|worker/.test(name)),
  ];
}

/** From the trigger, as the client sees it, to the end that the platform records. */
async function flowMs(platform: Platform, path: string): Promise<number> {
  const start = nowMs();
  const id = await platform.api.execute(path);
  const { endedAtMs } = await platform.api.completed(id, 25);
  return endedAtMs - start;
}

/** Calls once to warm up, then `count` times. */
async function repeat(count: number, call: () => Promise<number>): Promise<readonly number[]> {
  await call();
  const values: number[] = [];
  for (let done = 0; done < count; done++) {
    values.push(await call());
  }
  return values;
}
