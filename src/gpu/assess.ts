/** What a reading means: whether a task may have the GPU, and why not. Pure. */
import type { Gpu } from "../engine/gpu.ts";
import type { GpuProcess } from "./inventory.ts";
import type { SeenGpu } from "./reading.ts";

export interface Circumstances {
  /** Undefined: they could not be listed. */
  readonly processes: readonly GpuProcess[] | undefined;
  /** Why not. */
  readonly problem?: string | undefined;
  /** Ids that commands of this worker hold: what runs there is theirs. */
  readonly leased: ReadonlySet<string>;
  /** GPUs with a slice in {@link leased}. */
  readonly leasedParents: ReadonlySet<string>;
  /** Reason by id of what is held back. */
  readonly heldBack: ReadonlyMap<string, string>;
  /** Ids with much memory in use by nobody who is to be seen, for more than a moment. */
  readonly hidden: ReadonlySet<string>;
  /** Reason that holds for all. */
  readonly allHeldBack?: string | undefined;
  /** Why the kernel's log says that a GPU is broken. */
  readonly faultOf: (pciAddress: string) => string | undefined;
  readonly foreign: "refuse" | "allow";
}

/** Below that, memory in use is what the driver itself keeps. */
const OWN_MEMORY_MIB = 2048;
const OWN_MEMORY_SHARE = 0.05;
const NAMED_MAX = 5;

export function assess(seen: SeenGpu, circumstances: Circumstances): Gpu {
  const broken = circumstances.faultOf(seen.pciAddress) ?? seen.fault;
  const gpu = plain(seen);
  if (broken !== undefined) {
    return { ...gpu, state: "out_of_service", reason: broken };
  }
  const reason = occupied(seen, circumstances);
  return reason === undefined ? { ...gpu, state: "ready" } : { ...gpu, state: "unclean", reason };
}

function plain({
  pciAddress: _address,
  hasDisplay: _display,
  isCut: _cut,
  instance: _instance,
  fault: _fault,
  ...gpu
}: SeenGpu): Omit<Gpu, "state"> {
  return gpu;
}

function occupied(seen: SeenGpu, circumstances: Circumstances): string | undefined {
  const held = circumstances.heldBack.get(seen.id) ?? circumstances.allHeldBack;
  if (held !== undefined || circumstances.leased.has(seen.id)) {
    return held;
  }
  if (circumstances.foreign === "allow") {
    return undefined;
  }
  if (circumstances.processes === undefined) {
    return `Who computes on it cannot be listed: ${circumstances.problem ?? "no answer"}`;
  }
  const own = processesOn(seen, circumstances.processes, circumstances.leasedParents);
  if (own.length === 0) {
    return circumstances.hidden.has(seen.id) ? hiddenReason(seen) : undefined;
  }
  return `${describeProcesses(own)} on it without a lease: end what does not belong there, or set NOETL_GPU_FOREIGN=allow.`;
}

/**
 * Processes on a GPU or slice. Where the driver does not say which slice a process runs on, it counts for each slice
 * of its GPU, unless one of them is leased, because then it is most likely the lease's.
 */
export function processesOn(
  { id, parentId }: Pick<SeenGpu, "id" | "parentId">,
  processes: readonly GpuProcess[],
  leasedParents: ReadonlySet<string>,
): readonly GpuProcess[] {
  return processes.filter(
    ({ gpuId }) => gpuId === id || (gpuId === parentId && !leasedParents.has(gpuId)),
  );
}

/** Much memory is in use. With no process to be seen, that of a process in another container. */
export function usesMuchMemory({ memoryMib, memoryUsedMib = 0, hasDisplay }: SeenGpu): boolean {
  return !hasDisplay && memoryUsedMib > Math.max(OWN_MEMORY_MIB, memoryMib * OWN_MEMORY_SHARE);
}

function hiddenReason({ memoryUsedMib = 0 }: SeenGpu): string {
  return `${memoryUsedMib.toLocaleString("en-US")} MiB of it are in use, but no process is to be seen: does the worker run in a container without the machine's processes (--pid=host)?`;
}

/** `process 12 (python3, 4,096 MiB) and 3 more`, with its verb. */
export function describeProcesses(processes: readonly GpuProcess[]): string {
  const named = processes.slice(0, NAMED_MAX).map(({ pid, name, memoryMib }) => {
    const memory = memoryMib === undefined ? "" : `, ${memoryMib.toLocaleString("en-US")} MiB`;
    return `${pid} (${name}${memory})`;
  });
  const rest = processes.length - named.length;
  const all = `${named.join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`;
  return processes.length === 1 ? `Process ${all} is` : `Processes ${all} are`;
}
