/** What the page makes of GPUs, without a browser. */
import { expect, test } from "bun:test";
import { loadPage } from "./page.ts";

const { factsOf, poolsOf, summaryOf } = await loadPage<{
  poolsOf(gpus: readonly object[], pools: readonly object[]): readonly object[];
  summaryOf(gpus: readonly object[]): string;
  factsOf(gpu: object): readonly string[];
}>("gpus.js");
const { gpuHolders, reasonsToWait, starvedSteps } = await loadPage<{
  reasonsToWait(facts: object): Record<string, unknown>[];
  starvedSteps(commands: readonly object[], reasons: readonly object[]): Map<string, string>;
  gpuHolders(commands: readonly object[]): readonly object[];
}>("waits.js");
const { formatMib } = await loadPage<{ formatMib(mib: number): string }>("format.js");

test("pools are shown that have GPUs, or commands that want some", () => {
  const pools = [
    { name: "cpu-01", waiting: [] },
    { name: "gpu-02", waiting: [{ step: "train" }] },
    { name: "gpu-01", waiting: [] },
  ];
  const gpus = [{ id: "a", pool: "gpu-01" }];
  expect(poolsOf(gpus, pools)).toEqual([
    { name: "gpu-01", gpus, waiting: [] },
    { name: "gpu-02", gpus: [], waiting: [{ step: "train" }] },
  ]);
  expect(poolsOf([], pools.slice(0, 1))).toEqual([]);
});

test("a pool's GPUs are summed up by state", () => {
  const states = ["leased", "ready", "leased", "out_of_service"].map((state) => ({ state }));
  expect(summaryOf(states)).toBe("4 GPUs: 1 ready, 2 leased, 1 out of service");
  expect(summaryOf([])).toBe("no GPUs");
});

test("of a GPU only what is known is said, and that a reading is old", () => {
  const unknown = { temperature_c: null, power_w: null, ecc_errors: null, parent_id: null };
  const gpu = { ...unknown, worker: "node1", worker_status: "live", age_seconds: 2 };
  expect(factsOf(gpu)).toEqual(["node1"]);
  const measured = { temperature_c: 71, power_w: 642.5, ecc_errors: 2, age_seconds: 40 };
  expect(factsOf({ ...gpu, ...measured, worker_status: "draining" })).toEqual([
    "71 °C",
    "643 W",
    "2 ECC errors",
    "node1 (draining)",
    "read 40 s ago",
  ]);
  expect([512, 81_559].map(formatMib)).toEqual(["512 MiB", "79.6 GiB"]);
});

test("commands that wait for GPUs are a reason of their own, those that have some are shown", () => {
  const text = "waiting for 2 GPUs of pool gpu-01: 4 of 4 leased";
  const command = { step: "train", index: null, pool: "gpu-01", status: "queued", gpus: [] };
  const waiting = { ...command, waiting_reason: text };
  const holding = { ...command, step: "infer", status: "running", gpus: [{ id: "GPU-1" }] };
  const pools = [{ name: "gpu-01", workers: 1, waiting_reason: "no GPUs of pool gpu-01 are free" }];
  const commands = [waiting, waiting, holding];
  const reasons = reasonsToWait({ status: {}, commands, pools });
  expect(reasons).toEqual([{ kind: "gpu", pool: "gpu-01", count: 2, steps: ["train"], text }]);
  expect([...starvedSteps(commands, reasons)]).toEqual([["train", text]]);
  expect(gpuHolders(commands)).toMatchObject([{ step: "infer", gpus: [{ id: "GPU-1" }] }]);
  // Without a worker that matters more than what one said before.
  expect(reasonsToWait({ status: {}, commands: [waiting], pools: [] })).toMatchObject([
    { kind: "pool", isEmpty: true },
  ]);
});
