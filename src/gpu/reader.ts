/**
 * Readings of all GPUs by `nvidia-smi`, and what becomes of those that it stops showing.
 *
 * A GPU that was seen once and is not shown any more, because it is lost or because nothing can be asked at all,
 * stays in the reading with its fault: it must not look as if the machine had never had it.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Reading, SeenGpu } from "./reading.ts";
import {
  lines,
  NEEDED_FIELDS,
  namedAddresses,
  OTHER_FIELDS,
  parseGpu,
  parseProcesses,
  parseRemappedRows,
  parseRows,
  pciAddress,
  textLines,
  unknownField,
  withoutAbsent,
} from "./reading.ts";
import { cutIntoSlices } from "./slices.ts";
import type { Smi, SmiAnswer } from "./smi.ts";

export interface ReaderOptions {
  readonly smi: Pick<Smi, "ask">;
  /** For GPUs that share the machine's memory. */
  readonly machineMemoryMib: number;
  /** Where the driver lists its GPUs, also those that have fallen off; default `/proc/driver/nvidia/gpus`. */
  readonly driverDir?: string | undefined;
}

export interface Reader {
  read(): Promise<Reading>;
  /** Who computes, in one or two calls; undefined: that cannot be told, for `problem`. */
  readProcesses(): Promise<Pick<Reading, "processes" | "problem">>;
}

const CSV = "--format=csv,noheader,nounits";
const PROCESS_QUERY = ["--query-compute-apps=gpu_uuid,pid,process_name,used_memory", CSV];
const REMAP_FIELDS = ["gpu_uuid", "remapped_rows.pending", "remapped_rows.failure"];
/** Rows are remapped with a reset, so this changes rarely: asked with every twelfth reading. */
const REMAP_EVERY = 12;

interface Rows {
  readonly gpus: readonly SeenGpu[];
  /** Of the answer, beside its rows. */
  readonly messages: readonly string[];
  readonly outcome: Reading["outcome"];
}

export function createReader(options: ReaderOptions): Reader {
  const { smi } = options;
  const known = new Map<string, SeenGpu>();
  const fields: string[] = [...NEEDED_FIELDS, ...OTHER_FIELDS];
  let remapped: ReadonlyMap<string, string> = new Map();
  let count = 0;
  /** Of the last reading, before they were cut. */
  let whole: readonly SeenGpu[] = [];

  const askRows = async (only: readonly string[]): Promise<Rows> => {
    const answer = await smi.ask([...only, `--query-gpu=${fields.join(",")}`, CSV]);
    const unknown = answer.isOk ? undefined : unknownField(answer.text);
    const at = fields.indexOf(unknown ?? "");
    if (at >= NEEDED_FIELDS.length) {
      fields.splice(at, 1);
      return askRows(only);
    }
    const rows = parseRows(answer.text, fields).map((row) =>
      parseGpu(row, options.machineMemoryMib),
    );
    const gpus = rows.filter((gpu) => gpu !== undefined);
    return { gpus, messages: textLines(answer.text, fields), outcome: outcomeOf(answer) };
  };

  /** One that is lost can keep the rest from being shown: those are asked for one by one. */
  const askEach = async (rows: Rows): Promise<Rows> => {
    const lost = namedAddresses(rows.messages.join("\n"));
    if (rows.outcome === "ok" || rows.gpus.length > 0 || lost.length === 0) {
      return rows;
    }
    const found: SeenGpu[] = [];
    for (const gpu of known.values()) {
      if (!lost.includes(gpu.pciAddress)) {
        found.push(...(await askRows(["-i", gpu.id])).gpus);
      }
    }
    return { ...rows, gpus: found };
  };

  const readRemapped = async (): Promise<void> => {
    if (count % REMAP_EVERY === 0) {
      const answer = await smi.ask([`--query-remapped-rows=${REMAP_FIELDS.join(",")}`, CSV]);
      remapped = answer.isOk ? parseRemappedRows(answer.text, REMAP_FIELDS) : remapped;
    }
    count += 1;
  };

  const readSlices = async (
    gpus: readonly SeenGpu[],
  ): Promise<Pick<Reading, "gpus" | "processes" | "problem">> => {
    if (!gpus.some((gpu) => gpu.isCut)) {
      return { gpus, ...(await askProcesses(smi)) };
    }
    const listing = await smi.ask(["-L"]);
    const details = await smi.ask(["-q", "-x"]);
    if (listing.isOk && details.isOk) {
      return cutIntoSlices(gpus, listing.text, details.text);
    }
    const problem = firstLine((listing.isOk ? details : listing).text);
    const fault = `Its slices cannot be read: ${problem}`;
    return {
      gpus: gpus.map((gpu) => (gpu.isCut ? { fault, ...gpu } : gpu)),
      processes: undefined,
      problem,
    };
  };

  const read = async (): Promise<Reading> => {
    const rows = await askEach(await askRows([]));
    const problem = rows.outcome === "ok" ? undefined : problemOf(rows.messages);
    const shown = new Set(rows.gpus.map((gpu) => gpu.id));
    for (const gpu of problem === undefined ? [] : listDriver(options)) {
      if (!shown.has(gpu.id) && !known.has(gpu.id)) {
        known.set(gpu.id, gpu);
      }
    }
    const missing = [...known.values()].filter((gpu) => !shown.has(gpu.id));
    for (const gpu of rows.gpus) {
      known.set(gpu.id, gpu);
    }
    if (rows.gpus.length > 0) {
      await readRemapped();
    }
    whole = [
      ...rows.gpus.map((gpu) => withFault(gpu, remapped.get(gpu.id))),
      ...missing.map((gpu) => ({ ...gpu, fault: missingFault(gpu, problem) })),
    ];
    const reading =
      rows.gpus.length > 0 ? await readSlices(whole) : { gpus: whole, processes: undefined };
    return { outcome: rows.outcome, ...withoutAbsent({ problem }), ...reading };
  };

  return {
    read,
    readProcesses: async () => {
      if (!whole.some((gpu) => gpu.isCut)) {
        return askProcesses(smi);
      }
      const details = await smi.ask(["-q", "-x"]);
      const listing = await smi.ask(["-L"]);
      return details.isOk && listing.isOk
        ? cutIntoSlices(whole, listing.text, details.text)
        : { processes: undefined, problem: firstLine(`${details.text}\n${listing.text}`) };
    },
  };
}

async function askProcesses(
  smi: Pick<Smi, "ask">,
): Promise<Pick<Reading, "processes" | "problem">> {
  const answer = await smi.ask(PROCESS_QUERY);
  return answer.isOk
    ? { processes: parseProcesses(answer.text) }
    : { processes: undefined, problem: firstLine(answer.text) };
}

function outcomeOf(answer: SmiAnswer): Reading["outcome"] {
  if (answer.isOk) {
    return "ok";
  }
  return answer.hasHung ? "hung" : "failed";
}

function withFault(gpu: SeenGpu, fault: string | undefined): SeenGpu {
  return fault === undefined ? gpu : { fault, ...gpu };
}

/** @param problem of the whole reading: what the driver said instead of showing it. */
function missingFault(gpu: SeenGpu, problem: string | undefined): string {
  const lost = namedAddresses(problem ?? "");
  if (problem === undefined) {
    return "nvidia-smi does not show it any more. See the kernel's log (dmesg).";
  }
  return lost.length === 0 || lost.includes(gpu.pciAddress)
    ? problem
    : `It cannot be read while another GPU is broken: ${problem}`;
}

function problemOf(messages: readonly string[]): string {
  const text = messages.join(" ").replace(/\s+/g, " ");
  return text === "" ? "nvidia-smi failed without a word." : text.slice(0, 500);
}

function firstLine(text: string): string {
  return lines(text)[0] ?? "nvidia-smi failed without a word.";
}

/** GPUs as the kernel's module lists them, for those that `nvidia-smi` never showed. */
function listDriver({ driverDir = "/proc/driver/nvidia/gpus" }: ReaderOptions): readonly SeenGpu[] {
  try {
    return readdirSync(driverDir).flatMap((address, index) => {
      const text = readFileSync(join(driverDir, address, "information"), "utf8");
      const id = /^GPU UUID:\s*(GPU-[0-9a-f-]+)\s*$/im.exec(text)?.[1];
      const name = /^Model:\s*(.+?)\s*$/m.exec(text)?.[1] ?? "unknown";
      const rest = { memoryMib: 0, hasDisplay: false, isCut: false };
      return id === undefined
        ? []
        : [{ id, index: String(index), name, pciAddress: pciAddress(address), ...rest }];
    });
  } catch {
    // No driver, or another system.
    return [];
  }
}
