/** GPUs, their holders and what waits for them, and container runtimes, as texts for people. Pure. */
import type { JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { field, formatDuration, rowsOf } from "./format.ts";
import { paint } from "./tree-lines.ts";

/** How GPUs are drawn. */
export interface GpuStyle {
  readonly hasColor: boolean;
  readonly nowMs: number;
}

export const GPU_HEADINGS = [
  "pool",
  "worker",
  "gpu",
  "name",
  "memory",
  "util",
  "temp",
  "state",
  "held by",
  "since",
] as const;

const BAR_CELLS = 8;
/** Beyond this an inventory is not what people think they see. */
const STALE_S = 15;
const COLORS: Readonly<Record<string, string>> = {
  ready: "32",
  leased: "36",
  unclean: "33",
  out_of_service: "31",
  lost: "31",
};

/** One line for the GPU, and one more for each further command that shares it. */
export function gpuRows(gpu: JsonObject, style: GpuStyle): readonly (readonly string[])[] {
  const [first, ...others] = rowsOf(gpu, "leases").map((lease) => holder(lease, style));
  const own = [
    field(gpu, "pool"),
    field(gpu, "worker"),
    `${field(gpu, "index")} ${shortId(field(gpu, "id"))}`,
    [shortName(field(gpu, "name")), field(gpu, "mig_profile")].filter(Boolean).join(" "),
    memoryText(gpu),
    withUnit(gpu, "utilization_percent", "%"),
    withUnit(gpu, "temperature_c", "°C"),
    paint(stateText(gpu), COLORS[field(gpu, "state")] ?? "90", style.hasColor),
  ];
  const blank = own.map(() => "");
  return [[...own, ...(first ?? ["", ""])], ...others.map((each) => [...blank, ...each])];
}

function holder(lease: JsonObject, { nowMs }: GpuStyle): readonly string[] {
  const share = lease["is_shared"] === true ? ` (${gibibytes(Number(lease["memory_mib"]))})` : "";
  const ending = lease["status"] === "cancelling" ? ", is being stopped" : "";
  return [
    `${placeOf(lease)} of ${field(lease, "execution_id")}${share}${ending}`,
    sinceText(lease, nowMs),
  ];
}

/** `████░░░░ 38.1 of 80.0 GiB`; only the size where the use is not known. */
export function memoryText(gpu: JsonObject): string {
  const total = Number(gpu["memory_mib"]);
  const used = gpu["memory_used_mib"];
  if (typeof used !== "number" || total <= 0) {
    return gibibytes(total);
  }
  const cells = Math.min(BAR_CELLS, Math.round((BAR_CELLS * used) / total));
  const bar = "█".repeat(cells) + "░".repeat(BAR_CELLS - cells);
  return `${bar} ${(used / 1024).toFixed(1)} of ${gibibytes(total)}`;
}

export function gibibytes(mib: number): string {
  return `${(mib / 1024).toFixed(1)} GiB`;
}

/** `out of service`. */
export function stateText(gpu: JsonObject): string {
  return field(gpu, "state").replaceAll("_", " ");
}

function withUnit(gpu: JsonObject, name: string, unit: string): string {
  const value = field(gpu, name);
  return value === "" ? "" : `${value} ${unit}`;
}

/** Ids are told apart by their first characters, and `noetl gpu get` takes these. */
export function shortId(id: string): string {
  return /^(GPU|MIG)-/.test(id) ? id.slice(0, 12) : id;
}

function shortName(name: string): string {
  return name.replace(/^NVIDIA /, "");
}

/** `train`, or `train[3]` for an item of a loop. */
export function placeOf(row: JsonObject): string {
  const index = field(row, "index");
  return `${field(row, "step")}${index === "" ? "" : `[${index}]`}`;
}

export function sinceText(row: JsonObject, nowMs: number): string {
  const at = Date.parse(field(row, "since"));
  return Number.isNaN(at) ? "" : formatDuration(Math.max(0, nowMs - at));
}

/** Why GPUs are not what they should be, a line each. */
export function gpuProblems(gpus: readonly JsonObject[]): readonly string[] {
  return gpus.flatMap((gpu) => {
    const name = `GPU ${field(gpu, "index")} of ${field(gpu, "worker")} (${shortId(field(gpu, "id"))})`;
    const reason = field(gpu, "reason");
    const age = Number(gpu["age_seconds"]);
    if (gpu["state"] === "lost") {
      return [`${name}: its worker has been silent for ${formatDuration(age * 1000)}`];
    }
    const stale = age > STALE_S ? [`${name}: read ${formatDuration(age * 1000)} ago`] : [];
    return [...(reason === "" ? [] : [`${name} is ${stateText(gpu)}: ${reason}`]), ...stale];
  });
}

/** What waits for GPUs, a line each; of each pool the first in line first. */
export function waitLines(pools: readonly JsonObject[], nowMs: number): readonly string[] {
  return pools.flatMap((pool) =>
    rowsOf(pool, "waiting").map((wait) => {
      const where = `${placeOf(wait)} of ${field(wait, "execution_id")}`;
      const reason = field(wait, "reason") || `waits for GPUs of ${field(pool, "name")}`;
      return `${where} has waited for ${sinceText(wait, nowMs)}: ${reason}`;
    }),
  );
}

/** `4 GPUs: 2 ready, 1 leased, 1 out of service`; "" without any. */
export function countText(counts: JsonObject | undefined): string {
  const total = Number(counts?.["total"] ?? 0);
  if (counts === undefined || total === 0) {
    return "";
  }
  const parts = ["ready", "leased", "unclean", "out_of_service"].flatMap((name) =>
    Number(counts[name]) > 0 ? [`${field(counts, name)} ${name.replaceAll("_", " ")}`] : [],
  );
  return `${total}: ${parts.join(", ")}`;
}

/** The GPU counts that a pool or worker has. */
export function countsOf(row: JsonObject): JsonObject | undefined {
  const counts = row["gpus"];
  return isJsonObject(counts) ? counts : undefined;
}

const GPU_SUPPORT: Readonly<Record<string, string>> = {
  cdi: "GPUs by CDI",
  hook: "GPUs by hook",
  cluster: "the cluster's GPUs",
  none: "no GPUs",
};

/** `podman 4.3.1 (GPUs by CDI), docker not usable`. */
export function runtimesText(row: JsonObject): string {
  return rowsOf(row, "runtimes").map(runtimeText).join(", ");
}

export function runtimeText(runtime: JsonObject): string {
  const name = `${field(runtime, "name")} ${field(runtime, "version")}`.trimEnd();
  return runtime["is_usable"] === true
    ? `${name} (${GPU_SUPPORT[field(runtime, "gpus")] ?? field(runtime, "gpus")})`
    : `${name} not usable`;
}

/** What is wrong with a worker's runtimes, a line each. */
export function runtimeProblems(worker: JsonObject): readonly string[] {
  return rowsOf(worker, "runtimes").flatMap((runtime) => {
    const problem = field(runtime, "problem");
    const name = `${field(runtime, "name")} of ${field(worker, "name")}`;
    return problem === "" ? [] : [`${name}: ${problem}`];
  });
}
