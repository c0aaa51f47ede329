/**
 * The one interface of what runs containers: docker, podman, nerdctl, kubernetes.
 *
 * A container outlives its worker: it is started detached, under a name that follows from its command and
 * attempt, and its labels say whose it is. Its exit code, output and files stay until {@link
 * ContainerRuntime.remove}, so whoever comes after a crash finds the outcome instead of running it again.
 *
 * All calls throw {@link ContainerError} for what the runtime, the image or the cluster causes.
 */
import type { RuntimeFacts } from "../engine/command.ts";
import type { FailureKind } from "../engine/failure.ts";

export const RUNTIME_NAMES = ["docker", "podman", "nerdctl", "kubernetes"] as const;
export type RuntimeName = (typeof RUNTIME_NAMES)[number];

/** Whose a container is. Written as labels `noetl.<name>`. */
export interface ContainerOwner {
  /** Platforms that share a machine leave each other's containers alone. */
  readonly platformId: string;
  readonly workerId: string;
  /** Process of that worker, see process-identity.ts: dead for sure, or not known. */
  readonly process: string;
  readonly executionId: string;
  readonly commandId: string;
  readonly attempt: number;
  readonly step: string;
  readonly task: string;
}

export interface ContainerMount {
  /** Path on the worker's machine, name of a volume, or of a Kubernetes source. */
  readonly source: string;
  readonly target: string;
  readonly type: "bind" | "volume" | "tmpfs" | "claim" | "config_map" | "secret" | "empty_dir";
  readonly isReadOnly: boolean;
}

export interface ContainerSpec {
  /** Follows from command and attempt; starting the same one twice gives the first. */
  readonly name: string;
  readonly owner: ContainerOwner;
  readonly image: string;
  /** Replaces the image's entry point. */
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly workdir?: string;
  /** `uid[:gid]` or a name of the image. */
  readonly user?: string;
  readonly network: string;
  readonly mounts: readonly ContainerMount[];
  /**
   * What the task finds under `/noetl`, by path relative to it (`input.json`, `files/train.py`). The folder is
   * writable for it: `result.json` and `artifacts/` are read back.
   */
  readonly files: Readonly<Record<string, Uint8Array>>;
  readonly resources: {
    readonly cpu?: number;
    readonly memoryBytes?: number;
    readonly shmBytes?: number;
    readonly pids?: number;
    /** `["memlock=-1:-1"]`. */
    readonly ulimits: readonly string[];
  };
  /** Leased GPUs, by id; of a cluster, which chooses itself, only the count. */
  readonly gpus: {
    readonly ids: readonly string[];
    readonly count: number;
    readonly resource?: string;
  };
  /** True: may write to its root file system. */
  readonly isRootWritable: boolean;
  /** Capabilities kept, all others are dropped. */
  readonly capabilities: readonly string[];
  readonly mayGainPrivileges: boolean;
  readonly stopGraceMs: number;
  /** Of Kubernetes only. */
  readonly cluster?: ClusterFields;
}

export interface ClusterFields {
  readonly namespace?: string;
  readonly serviceAccount?: string;
  readonly nodeSelector?: Readonly<Record<string, string>>;
  readonly tolerations?: readonly Readonly<Record<string, string | number>>[];
  readonly runtimeClass?: string;
  /** Requests beside the limits of `resources`, as Kubernetes writes them. */
  readonly requests?: Readonly<Record<string, string>>;
  readonly limits?: Readonly<Record<string, string>>;
  readonly imagePullSecrets?: readonly string[];
  /** Seconds until the cluster removes an ended Job that nobody removed. */
  readonly ttlSeconds?: number;
  /** Limit of the whole Job, pull and waiting for a node included. */
  readonly deadlineMs?: number;
  readonly labels?: Readonly<Record<string, string>>;
  readonly backoffLimit?: number;
  /** Default `missing`; as {@link PullOptions.policy}, since a cluster pulls by itself. */
  readonly pullPolicy?: PullOptions["policy"];
  /** For the pull; default: what {@link ContainerRuntime.pull} was given for that image. */
  readonly login?: RegistryLogin;
  /** How long an image may fail to be pulled; default 5 min. What can never work fails at once. */
  readonly pullTimeoutMs?: number;
  /** Variables whose values are keys of the cluster's own Secrets. */
  readonly secretEnv?: Readonly<Record<string, { readonly name: string; readonly key: string }>>;
}

export interface ContainerHandle {
  /** The runtime's id of it; of Kubernetes `namespace/job`. */
  readonly id: string;
  readonly name: string;
}

export interface StartedContainer extends ContainerHandle {
  /** True: it was there already, started by an earlier call. */
  readonly wasThere?: boolean;
  /** When it was started, by the runtime's clock; absent: now. */
  readonly startedAtMs?: number;
  /** More for the task's result, by name: of a cluster `job_uid`. */
  readonly facts?: Readonly<Record<string, string>>;
}

export interface FoundContainer extends ContainerHandle {
  readonly owner: ContainerOwner;
  readonly isRunning: boolean;
  readonly gpuIds: readonly string[];
}

export interface ImageInfo {
  /** `sha256:…` of the manifest, or the image's id where there is no registry. */
  readonly digest: string;
  /** False: it was there. */
  readonly wasPulled: boolean;
}

export interface RegistryLogin {
  readonly server?: string;
  readonly username: string;
  readonly password: string;
}

export interface PullOptions {
  readonly policy: "always" | "missing" | "never";
  readonly login?: RegistryLogin;
  readonly signal: AbortSignal;
  /** At most about one line a second: `layer 3 of 7, 120 of 4,300 MB`. */
  readonly onProgress: (line: string) => void;
}

export interface ContainerEnd {
  readonly exitCode: number;
  readonly startedAtMs: number;
  readonly endedAtMs: number;
  /** Of a cluster, which pulls by itself: what {@link ImageInfo.digest} says elsewhere. */
  readonly imageDigest?: string;
  /** What killed it beyond its own exit code, with the proof: `cgroup: oom_kill 1`. */
  readonly cause?: {
    readonly kind: Extract<
      FailureKind,
      "oom_host" | "image_pull" | "timeout" | "worker_lost" | "limit"
    >;
    readonly proof: string;
  };
}

export interface CollectedArtifact {
  /** Relative to `/noetl/artifacts`. */
  readonly path: string;
  readonly size: number;
  open(): AsyncIterable<Uint8Array>;
}

export interface ContainerRuntime {
  readonly name: RuntimeName;
  /** True: what it runs is not on this machine, and holds no slot of the worker. */
  readonly isCluster: boolean;
  probe(): Promise<RuntimeFacts>;
  /** A phase of its own where the runtime allows that; a cluster pulls after the start, and `wait` says so. */
  pull(image: string, options: PullOptions): Promise<ImageInfo>;
  /** Creates and starts; gives the one that exists already under that name. */
  start(spec: ContainerSpec, signal: AbortSignal): Promise<StartedContainer>;
  /** Containers of that platform, ended ones included. */
  list(platformId: string): Promise<readonly FoundContainer[]>;
  /**
   * Follows the output until the container has ended or the signal is aborted.
   *
   * @param options.sinceMs only lines that are newer, as `onLine` gave the time; absent: all.
   * @param options.seenCount how many lines with exactly that time are known; more than these are given too.
   *   Absent: none of that millisecond is given again.
   * @param onLine without newline, with the time that the runtime gave it in whole milliseconds, in order.
   */
  logs(
    handle: ContainerHandle,
    options: {
      readonly sinceMs?: number;
      readonly seenCount?: number;
      readonly signal: AbortSignal;
    },
    onLine: (stream: "stdout" | "stderr", line: string, timeMs: number) => void,
  ): Promise<void>;
  /** Resolves when it has ended; rejects when the signal is aborted, and leaves it running then. */
  wait(
    handle: ContainerHandle,
    options: { readonly signal: AbortSignal; readonly onPhase?: (line: string) => void },
  ): Promise<ContainerEnd>;
  /** SIGTERM, the grace, SIGKILL; resolves when nothing of it runs any more, which was verified. */
  stop(handle: ContainerHandle, graceMs: number): Promise<void>;
  /** What it left: the bytes of `result.json`, if any, and its artifacts. Before {@link remove}. */
  collect(handle: ContainerHandle): Promise<{
    readonly result?: Uint8Array;
    readonly artifacts: readonly CollectedArtifact[];
    /** What below `artifacts` is not among them, and why: a sentence each. */
    readonly skipped?: readonly string[];
  }>;
  /** It, its files and its anonymous volumes. No error when there is none. */
  remove(handle: ContainerHandle): Promise<void>;
}

/** What went wrong at the runtime; becomes the task's failure. */
export class ContainerError extends Error {
  override readonly name = "ContainerError";
  readonly kind: FailureKind;
  /** Stable, for example `IMAGE_NOT_FOUND`, `GPU_UNKNOWN_TO_RUNTIME`. */
  readonly code: string;
  readonly isRetryable: boolean | undefined;

  constructor(kind: FailureKind, code: string, message: string, isRetryable?: boolean) {
    super(message);
    this.kind = kind;
    this.code = code;
    this.isRetryable = isRetryable;
  }
}
