/** Leases and what runs on GPUs: processes that come and go, holds, XIDs, metrics, DCGM's files. */
import { describe, expect, test } from "bun:test";
import { appendFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { GpuLease } from "../../../src/gpu/inventory.ts";
import { A100_MIG, H100_X4 } from "../../support/nvidia-smi.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import { waitFor } from "../../support/wait.ts";
import { openBench } from "./kit.ts";

const [FIRST = "", SECOND = "", THIRD = ""] = H100_X4.gpus.map((gpu) => gpu["uuid"]);
const LOST =
  "NVRM: Xid (PCI:0000:4c:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.\n";

function lease(gpuId: string, commandId = "11"): GpuLease {
  return { gpuId, commandId, executionId: "7001", step: "train" };
}

/** A process that the stand-in shows for as long as it lives. */
function startProcess(): Bun.Subprocess {
  return Bun.spawn(["sleep", "600"], { stdio: ["ignore", "ignore", "ignore"] });
}

describe("a process without a lease", () => {
  test("keeps its GPU from being leased until it has ended", async () => {
    await using bench = await openBench(H100_X4, { intervalMs: 20 });
    await using child = startProcess();
    bench.smi.addProcess({ gpu: SECOND, pid: child.pid, name: "python3", memoryMib: 40_960 });
    await waitFor("the process", () => bench.states()[1] === "unclean");
    expect(bench.reason("1")).toContain(`${child.pid} (python3, 40,960 MiB)`);
    expect(bench.states()[0]).toBe("ready");
    child.kill();
    await waitFor("its end", () => bench.states()[1] === "ready");
  });

  test("is nobody's business where the machine is shared on purpose", async () => {
    await using bench = await openBench(H100_X4, { foreign: "allow" }, (smi) =>
      smi.addProcess({ gpu: SECOND, pid: 5_000_001 }),
    );
    expect(bench.states()[1]).toBe("ready");
  });

  test("on a slice leaves the other slices alone", async () => {
    await using bench = await openBench(A100_MIG);
    const slice = A100_MIG.slices[1]?.id ?? "";
    bench.smi.addProcess({ gpu: slice, pid: 5_000_001 });
    await bench.inventory.refresh();
    expect(bench.states()).toEqual({
      "0:0": "ready",
      "0:1": "unclean",
      "0:2": "ready",
      1: "ready",
    });
    bench.inventory.setLeases([lease(slice)]);
    expect(bench.states()["0:1"]).toBe("ready");
  });

  test("that is hidden in another container shows by its memory, but not by a moment of it", async () => {
    await using bench = await openBench(H100_X4);
    bench.smi.setGpu(FIRST, { "memory.used": "40000" });
    await bench.inventory.refresh();
    expect(bench.states()[0]).toBe("ready");
    await bench.inventory.refresh();
    expect(bench.reason("0")).toContain("40,000 MiB");
  });
});

describe("awaitFree", () => {
  const options = { commandId: "11", timeoutMs: 20_000 };

  test("waits until the last process of the task has gone, and then its GPU is ready", async () => {
    await using bench = await openBench(H100_X4);
    await using child = startProcess();
    bench.inventory.setLeases([lease(FIRST)]);
    bench.smi.addProcess({ gpu: FIRST, pid: child.pid });
    await bench.inventory.refresh();
    expect(bench.states()[0]).toBe("ready");
    const calls = bench.smi.calls().length;
    const waiting = bench.inventory.awaitFree([FIRST], options);
    await waitFor("two looks", () => bench.smi.calls().length >= calls + 2);
    child.kill();
    expect(await waiting).toEqual({ isFree: true });
    bench.inventory.setLeases([]);
    expect(bench.states()[0]).toBe("ready");
  });

  test("names who is left when the time is over, and the GPU stays unclean", async () => {
    await using bench = await openBench(H100_X4);
    bench.inventory.setLeases([lease(FIRST)]);
    bench.smi.addProcess({ gpu: FIRST, pid: 5_000_001, name: "zombie", memoryMib: 512 });
    bench.smi.addProcess({ gpu: SECOND, pid: 5_000_002 });
    const result = await bench.inventory.awaitFree([FIRST], { ...options, timeoutMs: 300 });
    expect(result).toEqual({
      isFree: false,
      processes: [{ gpuId: FIRST, pid: 5_000_001, name: "zombie", memoryMib: 512 }],
      reason:
        "Process 5000001 (zombie, 512 MiB) is still on the GPU after the container has ended.",
    });
    bench.inventory.setLeases([]);
    expect(bench.states()[0]).toBe("unclean");
  });

  test("does not wait for those who share the GPU", async () => {
    await using bench = await openBench(H100_X4);
    bench.inventory.setLeases([lease(FIRST, "11"), lease(FIRST, "12")]);
    bench.smi.addProcess({ gpu: FIRST, pid: 5_000_001 });
    expect(await bench.inventory.awaitFree([FIRST], { ...options, timeoutMs: 0 })).toEqual({
      isFree: true,
    });
  });

  test("says so when nobody can tell, and ends with its signal", async () => {
    await using bench = await openBench(H100_X4);
    bench.smi.fail(
      9,
      "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
    );
    const stop = new AbortController();
    const waiting = bench.inventory.awaitFree([FIRST], { ...options, signal: stop.signal });
    await waitFor("a look", () => bench.smi.calls().at(-1)?.includes("compute-apps"));
    stop.abort();
    expect(await waiting).toMatchObject({
      isFree: false,
      processes: [],
      reason: expect.stringContaining("couldn't communicate"),
    });
  });

  test("works on slices too", async () => {
    await using bench = await openBench(A100_MIG);
    const [one = "", two = ""] = A100_MIG.slices.map((slice) => slice.id);
    bench.inventory.setLeases([lease(one, "11"), lease(two, "12")]);
    bench.smi.addProcess({ gpu: two, pid: 5_000_001 });
    expect((await bench.inventory.awaitFree([one], { ...options, timeoutMs: 0 })).isFree).toBe(
      true,
    );
    const other = { commandId: "12", timeoutMs: 0 };
    expect((await bench.inventory.awaitFree([two], other)).isFree).toBe(false);
  });
});

test("what is held back is not ready until it is released, each for itself", async () => {
  await using bench = await openBench(H100_X4);
  const release = bench.inventory.holdBack([FIRST], "Container noetl-1 is being removed.");
  const releaseAll = bench.inventory.holdBack("all", "Containers were not listed yet.");
  expect(Object.values(bench.states())).toEqual(Array(4).fill("unclean"));
  expect(bench.reason("1")).toBe("Containers were not listed yet.");
  releaseAll();
  expect(bench.states()).toEqual({ 0: "unclean", 1: "ready", 2: "ready", 3: "ready" });
  expect(bench.reason("0")).toBe("Container noetl-1 is being removed.");
  release();
  release();
  expect(bench.states()[0]).toBe("ready");
});

describe("an XID", () => {
  test("of before the worker's start takes its GPU out of service, unless the driver was loaded since", async () => {
    const kernelLog = join(makeScratchDir("kmsg"), "kmsg");
    writeFileSync(kernelLog, `6,100,1000000,-;${LOST} SUBSYSTEM=pci\n`);
    await using bench = await openBench(H100_X4, { kernelLog });
    expect(bench.states()).toEqual({ 0: "ready", 1: "ready", 2: "out_of_service", 3: "ready" });
    expect(bench.reason("2")).toContain("XID 79");
    appendFileSync(
      kernelLog,
      "6,101,2000000,-;NVRM: loading NVIDIA UNIX x86_64 Kernel Module  550.54.15\n",
    );
    await bench.inventory.refresh();
    expect(bench.states()[2]).toBe("ready");
  });

  test("that appears takes it out, and is cleared by an operator in the log", async () => {
    await using bench = await openBench(H100_X4, { intervalMs: 20 });
    appendFileSync(bench.kernelLog, LOST);
    await waitFor("the XID", () => bench.states()[2] === "out_of_service");
    appendFileSync(bench.kernelLog, `noetl: gpu cleared ${THIRD}\n`);
    await waitFor("the clearing", () => bench.states()[2] === "ready");
    appendFileSync(bench.kernelLog, LOST);
    await waitFor("the next XID", () => bench.states()[2] === "out_of_service");
    expect(await bench.registry.text()).toContain(
      `noetl_gpu_xid_errors_total{gpu="${THIRD}",class="lost"} 2`,
    );
  });

  test("that a task caused is told to those who ask, and changes nothing", async () => {
    await using bench = await openBench(H100_X4);
    const sinceMs = Date.now();
    appendFileSync(
      bench.kernelLog,
      "NVRM: Xid (PCI:0000:19:00): 31, pid=4711, name=python3, MMU Fault\n",
    );
    await bench.inventory.refresh();
    expect(bench.inventory.xidsSince([FIRST], sinceMs)).toEqual([
      "XID 31: a kernel accessed memory that is not mapped",
    ]);
    expect(bench.inventory.xidsSince([SECOND], sinceMs)).toEqual([]);
    expect(bench.states()[0]).toBe("ready");
  });

  test("of a slice's GPU takes all of its slices", async () => {
    await using bench = await openBench(A100_MIG);
    appendFileSync(bench.kernelLog, "NVRM: Xid (PCI:0000:07:00 GPU-I:03): 95, Uncontained\n");
    await bench.inventory.refresh();
    expect(bench.states()).toEqual({
      "0:0": "out_of_service",
      "0:1": "out_of_service",
      "0:2": "out_of_service",
      1: "ready",
    });
  });

  test("cannot be seen without a log that can be read, which is said once", async () => {
    const kernelLog = join(makeScratchDir("kmsg"), "none");
    await using bench = await openBench(H100_X4, { kernelLog });
    await bench.inventory.refresh();
    expect(bench.states()[0]).toBe("ready");
    expect(bench.lines.filter((line) => line.includes("XIDs are not seen"))).toHaveLength(1);
    writeFileSync(kernelLog, LOST);
    await bench.inventory.refresh();
    expect(bench.states()[2]).toBe("out_of_service");
  });
});

test("metrics follow states and leases", async () => {
  await using bench = await openBench(H100_X4);
  bench.smi.addProcess({ gpu: SECOND, pid: 5_000_001 });
  bench.smi.setGpu(THIRD, { "memory.used": "[GPU is lost]", "utilization.gpu": "50" });
  await bench.inventory.refresh();
  bench.inventory.setLeases([lease(FIRST)]);
  const labels = (id: string, index: number): string =>
    `gpu="${id}",index="${index}",name="NVIDIA H100 80GB HBM3"`;
  const text = await bench.registry.text();
  expect(text).toContain(
    `noetl_gpu_memory_total_bytes{${labels(FIRST, 0)}} ${81_559 * 1024 * 1024}`,
  );
  expect(text).toContain(`noetl_gpu_utilization_ratio{${labels(THIRD, 2)}} 0.5`);
  expect(text).not.toContain(`noetl_gpu_memory_used_bytes{${labels(THIRD, 2)}`);
  expect(text).toContain(`noetl_gpu_state{${labels(FIRST, 0)},state="leased"} 1`);
  expect(text).toContain(`noetl_gpu_state{${labels(SECOND, 1)},state="unclean"} 1`);
  expect(text).toContain(`noetl_gpu_state{${labels(THIRD, 2)},state="out_of_service"} 1`);
  expect(text).toContain(`noetl_gpu_leases{${labels(FIRST, 0)}} 1`);
  expect(text).toContain(`noetl_gpu_leases{${labels(SECOND, 1)}} 0`);
  expect(text).toContain('noetl_gpu_readings_total{outcome="ok"} 2');
  bench.inventory.setLeases([]);
  expect(await bench.registry.text()).toContain(`noetl_gpu_leases{${labels(FIRST, 0)}} 0`);
});

describe("DCGM's job files", () => {
  test("are there while a task holds the GPU, a line each, and go with it", async () => {
    const dcgmJobDir = join(makeScratchDir("dcgm"), "jobs");
    await using bench = await openBench(H100_X4, { dcgmJobDir });
    bench.inventory.setLeases([
      lease(FIRST),
      { ...lease(FIRST, "12"), step: "my step\n" },
      lease(THIRD),
    ]);
    expect(readFileSync(join(dcgmJobDir, "0"), "utf8")).toBe("7001/train\n7001/my_step_\n");
    expect(readdirSync(dcgmJobDir).sort()).toEqual(["0", "2"]);
    bench.inventory.setLeases([lease(THIRD)]);
    expect(readdirSync(dcgmJobDir)).toEqual(["2"]);
    await bench.inventory.close();
    expect(readdirSync(dcgmJobDir)).toEqual([]);
  });

  test("of a killed worker are removed at the start, those of other workers' GPUs are not", async () => {
    const dcgmJobDir = makeScratchDir("dcgm");
    writeFileSync(join(dcgmJobDir, "1"), "old/job\n");
    writeFileSync(join(dcgmJobDir, "2"), "other/job\n");
    await using bench = await openBench(H100_X4, { dcgmJobDir, allowed: ["0", "1"] });
    expect(readdirSync(dcgmJobDir)).toEqual(["2"]);
    expect(bench.states()).toEqual({ 0: "ready", 1: "ready" });
  });

  test("are named by GPU and instance for slices", async () => {
    const dcgmJobDir = makeScratchDir("dcgm");
    await using bench = await openBench(A100_MIG, { dcgmJobDir });
    bench.inventory.setLeases([lease(A100_MIG.slices[2]?.id ?? "")]);
    expect(readdirSync(dcgmJobDir)).toEqual(["0.9"]);
  });

  test("that cannot be written cost nothing but a warning", async () => {
    const file = join(makeScratchDir("dcgm"), "file");
    writeFileSync(file, "");
    await using bench = await openBench(H100_X4, { dcgmJobDir: join(file, "jobs") });
    bench.inventory.setLeases([lease(FIRST)]);
    expect(bench.states()[0]).toBe("ready");
    expect(bench.lines.filter((line) => line.includes("job files"))).toHaveLength(1);
    expect(existsSync(file)).toBe(true);
  });
});
