/** What the suite needs of a machine, and what it finds there. Asked by its own means, not by those under test. */
import type { Json } from "../../src/core/json.ts";

export interface RealGpu {
  readonly index: string;
  readonly uuid: string;
  readonly name: string;
  readonly memoryMib: number;
  readonly usedMib: number;
}

interface Runtime {
  readonly name: string;
  /** Prints something when it can give GPUs to containers. */
  readonly question: readonly string[];
}

const RUNTIMES: readonly Runtime[] = [
  {
    name: "docker",
    question: ["docker", "info", "--format", "{{json .Runtimes}}{{json .CDISpecDirs}}"],
  },
  { name: "podman", question: ["podman", "info", "--format", "{{.Host.OCIRuntime.Name}}"] },
  { name: "nerdctl", question: ["nerdctl", "info", "--format", "{{json .ServerVersion}}"] },
];

/** Why the suite cannot run here, with what to do; undefined: it can. */
export function findObstacle(): string | undefined {
  if (Bun.which("nvidia-smi") === null) {
    return "there is no nvidia-smi, so no NVIDIA driver. Run it on a machine with a GPU.";
  }
  const gpus = run(["nvidia-smi", "-L"]);
  if (!gpus.isOk || !gpus.text.includes("UUID")) {
    return `nvidia-smi shows no GPU: ${gpus.text.trim()}`;
  }
  if (realGpus().length === 0) {
    return "all GPUs are cut into MIG slices; turn MIG off on one of them.";
  }
  const answers = RUNTIMES.filter(({ name }) => Bun.which(name) !== null).map(
    ({ name, question }) => ({
      name,
      ...run(question),
    }),
  );
  if (!answers.some(({ isOk }) => isOk)) {
    const said = answers.map(({ name, text }) => `${name}: ${text.trim()}`).join("; ");
    return `no container runtime answers (${said === "" ? "neither docker nor podman nor nerdctl is installed" : said}).`;
  }
  const hasToolkit =
    Bun.which("nvidia-ctk") !== null ||
    run(["sh", "-c", "grep -l nvidia.com/gpu /etc/cdi/* /var/run/cdi/*"]).text.includes("/cdi/") ||
    answers.some(({ text }) => /nvidia|cdi/i.test(text));
  return hasToolkit
    ? undefined
    : "NVIDIA's container toolkit is not installed: install nvidia-container-toolkit, then run `nvidia-ctk cdi generate --device-name-strategy=uuid --output=/etc/cdi/nvidia.yaml`, for docker `nvidia-ctk runtime configure --runtime docker` too, and restart it.";
}

/** Whole ones. */
export function realGpus(): readonly RealGpu[] {
  const fields = "index,uuid,name,memory.total,memory.used,mig.mode.current";
  const { text } = run(["nvidia-smi", `--query-gpu=${fields}`, "--format=csv,noheader,nounits"]);
  return text
    .trim()
    .split("\n")
    .map((line) => line.split(", "))
    .filter((parts) => parts[5] !== "Enabled")
    .map(([index = "", uuid = "", name = "", total = "", used = ""]) => ({
      index,
      uuid,
      name,
      memoryMib: Number(total),
      usedMib: Number(used),
    }));
}

/** Who computes on a GPU. */
export function computePids(uuid: string): readonly number[] {
  const { text } = run([
    "nvidia-smi",
    "--query-compute-apps=gpu_uuid,pid",
    "--format=csv,noheader",
  ]);
  return text
    .trim()
    .split("\n")
    .map((line) => line.split(", "))
    .filter(([id]) => id === uuid)
    .map(([, pid]) => Number(pid));
}

/** Children of a process that run the given command of noetl. */
export function childrenOf(pid: number, command: string): readonly number[] {
  const { text } = run(["sh", "-c", `cat /proc/${pid}/task/*/children`]);
  return text
    .trim()
    .split(/\s+/)
    .filter((child) =>
      run(["sh", "-c", `tr '\\0' ' ' </proc/${child}/cmdline`]).text.includes(command),
    )
    .map(Number);
}

/** Containers of noetl that any runtime here has, running or not. */
export function ownContainers(): readonly string[] {
  const labelled = ["ps", "-a", "--filter", "label=noetl.command", "--format", "{{.Names}}"];
  return RUNTIMES.filter(({ name }) => Bun.which(name) !== null).flatMap(({ name }) => {
    const { isOk, text } = run([name, ...labelled]);
    return isOk ? text.split("\n").filter((line) => line !== "") : [];
  });
}

function run(command: readonly string[]): { readonly isOk: boolean; readonly text: string } {
  const done = Bun.spawnSync([...command], { timeout: 60_000 });
  return { isOk: done.success, text: `${done.stdout}${done.success ? "" : done.stderr}` };
}

/** A document as YAML reads it: JSON is YAML. */
export function playbook(path: string, tool: Json, pool: string): string {
  return JSON.stringify({
    apiVersion: "noetl.io/v2",
    kind: "Playbook",
    metadata: { name: path, path },
    executor: { pool },
    workflow: [{ step: "start", tool }],
  });
}
