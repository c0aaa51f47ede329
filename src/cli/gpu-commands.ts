/** `gpu list`, `gpu get`: what every GPU is doing, for whom, and what waits for it. */
import { sleep } from "../core/clock.ts";
import type { JsonObject } from "../core/json.ts";
import type { Api } from "./api.ts";
import type { JsonFlag } from "./catalog-commands.ts";
import type { CliContext, ExitReason } from "./context.ts";
import { field, formatJson, formatTable, formatTime, rowsOf } from "./format.ts";
import type { GpuStyle } from "./gpu-text.ts";
import {
  GPU_HEADINGS,
  gibibytes,
  gpuProblems,
  gpuRows,
  memoryText,
  placeOf,
  sinceText,
  stateText,
  waitLines,
} from "./gpu-text.ts";

export interface GpuListFlags extends JsonFlag {
  readonly pool?: string | undefined;
  readonly state?: string | undefined;
  /** Again and again until the command is stopped. */
  readonly watch?: boolean | undefined;
}

const WATCH_MS = 2000;
const CLEAR = "\u001b[H\u001b[2J\u001b[3J";
const NONE =
  "No GPUs. A worker on a machine with NVIDIA's driver brings them: noetl worker --pool gpu-01";

export async function listGpus(
  context: CliContext,
  api: Api,
  flags: GpuListFlags,
): Promise<ExitReason> {
  await printGpus(context, api, flags);
  while (flags.watch === true && !context.signal.aborted) {
    await sleep(WATCH_MS, context.signal);
    if (!context.signal.aborted) {
      await printGpus(context, api, flags);
    }
  }
  return "ok";
}

/** With `watch` and `json` a line each time. */
async function printGpus(
  { out, isTerminal }: CliContext,
  api: Api,
  flags: GpuListFlags,
): Promise<void> {
  const gpus = rowsOf(await api.getObject(`/api/gpus?${queryOf(flags)}`), "gpus");
  if (flags.json === true) {
    out(flags.watch === true ? JSON.stringify(gpus) : formatJson(gpus));
    return;
  }
  const pools = rowsOf(await api.get("/api/worker/pools"));
  const chosen = pools.filter((pool) => flags.pool === undefined || pool["name"] === flags.pool);
  const text = listText(gpus, chosen, { hasColor: isTerminal, nowMs: Date.now() });
  out(flags.watch === true && isTerminal ? `${CLEAR}${text}` : text);
}

function queryOf({ pool, state }: GpuListFlags): URLSearchParams {
  const query = new URLSearchParams({ limit: "1000" });
  for (const [name, value] of Object.entries({ pool, state })) {
    if (value !== undefined) {
      query.set(name, value);
    }
  }
  return query;
}

function listText(
  gpus: readonly JsonObject[],
  pools: readonly JsonObject[],
  style: GpuStyle,
): string {
  const table = formatTable(
    GPU_HEADINGS,
    gpus.flatMap((gpu) => gpuRows(gpu, style)),
  );
  const remarks = [...gpuProblems(gpus), ...waitLines(pools, style.nowMs)];
  return [gpus.length === 0 ? NONE : table, ...(remarks.length === 0 ? [] : ["", ...remarks])].join(
    "\n",
  );
}

/** `id` may be the beginning of an id. */
export async function getGpu(
  { out }: CliContext,
  api: Api,
  id: string,
  flags: JsonFlag,
): Promise<ExitReason> {
  const gpu = await api.getObject(`/api/gpus/${encodeURIComponent(id)}`);
  out(flags.json === true ? formatJson(gpu) : gpuText(gpu));
  return "ok";
}

function gpuText(gpu: JsonObject): string {
  const measured = (name: string, unit: string): string =>
    gpu[name] === null ? "" : `${field(gpu, name)}${unit}`;
  const facts: readonly (readonly [string, string])[] = [
    ["state", [stateText(gpu), field(gpu, "reason")].filter(Boolean).join(": ")],
    ["worker", `${field(gpu, "worker")} on ${field(gpu, "hostname")}, pool ${field(gpu, "pool")}`],
    ["index", field(gpu, "index")],
    ["slice", field(gpu, "mig_profile")],
    ["cut from", field(gpu, "parent_id")],
    ["memory", memoryText(gpu)],
    ["utilisation", measured("utilization_percent", " %")],
    ["temperature", measured("temperature_c", " °C")],
    ["power", measured("power_w", " W")],
    ["ECC errors", measured("ecc_errors", " uncorrected")],
    ["read", formatTime(gpu["read_at"])],
    ...rowsOf(gpu, "leases").map((lease) => ["held by", leaseText(lease)] as const),
  ];
  const shown = facts.filter(([, value]) => value !== "");
  const width = Math.max(...shown.map(([name]) => name.length));
  return [
    `${field(gpu, "id")}  ${field(gpu, "name")}`,
    ...shown.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`),
  ].join("\n");
}

function leaseText(lease: JsonObject): string {
  const ending = lease["status"] === "cancelling" ? ", is being stopped" : "";
  const share = lease["is_shared"] === true ? `, ${gibibytes(Number(lease["memory_mib"]))}` : "";
  return (
    `${placeOf(lease)} of ${field(lease, "path")}, execution ${field(lease, "execution_id")}, ` +
    `for ${sinceText(lease, Date.now())}${share}${ending}`
  );
}
