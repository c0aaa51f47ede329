/**
 * A stand-in of `nvidia-smi`: a script that prints recorded output. **Recorded**, not measured: the shapes are
 * those that NVIDIA documents and people have published of drivers 470 to 580, the numbers are made up.
 *
 * ```ts
 * const smi = makeNvidiaSmi(H100_X4);           // NOETL_NVIDIA_SMI=smi.path
 * smi.addProcess({ gpu: smi.ids[0], pid: child.pid });  // there as long as that process lives
 * smi.setGpu(smi.ids[1], { "temperature.gpu": "91" });
 * smi.hang(); smi.fail(18, "Failed to initialize NVML: Driver/library version mismatch"); smi.heal();
 * ```
 *
 * All can be switched while programs use it. It needs `sh` and `awk`, and takes some 5 ms a call.
 */
import {
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { makeScratchDir } from "./scratch.ts";

/** Values of `--query-gpu`, `--query-remapped-rows` by field, as `nounits` prints them. */
export type StandInGpu = Readonly<Record<string, string>>;

export interface StandInSlice {
  readonly parent: string;
  readonly id: string;
  readonly profile: string;
  readonly device: number;
  readonly instance: number;
  readonly memoryMib: number;
}

export interface StandInMachine {
  readonly driver: string;
  readonly gpus: readonly StandInGpu[];
  readonly slices: readonly StandInSlice[];
}

export interface StandInProcess {
  /** Of a slice: the slice. */
  readonly gpu: string;
  /** A living process's, or 5,000,000 and above: one that is there until it is removed. */
  readonly pid: number;
  readonly name?: string;
  readonly memoryMib?: number;
}

export interface NvidiaSmiStandIn {
  /** Of the executable. */
  readonly path: string;
  /** What tasks can lease: slices in place of the GPUs that they are cut from. */
  readonly ids: readonly string[];
  /** Command lines so far. */
  calls(): readonly string[];
  /** Calls that have not ended. */
  running(): number;
  setGpu(id: string, values: StandInGpu): void;
  /** In place of the GPU's line comes that text, as from a driver that has lost it; exit code 15. */
  loseGpu(id: string, text: string): void;
  /** As of a driver that is too old for it. */
  forgetField(field: string): void;
  addProcess(process: StandInProcess): void;
  removeProcess(pid: number): void;
  /** Calls do not return from now on; `stubborn`: nor upon SIGTERM. */
  hang(how?: "plain" | "stubborn"): void;
  fail(exitCode: number, text: string): void;
  /** Ends {@link hang} and {@link fail}. */
  heal(): void;
}

const FIELDS: StandInGpu = {
  index: "0",
  uuid: "",
  gpu_uuid: "",
  "pci.bus_id": "00000000:01:00.0",
  name: "",
  "memory.total": "0",
  "memory.used": "1",
  "utilization.gpu": "0",
  "temperature.gpu": "30",
  "power.draw": "68.21",
  "ecc.errors.uncorrected.volatile.total": "0",
  "retired_pages.pending": "[N/A]",
  "mig.mode.current": "Disabled",
  display_active: "Disabled",
  "remapped_rows.pending": "No",
  "remapped_rows.failure": "No",
};

function gpu(index: number, uuid: string, bus: string, values: StandInGpu): StandInGpu {
  return {
    ...FIELDS,
    index: String(index),
    uuid,
    gpu_uuid: uuid,
    "pci.bus_id": `00000000:${bus}:00.0`,
    ...values,
  };
}

const h100 = { name: "NVIDIA H100 80GB HBM3", "memory.total": "81559" };
const a100 = { name: "NVIDIA A100-SXM4-40GB", "memory.total": "40960" };

/** A server with four H100. */
export const H100_X4: StandInMachine = {
  driver: "550.54.15",
  gpus: [
    gpu(0, "GPU-0a1b2c3d-1111-4a4a-9b9b-000000000000", "19", h100),
    gpu(1, "GPU-0a1b2c3d-1111-4a4a-9b9b-000000000001", "3b", h100),
    gpu(2, "GPU-0a1b2c3d-1111-4a4a-9b9b-000000000002", "4c", h100),
    gpu(3, "GPU-0a1b2c3d-1111-4a4a-9b9b-000000000003", "5d", h100),
  ],
  slices: [],
};

/** Four H100 that no other run on this machine has, for specifications that all runs share. */
export function newH100s(): StandInMachine {
  const gpus = H100_X4.gpus.map((one) => {
    const uuid = `GPU-${crypto.randomUUID()}`;
    return { ...one, uuid, gpu_uuid: uuid };
  });
  return { ...H100_X4, gpus };
}

/** Two A100: the first in slices (3g, 2g, 1g), the second whole. */
export const A100_MIG: StandInMachine = {
  driver: "535.129.03",
  gpus: [
    gpu(0, "GPU-5d5ba0d6-0000-4c4c-8d8d-00000000000a", "07", {
      ...a100,
      "mig.mode.current": "Enabled",
      "utilization.gpu": "[N/A]",
      "memory.used": "87",
    }),
    gpu(1, "GPU-5d5ba0d6-0000-4c4c-8d8d-00000000000b", "0f", a100),
  ],
  slices: (
    [
      ["c6d4f1ef-42e4-5de3-91c7-000000000001", "3g.20gb", 0, 2, 20_096],
      ["c6d4f1ef-42e4-5de3-91c7-000000000002", "2g.10gb", 1, 3, 9856],
      ["c6d4f1ef-42e4-5de3-91c7-000000000003", "1g.5gb", 2, 9, 4864],
    ] as const
  ).map(([id, profile, device, instance, memoryMib]) => ({
    parent: "GPU-5d5ba0d6-0000-4c4c-8d8d-00000000000a",
    id: `MIG-${id}`,
    profile,
    device,
    instance,
    memoryMib,
  })),
};

/** A desktop: no ECC, no MIG, a screen on it. */
export const RTX_4090: StandInMachine = {
  driver: "560.35.03",
  gpus: [
    gpu(0, "GPU-67a571b1-2222-4e4e-8f8f-000000000090", "01", {
      name: "NVIDIA GeForce RTX 4090",
      "memory.total": "24564",
      "memory.used": "1874",
      "utilization.gpu": "7",
      "power.draw": "31.05",
      "ecc.errors.uncorrected.volatile.total": "[N/A]",
      "mig.mode.current": "[N/A]",
      display_active: "Enabled",
      "remapped_rows.pending": "[N/A]",
      "remapped_rows.failure": "[N/A]",
    }),
  ],
  slices: [],
};

/** Processor and GPU share their memory: it has none of its own to tell. */
export const GB10: StandInMachine = {
  driver: "580.95.05",
  gpus: [
    gpu(0, "GPU-9c9c9c9c-3333-4b4b-8c8c-000000000010", "0f", {
      name: "NVIDIA GB10",
      "memory.total": "[N/A]",
      "memory.used": "[N/A]",
      "ecc.errors.uncorrected.volatile.total": "[N/A]",
      "mig.mode.current": "[N/A]",
      "remapped_rows.pending": "[N/A]",
      "remapped_rows.failure": "[N/A]",
    }),
  ],
  slices: [],
};

/** An executable of its own with this machine's output. */
export function makeNvidiaSmi(machine: StandInMachine = H100_X4): NvidiaSmiStandIn {
  const dir = makeScratchDir("nvidia-smi");
  const path = join(dir, "nvidia-smi");
  copyFileSync(join(import.meta.dir, "nvidia-smi.sh"), path);
  const rows = new Map(machine.gpus.map((one) => [one["uuid"] ?? "", one]));
  const fields = new Set(Object.keys(FIELDS));
  const lost = new Map<string, string>();
  const processes = new Map<number, StandInProcess>();
  const cut = new Set(machine.slices.map((slice) => slice.parent));
  const write = (name: string, text: string): void => {
    writeFileSync(join(dir, `.${name}`), text);
    renameSync(join(dir, `.${name}`), join(dir, name));
  };
  const update = (): void => {
    write("gpus", gpuTable([...fields], [...rows.values()], lost));
    write("list", listing(machine));
    write("xml", xml(machine));
    write("processes", processTable([...processes.values()], machine));
  };
  const heal = (): void => {
    rmSync(join(dir, "hang"), { force: true });
    rmSync(join(dir, "error"), { force: true });
  };
  update();
  return {
    path,
    ids: [...rows.keys()]
      .filter((id) => !cut.has(id))
      .concat(machine.slices.map((slice) => slice.id)),
    calls: () =>
      existsSync(join(dir, "calls"))
        ? readFileSync(join(dir, "calls"), "utf8").trim().split("\n")
        : [],
    running: () => processesIn(dir),
    setGpu: (id, values) => {
      rows.set(id, { ...rows.get(id), ...values });
      update();
    },
    loseGpu: (id, text) => {
      lost.set(id, text);
      update();
    },
    forgetField: (field) => {
      fields.delete(field);
      update();
    },
    addProcess: (process) => {
      processes.set(process.pid, process);
      update();
    },
    removeProcess: (pid) => {
      processes.delete(pid);
      update();
    },
    hang: (how) => write("hang", how ?? "plain"),
    fail: (exitCode, text) => write("error", `${exitCode}\n${text}\n`),
    heal,
  };
}

function processesIn(dir: string): number {
  return readdirSync("/proc").filter((name) => {
    try {
      return /^\d+$/.test(name) && readlinkSync(`/proc/${name}/cwd`) === dir;
    } catch {
      // Gone in between.
      return false;
    }
  }).length;
}

function gpuTable(
  fields: readonly string[],
  rows: readonly StandInGpu[],
  lost: ReadonlyMap<string, string>,
): string {
  const lines = rows.map((row) => {
    const text = lost.get(row["uuid"] ?? "");
    return text === undefined
      ? fields.map((field) => row[field] ?? "").join("\t")
      : `@error\t${text}`;
  });
  return [fields.join("\t"), ...lines, ""].join("\n");
}

function listing({ gpus, slices }: StandInMachine): string {
  const lines = gpus.flatMap((one) => [
    `GPU ${one["index"]}: ${one["name"]} (UUID: ${one["uuid"]})`,
    ...slices
      .filter((slice) => slice.parent === one["uuid"])
      .map(
        ({ profile, device, id }) =>
          `  MIG ${profile.padEnd(11)} Device ${String(device).padStart(2)}: (UUID: ${id})`,
      ),
  ]);
  return `${lines.join("\n")}\n`;
}

function processTable(processes: readonly StandInProcess[], { slices }: StandInMachine): string {
  const lines = processes.map(({ gpu: id, pid, name = "python3", memoryMib = 1024 }) => {
    const slice = slices.find((one) => one.id === id);
    const instance = slice === undefined ? "N/A" : String(slice.instance);
    const compute = slice === undefined ? "N/A" : "0";
    return `${[slice?.parent ?? id, pid, name, memoryMib, instance, compute].join("\t")}\n`;
  });
  return lines.join("");
}

/** The parts of `nvidia-smi -q -x` that say what slices there are and who computes on them. */
function xml({ driver, gpus, slices }: StandInMachine): string {
  const body = gpus.map((one) => {
    const own = slices.filter((slice) => slice.parent === one["uuid"]);
    return `\t<gpu id="${one["pci.bus_id"]}">
\t\t<product_name>${one["name"]}</product_name>
\t\t<mig_mode>
\t\t\t<current_mig>${(one["mig.mode.current"] ?? "").replace(/[[\]]/g, "")}</current_mig>
\t\t\t<pending_mig>${(one["mig.mode.current"] ?? "").replace(/[[\]]/g, "")}</pending_mig>
\t\t</mig_mode>
\t\t<mig_devices>
${own.length === 0 ? "\t\t\tNone" : own.map(sliceXml).join("\n")}
\t\t</mig_devices>
\t\t<uuid>${one["uuid"]}</uuid>
\t\t<fb_memory_usage>
\t\t\t<total>${one["memory.total"]} MiB</total>
\t\t\t<used>${one["memory.used"]} MiB</used>
\t\t</fb_memory_usage>
\t\t<processes>
@processes ${one["uuid"]}
\t\t</processes>
\t</gpu>`;
  });
  return `<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
\t<driver_version>${driver}</driver_version>
\t<attached_gpus>${gpus.length}</attached_gpus>
${body.join("\n")}
</nvidia_smi_log>
`;
}

function sliceXml({ device, instance, memoryMib }: StandInSlice): string {
  return `\t\t\t<mig_device>
\t\t\t\t<index>${device}</index>
\t\t\t\t<gpu_instance_id>${instance}</gpu_instance_id>
\t\t\t\t<compute_instance_id>0</compute_instance_id>
\t\t\t\t<device_attributes>
\t\t\t\t\t<shared>
\t\t\t\t\t\t<multiprocessor_count>14</multiprocessor_count>
\t\t\t\t\t</shared>
\t\t\t\t</device_attributes>
\t\t\t\t<fb_memory_usage>
\t\t\t\t\t<total>${memoryMib} MiB</total>
\t\t\t\t\t<reserved>0 MiB</reserved>
\t\t\t\t\t<used>12 MiB</used>
\t\t\t\t\t<free>${memoryMib - 12} MiB</free>
\t\t\t\t</fb_memory_usage>
\t\t\t</mig_device>`;
}
