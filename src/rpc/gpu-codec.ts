/** Between the wire and the domain: GPUs, what is leased of them, and container runtimes. */
import type { RuntimeFacts } from "../engine/command.ts";
import type { Gpu, GpuGrant } from "../engine/gpu.ts";
import type * as wire from "./generated/noetl/v1/worker.ts";
import { integer, invalid } from "./wire-value.ts";

/** Of one worker; slices of GPUs count. */
const GPU_COUNT_MAX = 1000;
const RUNTIME_COUNT_MAX = 20;
const TEXT_CHARS_MAX = 4000;

const GPU_STATES: readonly Gpu["state"][] = ["ready", "unclean", "out_of_service"];
const GPU_WAYS: readonly RuntimeFacts["gpus"][] = ["cdi", "hook", "cluster", "none"];

export function encodeGpu(gpu: Gpu): wire.Gpu {
  return {
    id: gpu.id,
    index: gpu.index,
    name: gpu.name,
    memoryMib: Math.round(gpu.memoryMib),
    memoryUsedMib: gpu.memoryUsedMib === undefined ? undefined : Math.round(gpu.memoryUsedMib),
    utilizationPercent: gpu.utilizationPercent,
    temperatureC: gpu.temperatureC,
    powerW: gpu.powerW,
    eccErrors: gpu.eccErrors === undefined ? undefined : String(Math.round(gpu.eccErrors)),
    migProfile: gpu.migProfile ?? "",
    parentId: gpu.parentId ?? "",
    state: gpu.state,
    reason: gpu.reason ?? "",
  };
}

/** @throws AppError `invalid` if there are too many, or the same one twice. */
export function decodeGpus(gpus: readonly wire.Gpu[]): { readonly gpus?: readonly Gpu[] } {
  if (gpus.length > GPU_COUNT_MAX) {
    throw invalid(`a worker has at most ${GPU_COUNT_MAX} GPUs`);
  }
  if (new Set(gpus.map(({ id }) => id)).size < gpus.length) {
    throw invalid("gpus has the same id twice");
  }
  return gpus.length === 0 ? {} : { gpus: gpus.map(decodeGpu) };
}

/** A state that this version does not know is no reason to lease it. */
function decodeGpu(gpu: wire.Gpu): Gpu {
  const { memoryUsedMib, utilizationPercent, temperatureC, powerW, eccErrors } = gpu;
  const { migProfile, parentId, reason } = gpu;
  if (gpu.id === "") {
    throw invalid("a GPU has no id");
  }
  return {
    id: text("id", gpu.id),
    index: text("index", gpu.index),
    name: text("name", gpu.name),
    memoryMib: integer("memory_mib", gpu.memoryMib, 0),
    ...(memoryUsedMib === undefined ? {} : { memoryUsedMib }),
    ...(utilizationPercent === undefined ? {} : { utilizationPercent }),
    ...(temperatureC === undefined ? {} : { temperatureC }),
    ...(powerW === undefined ? {} : { powerW }),
    ...(eccErrors === undefined ? {} : { eccErrors: Number(eccErrors) }),
    ...(migProfile === "" ? {} : { migProfile: text("mig_profile", migProfile) }),
    ...(parentId === "" ? {} : { parentId: text("parent_id", parentId) }),
    state: GPU_STATES.find((state) => state === gpu.state) ?? "out_of_service",
    ...(reason === "" ? {} : { reason: text("reason", reason) }),
  };
}

export function decodeGrant({ id, name, memoryMib, isShared }: wire.GpuGrant): GpuGrant {
  return { id, name, memoryMib: integer("memory_mib", memoryMib, 0), isShared };
}

export function encodeRuntime(facts: RuntimeFacts): wire.RuntimeFacts {
  const { name, version, isUsable, problem = "", gpus } = facts;
  return { name, version, isUsable, problem, gpus };
}

/** @throws AppError `invalid` if there are too many. */
export function decodeRuntimes(runtimes: readonly wire.RuntimeFacts[]): {
  readonly runtimes?: readonly RuntimeFacts[];
} {
  if (runtimes.length > RUNTIME_COUNT_MAX) {
    throw invalid(`a worker has at most ${RUNTIME_COUNT_MAX} container runtimes`);
  }
  return runtimes.length === 0 ? {} : { runtimes: runtimes.map(decodeRuntime) };
}

function decodeRuntime({
  name,
  version,
  isUsable,
  problem,
  gpus,
}: wire.RuntimeFacts): RuntimeFacts {
  return {
    name: text("name", name),
    version: text("version", version),
    isUsable,
    ...(problem === "" ? {} : { problem: text("problem", problem) }),
    gpus: GPU_WAYS.find((way) => way === gpus) ?? "none",
  };
}

/** @throws AppError `invalid`. */
function text(field: string, value: string): string {
  if (value.length > TEXT_CHARS_MAX || value.includes("\0")) {
    throw invalid(`${field} has more than ${TEXT_CHARS_MAX} characters, or a zero`);
  }
  return value;
}
