/**
 * What `nvidia-smi` says, as data. Shapes known: drivers 450 to 580, by what NVIDIA documents and people publish.
 *
 * - `--query-gpu` (CSV) is asked for all numbers: fields have names, units are left out, and a field that a driver
 *   does not know is refused by its name, so it can be asked again without it.
 * - Slices are in `-L` (id, profile) and in `-q -x` (memory, instance, processes by instance); both number them
 *   alike. No other answer has all of that.
 */
import type { Gpu } from "../engine/gpu.ts";
import type { GpuProcess } from "./inventory.ts";

/** A GPU or a slice as it was read, not judged. */
export interface SeenGpu extends Omit<Gpu, "state" | "reason"> {
  /** `0000:41:00`, lower case, without the function: as XIDs name it. */
  readonly pciAddress: string;
  /** A screen hangs on it, so memory may be in use that no compute process has. */
  readonly hasDisplay: boolean;
  /** Of a slice: the number of its GPU instance. */
  readonly instance?: number;
  /** It is cut into slices, or meant to be. */
  readonly isCut: boolean;
  /** Why nothing can run on it, a sentence. */
  readonly fault?: string;
}

/** Who computes, one line each; undefined: that could not be told, see `problem`. */
export interface Reading {
  readonly outcome: "ok" | "failed" | "hung";
  readonly gpus: readonly SeenGpu[];
  readonly processes: readonly GpuProcess[] | undefined;
  /** Why something could not be read, a sentence. */
  readonly problem?: string;
}

export const NEEDED_FIELDS = ["index", "uuid", "name", "pci.bus_id", "memory.total"] as const;

/** Left out when a driver does not know them. */
export const OTHER_FIELDS = [
  "memory.used",
  "utilization.gpu",
  "temperature.gpu",
  "power.draw",
  "ecc.errors.uncorrected.volatile.total",
  "retired_pages.pending",
  "mig.mode.current",
  "display_active",
] as const;

/** What stands for a value that there is none of. */
const ABSENT = /^\[?(n\/a|not supported|not found|insufficient permissions|unknown)\]?$/i;
/** What stands for a value when the GPU itself does not answer. */
const BROKEN = /^\[?(gpu is lost|gpu requires reset|reset required|unknown error)\]?$/i;
/** Also what single sensors of healthy ones give; of its memory it means that the GPU is broken. */
const UNCLEAR = /unknown error/i;

/** Rows of a CSV answer by field; lines of another width are {@link textLines}. */
export function parseRows(
  text: string,
  fields: readonly string[],
): readonly ReadonlyMap<string, string>[] {
  return lines(text)
    .map((line) => line.split(",").map((part) => part.trim()))
    .filter((parts) => parts.length === fields.length)
    .map((parts) => new Map(fields.map((field, index) => [field, parts[index] ?? ""])));
}

/** What an answer holds beside its rows: messages. */
export function textLines(text: string, fields: readonly string[]): readonly string[] {
  return lines(text).filter((line) => line.split(",").length !== fields.length);
}

/** The field that this driver does not know, if that is what the answer says. */
export function unknownField(text: string): string | undefined {
  return /Field "([^"]+)" is not a valid field to query/.exec(text)?.[1];
}

/** Addresses that the messages name, as {@link SeenGpu.pciAddress}. */
export function namedAddresses(text: string): readonly string[] {
  return [...text.matchAll(/[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}/gi)].map(([address]) =>
    pciAddress(address),
  );
}

/** `00000000:3B:00.0`, `0000:3b:00` → `0000:3b:00`. */
export function pciAddress(text: string): string {
  const [domain = "", bus = "", device = ""] = text
    .trim()
    .replace(/^PCI:/i, "")
    .replace(/\.[0-9a-f]$/i, "")
    .toLowerCase()
    .split(":");
  return `${domain.replace(/^0+(?=.{4})/, "")}:${bus}:${device}`;
}

/** @param machineMemoryMib stands for the memory of a GPU that has none of its own. */
export function parseGpu(
  row: ReadonlyMap<string, string>,
  machineMemoryMib: number,
): SeenGpu | undefined {
  const id = row.get("uuid") ?? "";
  if (!/^GPU-/i.test(id)) {
    return undefined;
  }
  const broken = [...row].find(
    ([field, value]) => BROKEN.test(value) && (field.startsWith("memory.") || !UNCLEAR.test(value)),
  );
  return {
    id,
    index: row.get("index") ?? "",
    name: valueIn(row, "name") ?? "unknown",
    pciAddress: pciAddress(row.get("pci.bus_id") ?? ""),
    memoryMib: memoryOf(row, broken === undefined ? machineMemoryMib : 0),
    ...numbers(row),
    hasDisplay: row.get("display_active") === "Enabled",
    isCut: row.get("mig.mode.current") === "Enabled",
    ...faultOf(row, broken?.[1]),
  };
}

function memoryOf(row: ReadonlyMap<string, string>, fallbackMib: number): number {
  return number(row, "memory.total") ?? fallbackMib;
}

function numbers(row: ReadonlyMap<string, string>): Partial<SeenGpu> {
  return withoutAbsent({
    memoryUsedMib: number(row, "memory.used"),
    utilizationPercent: number(row, "utilization.gpu"),
    temperatureC: number(row, "temperature.gpu"),
    powerW: number(row, "power.draw"),
    eccErrors: number(row, "ecc.errors.uncorrected.volatile.total"),
  });
}

function faultOf(row: ReadonlyMap<string, string>, broken: string | undefined): Partial<SeenGpu> {
  if (broken !== undefined) {
    const what = broken.replace(/[[\]]/g, "");
    return { fault: `nvidia-smi says of it: ${what}. Reset it (nvidia-smi -r) or reboot.` };
  }
  return row.get("retired_pages.pending") === "Yes"
    ? { fault: "Memory pages wait to be retired after uncorrected errors: reset it or reboot." }
    : {};
}

/** Ids of GPUs whose memory cannot be trusted any more, with the sentence. */
export function parseRemappedRows(
  text: string,
  fields: readonly string[],
): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const row of parseRows(text, fields)) {
    const id = row.get("gpu_uuid") ?? "";
    if (isYes(row.get("remapped_rows.failure"))) {
      found.set(id, "Its memory has no spare rows left for broken ones: have it replaced.");
    } else if (isYes(row.get("remapped_rows.pending"))) {
      found.set(id, "A broken row of its memory waits to be remapped: reset it or reboot.");
    }
  }
  return found;
}

/** Lines of `--query-compute-apps=gpu_uuid,pid,process_name,used_memory`. */
export function parseProcesses(text: string): readonly GpuProcess[] {
  return lines(text).flatMap((line) => {
    const parts = line.split(",").map((part) => part.trim());
    const [gpuId = "", pid = ""] = parts;
    const process = { gpuId, pid: Number(pid), name: parts.slice(2, -1).join(",") || "unknown" };
    return /^(GPU|MIG)-/i.test(gpuId) && /^\d+$/.test(pid)
      ? [{ ...process, ...withoutAbsent({ memoryMib: toNumber(parts.at(-1) ?? "") }) }]
      : [];
  });
}

function isYes(value: string | undefined): boolean {
  return value === "Yes" || value === "1";
}

function valueIn(row: ReadonlyMap<string, string>, field: string): string | undefined {
  const value = row.get(field) ?? "";
  return value === "" || ABSENT.test(value) || BROKEN.test(value) ? undefined : value;
}

function number(row: ReadonlyMap<string, string>, field: string): number | undefined {
  return toNumber(valueIn(row, field) ?? "");
}

/** A number with or without its unit. */
export function toNumber(value: string): number | undefined {
  const [digits] = /^\d+(\.\d+)?/.exec(value) ?? [];
  return digits === undefined ? undefined : Number(digits);
}

/** The same without what is undefined, as exact optional properties want it. */
export function withoutAbsent<T extends object>(
  value: T,
): { readonly [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined)) as {
    readonly [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

export function lines(text: string): readonly string[] {
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
}
