/** MIG slices: who they are (`nvidia-smi -L`), how large they are and who computes on them (`-q -x`). */
import type { GpuProcess } from "./inventory.ts";
import type { SeenGpu } from "./reading.ts";
import { lines, pciAddress, toNumber, withoutAbsent } from "./reading.ts";

interface ListedSlice {
  readonly id: string;
  readonly profile: string;
  readonly device: number;
}

interface SliceDetails {
  readonly instance: number;
  readonly computeInstance: number;
  readonly memoryMib?: number;
  readonly memoryUsedMib?: number;
}

interface DetailedGpu {
  readonly slices: ReadonlyMap<number, SliceDetails>;
  readonly processes: readonly InstanceProcess[];
}

interface InstanceProcess extends GpuProcess {
  readonly instance?: number;
  readonly computeInstance?: number;
}

/** Slices by the id of their GPU. */
function parseListing(text: string): ReadonlyMap<string, readonly ListedSlice[]> {
  const found = new Map<string, ListedSlice[]>();
  let slices: ListedSlice[] = [];
  for (const line of lines(text)) {
    const gpu = /^GPU \d+: .*\(UUID: (GPU-[^)]+)\)/i.exec(line)?.[1];
    if (gpu !== undefined) {
      slices = [];
      found.set(gpu, slices);
    }
    const [, profile, device, id] =
      /^MIG (\S+)\s+Device\s+(\d+):\s+\(UUID: (MIG-[^)]+)\)/i.exec(line) ?? [];
    if (profile !== undefined && id !== undefined) {
      slices.push({ id, profile, device: Number(device) });
    }
  }
  return found;
}

/**
 * GPUs of `-q -x` by address.
 *
 * Its elements are read by name wherever they stand: drivers have moved and added some with each release, but kept
 * these names since 450.
 */
function parseDetails(xml: string): ReadonlyMap<string, DetailedGpu> {
  const found = new Map<string, DetailedGpu>();
  for (const [, address = "", body = ""] of xml.matchAll(/<gpu id="([^"]+)">([\s\S]*?)<\/gpu>/g)) {
    const gpuId = element(body, "uuid") ?? "";
    found.set(pciAddress(address), {
      slices: new Map(elements(body, "mig_device").map(sliceDetails)),
      processes: elements(body, "process_info").flatMap((one) => processOf(one, gpuId)),
    });
  }
  return found;
}

function sliceDetails(body: string): readonly [number, SliceDetails] {
  const memory = element(body, "fb_memory_usage") ?? "";
  return [
    number(body, "index") ?? -1,
    {
      instance: number(body, "gpu_instance_id") ?? -1,
      computeInstance: number(body, "compute_instance_id") ?? 0,
      ...withoutAbsent({
        memoryMib: number(memory, "total"),
        memoryUsedMib: number(memory, "used"),
      }),
    },
  ];
}

/** Graphics alone is no compute process. */
function processOf(body: string, gpuId: string): readonly InstanceProcess[] {
  const pid = number(body, "pid");
  if (pid === undefined || !(element(body, "type") ?? "C").includes("C")) {
    return [];
  }
  return [
    {
      gpuId,
      pid,
      name: element(body, "process_name") ?? "unknown",
      ...withoutAbsent({
        memoryMib: number(body, "used_memory"),
        instance: number(body, "gpu_instance_id"),
        computeInstance: number(body, "compute_instance_id"),
      }),
    },
  ];
}

function elements(xml: string, name: string): readonly string[] {
  return [...xml.matchAll(new RegExp(`<${name}>([\\s\\S]*?)</${name}>`, "g"))].map(
    ([, body = ""]) => body,
  );
}

function element(xml: string, name: string): string | undefined {
  return elements(xml, name)[0]?.trim();
}

function number(xml: string, name: string): number | undefined {
  return toNumber(element(xml, name) ?? "");
}

/** GPUs with their slices in the place of those that are cut, and the processes on what they run on. */
export interface Cut {
  readonly gpus: readonly SeenGpu[];
  /** Undefined: the answer was not complete. */
  readonly processes: readonly GpuProcess[] | undefined;
  readonly problem?: string;
}

/**
 * @param listing of `nvidia-smi -L`.
 * @param xml of `nvidia-smi -q -x`.
 */
export function cutIntoSlices(gpus: readonly SeenGpu[], listing: string, xml: string): Cut {
  const listed = parseListing(listing);
  const details = parseDetails(xml);
  const all = gpus.flatMap((gpu) =>
    gpu.isCut ? slicesOf(gpu, listed.get(gpu.id) ?? [], details.get(gpu.pciAddress)) : [gpu],
  );
  if (gpus.some((gpu) => gpu.fault === undefined && !details.has(gpu.pciAddress))) {
    const problem = "nvidia-smi -q -x does not show all GPUs.";
    return { gpus: all, processes: undefined, problem };
  }
  const processes = [...details.values()].flatMap((one) => one.processes);
  return { gpus: all, processes: processes.map((one) => placeProcess(one, all, details)) };
}

function slicesOf(
  gpu: SeenGpu,
  listed: readonly ListedSlice[],
  details: DetailedGpu | undefined,
): readonly SeenGpu[] {
  if (listed.length === 0) {
    const fault =
      "MIG mode is on, but it has no slices: make some (nvidia-smi mig -cgi … -C) or turn it off.";
    return [{ ...gpu, fault: gpu.fault ?? fault }];
  }
  // Temperature and power are the whole GPU's, but a reader of a slice wants them. Utilization of a slice is not told.
  const { memoryUsedMib: _used, utilizationPercent: _utilization, ...shared } = gpu;
  return listed.map((slice) => {
    const own = details?.slices.get(slice.device);
    return {
      ...shared,
      id: slice.id,
      index: `${gpu.index}:${slice.device}`,
      name: `${gpu.name} MIG ${slice.profile}`,
      memoryMib: own?.memoryMib ?? profileMib(slice.profile),
      ...withoutAbsent({ memoryUsedMib: own?.memoryUsedMib, instance: own?.instance }),
      migProfile: slice.profile,
      parentId: gpu.id,
    };
  });
}

/** `2g.10gb` → 10,240: a little more than it has. */
function profileMib(profile: string): number {
  return (toNumber(/\.(\d+)gb/i.exec(profile)?.[1] ?? "") ?? 0) * 1024;
}

/** From the GPU to the slice that it runs on; it stays on the GPU when the driver does not say. */
function placeProcess(
  { instance, computeInstance, ...process }: InstanceProcess,
  gpus: readonly SeenGpu[],
  details: ReadonlyMap<string, DetailedGpu>,
): GpuProcess {
  const slice = gpus.find((gpu) => {
    const device = Number(gpu.index.split(":")[1]);
    const own = details.get(gpu.pciAddress)?.slices.get(device);
    return (
      gpu.parentId === process.gpuId &&
      own?.instance === instance &&
      own?.computeInstance === (computeInstance ?? own?.computeInstance)
    );
  });
  return slice === undefined ? process : { ...process, gpuId: slice.id };
}
