import { describe, expect, test } from "bun:test";
import { DIALECTS } from "../../../src/containers/dialect.ts";
import type { RunCall } from "../../../src/containers/run-words.ts";
import { runCall } from "../../../src/containers/run-words.ts";
import type { ContainerSpec } from "../../../src/containers/runtime.ts";
import { taskFolder } from "../../../src/containers/task-folder.ts";
import { allowedUlimits } from "../../../src/containers/ulimits.ts";
import { shellSpec } from "../../support/container-runtime.ts";

const FOLDER = taskFolder("/var/tasks", "one");

function callOf(
  name: string,
  more: Partial<ContainerSpec>,
  gpuMode: "cdi" | "hook" | "none" = "none",
): RunCall {
  const dialect = DIALECTS.find((one) => one.name === name);
  if (dialect === undefined) {
    throw new Error(name);
  }
  return runCall(shellSpec("true", more), FOLDER, { dialect, gpuMode, own: undefined });
}

describe.each(["docker", "podman", "nerdctl"])("the words of %s", (name) => {
  test("are of a container that is detached, has an init, is not removed and not pulled", () => {
    const { words } = callOf(name, {});
    expect(words.slice(0, 4)).toEqual(["run", "--detach", "--init", "--pull=never"]);
    expect(words).not.toContain("--rm");
    expect(words.join(" ")).not.toContain("--privileged");
  });

  test("hold no value of a variable, and nothing that changes what the program itself does", () => {
    const env = {
      TOKEN: "s3cret",
      HOME: "/home/s3cret",
      DOCKER_HOST: "s3cret",
      https_proxy: "s3cret",
    };
    const call = callOf(name, { env });
    expect(call.words.join(" ")).not.toContain("s3cret");
    expect(call.words).toContain("--env=TOKEN");
    expect(call.env).toEqual({ TOKEN: "s3cret" });
    expect(call.envFile.split("\n").sort()).toEqual([
      "",
      "DOCKER_HOST=s3cret",
      "HOME=/home/s3cret",
      "NVIDIA_VISIBLE_DEVICES=void",
      "https_proxy=s3cret",
    ]);
  });

  test("limit memory without swap beside it", () => {
    const { words } = callOf(name, { resources: { memoryBytes: 1024, cpu: 1.5, ulimits: [] } });
    expect(words).toContain("--memory=1024b");
    expect(words).toContain("--memory-swap=1024b");
    expect(words).toContain("--cpus=1.5");
  });
});

test.each([
  ["docker", "cdi", ["--device=nvidia.com/gpu=GPU-a", "--device=nvidia.com/gpu=GPU-b"]],
  ["docker", "hook", ['--gpus="device=GPU-a,GPU-b"']],
  ["podman", "cdi", ["--device=nvidia.com/gpu=GPU-a", "--device=nvidia.com/gpu=GPU-b"]],
  ["nerdctl", "cdi", ['--gpus="device=GPU-a,GPU-b"']],
  ["nerdctl", "hook", ['--gpus="device=GPU-a,GPU-b"']],
] as const)("%s gives GPUs by %s", (name, mode, flags) => {
  const gpus = { ids: ["GPU-a", "GPU-b"], count: 2 };
  const { words } = callOf(name, { gpus }, mode);
  expect(words.filter((word) => /^--(gpus|device)/.test(word))).toEqual([...flags]);
});

test.each(["docker", "podman", "nerdctl"])("%s without a way to give GPUs refuses", (name) => {
  expect(() => callOf(name, { gpus: { ids: ["GPU-a"], count: 1 } })).toThrow(/cannot give GPUs/);
});

test("unlimited is as much as this process may have; numbers stay", () => {
  const limits =
    "Limit                     Soft Limit           Hard Limit           Units     \n" +
    "Max processes             900                  1000                 processes \n" +
    "Max open files            1024                 2048                 files     \n" +
    "Max locked memory         4096                 8192                 bytes     \n" +
    "Max stack size            8388608              unlimited            bytes     \n";
  const own = { limits, pidMax: 500 };
  const asked = ["memlock=-1:-1", "stack=67108864:67108864"];
  expect(allowedUlimits(asked, undefined, { isPodman: true })).toEqual(asked);
  expect(allowedUlimits(asked, own, { isPodman: false })).toEqual([
    "memlock=8192:8192",
    "stack=67108864:67108864",
  ]);
  expect(allowedUlimits(asked, own, { isPodman: true }).slice(2)).toEqual([
    "nofile=2048:2048",
    "nproc=500:500",
  ]);
  expect(allowedUlimits([], own, { isPodman: true })).toEqual([]);
});
