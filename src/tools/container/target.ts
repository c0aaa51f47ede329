/** Where a task runs, and what the runtime is told. */
import { realpath } from "node:fs/promises";
import { normalize } from "node:path/posix";
import type { Runtimes } from "../../containers/host.ts";
import type {
  ClusterFields,
  ContainerRuntime,
  ContainerSpec,
  RegistryLogin,
} from "../../containers/runtime.ts";
import { ContainerError } from "../../containers/runtime.ts";
import type { GpuDemand } from "../../dsl/gpu.ts";
import { findText, loadAuth } from "../layers.ts";
import { taskError } from "../task-error.ts";
import type { ToolCall, ToolCommand, ToolContext } from "../tool.ts";
import { loadFiles, ownVariables } from "./files.ts";
import type { ContainerPlan } from "./plan.ts";
import { localRefusal } from "./plan.ts";
import { resolveVariables } from "./variables.ts";

/** Of tasks with GPUs: what loaders of data and NCCL need, and docker's 64 MiB do not give. */
const GPU_SHM_BYTES = 1024 ** 3;
const GPU_ULIMITS = ["memlock=-1:-1", "stack=67108864:67108864"] as const;
const STEP_CHARS_MAX = 20;
const PLATFORM_CHARS = 8;

/** The one that the task names, or the preferred one. @throws ContainerError that says what there is. */
export async function chooseRuntime(
  runtimes: Runtimes,
  { runtime: name, clusterNeeds }: ContainerPlan,
): Promise<ContainerRuntime> {
  const usable = await runtimes.usable();
  const chosen = usable.find((runtime) => name === undefined || runtime.name === name);
  if (chosen === undefined) {
    const facts = await runtimes.facts();
    const found = facts.map((fact) => `${fact.name}: ${fact.problem ?? "usable"}`).join("; ");
    const wanted = name === undefined ? "no container runtime" : `no runtime ${name}`;
    const message = `There is ${wanted} on this worker (${found || "none was found"}): see \`noetl health\``;
    throw new ContainerError("not_found", "RUNTIME_MISSING", message, false);
  }
  const [need] = clusterNeeds;
  if (need !== undefined && !chosen.isCluster) {
    const message = `The task ${localRefusal(need, chosen.name)}`;
    throw new ContainerError("schema", "VOLUME_NEEDS_CLUSTER", message, false);
  }
  return chosen;
}

/**
 * A task runs here with no other GPUs than those that its command holds.
 *
 * @throws TaskError where the server could not see what the task wants.
 */
export function checkLease(
  { name, isCluster }: ContainerRuntime,
  demand: GpuDemand | undefined,
  { gpus }: Pick<ToolContext, "gpus">,
): void {
  if (demand !== undefined && !isCluster && gpus.length < demand.count) {
    const message =
      `The task wants GPUs (${demand.count}) on ${name}, and its command holds ${gpus.length}: ` +
      "write `gpu` as a field of the task, not inside a template that gives all of `resources`; " +
      "a worker whose first runtime is Kubernetes leases none";
    throw taskError("schema", "GPU_NOT_LEASED", message);
  }
}

/**
 * Folders of the machine are its operator's to give. Links are followed first, so none leads out of them.
 *
 * @throws TaskError that names the setting.
 */
export async function checkMounts(
  { mounts }: Pick<ContainerPlan, "mounts">,
  mountDirs: readonly string[],
): Promise<void> {
  const allowed = await Promise.all(mountDirs.map(realPath));
  for (const { source } of mounts.filter(({ type }) => type === "bind")) {
    const path = await realPath(source);
    if (!allowed.some((dir) => path === dir || path.startsWith(dir === "/" ? dir : `${dir}/`))) {
      const given = mountDirs.length === 0 ? "it gives none" : `it gives ${mountDirs.join(", ")}`;
      const message = `mounts: ${source} is in no folder that this worker gives to containers; ${given} (NOETL_CONTAINER_MOUNTS)`;
      throw taskError("auth", "MOUNT_NOT_ALLOWED", message);
    }
  }
}

/** The path itself where there is nothing. */
async function realPath(path: string): Promise<string> {
  const plain = normalize(path).replace(/(.)\/+$/, "$1");
  return await realpath(plain).catch(() => plain);
}

/** Follows from command and attempt: whoever runs them again finds the container. At most 63 characters. */
export function containerName(step: string, command: ToolCommand, platformId: string): string {
  const plain = step.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-");
  const short = plain.slice(0, STEP_CHARS_MAX).replaceAll(/^-+|-+$/g, "") || "task";
  const platform = platformId.replaceAll(/[^a-z0-9]/g, "").slice(0, PLATFORM_CHARS) || "local";
  return `noetl-${short}-${command.commandId}-${command.attempt}-${platform}`;
}

export interface SpecParts {
  readonly plan: ContainerPlan;
  readonly runtime: ContainerRuntime;
  readonly runtimes: Runtimes;
  readonly gpu: GpuDemand | undefined;
  /** Of all files that the task begins with. */
  readonly bytesMax: number;
  readonly login: RegistryLogin | undefined;
}

/** @throws CredentialError, TaskError, AppError of a stored value that cannot be had. */
export async function buildSpec(
  parts: SpecParts,
  call: ToolCall,
  context: ToolContext,
): Promise<ContainerSpec> {
  const { plan, runtime, runtimes } = parts;
  const identity = runtimes.identity();
  const variables = await resolveVariables(plan.variables, runtime.isCluster, context);
  const files = await loadFiles(plan.files, call, context, parts.bytesMax);
  const { command } = context;
  const { image, network, mounts, isRootWritable, capabilities, mayGainPrivileges } = plan;
  return {
    name: containerName(call.step, command, identity.platformId),
    owner: {
      ...identity,
      executionId: command.executionId,
      commandId: command.commandId,
      attempt: command.attempt,
      step: call.step,
      task: call.label,
    },
    ...{ image, network, mounts, isRootWritable, capabilities, mayGainPrivileges },
    ...(plan.command === undefined ? {} : { command: plan.command }),
    ...(plan.args === undefined ? {} : { args: plan.args }),
    ...(plan.workdir === undefined ? {} : { workdir: plan.workdir }),
    ...(plan.user === undefined ? {} : { user: plan.user }),
    env: { ...ownVariables(call, context), ...variables.env },
    files,
    resources: resourcesOf(parts, context),
    gpus: gpusOf(parts, context),
    stopGraceMs: plan.timeouts.stopGraceMs,
    ...(runtime.isCluster ? { cluster: clusterOf(parts, context, variables.secretEnv) } : {}),
  };
}

function resourcesOf({ plan, gpu }: SpecParts, { gpus }: ToolContext): ContainerSpec["resources"] {
  const { cpu, memoryBytes, pids } = plan.resources;
  const hasGpus = gpus.length > 0 || gpu !== undefined;
  const shmBytes = plan.resources.shmBytes ?? (hasGpus ? GPU_SHM_BYTES : undefined);
  return {
    ...(cpu === undefined ? {} : { cpu }),
    ...(memoryBytes === undefined ? {} : { memoryBytes }),
    ...(shmBytes === undefined ? {} : { shmBytes }),
    ...(pids === undefined ? {} : { pids }),
    ulimits: hasGpus ? GPU_ULIMITS : [],
  };
}

/** Here those that are leased; a cluster gets the number, and chooses. */
function gpusOf({ runtime, gpu }: SpecParts, { gpus }: ToolContext): ContainerSpec["gpus"] {
  if (!runtime.isCluster) {
    return { ids: gpus.map(({ id }) => id), count: gpus.length };
  }
  if (gpu === undefined) {
    return { ids: [], count: 0 };
  }
  const slice = gpu.migProfile === undefined ? "gpu" : `mig-${gpu.migProfile}`;
  const resource = `nvidia.com/${gpu.isShared ? "gpu.shared" : slice}`;
  return { ids: [], count: gpu.count, resource };
}

function clusterOf(
  { plan, login }: SpecParts,
  { timeoutMs }: ToolContext,
  secretEnv: NonNullable<ClusterFields["secretEnv"]>,
): ClusterFields {
  const { requests, limits } = plan.resources;
  const { pullMs, runMs } = plan.timeouts;
  const deadlineMs = timeoutMs ?? (runMs === undefined ? undefined : pullMs + runMs);
  return {
    ...plan.cluster,
    ...(requests === undefined ? {} : { requests }),
    ...(limits === undefined ? {} : { limits }),
    ...(deadlineMs === undefined ? {} : { deadlineMs }),
    ...(login === undefined ? {} : { login }),
    pullPolicy: plan.pullPolicy,
    pullTimeoutMs: pullMs,
    secretEnv,
  };
}

/** @throws CredentialError; TaskError if it names nobody. */
export async function loginOf(
  { registry }: ContainerPlan,
  context: Pick<ToolContext, "credential">,
): Promise<RegistryLogin | undefined> {
  if (registry === undefined) {
    return undefined;
  }
  const layers = await loadAuth(registry, context);
  const username = findText(layers, ["username", "user"]);
  const password = findText(layers, ["password", "token", "access_token"]);
  const server = findText(layers, ["server", "registry", "host", "url"]);
  if (username === undefined || password === undefined) {
    const message = "The credential of registry needs username and password (or token)";
    throw taskError("auth", "REGISTRY_LOGIN_INCOMPLETE", message);
  }
  return { username, password, ...(server === undefined ? {} : { server }) };
}
