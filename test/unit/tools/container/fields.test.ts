import { describe, expect, test } from "bun:test";
import type { Json, JsonObject } from "../../../../src/core/json.ts";
import { readPlan } from "../../../../src/tools/container/plan.ts";
import { parseBytes, parseCpu } from "../../../../src/tools/container/quantity.ts";
import { commandLine, splitWords } from "../../../../src/tools/container/words.ts";
import { containerConfig } from "../../../../src/tools/cuda.ts";

const planOf = (config: JsonObject) => {
  const { plan, problems } = readPlan({ image: "busybox", ...config });
  expect(problems).toEqual([]);
  return plan;
};
const problemsOf = (config: JsonObject) => readPlan({ image: "busybox", ...config }).problems;

describe("amounts", () => {
  test.each([
    [2, 2],
    ["2", 2],
    ["0.5", 0.5],
    ["500m", 0.5],
    ["1500m", 1.5],
    [0, undefined],
    ["many", undefined],
    [-1, undefined],
    [true, undefined],
  ] as const)("%p processors", (value, count) => {
    expect(parseCpu(value)).toBe(count);
  });

  test.each([
    [1024, 1024],
    ["1024", 1024],
    ["512m", 512 * 2 ** 20],
    ["2g", 2 * 2 ** 30],
    ["512Mi", 512 * 2 ** 20],
    ["16Gi", 16 * 2 ** 30],
    ["1.5Gi", 1.5 * 2 ** 30],
    ["2G", 2e9],
    ["500M", 5e8],
    ["64k", 64 * 1024],
    ["1GiB", 2 ** 30],
    ["100b", 100],
    ["lots", undefined],
    ["-1g", undefined],
    [0, undefined],
    ["9e9Gi", undefined],
  ] as const)("%p bytes", (value, bytes) => {
    expect(parseBytes(value)).toBe(bytes);
  });
});

describe("a command", () => {
  test.each([
    ["python train.py --epochs 3", ["python", "train.py", "--epochs", "3"]],
    [`echo 'a b' "c \\"d\\"" e\\ f`, ["echo", "a b", 'c "d"', "e f"]],
    ["echo ''", ["echo", ""]],
    ["  true  ", ["true"]],
    ["echo $HOME", ["/bin/sh", "-c", "echo $HOME"]],
    ["a && b", ["/bin/sh", "-c", "a && b"]],
    ["echo '$HOME'", ["echo", "$HOME"]],
    ['echo "$HOME"', ["/bin/sh", "-c", 'echo "$HOME"']],
    ["LANG=C sort x", ["/bin/sh", "-c", "LANG=C sort x"]],
    ["one\ntwo", ["/bin/sh", "-c", "one\ntwo"]],
    ["ls *.txt", ["/bin/sh", "-c", "ls *.txt"]],
  ])("%p", (text, words) => {
    expect(commandLine(text, [])).toEqual(words);
  });

  test("gets args behind it, as $@ where a shell runs it", () => {
    expect(planOf({ command: "cat -n", args: ["a b"] })).toMatchObject({
      command: ["cat", "-n", "a b"],
    });
    expect(planOf({ command: 'echo "$@" | cat', args: "x 'y z'" })).toMatchObject({
      command: ["/bin/sh", "-c", 'echo "$@" | cat', "sh", "x", "y z"],
    });
  });

  test("as a list is taken word by word; args alone go to the entry point", () => {
    expect(planOf({ command: ["echo", "$HOME", 3], args: ["x"] })).toMatchObject({
      command: ["echo", "$HOME", "3"],
      args: ["x"],
    });
    const plan = planOf({ args: "--epochs 3" });
    expect([plan.command, plan.args]).toEqual([undefined, ["--epochs", "3"]]);
  });

  test("with an open quote is no list of words", () => {
    expect(splitWords("echo 'a")).toBeUndefined();
    expect(problemsOf({ args: "echo 'a" })).toHaveLength(1);
  });
});

describe("fields", () => {
  test("of the issue", () => {
    const plan = planOf({
      workdir: "/work",
      user: 1000,
      network: "none",
      mounts: [
        "/data:/data:ro",
        { source: "cache", target: "/cache" },
        { type: "tmpfs", target: "/x" },
      ],
      resources: { cpu: "500m", memory: "16Gi", shm_size: "2g", pids: 100 },
      timeouts: { queue: "1h", pull: "10m", run: "2h", stop_grace: 30 },
      pull_policy: "IfNotPresent",
      runtime: "podman",
      read_only: false,
      capabilities: ["CAP_NET_BIND_SERVICE"],
      env: { A: 1, B: { x: true }, C: null, D: { credential: "hf", field: "token" } },
      files: { "train.py": "print(1)", "a/b.bin": { base64: "AAE=" }, "c.json": { c: 1 } },
    });
    expect(plan).toMatchObject({
      workdir: "/work",
      user: "1000",
      network: "none",
      mounts: [
        { source: "/data", target: "/data", type: "bind", isReadOnly: true },
        { source: "cache", target: "/cache", type: "volume", isReadOnly: false },
        { source: "", target: "/x", type: "tmpfs", isReadOnly: false },
      ],
      resources: { cpu: 0.5, memoryBytes: 16 * 2 ** 30, shmBytes: 2 ** 31, pids: 100 },
      timeouts: { pullMs: 600_000, runMs: 7_200_000, stopGraceMs: 30_000 },
      pullPolicy: "missing",
      runtime: "podman",
      isRootWritable: true,
      capabilities: ["NET_BIND_SERVICE"],
      variables: [
        { name: "A", value: "1" },
        { name: "B", value: '{"x":true}' },
        { name: "D", credential: "hf", field: "token", isClusterSecret: false },
      ],
      files: [
        { path: "files/train.py", kind: "text", text: "print(1)" },
        { path: "files/a/b.bin", kind: "base64", base64: "AAE=" },
        { path: "files/c.json", kind: "text", text: '{\n  "c": 1\n}' },
      ],
    });
  });

  test("of the public project", () => {
    const plan = planOf({
      command: ["./train"],
      args: ["--epochs", "100"],
      env: [
        { name: "PGPORT", value: 5432 },
        { name: "KEY", value_from: { secret_name: "ml", secret_key: "openai" } },
      ],
      resources: { requests: { cpu: "2", memory: "4Gi" }, limits: { cpu: "4", memory: "8Gi" } },
      namespace: "noetl",
      service_account: "noetl-container-job",
      backoff_limit: 0,
      restart_policy: "Never",
      node_selector: { "cloud.google.com/gke-accelerator": "nvidia-l4" },
      tolerations: [{ key: "nvidia.com/gpu", operator: "Exists", effect: "NoSchedule" }],
      volumes: [
        { name: "scratch", empty_dir: {} },
        { name: "models", persistent_volume_claim: { claim_name: "m", read_only: true } },
      ],
      volume_mounts: [
        { name: "scratch", mount_path: "/scratch" },
        { name: "models", mount_path: "/models" },
      ],
    });
    expect(plan).toMatchObject({
      resources: {
        cpu: 4,
        memoryBytes: 8 * 2 ** 30,
        requests: { cpu: "2", memory: "4Gi" },
        limits: { cpu: "4", memory: "8Gi" },
      },
      variables: [
        { name: "PGPORT", value: "5432" },
        { name: "KEY", credential: "ml", field: "openai", isClusterSecret: true },
      ],
      mounts: [
        { source: "scratch", target: "/scratch", type: "empty_dir", isReadOnly: false },
        { source: "m", target: "/models", type: "claim", isReadOnly: true },
      ],
      cluster: {
        namespace: "noetl",
        serviceAccount: "noetl-container-job",
        backoffLimit: 0,
        nodeSelector: { "cloud.google.com/gke-accelerator": "nvidia-l4" },
        tolerations: [{ key: "nvidia.com/gpu", operator: "Exists", effect: "NoSchedule" }],
      },
      clusterNeeds: ["persistent_volume_claim m"],
    });
  });

  test.each<[string, JsonObject]>([
    ["privileged", { privileged: true }],
    ["capabilities", { capabilities: ["SYS_ADMIN"] }],
    ["capabilities", { capabilities: ["everything!"] }],
    ["image", { image: "--privileged" }],
    ["resources.cpu", { resources: { cpu: "many" } }],
    ["resources.memmory", { resources: { memmory: "1Gi" } }],
    ["resources.limits.memory", { resources: { limits: { memory: "x" } } }],
    ["resources.pids", { resources: { pids: 0 } }],
    ["timeouts.run", { timeouts: { run: "soon" } }],
    ["timeouts.total", { timeouts: { total: "1h" } }],
    ["pull_policy", { pull_policy: "sometimes" }],
    ["workdir", { workdir: "work" }],
    ["user", { user: "a b" }],
    ["network", { network: "--net=host" }],
    ["mounts.0", { mounts: [5] }],
    ["mounts.0", { mounts: ["/a:/b:wx"] }],
    ["mounts.0.target", { mounts: ["/a:/noetl/x"] }],
    ["mounts.0.target", { mounts: ["/a:/b/../noetl"] }],
    ["mounts.0.source", { mounts: [{ source: "a/b", target: "/b" }] }],
    ["mounts", { mounts: ["/a:/b", "/c:/b/"] }],
    ["files", { files: { "../x": "y" } }],
    ["files", { files: { "/etc/x": "y" } }],
    ["env", { env: { "A B": "x" } }],
    ["env.A", { env: { A: { credential: "c" } } }],
    ["env.0", { env: [{ value: 1 }] }],
    ["env.0", { env: [{ name: "A", value_from: { secret_name: "s" } }] }],
    ["volumes.0", { volumes: [{ name: "v" }] }],
    ["volume_mounts.0.name", { volume_mounts: [{ name: "v", mount_path: "/v" }] }],
    ["restart_policy", { restart_policy: "Always" }],
    ["backoff_limit", { backoff_limit: -1 }],
    ["node_selector", { node_selector: { a: [1] } }],
    ["namespace", { namespace: "Not_A_Name" }],
    ["tolerations.0.taint", { tolerations: [{ taint: "x" }] }],
    [
      "volumes",
      {
        runtime: "docker",
        volumes: [{ name: "s", secret: { secret_name: "x" } }],
        volume_mounts: [{ name: "s", mount_path: "/s" }],
      },
    ],
  ])("%s that will not do is refused by name", (field, config) => {
    const problems = problemsOf(config);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toStartWith(`\`${field}\``);
  });
});

describe("cuda is another way to write container", () => {
  const IMAGE = "nvidia/cuda:12.9.1-devel-ubuntu24.04";
  const configOf = (config: JsonObject): Readonly<Record<string, Json>> =>
    containerConfig(config, IMAGE);

  test("a source is compiled and run", () => {
    expect(configOf({ source: "int main() {}", args: "1 2", gpu: 2, env: { A: "x" } })).toEqual({
      gpu: 2,
      env: { A: "x" },
      image: IMAGE,
      files: { "main.cu": "int main() {}" },
      command: [
        "/bin/sh",
        "-c",
        'nvcc -O3 -arch=native -o /noetl/main /noetl/files/main.cu && exec /noetl/main "$@"',
        "sh",
      ],
      args: ["1", "2"],
    });
  });

  test("its flags are words, whatever is in them", () => {
    const { command } = configOf({ source: "x", flags: ["-DX='a b'", "-lcublas"] });
    expect((command as readonly string[])[2]).toStartWith(
      `nvcc '-DX='\\''a b'\\''' -lcublas -o /noetl/main`,
    );
  });

  test("a script runs as it is, in an image without the compiler", () => {
    expect(configOf({ script: "nvidia-smi", files: { "a.txt": "a" } })).toEqual({
      image: "nvidia/cuda:12.9.1-runtime-ubuntu24.04",
      files: { "a.txt": "a", "main.sh": "nvidia-smi" },
      command: ["/bin/sh", "/noetl/files/main.sh"],
    });
    expect(configOf({ script: "import torch", language: "python", image: "torch" })).toMatchObject({
      image: "torch",
      command: ["python3", "-u", "/noetl/files/main.py"],
    });
    expect(configOf({ script: "#!/usr/bin/perl\n" })).toMatchObject({
      command: ["/noetl/files/main.sh"],
    });
  });
});
