/**
 * The cuda tool with real podman and GPUs that are device nodes of /dev/null; and what tasks with GPUs get.
 * No kernel runs here: test/gpu has the suite for machines that have GPUs.
 */
import { beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parse as readYaml } from "yaml";
import type { JsonObject } from "../../../src/core/json.ts";
import { isJsonObject } from "../../../src/core/json.ts";
import type { Gpu, GpuGrant } from "../../../src/engine/gpu.ts";
import type { Tools } from "../../../src/tools/registry.ts";
import { KNOWN_TOOL_KINDS } from "../../../src/tools/registry.ts";
import type { GpuWatch } from "../../../src/tools/tool.ts";
import { writeCdiSpec } from "../../support/cdi.ts";
import type { TestRuntime } from "../../support/container-runtime.ts";
import { noPodman, sharedPodman } from "../../support/podman.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import type { Call } from "./call.ts";
import { containerTools, runContainer, taskOf } from "./container-call.ts";

setDefaultTimeout(60_000);

const GPU_ID = `GPU-${crypto.randomUUID()}`;
const GRANT: GpuGrant = {
  id: GPU_ID,
  name: "NVIDIA H100 80GB HBM3",
  memoryMib: 81_559,
  isShared: false,
};
const SHARED: GpuGrant = { ...GRANT, memoryMib: 4096, isShared: true };

/** Stands in for the inventory of the machine's GPUs. */
function watchOf(reason?: string, state: Gpu["state"] = "ready", xids: readonly string[] = []) {
  const asked: string[][] = [];
  const watch: GpuWatch = {
    current: () => [
      { id: GPU_ID, index: "0", name: GRANT.name, memoryMib: 81_559, state, reason: "XID 79" },
    ],
    xidsSince: (ids) => (ids.includes(GPU_ID) ? xids : []),
    awaitFree: (ids) => {
      asked.push([...ids]);
      return Promise.resolve(reason === undefined ? { isFree: true } : { isFree: false, reason });
    },
  };
  return { watch, asked };
}

describe.skipIf(noPodman !== undefined)("with podman", () => {
  let podman: TestRuntime;
  const mounts = makeScratchDir("mounts");

  beforeAll(async () => {
    podman = await sharedPodman();
  }, 120_000);

  const toolsWith = async (gpus?: GpuWatch): Promise<Tools> =>
    await containerTools([podman.connect()], {
      mountDirs: [mounts],
      ...(gpus === undefined ? {} : { gpus }),
    });
  const runCuda = async (tools: Tools, config: JsonObject, call: Partial<Call> = {}) =>
    await runContainer(tools, {
      kind: "cuda",
      gpus: [GRANT],
      ...call,
      config: taskOf(podman, config),
    });

  test("a script runs on the GPU that it was given", async () => {
    using _spec = writeCdiSpec([GPU_ID]);
    const { watch, asked } = watchOf();
    const script = `cat > /noetl/result.json <<END
{"device": "$(ls /dev/nvidia0)", "given": "$TEST_GPU_0", "args": "$*",
 "shm": "$(df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2)",
 "share": "\${NOETL_GPU_MEMORY_MIB:-none}", "visible": "\${CUDA_VISIBLE_DEVICES:-unset}"}
END`;
    const { outcome, logs } = await runCuda(await toolsWith(watch), {
      script,
      args: "1 'two three'",
    });
    expect(outcome).toMatchObject({
      ok: true,
      value: {
        device: "/dev/nvidia0",
        given: GPU_ID,
        args: "1 two three",
        shm: String(1024 ** 2),
        share: "none",
        visible: "unset",
        _container: { gpus: [{ id: GPU_ID, name: GRANT.name }] },
      },
    });
    expect(logs.some((line) => line.includes(`with ${GRANT.name} (${GPU_ID})`))).toBe(true);
    expect(asked).toEqual([[GPU_ID]]);
  });

  test("what the kernel's log says of its GPU is part of the failure", async () => {
    using _spec = writeCdiSpec([GPU_ID]);
    const { watch } = watchOf(undefined, "ready", ["XID 31: a bad access", "XID 31: a bad access"]);
    const { outcome } = await runCuda(await toolsWith(watch), { script: "exit 3" });
    expect(outcome).toMatchObject({
      ok: false,
      failure: {
        kind: "exit_code",
        message: "the container exited with code 3; the kernel's log: XID 31: a bad access",
      },
    });
  });

  test("a task whose GPUs were not leased does not run", async () => {
    const { watch } = watchOf();
    const config = { script: "true", resources: { gpu: 2 } };
    const { outcome, logs } = await runCuda(await toolsWith(watch), config);
    expect(outcome).toMatchObject({
      ok: false,
      failure: { kind: "schema", code: "GPU_NOT_LEASED", retryable: false },
    });
    expect(logs).toEqual([]);
  });

  test("a task on a shared GPU is told its share, and others may stay on it", async () => {
    using _spec = writeCdiSpec([GPU_ID]);
    const { watch, asked } = watchOf("process 7 (python) is on it");
    const script = 'echo "{\\"share\\": \\"$NOETL_GPU_MEMORY_MIB\\"}"';
    const { outcome } = await runCuda(await toolsWith(watch), { script }, { gpus: [SHARED] });
    expect(outcome).toMatchObject({ ok: true, value: { share: "4096" } });
    expect(asked).toEqual([]);
  });

  test("a source that cannot be compiled is an exit code, with what the compiler says", async () => {
    const nvcc = join(mounts, "broken-nvcc");
    // Stands in for the compiler, which the image of the tests does not have.
    const words =
      '#!/bin/sh\necho "$@"; echo "main.cu(1): error: expected a declaration" >&2; exit 2\n';
    writeFileSync(nvcc, words, { mode: 0o755 });
    const config = { source: "}", gpu: 0, mounts: [`${nvcc}:/bin/nvcc:ro`] };
    const { outcome, logs } = await runCuda(await toolsWith(), config, { gpus: [] });
    expect(outcome).toMatchObject({
      ok: false,
      failure: {
        kind: "exit_code",
        code: "EXIT_2",
        stderr: "main.cu(1): error: expected a declaration",
      },
    });
    expect(logs).toContain("stdout: -O3 -arch=native -o /noetl/main /noetl/files/main.cu");
  });

  test("a source is compiled and run with its arguments", async () => {
    const nvcc = join(mounts, "nvcc");
    // Stands in for the compiler: the program is the source.
    writeFileSync(nvcc, '#!/bin/sh\ncp "$5" "$4" && chmod 755 "$4"\n', { mode: 0o755 });
    const source = '#!/bin/sh\necho "{\\"args\\": \\"$*\\"}"\n';
    const config = { source, gpu: 0, args: ["1", "a b"], mounts: [`${nvcc}:/bin/nvcc:ro`] };
    const { outcome } = await runCuda(await toolsWith(), config, { gpus: [] });
    expect(outcome).toMatchObject({ ok: true, value: { args: "1 a b" } });
  });

  test("processes that stay on the GPU of a stopped task are told, and the GPU is not free", async () => {
    using _spec = writeCdiSpec([GPU_ID]);
    const { watch } = watchOf("process 4711 (python) is still on NVIDIA H100 0");
    const stop = new AbortController();
    const over = new DOMException("The task ran into its time limit", "TimeoutError");
    const { outcome, logs } = await runCuda(
      await toolsWith(watch),
      { script: "echo begun; exec sleep 60", timeouts: { stop_grace: 1 } },
      { signal: stop.signal, onLog: (_stream, line) => line === "begun" && stop.abort(over) },
    );
    expect(outcome).toMatchObject({
      ok: false,
      failure: {
        kind: "gpu_fault",
        code: "GPU_NOT_FREE",
        message: expect.stringContaining("4711"),
      },
    });
    expect(logs).toContain("system: process 4711 (python) is still on NVIDIA H100 0");
  });

  test("a GPU that went out of service explains a failure", async () => {
    using _spec = writeCdiSpec([GPU_ID]);
    const { watch } = watchOf(undefined, "out_of_service");
    const { outcome } = await runCuda(await toolsWith(watch), { script: "exit 134" });
    expect(outcome).toMatchObject({
      ok: false,
      failure: { kind: "gpu_fault", message: expect.stringContaining("XID 79"), retryable: true },
    });
  });

  test("a GPU that the runtime does not know is no success", async () => {
    const { outcome } = await runCuda(await toolsWith(), { script: "true" });
    expect(outcome).toMatchObject({ ok: false, failure: { kind: "gpu_fault" } });
  });
});

describe.skipIf(Bun.which("nvcc") === null)("with nvcc", () => {
  test("the source of the tool's example compiles", () => {
    const dir = makeScratchDir("cuda");
    const task: unknown = readYaml(KNOWN_TOOL_KINDS.get("cuda")?.example ?? "");
    const source = isJsonObject(task) ? String(task["source"]) : "";
    writeFileSync(join(dir, "main.cu"), source);
    const words = ["nvcc", "-O3", "-arch=sm_80", "-o", join(dir, "main"), join(dir, "main.cu")];
    const { exitCode, stderr } = Bun.spawnSync(words, { cwd: dir });
    expect([exitCode, stderr.toString()]).toEqual([0, ""]);
  });
});
