import { describe, expect, test } from "bun:test";
import {
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
} from "../../../src/gpu/reading.ts";
import { cutIntoSlices } from "../../../src/gpu/slices.ts";

const FIELDS = [...NEEDED_FIELDS, ...OTHER_FIELDS];
const MACHINE_MIB = 131_072;

/** Shapes of published output, see test/support/nvidia-smi.ts. */
const H100 =
  "0, GPU-0a1b2c3d-1111-4a4a-9b9b-000000000000, NVIDIA H100 80GB HBM3, 00000000:19:00.0, 81559, 4, 37, 31, 70.12, 0, [N/A], Disabled, Disabled";
const DESKTOP =
  "0, GPU-67a571b1-2222-4e4e-8f8f-000000000090, NVIDIA GeForce RTX 4090, 00000000:01:00.0, 24564, 1874, 7, 41, [N/A], [N/A], [N/A], [N/A], Enabled";
const A100 =
  "0, GPU-5d5ba0d6-0000-4c4c-8d8d-00000000000a, NVIDIA A100-SXM4-40GB, 00000000:07:00.0, 40960, 87, [N/A], 33, 58.10, 0, [N/A], Enabled, Disabled";

function read(line: string): ReturnType<typeof parseGpu> {
  const [row] = parseRows(`${line}\n`, FIELDS);
  return row === undefined ? undefined : parseGpu(row, MACHINE_MIB);
}

describe("a GPU's line", () => {
  test("gives every number", () => {
    expect(read(H100)).toEqual({
      id: "GPU-0a1b2c3d-1111-4a4a-9b9b-000000000000",
      index: "0",
      name: "NVIDIA H100 80GB HBM3",
      pciAddress: "0000:19:00",
      memoryMib: 81_559,
      memoryUsedMib: 4,
      utilizationPercent: 37,
      temperatureC: 31,
      powerW: 70.12,
      eccErrors: 0,
      hasDisplay: false,
      isCut: false,
    });
  });

  test("without a value has no such number", () => {
    const gpu = read(DESKTOP);
    expect(gpu).toMatchObject({ memoryUsedMib: 1874, hasDisplay: true, isCut: false });
    expect(gpu).not.toContainKeys(["powerW", "eccErrors", "fault"]);
  });

  test("of older drivers says [Not Supported] for the same", () => {
    expect(read(DESKTOP.replaceAll("[N/A]", "[Not Supported]"))).toEqual(read(DESKTOP));
  });

  test("of one that shares the machine's memory has that", () => {
    expect(read(DESKTOP.replace("24564, 1874", "[N/A], [N/A]"))?.memoryMib).toBe(MACHINE_MIB);
  });

  test.each(["[GPU is lost]", "[GPU requires reset]", "[Unknown Error]"])(
    "with %s is broken, whatever else it says",
    (value) => {
      const gpu = read(H100.replace("81559, 4", `${value}, ${value}`));
      expect(gpu?.fault).toContain(value.slice(1, -1));
      expect(gpu?.temperatureC).toBe(31);
    },
  );

  test("with one sensor that fails is not broken", () => {
    expect(read(H100.replace("70.12", "[Unknown Error]"))).not.toContainKeys(["fault", "powerW"]);
  });

  test("with pages that wait to be retired is broken", () => {
    expect(read(H100.replace("0, [N/A], Disabled", "2, Yes, Disabled"))?.fault).toMatch(/retired/);
  });

  test("that is a message is none", () => {
    const lost = "Unable to determine the device handle for GPU0000:5D:00.0: Unknown Error";
    expect(parseRows(`${H100}\n${lost}\n`, FIELDS)).toHaveLength(1);
    expect(textLines(`${H100}\n${lost}\n`, FIELDS)).toEqual([lost]);
    expect(namedAddresses(lost)).toEqual(["0000:5d:00"]);
  });

  test("names a field that the driver does not know", () => {
    expect(unknownField('Field "mig.mode.current" is not a valid field to query.\n')).toBe(
      "mig.mode.current",
    );
    expect(unknownField("No devices were found")).toBeUndefined();
  });
});

test.each([
  ["00000000:3B:00.0", "0000:3b:00"],
  ["PCI:0000:3b:00", "0000:3b:00"],
  ["00000001:00:00.0", "0001:00:00"],
  ["00010000:65:00.0", "10000:65:00"],
])("the address %s is %s", (text, address) => {
  expect(pciAddress(text)).toBe(address);
});

test("rows of memory that cannot be remapped are a fault, with 1 or Yes", () => {
  const fields = ["gpu_uuid", "remapped_rows.pending", "remapped_rows.failure"];
  const text = "GPU-a, No, No\nGPU-b, Yes, No\nGPU-c, 0, 1\nGPU-d, [N/A], [N/A]\n";
  const faults = parseRemappedRows(text, fields);
  expect([...faults.keys()]).toEqual(["GPU-b", "GPU-c"]);
  expect(faults.get("GPU-b")).toMatch(/reset/);
  expect(faults.get("GPU-c")).toMatch(/replaced/);
});

test("compute processes are read with commas in their names and without what is not told", () => {
  const text = [
    "GPU-a, 4711, /usr/bin/python3, 40960",
    "GPU-a, 4712, sh -c a, b, [N/A]",
    "GPU-b, 12, [Not Found], [Insufficient Permissions]",
    "[Not Supported]",
    "",
  ].join("\n");
  expect(parseProcesses(text)).toEqual([
    { gpuId: "GPU-a", pid: 4711, name: "/usr/bin/python3", memoryMib: 40_960 },
    { gpuId: "GPU-a", pid: 4712, name: "sh -c a,b" },
    { gpuId: "GPU-b", pid: 12, name: "[Not Found]" },
  ]);
});

const PARENT = "GPU-5d5ba0d6-0000-4c4c-8d8d-00000000000a";
const LISTING = `GPU 0: NVIDIA A100-SXM4-40GB (UUID: ${PARENT})
  MIG 3g.20gb     Device  0: (UUID: MIG-one)
  MIG 1c.2g.10gb  Device  1: (UUID: MIG-two)
  MIG 1g.5gb+me   Device  2: (UUID: MIG-three)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-whole)
`;

function instance(index: number, gpuInstance: number, memory: string): string {
  return `<mig_device><index>${index}</index><gpu_instance_id>${gpuInstance}</gpu_instance_id>
    <compute_instance_id>0</compute_instance_id><ecc_error_count><volatile_count>
    <sram_uncorrectable>0</sram_uncorrectable></volatile_count></ecc_error_count>
    <fb_memory_usage><total>${memory}</total><reserved>0 MiB</reserved><used>12 MiB</used></fb_memory_usage>
    <bar1_memory_usage><total>65535 MiB</total></bar1_memory_usage></mig_device>`;
}

function process(gpuInstance: string, pid: number, type = "C"): string {
  return `<process_info><gpu_instance_id>${gpuInstance}</gpu_instance_id>
    <compute_instance_id>${gpuInstance === "N/A" ? "N/A" : "0"}</compute_instance_id><pid>${pid}</pid>
    <type>${type}</type><process_name>python3</process_name><used_memory>1024 MiB</used_memory></process_info>`;
}

function details(processes: string): string {
  return `<?xml version="1.0" ?><nvidia_smi_log><gpu id="00000000:07:00.0">
    <mig_mode><current_mig>Enabled</current_mig></mig_mode>
    <mig_devices>${instance(0, 2, "20096 MiB")}${instance(1, 3, "9856 MiB")}${instance(2, 9, "N/A")}</mig_devices>
    <uuid>${PARENT}</uuid><fb_memory_usage><total>40960 MiB</total><used>87 MiB</used></fb_memory_usage>
    <processes>${processes}</processes></gpu></nvidia_smi_log>`;
}

describe("slices", () => {
  const parent = read(A100);

  test("stand in the place of the GPU that they are cut from", () => {
    const { gpus } = cutIntoSlices(parent === undefined ? [] : [parent], LISTING, details(""));
    expect(gpus).toMatchObject([
      { id: "MIG-one", index: "0:0", migProfile: "3g.20gb", memoryMib: 20_096, instance: 2 },
      { id: "MIG-two", index: "0:1", migProfile: "1c.2g.10gb", memoryMib: 9856, instance: 3 },
      { id: "MIG-three", index: "0:2", migProfile: "1g.5gb+me", memoryMib: 5120, instance: 9 },
    ]);
    expect(gpus.map((gpu) => gpu.parentId)).toEqual([PARENT, PARENT, PARENT]);
    expect(gpus[0]).toMatchObject({
      name: "NVIDIA A100-SXM4-40GB MIG 3g.20gb",
      memoryUsedMib: 12,
      temperatureC: 33,
    });
  });

  test("have the processes of their instance; one of no instance stays with the GPU", () => {
    const xml = details(`${process("3", 10)}${process("N/A", 11)}${process("2", 12, "G")}`);
    const { processes } = cutIntoSlices(parent === undefined ? [] : [parent], LISTING, xml);
    expect(processes?.map(({ gpuId, pid }) => [gpuId, pid])).toEqual([
      ["MIG-two", 10],
      [PARENT, 11],
    ]);
  });

  test("have no processes that could be told when the answer lacks their GPU", () => {
    const gpus = parent === undefined ? [] : [parent];
    expect(cutIntoSlices(gpus, LISTING, "<nvidia_smi_log></nvidia_smi_log>")).toMatchObject({
      processes: undefined,
      problem: expect.stringContaining("does not show all"),
    });
  });

  test("that nobody has made are said to be missing", () => {
    const { gpus } = cutIntoSlices(
      parent === undefined ? [] : [parent],
      `GPU 0: NVIDIA A100-SXM4-40GB (UUID: ${PARENT})\n`,
      details(""),
    );
    expect(gpus).toMatchObject([{ id: PARENT, fault: expect.stringContaining("no slices") }]);
  });
});
