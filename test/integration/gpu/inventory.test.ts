/** The inventory over recorded output of nvidia-smi: what is there, what is broken, what cannot be asked. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createGpuInventory } from "../../../src/gpu/inventory.ts";
import { createGpuMetrics } from "../../../src/observability/gpu-metrics.ts";
import { createRegistry } from "../../../src/observability/registry.ts";
import { SILENT_LOGGER } from "../../support/log.ts";
import { A100_MIG, GB10, H100_X4, makeNvidiaSmi, RTX_4090 } from "../../support/nvidia-smi.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import { waitFor } from "../../support/wait.ts";
import { openBench } from "./kit.ts";

const [FIRST = "", SECOND = "", THIRD = "", FOURTH = ""] = H100_X4.gpus.map((gpu) => gpu["uuid"]);

describe("the inventory", () => {
  test("has every GPU of a server, ready, with its numbers", async () => {
    await using bench = await openBench(H100_X4);
    expect(bench.states()).toEqual({ 0: "ready", 1: "ready", 2: "ready", 3: "ready" });
    expect(bench.inventory.current()[1]).toEqual({
      id: SECOND,
      index: "1",
      name: "NVIDIA H100 80GB HBM3",
      memoryMib: 81_559,
      memoryUsedMib: 1,
      utilizationPercent: 0,
      temperatureC: 30,
      powerW: 68.21,
      eccErrors: 0,
      state: "ready",
    });
    expect(bench.inventory.problem).toBeUndefined();
  });

  test("has slices in place of the GPU that they are cut from", async () => {
    await using bench = await openBench(A100_MIG);
    expect(
      bench.inventory
        .current()
        .map(({ index, migProfile, memoryMib }) => [index, migProfile, memoryMib]),
    ).toEqual([
      ["0:0", "3g.20gb", 20_096],
      ["0:1", "2g.10gb", 9856],
      ["0:2", "1g.5gb", 4864],
      ["1", undefined, 40_960],
    ]);
    expect(
      bench.inventory
        .current()
        .map((gpu) => gpu.id)
        .sort(),
    ).toEqual([...bench.smi.ids].sort());
  });

  test("takes a desktop's GPU as it is, and one that shares the machine's memory", async () => {
    await using desktop = await openBench(RTX_4090);
    expect(desktop.inventory.current()).toMatchObject([{ state: "ready", memoryUsedMib: 1874 }]);
    expect(desktop.inventory.current()[0]).not.toContainKey("eccErrors");
    await using shared = await openBench(GB10);
    expect(shared.states()).toEqual({ 0: "ready" });
    expect(shared.inventory.current()[0]?.memoryMib).toBeGreaterThan(0);
  });

  test("reads by itself, every few seconds, and tells when a state changes", async () => {
    let changes = 0;
    const onChange = (): void => {
      changes += 1;
    };
    await using bench = await openBench(H100_X4, { intervalMs: 20, onChange });
    const before = changes;
    bench.smi.setGpu(SECOND, { "temperature.gpu": "91" });
    await waitFor("the temperature", () => bench.inventory.current()[1]?.temperatureC === 91);
    expect(changes).toBe(before);
    bench.smi.setGpu(SECOND, { "retired_pages.pending": "Yes" });
    await waitFor("the state", () => bench.states()[1] === "out_of_service");
    expect(changes).toBe(before + 1);
  });

  test("does without fields that a driver does not know", async () => {
    await using bench = await openBench(H100_X4, {}, (smi) => smi.forgetField("mig.mode.current"));
    expect(bench.states()[0]).toBe("ready");
    await bench.inventory.refresh();
    const refused = bench.smi.calls().filter((call) => call.includes("mig.mode.current"));
    expect(refused).toHaveLength(1);
  });

  test("leaves to other workers what NOETL_GPUS does not name", async () => {
    for (const [allowed, indexes] of [
      [
        ["1", "3"],
        ["1", "3"],
      ],
      [[FIRST.toLowerCase()], ["0"]],
      [["none"], []],
      [["all"], ["0", "1", "2", "3"]],
    ] as const) {
      await using bench = await openBench(H100_X4, { allowed });
      expect(Object.keys(bench.states())).toEqual([...indexes]);
    }
    await using cut = await openBench(A100_MIG, { allowed: ["0"] });
    expect(Object.keys(cut.states())).toEqual(["0:0", "0:1", "0:2"]);
    await using one = await openBench(A100_MIG, { allowed: ["0:2"] });
    expect(Object.keys(one.states())).toEqual(["0:2"]);
    await using wrong = await openBench(H100_X4, { allowed: ["7"] });
    expect(wrong.inventory.current()).toEqual([]);
    expect(wrong.lines.join()).toContain("NOETL_GPUS names what is not there: 7");
  });

  test("of a machine without nvidia-smi is empty and starts nothing", async () => {
    const inventory = await createGpuInventory({
      nvidiaSmi: join(makeScratchDir("empty"), "nvidia-smi"),
      metrics: createGpuMetrics(createRegistry({ hasProcessMetrics: false })),
      log: SILENT_LOGGER,
    });
    inventory.setLeases([{ gpuId: FIRST, commandId: "1", executionId: "2", step: "train" }]);
    expect(inventory.current()).toEqual([]);
    expect(await inventory.awaitFree([FIRST], { commandId: "1", timeoutMs: 0 })).toEqual({
      isFree: true,
    });
    await inventory.close();
  });
});

describe("a GPU goes out of service", () => {
  test("when it says that it is lost, and comes back with an answer", async () => {
    await using bench = await openBench(H100_X4);
    bench.smi.setGpu(THIRD, { "memory.used": "[GPU is lost]" });
    await bench.inventory.refresh();
    expect(bench.states()).toEqual({ 0: "ready", 1: "ready", 2: "out_of_service", 3: "ready" });
    expect(bench.reason("2")).toContain("GPU is lost");
    bench.smi.setGpu(THIRD, { "memory.used": "1" });
    await bench.inventory.refresh();
    expect(bench.states()[2]).toBe("ready");
  });

  test("when nvidia-smi names it in place of its line", async () => {
    await using bench = await openBench(H100_X4);
    bench.smi.loseGpu(
      THIRD,
      "Unable to determine the device handle for GPU 0000:4C:00.0: GPU is lost.  Reboot the system to recover this GPU",
    );
    await bench.inventory.refresh();
    expect(bench.states()).toEqual({ 0: "ready", 1: "ready", 2: "out_of_service", 3: "ready" });
    expect(bench.reason("2")).toContain("Reboot the system");
    expect(bench.inventory.current()).toHaveLength(4);
  });

  test("with the others of a machine on which nothing else is shown either", async () => {
    await using bench = await openBench(H100_X4);
    bench.smi.fail(15, "Unable to determine the device handle for GPU0000:4C:00.0: Unknown Error");
    await bench.inventory.refresh();
    expect(Object.values(bench.states())).toEqual(Array(4).fill("out_of_service"));
    expect(bench.reason("2")).toStartWith("Unable to determine");
    expect(bench.reason("0")).toStartWith("It cannot be read while another GPU is broken");
    bench.smi.heal();
    await bench.inventory.refresh();
    expect(bench.states()[0]).toBe("ready");
  });

  test("when the driver was updated under its library", async () => {
    await using bench = await openBench(H100_X4);
    bench.smi.fail(
      18,
      "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 550.90",
    );
    await bench.inventory.refresh();
    expect(Object.values(bench.states())).toEqual(Array(4).fill("out_of_service"));
    expect(bench.reason("0")).toContain("version mismatch");
    expect(bench.inventory.problem).toContain("version mismatch");
  });

  test("when its memory has no spare rows left", async () => {
    await using bench = await openBench(H100_X4, {}, (smi) =>
      smi.setGpu(FOURTH, { "remapped_rows.failure": "Yes" }),
    );
    expect(bench.reason("3")).toContain("spare rows");
  });

  test("when the driver lists it and nvidia-smi never showed it", async () => {
    const driverDir = makeScratchDir("driver");
    mkdirSync(join(driverDir, "0000:19:00.0"));
    writeFileSync(
      join(driverDir, "0000:19:00.0/information"),
      `Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 210\nGPU UUID: \t ${FIRST}\nBus Location: \t 0000:19:00.0\n`,
    );
    await using bench = await openBench(H100_X4, { driverDir }, (smi) =>
      smi.fail(15, "Unable to determine the device handle for GPU 0000:19:00.0: Unknown Error"),
    );
    expect(bench.inventory.current()).toMatchObject([
      { id: FIRST, name: "NVIDIA H100 80GB HBM3", state: "out_of_service" },
    ]);
  });
});

describe("an nvidia-smi that hangs", () => {
  test.each(["plain", "stubborn"] as const)(
    "(%s) takes all GPUs out, and is killed",
    async (how) => {
      await using bench = await openBench(H100_X4, { timeoutMs: 300 });
      bench.smi.hang(how);
      await bench.inventory.refresh();
      expect(Object.values(bench.states())).toEqual(Array(4).fill("out_of_service"));
      expect(bench.reason("0")).toContain("the driver hangs");
      await waitFor("its end", () => bench.smi.running() === 0);
      bench.smi.heal();
      await bench.inventory.refresh();
      expect(bench.states()[0]).toBe("ready");
    },
  );

  test("at the start leaves a worker without GPUs, which it finds later", async () => {
    await using bench = await openBench(H100_X4, { timeoutMs: 300 }, (smi) => smi.hang());
    expect(bench.inventory.current()).toEqual([]);
    expect(bench.inventory.problem).toContain("the driver hangs");
    bench.smi.heal();
    await bench.inventory.refresh();
    expect(Object.values(bench.states())).toEqual(Array(4).fill("ready"));
  });

  test("is gone with the inventory", async () => {
    const bench = await openBench(H100_X4);
    bench.smi.hang();
    const reading = bench.inventory.refresh();
    await waitFor("the call", () => bench.smi.running() > 0);
    await bench.inventory.close();
    await reading;
    await waitFor("its end", () => bench.smi.running() === 0);
    expect(bench.inventory.current()).toHaveLength(4);
  });
});

test("a program that is no nvidia-smi gives no GPUs", async () => {
  const path = join(makeScratchDir("odd"), "nvidia-smi");
  writeFileSync(path, "#!/bin/sh\necho hello, world\n", { mode: 0o755 });
  const inventory = await createGpuInventory({
    nvidiaSmi: path,
    kernelLog: "",
    metrics: createGpuMetrics(createRegistry({ hasProcessMetrics: false })),
    log: SILENT_LOGGER,
  });
  expect(inventory.current()).toEqual([]);
  await inventory.close();
  expect(makeNvidiaSmi(H100_X4).calls()).toEqual([]);
});
