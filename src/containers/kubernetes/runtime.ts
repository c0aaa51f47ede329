/**
 * Containers as Jobs of a Kubernetes cluster. The Job is named after its command, so whichever worker has the
 * command finds it, running or ended; everything that belongs to it (pods, secrets) goes with it.
 */
import type { RuntimeFacts } from "../../engine/command.ts";
import type { Logger } from "../../observability/log.ts";
import type {
  CollectedArtifact,
  ContainerEnd,
  ContainerHandle,
  ContainerOwner,
  ContainerRuntime,
  ContainerSpec,
  FoundContainer,
  ImageInfo,
  PullOptions,
  RegistryLogin,
  StartedContainer,
} from "../runtime.ts";
import { ContainerError } from "../runtime.ts";
import type { ClusterAccess } from "./access.ts";
import { explain, KubernetesApi } from "./api.ts";
import { buildJob } from "./job.ts";
import { startJob } from "./job-start.ts";
import type { HeldJob } from "./job-stop.ts";
import { deleteJob, stopJob } from "./job-stop.ts";
import { waitForJob } from "./job-wait.ts";
import { JobWatch } from "./job-watch.ts";
import type { JobObject, ObjectList, PodObject } from "./object.ts";
import { timeMs } from "./object.ts";
import { platformSelector, readOwner } from "./owner.ts";
import { followLog } from "./pod-log.ts";
import { missingRights } from "./rules.ts";
import { containerOf, isJobOver, newestPod } from "./verdict.ts";

const PROBE_MS = 10_000;
const LIST_MS = 20_000;
/** For what must not be given up because the API is away for a while. */
const PATIENT_MS = 600_000;
const PULL_MS = 300_000;
/** A kubelet keeps the end of a longer one: no whole JSON any more. */
const RESULT_BYTES_MAX = 4095;
const RESULT_CUT =
  "result.json has more than the 4 KiB that a cluster keeps of it: print the result as the last line instead";
const REMEMBERED_MAX = 1000;

/** What this runtime gives out: also which attempt has it, so that no earlier one ends it. */
interface JobHandle extends ContainerHandle {
  readonly owner?: ContainerOwner;
  readonly uid?: string;
  readonly pullTimeoutMs?: number;
}

export class KubernetesRuntime implements ContainerRuntime {
  readonly name = "kubernetes";
  readonly isCluster = true;
  readonly #api: KubernetesApi;
  readonly #log: Logger;
  readonly #watches = new Map<string, JobWatch>();
  /** In which there may be Jobs of this worker. */
  readonly #namespaces = new Set<string>();
  /** By image: given to `pull`, of use once the Job is made. */
  readonly #logins = new Map<string, RegistryLogin>();

  /** @param open called when first needed. */
  constructor(open: () => Promise<ClusterAccess>, log: Logger) {
    this.#log = log.child({ component: "kubernetes" });
    this.#api = new KubernetesApi(open, this.#log);
  }

  async probe(): Promise<RuntimeFacts> {
    const facts = { name: this.name, version: "", gpus: "cluster" } as const;
    try {
      const signal = AbortSignal.timeout(PROBE_MS);
      const version = await this.#api.version(signal);
      const { namespace } = await this.#api.access();
      const missing = await missingRights(this.#api, namespace, signal);
      const problem = `the worker's service account may not ${missing.join(", ")} in the namespace ${namespace}: give it the Role of src/containers/README.md`;
      return {
        ...facts,
        version,
        isUsable: missing.length === 0,
        ...(missing.length === 0 ? {} : { problem }),
      };
    } catch (error) {
      const reason = explain(error);
      const problem = reason instanceof Error ? reason.message : String(reason);
      return { ...facts, isUsable: false, problem };
    }
  }

  /** The cluster pulls when it starts the pod; here only the login is kept for it. */
  pull(image: string, { login }: PullOptions): Promise<ImageInfo> {
    if (login !== undefined) {
      keep(this.#logins, image, login);
    }
    return Promise.resolve({
      digest: /@(sha256:[0-9a-f]{64})$/.exec(image)?.[1] ?? "",
      wasPulled: false,
    });
  }

  async start(spec: ContainerSpec, signal: AbortSignal): Promise<StartedContainer> {
    const access = await this.#api.access();
    const parts = buildJob(spec, access.namespace, this.#logins.get(spec.image));
    const { namespace, name } = parts;
    try {
      const { wasThere, job } = await startJob(this.#api, parts, spec.owner, signal);
      this.#namespaces.add(namespace);
      const startedAtMs = timeMs(job.status?.startTime ?? job.metadata.creationTimestamp);
      const handle: JobHandle & StartedContainer = {
        id: `${namespace}/${name}`,
        name,
        owner: spec.owner,
        pullTimeoutMs: spec.cluster?.pullTimeoutMs ?? PULL_MS,
        wasThere,
        ...uidOf(job),
        ...(job.metadata.uid === undefined ? {} : { facts: { job_uid: job.metadata.uid } }),
        ...(startedAtMs === undefined ? {} : { startedAtMs }),
      };
      return handle;
    } catch (error) {
      throw explain(error);
    }
  }

  /** Of the worker's namespace, and of all others in which it has had a Job. */
  async list(platformId: string): Promise<readonly FoundContainer[]> {
    const own = (await this.#api.access()).namespace;
    const lists = await Promise.all(
      [...this.#namespaces.add(own)].map((namespace) => this.#list(namespace, platformId)),
    );
    return lists.flat();
  }

  async #list(namespace: string, platformId: string): Promise<readonly FoundContainer[]> {
    const query = { labelSelector: platformSelector(platformId) };
    const list = await this.#patient(LIST_MS, (signal) =>
      this.#api.call({ verb: "list", group: "batch", resource: "jobs", namespace, query }, signal),
    );
    return (list as ObjectList<JobObject>).items.flatMap((job) => {
      const owner = readOwner(job.metadata);
      const { name, deletionTimestamp } = job.metadata;
      const isOurs = owner !== undefined && deletionTimestamp === undefined;
      const found = { id: `${namespace}/${name}`, name, isRunning: !isJobOver(job), gpuIds: [] };
      return isOurs ? [{ ...found, owner, ...uidOf(job) }] : [];
    });
  }

  async logs(
    handle: ContainerHandle,
    options: {
      readonly sinceMs?: number;
      readonly seenCount?: number;
      readonly signal: AbortSignal;
    },
    onLine: (stream: "stdout" | "stderr", line: string, timeMs: number) => void,
  ): Promise<void> {
    const { namespace, name } = placeOf(handle);
    try {
      using followed = await this.#watch(namespace).follow(name, options.signal);
      await followLog(followed, { ...options, api: this.#api, namespace, onLine });
    } catch (error) {
      if (!options.signal.aborted) {
        throw error;
      }
    }
  }

  async wait(
    handle: JobHandle,
    options: { readonly signal: AbortSignal; readonly onPhase?: (line: string) => void },
  ): Promise<ContainerEnd> {
    const { namespace, name } = placeOf(handle);
    using followed = await this.#watch(namespace).follow(name, options.signal);
    return await waitForJob(followed, handle, {
      api: this.#api,
      namespace,
      signal: options.signal,
      onPhase: options.onPhase ?? (() => undefined),
      pullTimeoutMs: handle.pullTimeoutMs ?? PULL_MS,
      stop: (one, graceMs) => this.stop(one, graceMs),
    });
  }

  async stop(handle: JobHandle, graceMs: number): Promise<void> {
    const held = heldOf(handle);
    await this.#patient(PATIENT_MS + graceMs, async (signal) => {
      using followed = await this.#watch(held.namespace).follow(held.name, signal);
      await stopJob(this.#api, followed, held, { graceMs, log: this.#log }, signal);
    });
  }

  /** Artifacts stay in the pod: there is no way to its files once it has ended. */
  async collect(handle: ContainerHandle): Promise<{
    readonly result?: Uint8Array;
    readonly artifacts: readonly CollectedArtifact[];
    readonly skipped?: readonly string[];
  }> {
    const { namespace, name } = placeOf(handle);
    const query = { labelSelector: `job-name=${name}` };
    const list = await this.#patient(PATIENT_MS, (signal) =>
      this.#api.call({ verb: "list", group: "", resource: "pods", namespace, query }, signal),
    );
    const pod = newestPod((list as ObjectList<PodObject>).items);
    const done = containerOf(pod)?.state?.terminated;
    const isFromTask = done?.reason === "Completed" || done?.reason === "Error";
    const result = new TextEncoder().encode(isFromTask ? (done.message ?? "") : "");
    if (result.length > RESULT_BYTES_MAX) {
      return { artifacts: [], skipped: [RESULT_CUT] };
    }
    return { artifacts: [], ...(result.length === 0 ? {} : { result }) };
  }

  /** Its pods and secrets go with it. One that another attempt has taken over stays. */
  async remove(handle: JobHandle): Promise<void> {
    const held = heldOf(handle);
    await this.#patient(PATIENT_MS, (signal) => deleteJob(this.#api, held, "Background", signal));
  }

  #watch(namespace: string): JobWatch {
    const watch = this.#watches.get(namespace) ?? new JobWatch(this.#api, namespace, this.#log);
    this.#watches.set(namespace, watch);
    return watch;
  }

  async #patient<T>(ms: number, call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const signal = AbortSignal.timeout(ms);
    try {
      return await call(signal);
    } catch (error) {
      throw signal.aborted ? away(ms) : explain(error);
    }
  }
}

function heldOf(handle: JobHandle): HeldJob {
  const { owner, uid } = handle;
  return {
    ...placeOf(handle),
    ...(owner === undefined ? {} : { owner }),
    ...(uid === undefined ? {} : { uid }),
  };
}

function uidOf({ metadata: { uid } }: JobObject): { readonly uid?: string } {
  return uid === undefined ? {} : { uid };
}

function away(ms: number): ContainerError {
  const text = `The cluster did not answer for ${ms / 1000} s`;
  return new ContainerError("connection", "KUBERNETES_AWAY", text, true);
}

/** @throws ContainerError for an id that is none of ours. */
function placeOf({ id }: ContainerHandle): { readonly namespace: string; readonly name: string } {
  const [namespace = "", name = ""] = id.split("/");
  if (namespace === "" || name === "") {
    throw new ContainerError("internal", "KUBERNETES_ID", `${id} is no namespace/job`);
  }
  return { namespace, name };
}

/** The oldest go when there are too many. */
function keep<T>(all: Map<string, T>, key: string, value: T): void {
  all.delete(key);
  all.set(key, value);
  const [oldest] = all.keys();
  if (all.size > REMEMBERED_MAX && oldest !== undefined) {
    all.delete(oldest);
  }
}
