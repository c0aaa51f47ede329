/** What people are told of a command that has no GPUs: on what it waits, or what would fit. */
import { formatInstant } from "../core/instant.ts";
import type { Failure } from "./failure.ts";
import { failure } from "./failure.ts";
import type { Gpu, GpuDemand } from "./gpu.ts";
import type { GpuHolder, GpuScene, GpuWaiter, GpuWorker } from "./gpu-queue.ts";
import { poolOf } from "./gpu-queue.ts";
import { fittingGpus } from "./place-gpus.ts";

const LIST_MAX = 10;

/** `waiting for 2 GPUs (H100) of pool gpu-01: 4 of 4 leased, longest by step train of execution 383… since …`. */
export function waitReason(scene: GpuScene, { pool, demand }: GpuWaiter): string {
  const fitting = uniqueOf(poolOf(scene, pool).flatMap(({ gpus }) => fittingGpus(demand, gpus)));
  const head = `waiting for ${demandText(demand)} of pool ${pool}`;
  if (fitting.length < demand.count) {
    return `${head}: none of its live workers has them, they may come back`;
  }
  const ids = new Set(fitting.map(({ id }) => id));
  const holders = scene.holders.filter(({ grants }) => grants.some(({ id }) => ids.has(id)));
  const parts = [...leasedParts(fitting, holders), ...stateParts(fitting)];
  return `${head}: ${parts.length === 0 ? "they are kept for a task that has waited longer, or their worker has no free slot" : parts.join("; ")}`;
}

function leasedParts(fitting: readonly Gpu[], holders: readonly GpuHolder[]): readonly string[] {
  const [longest] = holders.toSorted((a, b) => a.sinceMs - b.sinceMs);
  if (longest === undefined) {
    return [];
  }
  const taken = new Set(holders.flatMap(({ grants }) => grants.map(({ id }) => id)));
  const count = fitting.filter(({ id }) => taken.has(id)).length;
  const by = longest.step === "" ? "" : ` by step ${longest.step}`;
  const since = formatInstant(longest.sinceMs);
  return [
    `${count} of ${fitting.length} leased, the longest${by} of execution ${longest.executionId} since ${since}`,
  ];
}

function stateParts(fitting: readonly Gpu[]): readonly string[] {
  const others = fitting.filter(({ state }) => state !== "ready");
  return others.slice(0, LIST_MAX).map(({ index, state, reason }) => {
    const word = state === "unclean" ? "is not clean" : "is out of service";
    return `GPU ${index} ${word}${reason === undefined ? "" : ` (${reason})`}`;
  });
}

/** No worker of the pool will ever have what it wants: what they have, and what would fit. */
export function unfitFailure(scene: GpuScene, { pool, demand }: GpuWaiter): Failure {
  const workers = poolOf(scene, pool);
  const has = workers.flatMap(({ name, gpus }) => inventoryOf(name, gpus));
  const list =
    has.length === 0
      ? `its ${workers.length === 1 ? "worker has" : `${workers.length} workers have`} no GPU`
      : `it has ${has.slice(0, LIST_MAX).join(", ")}${has.length > LIST_MAX ? ", …" : ""}`;
  const advice = adviceOf(workers, demand);
  const message = `No worker of pool ${pool} has ${demandText(demand)}: ${list}. ${advice}`;
  return failure("not_found", message, { code: "GPU_UNFIT", retryable: false });
}

/** `2 GPUs (H100 or A100, 40960 MiB each)`. */
export function demandText(demand: GpuDemand): string {
  const { count, types, memoryMinMib, migProfile, isShared } = demand;
  const noun = migProfile === undefined ? "GPU" : `GPU slice`;
  const more = [
    ...(migProfile === undefined ? [] : [migProfile]),
    ...(types.length === 0 ? [] : [types.join(" or ")]),
    ...(memoryMinMib === undefined
      ? []
      : [`${memoryMinMib} MiB${isShared ? " of it, shared" : ""}`]),
  ];
  const what = `${count} ${noun}${count === 1 ? "" : "s"}`;
  return more.length === 0 ? what : `${what} (${more.join(", ")})`;
}

/** `4 × NVIDIA L4 of 23034 MiB on gpu-host-1 (1 out of service)`. */
function inventoryOf(worker: string, gpus: readonly Gpu[]): readonly string[] {
  const kinds = Map.groupBy(uniqueOf(gpus), ({ name, memoryMib, migProfile }) =>
    [name, migProfile, `of ${memoryMib} MiB`].filter((part) => part !== undefined).join(" "),
  );
  return [...kinds].map(([kind, items]) => {
    const broken = items.filter(({ state }) => state === "out_of_service").length;
    const note = broken === 0 ? "" : ` (${broken} out of service)`;
    return `${items.length} × ${kind} on ${worker}${note}`;
  });
}

/** The first demand that asks for less in one respect and fits a worker. */
function adviceOf(workers: readonly GpuWorker[], demand: GpuDemand): string {
  const { memoryMinMib: _, ...anyMemory } = demand;
  const { migProfile: __, ...whole } = demand;
  const profiles = workers.flatMap(({ gpus }) => gpus.flatMap((gpu) => gpu.migProfile ?? []));
  const most = (wish: GpuDemand): readonly Gpu[] =>
    workers
      .map(({ gpus }) => fittingGpus(wish, gpus))
      .reduce((a, b) => (b.length > a.length ? b : a), []);
  if (most(demand).length > 0) {
    return `At most ${most(demand).length} of one worker would fit: a task runs on one machine`;
  }
  const larger = most(anyMemory);
  if (larger.length >= demand.count) {
    const memory = larger.map(({ memoryMib }) => memoryMib).sort((a, b) => b - a);
    return `memory_min of at most ${memory[demand.count - 1]} MiB would fit`;
  }
  const others = most({ ...demand, types: [] });
  if (others.length >= demand.count) {
    return `type ${[...new Set(others.map(({ name }) => name))].join(" or ")} would fit`;
  }
  const slices = [...new Set(profiles)].filter(
    (migProfile) => most({ ...whole, migProfile }).length >= demand.count,
  );
  if (slices.length > 0) {
    return `mig_profile ${slices.join(" or ")} would fit`;
  }
  return most(whole).length >= demand.count
    ? "Whole GPUs, without mig_profile, would fit"
    : "Name a pool that has such GPUs, or start a worker on a machine that has them";
}

function uniqueOf(gpus: readonly Gpu[]): readonly Gpu[] {
  return [...new Map(gpus.map((gpu) => [gpu.id, gpu])).values()];
}
