/**
 * Cycles of start, `kill -9` of the worker at a random moment, restart. What must be true in the end: every
 * execution has ended as it should, by one report; no container and no lease is left, neither of a command nor of
 * a GPU.
 */
import { sleep } from "../../../src/core/clock.ts";
import type { Api } from "../../bench/api.ts";
import { ApiError } from "../../bench/api.ts";
import type { TestRuntimeName } from "../../support/container-runtime.ts";
import { waitFor } from "../../support/wait.ts";
import type { Random } from "../chaos/random.ts";
import { createRandom } from "../chaos/random.ts";
import type { World } from "./world.ts";
import { GPU_PLAYBOOK, PLAYBOOK, startWorld } from "./world.ts";

export interface CyclesOptions {
  readonly runtime: TestRuntimeName;
  readonly cycles: number;
  readonly seed: number;
  readonly onCycle?: (line: string) => void;
}

export interface CyclesReport {
  readonly cycles: number;
  /** Containers of the platform that are still there. */
  readonly orphans: readonly string[];
  /** Commands that are still open. */
  readonly leases: number;
  /** GPUs that nobody can have. */
  readonly gpus: readonly string[];
  /** Cycles whose task had GPUs. */
  readonly gpuCycles: number;
  readonly executions: number;
  /** Executions whose task has ended by exactly one report. */
  readonly endedOnce: number;
  /** Containers that went on under the next worker. */
  readonly adopted: number;
  /** Containers that were ended because nobody owned them any more. */
  readonly removed: number;
  /** Commands that were handed out again. */
  readonly handedOutAgain: number;
  /** Times that tasks began to run; more than executions where a lease ended first. */
  readonly runs: number;
  /** What is wrong, a sentence each. */
  readonly faults: readonly string[];
}

interface Cycle {
  readonly executionId: string;
  readonly id: string;
  readonly isCancelled: boolean;
  readonly gpuCount: number;
}

/** From the start of an execution: claim, pull, start, run, collect, report, removal. */
const KILL_AFTER_MS_MAX = 2600;
const RUN_SECONDS_MAX = 1.2;
/** One cycle of so many has its worker away for longer than a lease lasts. */
const LATE_EVERY = 10;
const LEASE_MS = 11_500;
const CANCEL_EVERY = 6;
/** One cycle of so many has GPUs. */
const GPU_EVERY = 3;
const END_MS = 90_000;
/** A look at all containers comes every 30 s. */
const CLEAN = { deadlineMs: 75_000 };

export async function runCycles(options: CyclesOptions): Promise<CyclesReport> {
  const random = createRandom(options.seed);
  await using world = await startWorld(options.runtime);
  const done: Cycle[] = [];
  const faults: string[] = [];
  for (let number = 1; number <= options.cycles; number++) {
    const cycle = await runCycle(world, number, random, options);
    const fault = await ended(world, cycle);
    faults.push(...(fault === undefined ? [] : [fault]));
    done.push(cycle);
  }
  await settled(world).catch((error: unknown) => faults.push(String(error)));
  return await reportOf(world, done, faults);
}

async function runCycle(
  { api, worker }: World,
  number: number,
  random: Random,
  { onCycle }: CyclesOptions,
): Promise<Cycle> {
  const id = `c${number}`;
  const seconds = random.between(0, RUN_SECONDS_MAX).toFixed(2);
  const afterMs = Math.round(random.between(0, KILL_AFTER_MS_MAX));
  const isCancelled = number % CANCEL_EVERY === 0;
  const isLate = number % LATE_EVERY === 0;
  const gpuCount = number % GPU_EVERY === 1 ? random.pick([1, 2, 3, 4]) : 0;
  const path = gpuCount === 0 ? PLAYBOOK : GPU_PLAYBOOK;
  const executionId = await api.execute(path, { payload: { id, seconds, gpus: gpuCount } });
  await sleep(afterMs);
  await worker.kill();
  if (isCancelled) {
    await cancel(api, executionId);
  }
  await sleep(isLate ? LEASE_MS : 0);
  await worker.start();
  onCycle?.(
    `${id}: runs ${seconds} s, killed after ${afterMs} ms${isLate ? ", late" : ""}${isCancelled ? ", cancelled" : ""}${gpuCount > 0 ? `, ${gpuCount} GPUs` : ""}`,
  );
  return { executionId, id, isCancelled, gpuCount };
}

/** It may have ended already. */
async function cancel(api: Api, executionId: string): Promise<void> {
  try {
    await api.call("POST", `/api/executions/${executionId}/cancel`, {});
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 422)) {
      throw error;
    }
  }
}

/** What is wrong with its end; undefined: nothing. */
async function ended(
  { api, sql, runsOf }: World,
  { executionId, id, isCancelled }: Cycle,
): Promise<string | undefined> {
  const { status, error } = await api.ended(executionId, 50, END_MS);
  const [row] = await sql<{ count: number }[]>`
    SELECT count(*)::int AS count
    FROM noetl.event
    WHERE execution_id = ${executionId} AND type IN ('call.done', 'call.error', 'command.cancelled')`;
  if (row?.count !== 1) {
    return `${id}: its command has ended ${row?.count} times`;
  }
  if (status === "COMPLETED" && runsOf(id) === 0) {
    return `${id}: it is said to be done and never ran`;
  }
  // Cancelling what is done already changes nothing.
  const isFine = status === "COMPLETED" || (isCancelled && status === "CANCELLED");
  return isFine ? undefined : `${id}: ${status}: ${JSON.stringify(error)}`;
}

async function settled(world: World): Promise<void> {
  const { sql, containers } = world;
  await waitFor("the last lease to end", async () => (await countLeases(sql)) === 0, CLEAN);
  await waitFor("the last container to go", () => containers().length === 0, CLEAN);
  await waitFor("the GPUs", async () => (await takenGpus(world)).length === 0, CLEAN);
}

/** GPUs that cannot be had, as people see them. */
async function takenGpus({ api, smi }: World): Promise<readonly string[]> {
  const { gpus } = Object(await api.call("GET", "/api/gpus"));
  const free = gpus.filter(({ state }: { readonly state: string }) => state === "ready");
  const ids = new Set(free.map(({ id }: { readonly id: string }) => id));
  return smi.ids.filter((id) => !ids.has(id));
}

async function countLeases(sql: World["sql"]): Promise<number> {
  const [row] = await sql<{ count: number }[]>`SELECT count(*)::int AS count FROM noetl.command`;
  return row?.count ?? 0;
}

async function reportOf(
  world: World,
  cycles: readonly Cycle[],
  faults: readonly string[],
): Promise<CyclesReport> {
  const { sql, worker, containers, runsOf } = world;
  const count = async (type: string): Promise<number> => {
    const [row] = await sql<{ count: number }[]>`
      SELECT count(*)::int AS count FROM noetl.event WHERE type = ${type}`;
    return row?.count ?? 0;
  };
  const once = await sql<object[]>`
    SELECT execution_id FROM noetl.event
    WHERE type IN ('call.done', 'call.error', 'command.cancelled')
    GROUP BY execution_id HAVING count(*) = 1`;
  const crashes = worker.crashes.map((crash) => crash.slice(0, 1000));
  return {
    cycles: cycles.length,
    orphans: containers(),
    leases: await countLeases(sql),
    gpus: await takenGpus(world),
    gpuCycles: cycles.filter(({ gpuCount }) => gpuCount > 0).length,
    executions: cycles.length,
    endedOnce: once.length,
    adopted: await count("command.adopted"),
    removed: worker.log().split("Container removed").length - 1,
    handedOutAgain: await count("command.retried"),
    runs: cycles.reduce((sum, { id }) => sum + runsOf(id), 0),
    faults: [...faults, ...crashes],
  };
}

export function isClean(report: CyclesReport): boolean {
  const { orphans, leases, gpus, executions, endedOnce, faults } = report;
  const isEmpty = orphans.length === 0 && leases === 0 && gpus.length === 0;
  return isEmpty && endedOnce === executions && faults.length === 0;
}
