/**
 * `bun test/gpu/rehearse.ts`: the suite itself, tried on a machine without a GPU, so that it does not begin to fail
 * where nobody can run it. Podman is real; `nvidia-smi`, `nvcc` and what it compiles are shell scripts: **it shows
 * nothing about GPUs**.
 */
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { writeCdiSpec } from "../support/cdi.ts";
import { startPodman } from "../support/podman.ts";
import { makeScratchDir, runCleanups } from "../support/scratch.ts";

const ROOT = join(import.meta.dir, "../..");
const IMAGE = "localhost/noetl-rehearsal:1";
const UUID = `GPU-00000000-0000-4000-8000-${process.pid.toString(16).padStart(12, "0")}`;

/** What is compiled does to the machine's processes what a CUDA program would do, as far as nvidia-smi shows it. */
const NVCC = `#!/bin/sh
while [ $# -gt 1 ]; do
  [ "$1" = -o ] && out=$2
  shift
done
if grep -q 'atoll' "$1"; then program=hold
elif grep -q stray "$1"; then program=fault
elif grep -q '1 << 30' "$1"; then program=oom
else program=add; fi
{
  echo '#!/bin/sh'
  case $program in
  hold) cat <<'END'
started=$(date +%s)
echo "holding $1 MiB for $2 s"
while [ $(($(date +%s) - started)) -le "$2" ]; do sleep 0.2; done
echo "{\\"started_ms\\": \${started}000, \\"ended_ms\\": $(date +%s)000, \\"rounds\\": 1}"
END
  ;;
  oom) echo 'echo "CUDA error: out of memory (cudaMalloc)" >&2; exit 1' ;;
  fault) echo 'echo "CUDA error: an illegal memory access was encountered" >&2; exit 1' ;;
  add) echo 'echo "{\\"elements\\": 1048576, \\"wrong\\": 0, \\"devices\\": 1, \\"name\\": \\"Rehearsal\\"}"' ;;
  esac
} >"$out"
chmod +x "$out"
`;

/** Its processes are the programs in containers, whose numbers the machine sees. */
const NVIDIA_SMI = `#!${process.execPath}
import { readdirSync, readFileSync } from "node:fs";
const running = readdirSync("/proc").flatMap((pid) => {
  try {
    const words = readFileSync("/proc/" + pid + "/cmdline", "utf8").split("\\0");
    const isInside = readFileSync("/proc/" + pid + "/environ", "utf8").includes("${UUID}");
    return words[1] === "/noetl/main" && isInside ? [{ pid, mib: Number(words[2]) || 1 }] : [];
  } catch {
    return [];
  }
});
const used = running.reduce((sum, { mib }) => sum + mib, 1);
const values = {
  index: "0", uuid: "${UUID}", name: "Rehearsal", "memory.total": "81559", "memory.used": String(used),
  "pci.bus_id": "00000000:FF:00.0", "mig.mode.current": "[N/A]", "gpu_uuid": "${UUID}",
};
const argument = process.argv.find((one) => one.includes("="))?.split("=");
if (process.argv.includes("-L")) {
  console.log("GPU 0: Rehearsal (UUID: ${UUID})");
} else if (argument?.[0] === "--query-compute-apps") {
  for (const { pid, mib } of running) {
    console.log(argument[1].split(",").map((field) => ({ gpu_uuid: values.uuid, pid, process_name: "main", used_memory: mib })[field]).join(", "));
  }
} else {
  console.log(argument[1].split(",").map((field) => values[field] ?? "[N/A]").join(", "));
}
`;

const dir = makeScratchDir("rehearsal");
const podman = await startPodman();
try {
  using _spec = writeCdiSpec([UUID]);
  writeFileSync(join(dir, "nvcc"), NVCC);
  podman.call(
    "run",
    "--name=base",
    "--network=none",
    `--volume=${dir}:/rehearsal:ro`,
    podman.image,
    "sh",
    "-c",
    "cp /rehearsal/nvcc /bin/nvcc && chmod +x /bin/nvcc",
  );
  podman.call("commit", "base", IMAGE);
  podman.call("rm", "base");
  const bin = join(dir, "bin");
  mkdirSync(bin);
  writeFileSync(join(bin, "nvidia-smi"), NVIDIA_SMI);
  chmodSync(join(bin, "nvidia-smi"), 0o755);
  const suite = Bun.spawn(
    [process.execPath, join(ROOT, "test/gpu/main.ts"), ...process.argv.slice(2)],
    {
      cwd: ROOT,
      env: {
        ...process.env,
        ...podman.env,
        PATH: `${bin}:${process.env["PATH"] ?? ""}`,
        NOETL_NVIDIA_SMI: join(bin, "nvidia-smi"),
        NOETL_TEST_CUDA_IMAGE: IMAGE,
        NOETL_TEST_RUNTIME: "podman",
        NOETL_KERNEL_LOG: "",
      },
      stdio: ["ignore", "inherit", "inherit"],
    },
  );
  process.exitCode = await suite.exited;
} finally {
  await podman[Symbol.asyncDispose]();
  await runCleanups();
}
