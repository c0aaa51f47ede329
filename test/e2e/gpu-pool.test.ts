/**
 * README's way from a machine with GPUs to a CUDA task, typed as it stands there: `noetl up`, `health`, `gpu list`,
 * `run`. Podman is real, and so is every part of noetl; `nvidia-smi` is **recorded** and `nvcc` a shell script that
 * computes what the program would: there is no GPU. test/gpu has the same with one.
 */
import { expect, test } from "bun:test";
import { join } from "node:path";
import type { RunningNoetl } from "../support/binary.ts";
import { noetlBinary, runNoetl, startNoetl } from "../support/binary.ts";
import { writeCdiSpec } from "../support/cdi.ts";
import { makeNvidiaSmi } from "../support/nvidia-smi.ts";
import { noPodman, startPodman } from "../support/podman.ts";
import { makeScratchDir } from "../support/scratch.ts";
import { waitFor } from "../support/wait.ts";

const EXAMPLE = join(import.meta.dir, "../../deploy/examples/cuda.yaml");
const CUDA_IMAGE = "localhost/noetl-gpu-pool:1";

/** Makes a program that adds squares, as that of the example does. */
const NVCC = `#!/bin/sh
while [ $# -gt 1 ]; do
  [ "$1" = -o ] && out=$2
  shift
done
printf '%s\\n' '#!/bin/sh' 'n=$1' \\
  'echo "{\\"sum_of_squares\\": $(((n - 1) * n * (2 * n - 1) / 6))}"' >"$out"
chmod +x "$out"
`;

/** Six items for four GPUs; each goes on until the file of that name is there. */
const LOOP = (dir: string) => `
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: many, path: tests/many}
workflow:
  - step: work
    loop: {in: "{{ [1, 2, 3, 4, 5, 6] }}", iterator: n, spec: {mode: parallel}}
    tool:
      kind: cuda
      image: ${CUDA_IMAGE}
      network: none
      mounts: ["${dir}:/signals:ro"]
      script: "until [ -e /signals/go ]; do sleep 0.1; done"
`;

async function startGpuPool() {
  await using stack = new AsyncDisposableStack();
  const dir = makeScratchDir("gpu-pool");
  const smi = makeNvidiaSmi();
  const podman = stack.use(startPodman());
  stack.use(writeCdiSpec(smi.ids));
  await Bun.write(join(dir, "nvcc"), NVCC);
  const install = "cp /source/nvcc /bin/nvcc && chmod +x /bin/nvcc";
  const base = ["--name=base", "--network=none", `--volume=${dir}:/source:ro`, podman.image];
  podman.call("run", ...base, "sh", "-c", install);
  podman.call("commit", "base", CUDA_IMAGE);
  podman.call("rm", "base");
  const env = {
    ...podman.env,
    NOETL_NVIDIA_SMI: smi.path,
    NOETL_KERNEL_LOG: "",
    NOETL_CONTAINER_RUNTIME: "podman",
    NOETL_CUDA_IMAGE: CUDA_IMAGE,
    NOETL_GPU_INTERVAL: "500ms",
    NOETL_CONTAINER_MOUNTS: dir,
  };
  const ports = ["--port", "0", "--grpc-port", "0"];
  const args = ["up", "--pool", "gpu-01", "--data-dir", join(dir, "data"), ...ports];
  const up: RunningNoetl = stack.use(await startNoetl(args, { env }));
  stack.defer(async () => {
    up.process.kill("SIGTERM");
    await up.process.exited;
  });
  const client = { NOETL_SERVER_URL: up.url, NOETL_CONFIG_DIR: dir };
  const noetl = async (...words: readonly string[]) => await runNoetl(words, { env: client });
  await waitFor("a worker with GPUs", async () =>
    (await noetl("gpu", "list")).stdout.includes("ready"),
  );
  const owned = stack.move();
  return { dir, smi, noetl, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

test.skipIf(noPodman !== undefined)(
  "a newcomer's GPU pool: it is seen, runs the example, and says who has each GPU and who waits",
  async () => {
    await noetlBinary();
    await using pool = await startGpuPool();
    const { dir, noetl, smi } = pool;

    const health = await noetl("health");
    expect(health.exitCode).toBe(0);
    expect(health.stdout).toMatch(/gpu-01 +gpu-01-\d+ +podman [\d.]+ \(GPUs by CDI\) +4: 4 ready/);

    const text = (await Bun.file(EXAMPLE).text()).replace(
      "kind: cuda #",
      "kind: cuda\n      network: none #",
    );
    await Bun.write(join(dir, "cuda.yaml"), text);
    const example = await noetl("run", join(dir, "cuda.yaml"), "--json");
    const outcome = JSON.parse(example.stdout);
    expect([example.exitCode, outcome.result]).toMatchObject([
      0,
      {
        sum_of_squares: 333_328_333_350_000,
        _container: { exit_code: 0, runtime: "podman", gpus: [{ name: "NVIDIA H100 80GB HBM3" }] },
      },
    ]);

    await Bun.write(join(dir, "many.yaml"), LOOP(dir));
    await noetl("register", join(dir, "many.yaml"));
    const started = JSON.parse((await noetl("exec", "tests/many", "--json")).stdout);
    const id: string = started.execution_id;
    const full = await waitFor("all GPUs to be leased", async () => {
      const { stdout } = await noetl("gpu", "list");
      return stdout.match(/ leased /g)?.length === 4 && stdout.includes("has waited") && stdout;
    });
    for (const gpu of smi.ids) {
      expect((await noetl("gpu", "get", gpu)).stdout).toContain(`execution ${id}`);
    }
    expect(full).toMatch(
      new RegExp(`work\\[\\d\\] of ${id} has waited .*: waiting for 1 GPU of pool gpu-01`),
    );
    const status = (await noetl("status", id)).stdout;
    expect(status).toContain("2 commands of work: waiting for 1 GPU of pool gpu-01: 4 of 4 leased");
    expect(status).toContain("runs on NVIDIA H100 80GB HBM3");
    await Bun.write(join(dir, "go"), "");
    expect((await noetl("watch", id)).exitCode).toBe(0);
    await waitFor("all GPUs to be ready", async () =>
      (await noetl("worker", "list")).stdout.includes("4: 4 ready"),
    );
  },
  180_000,
);
