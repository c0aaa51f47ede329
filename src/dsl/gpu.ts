/**
 * What a task says of GPUs: `gpu: 2`, `gpu: {count, type, memory_min, mig_profile, shared}`, the same below
 * `resources`, or Kubernetes' `resources.limits["nvidia.com/gpu"]`.
 *
 * The parser keeps it as it is written, because its values may be templates, and checks what is none;
 * the engine renders it and reads the demand. Both by {@link readDemand}.
 */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { hasTemplate } from "../template/render.ts";
import { Fields } from "./report.ts";

/** What a task wants. */
export interface GpuDemand {
  /** At least 1. */
  readonly count: number;
  /** Parts of the product's name, without regard to case, for example `H100`; empty: any. */
  readonly types: readonly string[];
  /** Of each GPU; of a shared one: what the task takes of it, and always there. */
  readonly memoryMinMib?: number;
  /** For example `1g.5gb`: only slices of that profile. Absent: only whole GPUs. */
  readonly migProfile?: string;
  /** Others may use the same GPU, as long as their memory fits. */
  readonly isShared: boolean;
}

export interface DemandProblem {
  /** Field of the map that it is about; empty: the whole. */
  readonly key: string;
  /** A sentence that begins with the field. */
  readonly message: string;
}

export interface DemandReading {
  /** Absent: none is wanted, or there are problems. */
  readonly demand?: GpuDemand;
  readonly problems: readonly DemandProblem[];
}

export const GPU_COUNT_MAX = 64;
const KEYS = ["count", "type", "types", "memory_min", "mig_profile", "mig", "shared"];
const TYPES_MAX = 32;
const LIMIT_WHOLE = "nvidia.com/gpu";
const LIMIT_SLICE = "nvidia.com/mig-";
const MIG_PROFILE = /^(\d+c\.)?\d+g\.\d+gb(\+[a-z0-9.]+)?$/;
const MEMORY = /^(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?$/i;
const UNIT_BYTES: Readonly<Record<string, number>> = {
  k: 1e3,
  ki: 2 ** 10,
  m: 1e6,
  mi: 2 ** 20,
  g: 1e9,
  gi: 2 ** 30,
  t: 1e12,
  ti: 2 ** 40,
};
const MIB_BYTES = 2 ** 20;
/** 16 TiB: more is a mistake in the unit. */
const MEMORY_MIB_MAX = 2 ** 24;

/**
 * The wish of a task as it is written, or undefined when it has none. Reports what is wrong in it.
 *
 * @param countDefault of a tool that runs on GPUs: what counts when the task says nothing.
 */
export function readGpuWish(fields: Fields, countDefault: number | undefined): Json | undefined {
  const found = sourcesOf(fields);
  const [first, ...others] = found;
  for (const { owner, key } of others) {
    owner.warn("FIELD_IGNORED", key, `${key} has no effect beside ${first?.key}`);
  }
  if (first === undefined) {
    return countDefault;
  }
  const { owner, key, value } = first;
  checkWish(owner, key, value);
  return isNone(value) ? undefined : value;
}

interface Source {
  readonly owner: Fields;
  readonly key: string;
  readonly value: Json;
}

function sourcesOf(fields: Fields): readonly Source[] {
  const resources = within(fields, "resources");
  const limits = within(resources, "limits");
  const slices = Object.keys(limits.map).filter((key) => key.startsWith(LIMIT_SLICE));
  const places: readonly (readonly [Fields, string])[] = [
    [fields, "gpu"],
    [fields, "gpus"],
    [resources, "gpu"],
    [resources, "gpus"],
    [limits, LIMIT_WHOLE],
    ...slices.map((key) => [limits, key] as const),
  ];
  return places.flatMap(([owner, key]) => {
    const value = owner.get(key);
    return value === undefined ? [] : [{ owner, key, value: sliceOf(key, value) }];
  });
}

/** What is no map is the tool's own affair. */
function within(fields: Fields, key: string): Fields {
  const value = fields.get(key);
  return new Fields(fields.report, isJsonObject(value) ? value : {}, fields.at(key));
}

function sliceOf(key: string, value: Json): Json {
  return key.startsWith(LIMIT_SLICE)
    ? { count: value, mig_profile: key.slice(LIMIT_SLICE.length) }
    : value;
}

function checkWish(owner: Fields, key: string, value: Json): void {
  if (hasTemplate(value) && !isJsonObject(value)) {
    return;
  }
  if (isJsonObject(value) && isJsonObject(owner.get(key))) {
    owner.fields(key).checkKeys(KEYS);
  }
  const written = isJsonObject(value) ? withoutTemplates(value) : value;
  for (const problem of readDemand(written).problems) {
    // The amount of memory may still come from a template.
    if (!(problem.key === "shared" && isJsonObject(value) && hasTemplate(value))) {
      const isPlace = problem.key !== "" && isJsonObject(owner.get(key));
      const path = isPlace ? owner.fields(key).at(problem.key) : owner.at(key);
      owner.report.error("GPU_INVALID", path, problem.message);
    }
  }
}

function withoutTemplates(map: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(map).filter(([, value]) => !hasTemplate(value)));
}

/** False as long as templates may still decide. */
function isNone(value: Json): boolean {
  const { demand, problems } = readDemand(value);
  return !hasTemplate(value) && problems.length === 0 && demand === undefined;
}

/** Reads a wish without templates. */
export function readDemand(value: Json): DemandReading {
  const map = isJsonObject(value) ? value : { count: value };
  const problems: DemandProblem[] = [];
  const read = <T>(keys: readonly string[], take: (value: Json) => T | string): T | undefined => {
    const key = keys.find((name) => isThere(map[name]));
    const taken = key === undefined ? undefined : take(map[key] ?? null);
    if (typeof taken === "string" && key !== undefined) {
      problems.push({ key: isJsonObject(value) ? key : "", message: taken });
      return undefined;
    }
    return taken as T | undefined;
  };
  const count = isJsonObject(value) && !isThere(map["count"]) ? 1 : read(["count"], readCount);
  const types = read(["type", "types"], readTypes);
  const memoryMinMib = read(["memory_min"], readMemory);
  const mig = read(["mig_profile", "mig"], readProfile);
  const isShared = read(["shared"], readFlag) ?? false;
  if (isShared && memoryMinMib === undefined && problems.length === 0) {
    const message = "a shared GPU needs memory_min: how much of it the task takes, such as 4Gi";
    problems.push({ key: "shared", message });
  }
  if (problems.length > 0 || count === undefined || count === 0) {
    return { problems };
  }
  const demand = {
    count,
    types: types ?? [],
    isShared,
    ...(memoryMinMib === undefined ? {} : { memoryMinMib }),
    ...(mig === undefined ? {} : { migProfile: mig.profile }),
  };
  return { demand, problems };
}

function isThere(value: Json | undefined): boolean {
  return value !== undefined && value !== null && value !== "";
}

function readCount(value: Json): number | string {
  if (typeof value === "boolean" || value === "true" || value === "false") {
    return value === true || value === "true" ? 1 : 0;
  }
  const count = typeof value === "string" ? Number(value.trim()) : value;
  return typeof count === "number" &&
    Number.isInteger(count) &&
    count >= 0 &&
    count <= GPU_COUNT_MAX
    ? count
    : `the number of GPUs is a whole number from 0 to ${GPU_COUNT_MAX}, or true, not ${shown(value)}`;
}

function readTypes(value: Json): readonly string[] | string {
  const items: readonly Json[] = Array.isArray(value) ? value : [value];
  const texts = items.flatMap((item) => (typeof item === "string" ? [item.trim()] : []));
  return texts.length === items.length && texts.length <= TYPES_MAX && texts.every((t) => t !== "")
    ? texts
    : `type is a part of the GPU's name such as H100, or a list of them, not ${shown(value)}`;
}

/** MiB, rounded up. */
function readMemory(value: Json): number | string {
  const mib = typeof value === "number" ? value : memoryOf(value);
  return mib !== undefined && mib > 0 && mib <= MEMORY_MIB_MAX
    ? Math.ceil(mib)
    : `memory_min is a number of MiB or a text such as 40Gi, not ${shown(value)}`;
}

function memoryOf(value: Json): number | undefined {
  const found = typeof value === "string" ? MEMORY.exec(value.trim()) : null;
  if (found === null) {
    return undefined;
  }
  const unit = found[2]?.toLowerCase();
  return Number(found[1]) * (unit === undefined ? 1 : (UNIT_BYTES[unit] ?? 0) / MIB_BYTES);
}

/** In an object, because a text would be a problem. */
function readProfile(value: Json): { readonly profile: string } | string {
  const profile = typeof value === "string" ? value.trim().toLowerCase() : "";
  return MIG_PROFILE.test(profile)
    ? { profile }
    : `mig_profile is a profile such as 1g.5gb, not ${shown(value)}`;
}

function readFlag(value: Json): boolean | string {
  if (value === true || value === "true") {
    return true;
  }
  return value === false || value === "false"
    ? false
    : `shared is true or false, not ${shown(value)}`;
}

function shown(value: Json): string {
  return JSON.stringify(value).slice(0, 80);
}
