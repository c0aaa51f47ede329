/** GPUs, who holds them and who waits for them, and container runtimes, as the API shows them. */
import type { RuntimeFacts } from "../engine/command.ts";
import type { GpuDemand, GpuGrant } from "../engine/gpu.ts";
import type { WorkerRow } from "./backend.ts";
import { isoTime } from "./event-view.ts";
import type { GpuLeaseRow, GpuRow, GpuWaitRow } from "./gpu-rows.ts";

/** What of a GPU people ask first; the worker's own word is only about its health. */
export const GPU_STATES = ["ready", "leased", "unclean", "out_of_service", "lost"] as const;
export type GpuState = (typeof GPU_STATES)[number];

/** `lost`: its worker is silent, so what it said last is not to be believed. */
export function gpuState({ state, workerStatus, leases }: GpuRow): GpuState {
  if (workerStatus === "lost") {
    return "lost";
  }
  return state !== "out_of_service" && leases.length > 0 ? "leased" : state;
}

export function viewGpu(row: GpuRow, nowMs: number): Readonly<Record<string, unknown>> {
  return {
    id: row.id,
    index: row.index,
    name: row.name,
    pool: row.pool,
    worker_id: row.workerId,
    worker: row.workerName,
    worker_status: row.workerStatus,
    hostname: row.hostname,
    state: gpuState(row),
    reason: row.reason ?? null,
    memory_mib: row.memoryMib,
    memory_used_mib: row.memoryUsedMib ?? null,
    utilization_percent: row.utilizationPercent ?? null,
    temperature_c: row.temperatureC ?? null,
    power_w: row.powerW ?? null,
    ecc_errors: row.eccErrors ?? null,
    mig_profile: row.migProfile ?? null,
    parent_id: row.parentId ?? null,
    leases: row.leases.map(viewLease),
    read_at: isoTime(row.readAtMs),
    age_seconds: Math.max(0, nowMs - row.readAtMs) / 1000,
  };
}

function viewLease(lease: GpuLeaseRow): Readonly<Record<string, unknown>> {
  return {
    execution_id: lease.executionId,
    path: lease.path,
    command_id: lease.commandId,
    attempt: lease.attempt,
    step: lease.step,
    index: lease.index ?? null,
    status: lease.status,
    since: isoTime(lease.sinceMs),
    memory_mib: lease.memoryMib,
    is_shared: lease.isShared,
  };
}

/** GPUs that a command holds. */
export function viewGrant(grant: GpuGrant): Readonly<Record<string, unknown>> {
  const { id, name, memoryMib, isShared } = grant;
  return { id, name, memory_mib: memoryMib, is_shared: isShared };
}

/** A command that wants GPUs and waits. */
export function viewGpuWait(wait: GpuWaitRow): Readonly<Record<string, unknown>> {
  return {
    execution_id: wait.executionId,
    path: wait.path,
    command_id: wait.commandId,
    step: wait.step,
    index: wait.index ?? null,
    wants: viewDemand(wait.demand),
    reason: wait.reason ?? null,
    since: isoTime(wait.sinceMs),
  };
}

export function viewDemand(demand: GpuDemand): Readonly<Record<string, unknown>> {
  return {
    count: demand.count,
    types: demand.types,
    memory_min_mib: demand.memoryMinMib ?? null,
    mig_profile: demand.migProfile ?? null,
    is_shared: demand.isShared,
  };
}

/** How many GPUs of live workers are in which state. */
export function countGpus(gpus: readonly GpuRow[]) {
  const states = gpus.map(gpuState).filter((state) => state !== "lost");
  const count = (state: GpuState): number => states.filter((each) => each === state).length;
  return {
    total: states.length,
    ready: count("ready"),
    leased: count("leased"),
    unclean: count("unclean"),
    out_of_service: count("out_of_service"),
  };
}

export function viewRuntime(facts: RuntimeFacts): Readonly<Record<string, unknown>> {
  return {
    name: facts.name,
    version: facts.version,
    is_usable: facts.isUsable,
    gpus: facts.gpus,
    problem: facts.problem ?? null,
  };
}

/** The runtimes of a pool's live workers, each as often as workers say the same of it. */
export function viewPoolRuntimes(
  workers: readonly WorkerRow[],
): readonly Readonly<Record<string, unknown>>[] {
  const live = workers.filter(({ status }) => status !== "lost");
  const all = live.flatMap(({ runtimes }) => runtimes ?? []);
  return [...Map.groupBy(all, (facts) => JSON.stringify(viewRuntime(facts))).values()].flatMap(
    (same) => same.slice(0, 1).map((facts) => ({ ...viewRuntime(facts), workers: same.length })),
  );
}
