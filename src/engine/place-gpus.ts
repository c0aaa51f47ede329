/**
 * Which GPUs of a machine a command gets: all that it wants, or none.
 *
 * - A GPU is for one command alone, or shared by commands whose memory fits together; never both.
 * - A GPU that is cut into slices is not given as a whole; slices are given by their profile.
 * - The smallest memory that fits is taken, of shared ones the fullest, so that large and empty ones
 *   stay free for those that need them. Several GPUs are of one product if that is possible.
 */
import type { Gpu, GpuDemand, GpuGrant } from "./gpu.ts";

/** Undefined: not now. `reserved` are kept for somebody else. */
export function placeGpus(
  demand: GpuDemand,
  gpus: readonly Gpu[],
  taken: readonly GpuGrant[],
  reserved: ReadonlySet<string> = new Set(),
): readonly GpuGrant[] | undefined {
  const free = fittingGpus(demand, gpus)
    .filter((gpu) => gpu.state === "ready" && !reserved.has(gpu.id))
    .map((gpu) => ({ gpu, freeMib: freeMemory(demand, gpu, taken) }))
    .filter(({ freeMib }) => freeMib >= (demand.memoryMinMib ?? 0) && freeMib > 0)
    .sort(
      (a, b) =>
        a.freeMib - b.freeMib || b.gpu.memoryMib - a.gpu.memoryMib || compare(a.gpu.id, b.gpu.id),
    );
  const chosen = chooseAlike(free, demand.count);
  return chosen?.map(({ gpu }) => ({
    id: gpu.id,
    name: gpu.name,
    memoryMib: demand.isShared ? (demand.memoryMinMib ?? gpu.memoryMib) : gpu.memoryMib,
    isShared: demand.isShared,
  }));
}

interface FreeGpu {
  readonly gpu: Gpu;
  readonly freeMib: number;
}

/** The first ones of one product, of the product whose last one comes first; else the first ones. */
function chooseAlike(free: readonly FreeGpu[], count: number): readonly FreeGpu[] | undefined {
  const seen = new Map<string, FreeGpu[]>();
  for (const item of free) {
    const alike = [...(seen.get(item.gpu.name) ?? []), item];
    if (alike.length === count) {
      return alike;
    }
    seen.set(item.gpu.name, alike);
  }
  return free.length < count ? undefined : free.slice(0, count);
}

/** Those that it could have if nobody else had any, whatever state they are in; each once. */
export function fittingGpus(demand: GpuDemand, gpus: readonly Gpu[]): readonly Gpu[] {
  const cut = new Set(gpus.map(({ parentId }) => parentId));
  const unique = new Map(gpus.map((gpu) => [gpu.id, gpu]));
  return [...unique.values()].filter(
    (gpu) =>
      gpu.migProfile === demand.migProfile &&
      !cut.has(gpu.id) &&
      isOfType(gpu, demand.types) &&
      gpu.memoryMib >= (demand.memoryMinMib ?? 0),
  );
}

export function isOfType({ name }: Gpu, types: readonly string[]): boolean {
  const text = name.toLowerCase();
  return types.length === 0 || types.some((type) => text.includes(type.toLowerCase()));
}

/** MiB that the demand may have of it; 0: somebody has it for himself. */
function freeMemory(demand: GpuDemand, gpu: Gpu, taken: readonly GpuGrant[]): number {
  const own = taken.filter(({ id }) => id === gpu.id);
  const isParentTaken = taken.some(({ id }) => id === gpu.parentId);
  const isClosed = own.some(({ isShared }) => !(isShared && demand.isShared));
  return isParentTaken || isClosed
    ? 0
    : own.reduce((left, { memoryMib }) => left - memoryMib, gpu.memoryMib);
}

/**
 * Ids of GPUs that are kept for a command which has waited for long: free ones first, then those that
 * are leased for the longest time. Undefined: there are not enough that fit.
 *
 * @param since when its lease began, by id of the GPU.
 * @param kept for others already.
 */
export function reserveGpus(
  demand: GpuDemand,
  gpus: readonly Gpu[],
  since: ReadonlyMap<string, number>,
  kept: ReadonlySet<string>,
): readonly string[] | undefined {
  const usable = fittingGpus(demand, gpus).filter(
    ({ id, state }) => state !== "out_of_service" && !kept.has(id),
  );
  const rank = ({ id }: Gpu): number => since.get(id) ?? 0;
  const sorted = usable.toSorted((a, b) => rank(a) - rank(b) || compare(a.id, b.id));
  return sorted.length < demand.count
    ? undefined
    : sorted.slice(0, demand.count).map(({ id }) => id);
}

function compare(a: string, b: string): number {
  if (a === b) {
    return 0;
  }
  return a < b ? -1 : 1;
}
