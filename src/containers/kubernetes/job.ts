/** Makes a Job of a container. Pure: the same command gives the same Job. */
import type {
  V1Container,
  V1EnvVar,
  V1Job,
  V1PodSpec,
  V1SecurityContext,
} from "@kubernetes/client-node";
import type { ContainerSpec, RegistryLogin } from "../runtime.ts";
import { ContainerError } from "../runtime.ts";
import { attemptLabels, jobName, ownerAnnotations, ownerLabels } from "./owner.ts";
import type { JobSecret } from "./secret.ts";
import { jobSecrets } from "./secret.ts";
import { volumesOf } from "./volume.ts";

export interface JobParts {
  readonly name: string;
  readonly namespace: string;
  /** Suspended while there are secrets: it is resumed when it owns them. */
  readonly job: V1Job;
  readonly secrets: readonly JobSecret[];
}

/** Name of the task's container in its pod. */
export const CONTAINER = "task";

/** Long enough for a worker to come back after a night; whoever has the outcome removes the Job. */
const TTL_SECONDS = 86_400;
/** Both mean that of the pod. */
const NETWORKS = new Set(["default", "bridge"]);
const PULL_POLICIES = { always: "Always", missing: "IfNotPresent", never: "Never" } as const;

/** @throws ContainerError of kind `schema` or `limit` for what a cluster cannot do. */
export function buildJob(
  spec: ContainerSpec,
  defaultNamespace: string,
  login: RegistryLogin | undefined,
): JobParts {
  checkPossible(spec);
  const name = jobName(spec.owner);
  const namespace = spec.cluster?.namespace ?? defaultNamespace;
  const secrets = jobSecrets(spec, name, spec.cluster?.login ?? login);
  const { ttlSeconds = TTL_SECONDS, deadlineMs, backoffLimit = 0, labels } = spec.cluster ?? {};
  const own = ownerLabels(spec.owner);
  const annotations = ownerAnnotations(spec.owner);
  return {
    name,
    namespace,
    secrets,
    job: {
      apiVersion: "batch/v1",
      kind: "Job",
      metadata: {
        name,
        namespace,
        labels: { ...labels, ...own, ...attemptLabels(spec.owner) },
        annotations,
      },
      spec: {
        backoffLimit,
        ttlSecondsAfterFinished: ttlSeconds,
        ...(deadlineMs === undefined
          ? {}
          : { activeDeadlineSeconds: Math.max(1, Math.ceil(deadlineMs / 1000)) }),
        ...(secrets.length === 0 ? {} : { suspend: true }),
        template: {
          metadata: { labels: { ...labels, ...own }, annotations },
          spec: podSpec(spec, name, secrets),
        },
      },
    },
  };
}

/** Ulimits and pids are the node's business: they are left out. */
function checkPossible({ network, user, capabilities }: ContainerSpec): void {
  if (!NETWORKS.has(network)) {
    throw impossible(
      `network: ${network}`,
      "leave it out; a NetworkPolicy of the namespace decides what its pods may reach",
    );
  }
  if (user !== undefined && !/^\d+(:\d+)?$/.test(user)) {
    throw impossible(`user: ${user}`, "name it by number, uid or uid:gid");
  }
  if (capabilities.some((name) => !/^[A-Z_]+$/.test(name))) {
    throw impossible(`capabilities: ${capabilities.join(", ")}`, "write them like NET_ADMIN");
  }
}

function impossible(what: string, instead: string): ContainerError {
  return new ContainerError(
    "schema",
    "NOT_ON_KUBERNETES",
    `runtime: kubernetes does not take ${what}: ${instead}`,
  );
}

function podSpec(spec: ContainerSpec, name: string, secrets: readonly JobSecret[]): V1PodSpec {
  const cluster = spec.cluster ?? {};
  const { volumes, volumeMounts } = volumesOf(spec, name);
  const pullSecrets = [
    ...(cluster.imagePullSecrets ?? []),
    ...secrets.filter((secret) => secret.isLogin).map((secret) => secret.name),
  ];
  return {
    restartPolicy: "Never",
    // The task is not process 1: it gets signals as everywhere else, and somebody reaps its children.
    shareProcessNamespace: true,
    enableServiceLinks: false,
    automountServiceAccountToken: cluster.serviceAccount !== undefined,
    terminationGracePeriodSeconds: Math.ceil(spec.stopGraceMs / 1000),
    securityContext: podSecurity(spec.user),
    ...(cluster.serviceAccount === undefined ? {} : { serviceAccountName: cluster.serviceAccount }),
    ...(cluster.nodeSelector === undefined ? {} : { nodeSelector: { ...cluster.nodeSelector } }),
    ...(cluster.tolerations === undefined
      ? {}
      : { tolerations: cluster.tolerations.map(camelKeys) }),
    ...(cluster.runtimeClass === undefined ? {} : { runtimeClassName: cluster.runtimeClass }),
    ...(pullSecrets.length === 0
      ? {}
      : { imagePullSecrets: pullSecrets.map((secret) => ({ name: secret })) }),
    containers: [container(spec, name, volumeMounts)],
    volumes,
  };
}

/** `toleration_seconds`, as playbooks write it, is `tolerationSeconds`. */
function camelKeys<T>(fields: Readonly<Record<string, T>>): Record<string, T> {
  const camel = (name: string): string =>
    name.replaceAll(/_([a-z])/g, (_all, letter: string) => letter.toUpperCase());
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [camel(name), value]));
}

function podSecurity(user: string | undefined): NonNullable<V1PodSpec["securityContext"]> {
  const [uid, gid] = (user ?? "")
    .split(":")
    .map((part) => (part === "" ? undefined : Number(part)));
  return {
    seccompProfile: { type: "RuntimeDefault" },
    ...(uid === undefined ? {} : { runAsUser: uid, runAsNonRoot: uid !== 0 }),
    ...(gid === undefined
      ? {}
      : { runAsGroup: gid, fsGroup: gid, fsGroupChangePolicy: "OnRootMismatch" }),
  };
}

function container(
  spec: ContainerSpec,
  name: string,
  volumeMounts: NonNullable<V1Container["volumeMounts"]>,
): V1Container {
  return {
    name: CONTAINER,
    image: spec.image,
    imagePullPolicy: PULL_POLICIES[spec.cluster?.pullPolicy ?? "missing"],
    ...(spec.command === undefined ? {} : { command: spec.command.map(literal) }),
    ...(spec.args === undefined ? {} : { args: spec.args.map(literal) }),
    ...(spec.workdir === undefined ? {} : { workingDir: spec.workdir }),
    env: environment(spec, name),
    resources: resourcesOf(spec),
    securityContext: containerSecurity(spec),
    terminationMessagePath: "/noetl/result.json",
    terminationMessagePolicy: "File",
    volumeMounts,
  };
}

/** Kubernetes would put variables in place of `$(NAME)` and one `$` in place of two: a task's text stays as it is. */
function literal(text: string): string {
  return text.replaceAll("$", () => "$$");
}

function containerSecurity(spec: ContainerSpec): V1SecurityContext {
  return {
    allowPrivilegeEscalation: spec.mayGainPrivileges,
    readOnlyRootFilesystem: !spec.isRootWritable,
    capabilities: {
      drop: ["ALL"],
      ...(spec.capabilities.length === 0
        ? {}
        : { add: spec.capabilities.map((capability) => capability.replace(/^CAP_/, "")) }),
    },
  };
}

/** Values lie in the Job's Secret: who may read Jobs does not read them. */
function environment({ env, cluster }: ContainerSpec, secretName: string): V1EnvVar[] {
  const own = Object.keys(env).map((name, index) => ({
    name,
    valueFrom: { secretKeyRef: { name: secretName, key: `env-${index}` } },
  }));
  const others = Object.entries(cluster?.secretEnv ?? {}).map(([name, source]) => ({
    name,
    valueFrom: { secretKeyRef: { name: source.name, key: source.key } },
  }));
  return [...own, ...others];
}

function resourcesOf({
  resources,
  gpus,
  cluster,
}: ContainerSpec): NonNullable<V1Container["resources"]> {
  const gpu = gpus.count === 0 ? {} : { [gpus.resource ?? "nvidia.com/gpu"]: String(gpus.count) };
  const limits = {
    ...(resources.cpu === undefined ? {} : { cpu: `${Math.round(resources.cpu * 1000)}m` }),
    ...(resources.memoryBytes === undefined ? {} : { memory: String(resources.memoryBytes) }),
    ...cluster?.limits,
    ...gpu,
  };
  const requests = { ...cluster?.requests };
  return {
    ...(Object.keys(limits).length === 0 ? {} : { limits }),
    ...(Object.keys(requests).length === 0 ? {} : { requests }),
  };
}
