/**
 * The platform on a real GPU, from outside: the binary, its API, `nvidia-smi`, the container runtime. Started by
 * main.ts, not by `bun test`.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { createGpuInventory } from "../../src/gpu/inventory.ts";
import { createGpuMetrics } from "../../src/observability/gpu-metrics.ts";
import { createRegistry } from "../../src/observability/registry.ts";
import { Api } from "../bench/api.ts";
import type { RunningNoetl } from "../support/binary.ts";
import { startNoetl } from "../support/binary.ts";
import { SILENT_LOGGER } from "../support/log.ts";
import { makeScratchDir } from "../support/scratch.ts";
import { waitFor } from "../support/wait.ts";
import { childrenOf, computePids, ownContainers, playbook, realGpus } from "./machine.ts";
import type { Program } from "./programs.ts";
import { sourceOf } from "./programs.ts";

const POOL = "gpu-01";
const POLL_MS = 200;
/** An image of several gigabytes is pulled with the first test. */
const LONG = { deadlineMs: 1_200_000 };
/** A worker's death is noticed after 10 s, and answered at the latest 15 s later. */
const RECLAIM = { deadlineMs: 120_000 };
const SLACK_MIB = 256;

/** One GPU, chosen by NOETL_TEST_GPU, else the first: the others are left alone. */
const gpu = realGpus().find(({ uuid, index }) =>
  [uuid, index].includes(process.env["NOETL_TEST_GPU"] ?? index),
);
const image = process.env["NOETL_TEST_CUDA_IMAGE"];
const runtime = process.env["NOETL_TEST_RUNTIME"] ?? "auto";
const dataDir = join(makeScratchDir("gpu-suite"), "data");
let platform: RunningNoetl;
let api: Api;

async function start(): Promise<void> {
  const environment = Object.entries(process.env).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, value] as const],
  );
  const ports = ["--port", "0", "--grpc-port", "0", "--slots", "8"];
  platform = await startNoetl(
    ["up", "--pool", POOL, ...ports, "--data-dir", dataDir, "--log-format", "json"],
    {
      env: {
        ...Object.fromEntries(environment),
        NOETL_GPUS: gpu?.uuid ?? "",
        NOETL_GPU_INTERVAL: "1s",
      },
    },
  );
  api = new Api(platform.url);
  await waitFor(
    "the GPU, with nothing on it that no task explains",
    async () => ["ready", "leased"].includes(String((await shown())["state"])),
    RECLAIM,
  );
}

/** The GPU as the API shows it. */
async function shown(): Promise<Readonly<Record<string, unknown>>> {
  return Object(await api.call("GET", `/api/gpus/${gpu?.uuid}`));
}

let programCount = 0;

/** Starts a program as a `cuda` task and gives the execution's id. */
async function startProgram(
  program: Program,
  args: readonly string[] = [],
  fields: Readonly<Record<string, string | number | boolean | Record<string, unknown>>> = {},
): Promise<string> {
  programCount += 1;
  const path = `gpu-suite/${program}-${programCount}`;
  const own = {
    ...(image === undefined ? {} : { image }),
    network: "none",
    timeouts: { stop_grace: "5s" },
  };
  const tool = { kind: "cuda", source: sourceOf(program), args, runtime, ...own, ...fields };
  await api.register(playbook(path, JSON.parse(JSON.stringify(tool)), POOL));
  return await api.execute(path);
}

async function resultOf(id: string): Promise<Readonly<Record<string, unknown>>> {
  await api.completed(id, POLL_MS, LONG.deadlineMs);
  const [step] = await api.steps(id);
  return Object(step?.result);
}

async function commandsOf(id: string): Promise<readonly Readonly<Record<string, unknown>>[]> {
  return Object(await api.call("GET", `/api/executions/${id}/commands`)).commands;
}

/** Waits until so many processes compute on it; fails at once when one of the executions has ended. */
async function onGpu(wanted: number, ids: readonly string[]): Promise<void> {
  let error: unknown;
  await waitFor(
    `${wanted} processes on the GPU`,
    async () => {
      const ends = await Promise.all(ids.map((id) => api.execution(id)));
      error = ends.find(({ status }) => status === "FAILED")?.error;
      return error !== undefined || computePids(gpu?.uuid ?? "").length === wanted;
    },
    LONG,
  );
  expect(error).toBeUndefined();
}

function usedMib(): number {
  return realGpus().find(({ uuid }) => uuid === gpu?.uuid)?.usedMib ?? Number.NaN;
}

beforeAll(start);

afterAll(async () => {
  await platform[Symbol.asyncDispose]();
});

describe("on a real GPU", () => {
  test("the inventory is what nvidia-smi shows", async () => {
    await using inventory = await createGpuInventory({
      kernelLog: "",
      metrics: createGpuMetrics(createRegistry({ hasProcessMetrics: false })),
      log: SILENT_LOGGER,
    });
    const whole = inventory.current().filter(({ migProfile }) => migProfile === undefined);
    expect(whole.map(({ id, index, name, memoryMib }) => [id, index, name, memoryMib])).toEqual(
      realGpus().map(({ uuid, index, name, memoryMib }) => [uuid, index, name, memoryMib]),
    );
    expect(await shown()).toMatchObject({
      id: gpu?.uuid,
      name: gpu?.name,
      memory_mib: gpu?.memoryMib,
    });
  });

  test("a kernel is compiled and run, on the leased GPU and no other", async () => {
    const result = await resultOf(await startProgram("add"));
    expect(result).toMatchObject({ wrong: 0, elements: 1 << 20, devices: 1, name: gpu?.name });
    expect(result["_container"]).toMatchObject({ exit_code: 0 });
    expect(JSON.stringify(result["_container"])).toContain(gpu?.uuid ?? "no GPU");
  });

  test("two tasks use it one after the other, and the second says what it waits for", async () => {
    const first = await startProgram("hold", ["256", "8"]);
    await onGpu(1, [first]);
    const second = await startProgram("hold", ["256", "2"]);
    const reason = await waitFor("the reason", async () => {
      const [command] = await commandsOf(second);
      return typeof command?.["waiting_reason"] === "string" && command["waiting_reason"];
    });
    expect(reason).toMatch(/gpu/i);
    expect(await shown()).toMatchObject({ state: "leased", leases: [{ execution_id: first }] });
    const [one, two] = [await resultOf(first), await resultOf(second)];
    expect(Number(two["started_ms"])).toBeGreaterThanOrEqual(Number(one["ended_ms"]));
    expect(computePids(gpu?.uuid ?? "")).toEqual([]);
  });

  test("two tasks share it when both say so and their memory fits", async () => {
    const shared = { gpu: { count: 1, shared: true, memory_min: "1Gi" } };
    const ids = [
      await startProgram("hold", ["256", "15"], shared),
      await startProgram("hold", ["256", "15"], shared),
    ];
    await onGpu(2, ids);
    const [one, two] = await Promise.all(ids.map(resultOf));
    expect(Number(one?.["started_ms"])).toBeLessThan(Number(two?.["ended_ms"]));
    expect(Number(two?.["started_ms"])).toBeLessThan(Number(one?.["ended_ms"]));
  });

  test("a task that takes more memory than there is fails as oom_gpu, and the GPU is ready again", async () => {
    const end = await api.ended(await startProgram("oom"), POLL_MS, LONG.deadlineMs);
    expect(end.status).toBe("FAILED");
    expect(JSON.stringify(end.error)).toContain("OOM_GPU");
    await waitFor("the GPU", async () => (await shown())["state"] === "ready");
  });

  test("a task with a stray access fails, and the GPU is ready again", async () => {
    const end = await api.ended(await startProgram("fault"), POLL_MS, LONG.deadlineMs);
    expect(end.status).toBe("FAILED");
    expect(JSON.stringify(end.error)).toContain("illegal memory access");
    await waitFor("the GPU", async () => (await shown())["state"] === "ready");
    expect(await resultOf(await startProgram("add"))).toMatchObject({ wrong: 0 });
  });

  test("a cancelled task gives its memory back", async () => {
    const beforeMib = usedMib();
    const id = await startProgram("hold", ["2048", "3600"]);
    await onGpu(1, [id]);
    await waitFor("its memory", () => usedMib() > beforeMib + 2000);
    await api.call("POST", `/api/executions/${id}/cancel`, { reason: "test" });
    expect((await api.ended(id, POLL_MS)).status).toBe("CANCELLED");
    expect(computePids(gpu?.uuid ?? "")).toEqual([]);
    await waitFor("the memory", () => usedMib() <= beforeMib + SLACK_MIB);
  });

  test("a container outlives its worker, and the next worker takes it over", async () => {
    const id = await startProgram("hold", ["256", "40"]);
    await onGpu(1, [id]);
    const pids = computePids(gpu?.uuid ?? "");
    for (const pid of childrenOf(platform.process.pid, `worker --pool ${POOL}`)) {
      process.kill(pid, "SIGKILL");
    }
    const result = await resultOf(id);
    expect(Number(result["ended_ms"]) - Number(result["started_ms"])).toBeGreaterThanOrEqual(
      40_000,
    );
    expect(pids).toHaveLength(1);
    expect(computePids(gpu?.uuid ?? "")).toEqual([]);
    await waitFor("the container's removal", () => ownContainers().length === 0);
  });

  test("nothing stays on the GPU when all of the platform was killed and its task cancelled since", async () => {
    const id = await startProgram("hold", ["1024", "3600"]);
    await onGpu(1, [id]);
    await platform[Symbol.asyncDispose]();
    expect(computePids(gpu?.uuid ?? "")).toHaveLength(1);
    await start();
    await api.call("POST", `/api/executions/${id}/cancel`, { reason: "test" });
    expect((await api.ended(id, POLL_MS)).status).toBe("CANCELLED");
    await onGpu(0, []);
    await waitFor("the container's removal", () => ownContainers().length === 0, RECLAIM);
    expect(await shown()).toMatchObject({ state: "ready", leases: [] });
  });
});
