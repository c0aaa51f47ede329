import { describe, expect, test } from "bun:test";
import { writeCdiSpec } from "../../support/cdi.ts";
import { shellSpec } from "../../support/container-runtime.ts";
import type { Dockerd } from "../../support/dockerd.ts";
import { noDockerd, sharedDockerd } from "../../support/dockerd.ts";
import { noPodman, sharedPodman } from "../../support/podman.ts";
import { failureOf, linesOf, NEVER } from "./runtimes.ts";

const newGpu = (): string => `GPU-${crypto.randomUUID()}`;
const withGpus = (
  ...ids: readonly string[]
): { gpus: { ids: readonly string[]; count: number } } => ({
  gpus: { ids, count: ids.length },
});

describe.skipIf(noPodman !== undefined)(`podman: GPUs ${noPodman ?? ""}`, () => {
  test("come by CDI: those that are leased and no others", async () => {
    const ids = [newGpu(), newGpu(), newGpu()] as const;
    using _ = writeCdiSpec(ids);
    const podman = await sharedPodman();
    const runtime = podman.connect();
    expect((await runtime.probe()).gpus).toBe("cdi");
    const spec = shellSpec(
      "env | grep TEST_GPU | sort; ls /dev | grep nvidia; echo $NVIDIA_VISIBLE_DEVICES",
      withGpus(ids[0], ids[2]),
    );
    const handle = await runtime.start(spec, NEVER);
    expect(await linesOf(runtime, handle)).toEqual([
      `stdout TEST_GPU_0=${ids[0]}`,
      `stdout TEST_GPU_2=${ids[2]}`,
      "stdout nvidia0",
      "stdout nvidia2",
      "stdout void",
    ]);
    const found = await runtime.list("test-platform");
    expect(found.find(({ name }) => name === spec.name)?.gpuIds).toEqual([ids[0], ids[2]]);
    await runtime.remove(handle);
  });

  test("that its specification does not know are said to be unknown", async () => {
    using _ = writeCdiSpec([newGpu()]);
    const podman = await sharedPodman();
    const spec = shellSpec("true", withGpus(newGpu()));
    const error = await failureOf(podman.connect().start(spec, NEVER));
    expect(error).toMatchObject({
      kind: "gpu_fault",
      code: "GPU_UNKNOWN_TO_RUNTIME",
      isRetryable: false,
    });
    expect(error.message).toContain("nvidia-ctk cdi generate");
    expect(podman.call("ps", "--all", "--quiet", `--filter=name=${spec.name}`)).toBe("");
  });

  test("are refused without a specification, instead of being left out", async () => {
    const podman = await sharedPodman();
    const runtime = podman.connect();
    if ((await runtime.probe()).gpus === "none") {
      const error = await failureOf(runtime.start(shellSpec("true", withGpus(newGpu())), NEVER));
      expect(error).toMatchObject({ kind: "gpu_fault", code: "GPU_UNSUPPORTED_BY_RUNTIME" });
      expect(error.message).toContain("nvidia-ctk cdi generate");
    } else {
      // A machine with GPUs, or another test's specification.
      expect((await runtime.probe()).gpus).toBe("cdi");
    }
  });
});

describe.skipIf(noDockerd !== undefined)(`docker: GPUs ${noDockerd ?? ""}`, () => {
  async function open(): Promise<Dockerd> {
    const dockerd = await sharedDockerd();
    dockerd.breakHook(undefined);
    return dockerd;
  }

  test("come by NVIDIA's hook: those that are leased", async () => {
    const dockerd = await open();
    const runtime = dockerd.connect();
    expect((await runtime.probe()).gpus).toBe("hook");
    const ids = [newGpu(), newGpu()];
    const spec = shellSpec("echo $NVIDIA_VISIBLE_DEVICES", withGpus(...ids));
    const handle = await runtime.start(spec, NEVER);
    expect(await linesOf(runtime, handle)).toEqual([`stdout ${ids.join(",")}`]);
    expect(dockerd.hookCalls().some((state) => state.includes(handle.id))).toBe(true);
    await runtime.remove(handle);
  });

  test("that the driver cannot give are its fault, with its words", async () => {
    const dockerd = await open();
    dockerd.breakHook(
      "nvidia-container-cli: initialization error: nvml error: driver not loaded: unknown",
    );
    const spec = shellSpec("true", withGpus(newGpu()));
    const error = await failureOf(dockerd.connect().start(spec, NEVER));
    dockerd.breakHook(undefined);
    expect(error).toMatchObject({ kind: "gpu_fault", code: "GPU_HOOK_FAILED" });
    expect(error.message).toContain("driver not loaded");
    expect(dockerd.call("ps", "--all", "--quiet", `--filter=name=${spec.name}`)).toBe("");
  });

  test("are not asked for by a task without", async () => {
    const dockerd = await open();
    const runtime = dockerd.connect();
    const callCount = dockerd.hookCalls().length;
    const handle = await runtime.start(shellSpec("echo $NVIDIA_VISIBLE_DEVICES"), NEVER);
    expect(await linesOf(runtime, handle)).toEqual(["stdout void"]);
    expect(dockerd.hookCalls().length).toBe(callCount);
    await runtime.remove(handle);
  });
});
