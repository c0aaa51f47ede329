/** What a Job and its pods say: it waits, it runs, it has ended and why. Pure. */
import type { ContainerEnd } from "../runtime.ts";
import { ContainerError } from "../runtime.ts";
import { CONTAINER } from "./job.ts";
import type { Condition, ContainerStatus, JobObject, PodObject, Terminated } from "./object.ts";
import { timeMs } from "./object.ts";

/** Undefined: there is none any more. */
export interface JobState {
  readonly job: JobObject | undefined;
  readonly pods: readonly PodObject[];
}

export type Verdict =
  /** @property phase for people; `isPending`: its container has not been started. */
  | {
      readonly status: "open";
      readonly phase: string;
      readonly isPending: boolean;
      /** Look again then, though nothing has changed. */
      readonly againAtMs?: number;
    }
  | { readonly status: "ended"; readonly end: ContainerEnd }
  /** The image could not be pulled so far; `isFinal`: it never can. */
  | { readonly status: "image"; readonly proof: string; readonly isFinal: boolean }
  /** It can never start, but the cluster would try for ever. */
  | { readonly status: "broken"; readonly error: ContainerError }
  /** Its node does not answer: the pod should be gone and is not. */
  | { readonly status: "lost"; readonly pod: PodObject; readonly end: ContainerEnd };

type Cause = NonNullable<ContainerEnd["cause"]>;

/** How long after its time a pod may still be there until its node counts as lost. */
const LOST_AFTER_MS = 60_000;
/** Of what a shell says of a process that was killed. */
const KILLED = 137;

const IMAGE_REASONS = new Set([
  "ErrImagePull",
  "ImagePullBackOff",
  "InvalidImageName",
  "ErrImageNeverPull",
  "ImageInspectError",
  "RegistryUnavailable",
  "SignatureValidationFailed",
]);
const IMAGE_FINAL = new Set(["InvalidImageName", "ErrImageNeverPull", "SignatureValidationFailed"]);
const IMAGE_FINAL_MESSAGE =
  /not found|manifest unknown|does not exist|denied|unauthorized|authentication required|no match for platform/i;
const BROKEN_REASONS = new Set([
  "CreateContainerConfigError",
  "CreateContainerError",
  "RunContainerError",
]);

/** The newest pod decides: there is more than one only where the Job may try again. */
export function judge({ job, pods }: JobState, nowMs: number): Verdict {
  const pod = newestPod(pods);
  if (job === undefined) {
    return deleted(pod, nowMs);
  }
  const failed = failureOf(job);
  const isOver = isJobOver(job);
  const isFinalPod = isEnded(pod) && pod?.metadata.deletionTimestamp === undefined;
  const mayTryAgain = (job.spec.backoffLimit ?? 0) > 0;
  const open = pods.find((one) => !isEnded(one));
  if (open?.metadata.deletionTimestamp !== undefined) {
    return terminating(open, failed, job, nowMs);
  }
  if ((isOver && open === undefined) || (isFinalPod && !mayTryAgain)) {
    return ended(job, pod, failed);
  }
  if (pod === undefined || isEnded(pod)) {
    return { status: "open", phase: jobPhase(job), isPending: true };
  }
  return judgeOpen(pod);
}

/** It makes no pod any more; the last one may still be stopping. */
export function isJobOver(job: JobObject): boolean {
  return failureOf(job) !== undefined || isTrue(job, "Complete") !== undefined;
}

/** Newer clusters say so before its pods are gone, too. */
function failureOf(job: JobObject): Condition | undefined {
  return isTrue(job, "Failed") ?? isTrue(job, "FailureTarget");
}

export function newestPod(pods: readonly PodObject[]): PodObject | undefined {
  const bornMs = (pod: PodObject): number => timeMs(pod.metadata.creationTimestamp) ?? 0;
  return pods.reduce<PodObject | undefined>(
    (newest, pod) => (newest === undefined || bornMs(pod) >= bornMs(newest) ? pod : newest),
    undefined,
  );
}

/** The task's container in its pod, as far as the node has reported it. */
export function containerOf(pod: PodObject | undefined): ContainerStatus | undefined {
  return pod?.status?.containerStatuses?.find(({ name }) => name === CONTAINER);
}

export function isEnded(pod: PodObject | undefined): boolean {
  return pod?.status?.phase === "Succeeded" || pod?.status?.phase === "Failed";
}

function isTrue(
  of: { readonly status?: { readonly conditions?: readonly Condition[] } },
  type: string,
): Condition | undefined {
  return of.status?.conditions?.find((one) => one.type === type && one.status === "True");
}

function jobPhase(job: JobObject): string {
  return job.spec.suspend === true ? "suspended" : "waiting for a pod";
}

function deleted(pod: PodObject | undefined, nowMs: number): Verdict {
  const gone: Cause = { kind: "worker_lost", proof: "its Job was deleted" };
  if (pod === undefined || isEnded(pod)) {
    return { status: "ended", end: endOf(undefined, pod, gone) };
  }
  return terminating(pod, undefined, undefined, nowMs);
}

/** Told to stop; it is over when it is gone, or its node is. */
function terminating(
  pod: PodObject,
  failed: Condition | undefined,
  job: JobObject | undefined,
  nowMs: number,
): Verdict {
  const dueMs = (timeMs(pod.metadata.deletionTimestamp) ?? nowMs) + LOST_AFTER_MS;
  if (nowMs < dueMs) {
    return { status: "open", phase: "stopping", isPending: false, againAtMs: dueMs };
  }
  const node = pod.spec?.nodeName ?? "its node";
  const lost: Cause = {
    kind: "worker_lost",
    proof: `${node} does not say that pod ${pod.metadata.name} has ended; it may still run there`,
  };
  const cause = failed?.reason === "DeadlineExceeded" ? deadlineCause(failed) : lost;
  return { status: "lost", pod, end: endOf(job, pod, cause) };
}

function judgeOpen(pod: PodObject): Verdict {
  const { state } = containerOf(pod) ?? {};
  const reason = state?.waiting?.reason ?? "";
  const message = state?.waiting?.message ?? "";
  if (IMAGE_REASONS.has(reason)) {
    const isFinal = IMAGE_FINAL.has(reason) || IMAGE_FINAL_MESSAGE.test(message);
    return { status: "image", proof: join(reason, message), isFinal };
  }
  if (BROKEN_REASONS.has(reason) && !/timed out|context deadline/i.test(message)) {
    const text = `The cluster cannot start the container: ${join(reason, message)}`;
    return { status: "broken", error: new ContainerError("schema", "CONTAINER_CONFIG", text) };
  }
  const isPending = state?.running === undefined && state?.terminated === undefined;
  return { status: "open", phase: podPhase(pod, reason, message), isPending };
}

function podPhase(pod: PodObject, reason: string, message: string): string {
  const unscheduled = pod.status?.conditions?.find(
    ({ type, status }) => type === "PodScheduled" && status === "False",
  );
  if (unscheduled !== undefined) {
    return `waiting for a node: ${join(unscheduled.reason, unscheduled.message)}`;
  }
  const node = pod.spec?.nodeName === undefined ? "" : ` on ${pod.spec.nodeName}`;
  const state = containerOf(pod)?.state;
  if (state?.running !== undefined) {
    return `running${node}`;
  }
  if (state?.terminated !== undefined) {
    return `ended${node}`;
  }
  return `starting${node}: ${join(reason === "" ? "waiting" : reason, message)}`;
}

function ended(job: JobObject, pod: PodObject | undefined, failed: Condition | undefined): Verdict {
  if (failed?.reason === "DeadlineExceeded") {
    return { status: "ended", end: endOf(job, pod, deadlineCause(failed)) };
  }
  const done = containerOf(pod)?.state?.terminated;
  if (pod !== undefined && done !== undefined && isStartFailure(done)) {
    const text = `The container could not be started: ${join(done.reason, done.message)}`;
    return { status: "broken", error: new ContainerError("schema", "CONTAINER_START", text) };
  }
  const cause = pod === undefined ? vanished(job, failed) : podCause(pod, done);
  return { status: "ended", end: endOf(job, pod, cause) };
}

function isStartFailure({ reason }: Terminated): boolean {
  return reason === "StartError" || reason === "ContainerCannotRun";
}

function deadlineCause({ reason, message }: Condition): Cause {
  return { kind: "timeout", proof: join(reason, message) };
}

/** Also of a Job that completed: its result was in the pod. */
function vanished(job: JobObject, failed: Condition | undefined): Cause {
  const said = failed === undefined ? "Complete" : join(failed.reason, failed.message);
  const proof = `the pod of Job ${job.metadata.name} was deleted (${said})`;
  return { kind: "worker_lost", proof };
}

function podCause(pod: PodObject, done: Terminated | undefined): Cause | undefined {
  const { phase, reason = "", message = "" } = pod.status ?? {};
  if (phase === "Succeeded") {
    return undefined;
  }
  if (done?.reason === "OOMKilled") {
    return {
      kind: "oom_host",
      proof: "OOMKilled: more than its memory limit, or than the node has",
    };
  }
  if (reason === "Evicted") {
    return { kind: isOwnLimit(message) ? "limit" : "worker_lost", proof: join(reason, message) };
  }
  if (reason === "DeadlineExceeded") {
    return { kind: "timeout", proof: join(reason, message) };
  }
  const disrupted = isTrue(pod, "DisruptionTarget");
  if (disrupted !== undefined) {
    return { kind: "worker_lost", proof: join(disrupted.reason, disrupted.message) };
  }
  if (pod.metadata.deletionTimestamp !== undefined) {
    return { kind: "worker_lost", proof: `pod ${pod.metadata.name} was deleted` };
  }
  if (done === undefined || done.reason === "ContainerStatusUnknown") {
    const said = reason === "" ? (done?.reason ?? "its container never ran") : reason;
    return { kind: "worker_lost", proof: join(said, message || done?.message) };
  }
  return isNodeReason(reason) ? { kind: "worker_lost", proof: join(reason, message) } : undefined;
}

/** Evicted for what it took itself, not because the node ran out. */
function isOwnLimit(message: string): boolean {
  return /exceed(ed|s) (its|the total|the) .*limit|exceeds the limit/i.test(message);
}

/** What a kubelet writes when it gives up a pod that did nothing wrong. */
function isNodeReason(reason: string): boolean {
  return ["NodeLost", "NodeShutdown", "Terminated", "Preempting", "Shutdown"].includes(reason);
}

function endOf(
  job: JobObject | undefined,
  pod: PodObject | undefined,
  cause: Cause | undefined,
): ContainerEnd {
  const status = containerOf(pod);
  const done = status?.state?.terminated;
  const startedAtMs =
    timeMs(done?.startedAt) ??
    timeMs(status?.state?.running?.startedAt) ??
    timeMs(job?.status?.startTime) ??
    timeMs(pod?.metadata.creationTimestamp) ??
    0;
  const digest = /sha256:[0-9a-f]{64}/.exec(status?.imageID ?? "")?.[0];
  return {
    exitCode: done?.exitCode ?? KILLED,
    startedAtMs,
    endedAtMs: timeMs(done?.finishedAt) ?? timeMs(job?.status?.completionTime) ?? startedAtMs,
    ...(digest === undefined ? {} : { imageDigest: digest }),
    ...(cause === undefined ? {} : { cause }),
  };
}

function join(reason: string | undefined, message: string | undefined): string {
  return [reason, message].filter((part) => part !== undefined && part !== "").join(": ");
}
