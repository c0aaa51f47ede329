/** The words of `run` for a container. Values of variables are not among them: others can read words. */
import type { CliEnvironment } from "./cli-process.ts";
import type { Dialect, GpuMode } from "./dialect.ts";
import { labelsOf } from "./labels.ts";
import type { ContainerMount, ContainerSpec } from "./runtime.ts";
import { ContainerError } from "./runtime.ts";
import type { TaskFolder } from "./task-folder.ts";
import type { OwnLimits } from "./ulimits.ts";
import { allowedUlimits } from "./ulimits.ts";

/** Where a task finds what it is given and leaves what it gives. */
export const TASK_MOUNT = "/noetl";

export interface RunCall {
  /** Behind the program. */
  readonly words: readonly string[];
  /** Variables of the program itself that the container takes over by name. */
  readonly env: CliEnvironment;
  /** Variables that would change what the program does: a line each, for a file that only the worker can read. */
  readonly envFile: string;
}

/** What the words follow from beside the container. */
export interface RunFacts {
  readonly dialect: Dialect;
  readonly gpuMode: GpuMode;
  /** Undefined: limits can be raised. */
  readonly own: OwnLimits | undefined;
}

/** @throws ContainerError for what no runtime could be told. */
export function runCall(
  spec: ContainerSpec,
  folder: Pick<TaskFolder, "mountDir" | "logFile" | "pidFile" | "envFile">,
  { dialect, gpuMode, own }: RunFacts,
): RunCall {
  const { direct, viaFile } = splitEnv(taskEnv(spec, gpuMode));
  const isPodman = dialect.name === "podman";
  const [entrypoint, ...commandRest] = spec.command ?? [];
  const words = [
    "run",
    "--detach",
    "--init",
    "--pull=never",
    `--name=${spec.name}`,
    ...Object.entries(labelsOf(spec)).map(([name, value]) => `--label=${name}=${value}`),
    ...dialect.logFlags(folder.logFile),
    ...dialect.pidFlags(folder.pidFile),
    ...limitFlags(spec, allowedUlimits(spec.resources.ulimits, own, { isPodman })),
    ...isolationFlags(spec),
    ...gpuFlags(spec, dialect, gpuMode),
    `--volume=${folder.mountDir}:${TASK_MOUNT}:Z`,
    ...spec.mounts.flatMap(mountFlags),
    ...Object.keys(direct).map((name) => `--env=${name}`),
    ...(viaFile.length === 0 ? [] : [`--env-file=${folder.envFile}`]),
    ...(entrypoint === undefined ? [] : [`--entrypoint=${entrypointWord(entrypoint, dialect)}`]),
    spec.image,
    ...commandRest,
    ...(spec.args ?? []),
  ];
  return { words, env: direct, envFile: viaFile.map((line) => `${line}\n`).join("") };
}

function limitFlags(
  { resources, stopGraceMs }: ContainerSpec,
  ulimits: readonly string[],
): string[] {
  const { cpu, memoryBytes, shmBytes, pids } = resources;
  return [
    `--stop-timeout=${Math.max(1, Math.ceil(stopGraceMs / 1000))}`,
    // Equal: no swap beside it.
    ...(memoryBytes === undefined
      ? []
      : [`--memory=${memoryBytes}b`, `--memory-swap=${memoryBytes}b`]),
    ...(cpu === undefined ? [] : [`--cpus=${cpu}`]),
    ...(shmBytes === undefined ? [] : [`--shm-size=${shmBytes}b`]),
    ...(pids === undefined ? [] : [`--pids-limit=${pids}`]),
    ...ulimits.map((limit) => `--ulimit=${limit}`),
  ];
}

function isolationFlags(spec: ContainerSpec): string[] {
  const hasTmp = spec.mounts.some(({ target }) => target === "/tmp");
  return [
    `--network=${spec.network}`,
    "--cap-drop=ALL",
    ...spec.capabilities.map((name) => `--cap-add=${name}`),
    ...(spec.mayGainPrivileges ? [] : ["--security-opt=no-new-privileges"]),
    ...(spec.isRootWritable ? [] : ["--read-only"]),
    // Compilers of kernels put libraries there and load them, hence exec.
    ...(spec.isRootWritable || hasTmp ? [] : ["--tmpfs=/tmp:rw,exec,nosuid,nodev,mode=1777"]),
    ...(spec.user === undefined ? [] : [`--user=${spec.user}`]),
    ...(spec.workdir === undefined ? [] : [`--workdir=${spec.workdir}`]),
  ];
}

function gpuFlags({ gpus }: ContainerSpec, dialect: Dialect, mode: GpuMode): readonly string[] {
  if (gpus.ids.length === 0) {
    return [];
  }
  if (mode === "none") {
    throw new ContainerError(
      "gpu_fault",
      "GPU_UNSUPPORTED_BY_RUNTIME",
      `${dialect.name} cannot give GPUs to containers here: install the NVIDIA Container Toolkit and make a CDI ` +
        "specification (nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml), then start the worker again",
      false,
    );
  }
  return dialect.gpuFlags[mode](gpus.ids);
}

function mountFlags(mount: ContainerMount): string[] {
  const readOnly = mount.isReadOnly ? ["readonly"] : [];
  switch (mount.type) {
    case "bind":
    case "volume":
      return [
        `--mount=${fields([
          `type=${mount.type}`,
          `source=${mount.source}`,
          `target=${mount.target}`,
          ...readOnly,
        ])}`,
      ];
    case "tmpfs":
    case "empty_dir":
      return [`--tmpfs=${mount.target}:${mount.isReadOnly ? "ro" : "rw"},exec,mode=1777`];
    default:
      throw new ContainerError(
        "client_error",
        "MOUNT_NEEDS_CLUSTER",
        `A mount of type ${mount.type} exists on Kubernetes only (target ${mount.target})`,
        false,
      );
  }
}

/** Comma-separated, as the runtimes read them: a field with a comma or a quote is quoted. */
function fields(parts: readonly string[]): string {
  return parts
    .map((part) => (/[",]/.test(part) ? `"${part.replaceAll('"', '""')}"` : part))
    .join(",");
}

/** An empty word would keep the image's entry point. Nerdctl and docker take one word, podman also JSON. */
function entrypointWord(entrypoint: string, { name }: Dialect): string {
  if (entrypoint === "") {
    throw new ContainerError(
      "client_error",
      "COMMAND_EMPTY",
      "The first word of `command` is empty",
      false,
    );
  }
  // Podman reads a word that begins with a bracket as a list.
  return name === "podman" ? JSON.stringify([entrypoint]) : entrypoint;
}

/** What the runtime's hook reads decides over GPUs, so it is never the task's to say. */
function taskEnv({ env, gpus }: ContainerSpec, mode: GpuMode): Readonly<Record<string, string>> {
  const { NVIDIA_VISIBLE_DEVICES: _, ...rest } = env;
  // Images of CUDA ask for all: a default runtime of NVIDIA's would give them. Docker's hook flag sets its own.
  const isHooked = gpus.ids.length > 0 && mode === "hook";
  return isHooked ? rest : { ...rest, NVIDIA_VISIBLE_DEVICES: "void" };
}

/** Variables that the command lines themselves, Go's libraries or the loader read. */
const READ_BY_PROGRAM =
  /^(PATH|HOME|USER|LOGNAME|SHELL|TERM|TMPDIR|TMP|TEMP|TZ|LANG|LANGUAGE|DEBUG|HOSTNAME|(LC|LD|XDG|DBUS|DOCKER|BUILDKIT|BUILDX|COMPOSE|MOBY|CONTAINERS?|CONTAINERD|PODMAN|LIBPOD|STORAGE|REGISTRY|_?CONTAINERS|_?BUILDAH|BUILDAH|NERDCTL|CNI|NETAVARK|ROOTLESSKIT|LISTEN|NOTIFY|CONMON|SSH|SSL|OTEL|GPG|SYSTEMD|NVIDIA_VISIBLE)_.*|GO.*|(HTTPS?|FTP|NO|ALL)_PROXY)$/i;

function splitEnv(env: Readonly<Record<string, string>>): {
  readonly direct: Readonly<Record<string, string>>;
  readonly viaFile: readonly string[];
} {
  const direct: Record<string, string> = {};
  const viaFile: string[] = [];
  for (const [name, value] of Object.entries(env)) {
    checkVariable(name, value);
    if (READ_BY_PROGRAM.test(name)) {
      viaFile.push(`${name}=${value}`);
    } else {
      direct[name] = value;
    }
  }
  return { direct, viaFile };
}

function checkVariable(name: string, value: string): void {
  const problem = variableProblem(name, value);
  if (problem !== undefined) {
    throw new ContainerError(
      "client_error",
      "ENV_INVALID",
      `Environment variable "${name}" cannot be set: ${problem}`,
      false,
    );
  }
}

function variableProblem(name: string, value: string): string | undefined {
  if (!/^[^\s=*\0#"'][^\s=*\0]*$/.test(name)) {
    return "its name has characters that no runtime takes";
  }
  if (value.includes("\0")) {
    return "its value has a NUL byte";
  }
  return READ_BY_PROGRAM.test(name) && /[\r\n]/.test(value)
    ? "this one must fit on one line"
    : undefined;
}
