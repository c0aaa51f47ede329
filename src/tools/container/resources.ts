/** `resources`, `gpu` and `timeouts` of a container task. */
import { parseDuration } from "../../core/duration.ts";
import type { Json, JsonObject } from "../../core/json.ts";
import { isJsonObject } from "../../core/json.ts";
import type { GpuDemand } from "../../dsl/gpu.ts";
import { readDemand } from "../../dsl/gpu.ts";
import { parseBytes, parseCpu } from "./quantity.ts";
import type { Problems } from "./reading.ts";
import { textMapOf } from "./reading.ts";

export interface TaskResources {
  readonly cpu?: number;
  readonly memoryBytes?: number;
  /** As it is written. */
  readonly memoryText?: string;
  readonly shmBytes?: number;
  readonly pids?: number;
  /** As Kubernetes writes them. */
  readonly requests?: Readonly<Record<string, string>>;
  readonly limits?: Readonly<Record<string, string>>;
}

export interface TaskTimeouts {
  readonly pullMs: number;
  readonly runMs?: number;
  readonly stopGraceMs: number;
}

export const PULL_TIMEOUT = "30m";
export const STOP_GRACE = "10s";
const RESOURCES = ["cpu", "memory", "shm_size", "pids", "gpu", "gpus", "requests", "limits"];
/** `queue` is the server's, which hands the task out. */
const TIMEOUTS = ["queue", "pull", "run", "stop_grace"];
const CPU_TEXT = "a number of processors such as 2, 0.5 or 500m";
const BYTES_TEXT = "an amount of memory such as 512Mi, 16Gi or 512m";
const DURATION_TEXT = "a duration: seconds, or 30s, 5m, 2h";
const GPU_LIMIT = "nvidia.com/";

export function readResources(config: JsonObject, problems: Problems): TaskResources {
  const map = problems.map(config, "resources", RESOURCES);
  const limits = readAmounts(map, "limits", problems);
  const requests = readAmounts(map, "requests", problems);
  const memory = map["memory"] ?? limits?.["memory"];
  const at = (name: string): string =>
    map[name] === undefined ? `resources.limits.${name}` : `resources.${name}`;
  const shmSize = map["shm_size"] ?? config["shm_size"];
  const found = {
    cpu: problems.read(at("cpu"), map["cpu"] ?? limits?.["cpu"], parseCpu, CPU_TEXT),
    memoryBytes: problems.read(at("memory"), memory, parseBytes, BYTES_TEXT),
    memoryText: memory === undefined || memory === null ? undefined : String(memory),
    shmBytes: problems.read("resources.shm_size", shmSize, parseBytes, BYTES_TEXT),
    pids: problems.read("resources.pids", map["pids"], countOf, "a whole number from 1 on"),
    requests,
    limits,
  };
  return Object.fromEntries(
    Object.entries(found).filter(([, value]) => value !== undefined),
  ) satisfies TaskResources;
}

function readAmounts(
  resources: JsonObject,
  name: string,
  problems: Problems,
): Readonly<Record<string, string>> | undefined {
  const wanted = "a map of amounts such as {cpu: 500m, memory: 1Gi}";
  return problems.read(`resources.${name}`, resources[name], textMapOf, wanted);
}

function countOf(value: Json): number | undefined {
  const count = Number(value);
  return Number.isInteger(count) && count > 0 ? count : undefined;
}

/** What the task wants of GPUs; the server has read the same, and leased them. */
export function readGpus(config: JsonObject, gpuDefault: number): GpuDemand | undefined {
  const resources = isJsonObject(config["resources"]) ? config["resources"] : {};
  const limits = isJsonObject(resources["limits"]) ? resources["limits"] : {};
  const limit = Object.keys(limits).find((key) => key.startsWith(GPU_LIMIT));
  const wish =
    config["gpu"] ??
    config["gpus"] ??
    resources["gpu"] ??
    resources["gpus"] ??
    (limit === undefined ? gpuDefault : wishOfLimit(limit, limits[limit] ?? null));
  return readDemand(wish).demand;
}

function wishOfLimit(name: string, count: Json): Json {
  const profile = /^nvidia\.com\/mig-(.+)$/.exec(name)?.[1];
  return profile === undefined ? count : { count, mig_profile: profile };
}

export function readTimeouts(config: JsonObject, problems: Problems): TaskTimeouts {
  const map = problems.map(config, "timeouts", TIMEOUTS);
  const read = (name: string): number | undefined =>
    problems.read(`timeouts.${name}`, map[name], parseDuration, DURATION_TEXT);
  read("queue");
  const runMs = read("run");
  return {
    pullMs: read("pull") ?? parseDuration(PULL_TIMEOUT) ?? 0,
    stopGraceMs: read("stop_grace") ?? parseDuration(STOP_GRACE) ?? 0,
    ...(runMs === undefined ? {} : { runMs }),
  };
}
