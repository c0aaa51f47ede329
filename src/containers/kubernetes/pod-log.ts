/**
 * The output of a Job's container, line by line, from where it was last read: a connection that breaks is made
 * again, and no line comes twice. The cluster does not tell stdout and stderr apart.
 */
import { sleep } from "../../core/clock.ts";
import type { KubernetesApi } from "./api.ts";
import { explain, isStatus, KubernetesApiError } from "./api.ts";
import { CONTAINER } from "./job.ts";
import type { FollowedJob } from "./job-watch.ts";
import type { PodObject } from "./object.ts";
import type { JobState } from "./verdict.ts";
import { containerOf, isEnded, isJobOver, newestPod } from "./verdict.ts";

export interface PodLogOptions {
  readonly api: KubernetesApi;
  readonly namespace: string;
  /** As in {@link ContainerRuntime.logs}. */
  readonly sinceMs?: number;
  readonly seenCount?: number;
  readonly signal: AbortSignal;
  readonly onLine: (stream: "stdout" | "stderr", line: string, timeMs: number) => void;
}

/** Where reading stopped: the time as the cluster wrote it, and how many lines had just that time. */
interface Mark {
  time: string;
  count: number;
  /** Lines so far with the millisecond from which the caller knows some. */
  sinceCount: number;
}

/** Of a container that has ended: for the rest of a stream that does not end with it. */
const REST_MS = 10_000;
const RETRY_MS = 500;
const WAIT_MS = 60_000;

/** Until the container has ended and all it wrote was read; returns early when the signal is aborted. */
export async function followLog(followed: FollowedJob, options: PodLogOptions): Promise<void> {
  const mark: Mark = { time: "", count: 0, sinceCount: 0 };
  const { signal } = options;
  /** Pods read to their end; a Job that may try again makes another. */
  const done = new Set<string>();
  try {
    for (;;) {
      const { state, version } = followed;
      const pod = newestPod(state.pods);
      if (pod !== undefined && hasOutput(pod) && !done.has(pod.metadata.name)) {
        const hasEnded = isEnded(pod) || hasTerminated(pod);
        const isRead = await readLog(followed, pod, hasEnded, mark, options);
        if (hasEnded && isRead) {
          done.add(pod.metadata.name);
        } else {
          await pause(RETRY_MS, signal);
        }
      } else if (isLast(state, pod)) {
        return;
      } else {
        await followed.changed(version, WAIT_MS, signal);
      }
    }
  } catch (error) {
    if (!signal.aborted) {
      throw explain(error);
    }
  }
}

/** No other pod comes after it. */
function isLast({ job }: JobState, pod: PodObject | undefined): boolean {
  const mayTryAgain = (job?.spec.backoffLimit ?? 0) > 0;
  const hasEnded = pod !== undefined && (isEnded(pod) || hasTerminated(pod));
  const isOver = job === undefined || isJobOver(job);
  return (isOver && (hasEnded || pod === undefined)) || (hasEnded && !mayTryAgain);
}

function hasTerminated(pod: PodObject): boolean {
  return containerOf(pod)?.state?.terminated !== undefined;
}

function hasOutput(pod: PodObject): boolean {
  const state = containerOf(pod)?.state;
  return state?.running !== undefined || state?.terminated !== undefined;
}

/** One connection; false if it broke. */
async function readLog(
  followed: FollowedJob,
  pod: PodObject,
  hasEnded: boolean,
  mark: Mark,
  options: PodLogOptions,
): Promise<boolean> {
  const { api, namespace, sinceMs = 0, signal, onLine } = options;
  const fromMs = Math.max(sinceMs, mark.time === "" ? 0 : Date.parse(mark.time));
  const stop = new AbortController();
  const limit = AbortSignal.any([signal, stop.signal]);
  const watcher = hasEnded ? undefined : stopAfterEnd(followed, pod, stop, limit);
  let again = mark.count;
  const known = mark.time;
  try {
    for await (const text of api.stream(logRequest(namespace, pod, !hasEnded, fromMs), limit)) {
      const line = parseLine(text);
      if (line.time !== "" && line.time < known) {
        continue;
      }
      if (line.time === known && again > 0) {
        again--;
        continue;
      }
      remember(mark, line.time);
      if (isNew(line, mark, options)) {
        onLine("stdout", line.text, line.timeMs);
      }
    }
    return true;
  } catch (error) {
    return settle(error, signal, stop.signal);
  } finally {
    stop.abort();
    await watcher;
  }
}

/** False: the caller has it from an earlier reading. */
function isNew({ timeMs }: LogLine, mark: Mark, { sinceMs, seenCount }: PodLogOptions): boolean {
  if (sinceMs === undefined || timeMs > sinceMs) {
    return true;
  }
  if (timeMs < sinceMs || seenCount === undefined) {
    return false;
  }
  mark.sinceCount++;
  return mark.sinceCount > seenCount;
}

function settle(error: unknown, signal: AbortSignal, stop: AbortSignal): boolean {
  if (signal.aborted || (error instanceof KubernetesApiError && !canPass(error))) {
    throw error;
  }
  if (error instanceof KubernetesApiError || stop.aborted) {
    // A pod that is gone took its log with it.
    return isStatus(error, 404);
  }
  throw error;
}

/** 400: its container is only about to start, or its node has not said more yet. */
function canPass(error: KubernetesApiError): boolean {
  return error.isPassing || error.status === 400 || error.status === 404;
}

function remember(mark: Mark, time: string): void {
  mark.count = mark.time === time ? mark.count + 1 : 1;
  mark.time = time;
}

/** Some streams stay open after their container: a node that died, a proxy in between. */
async function stopAfterEnd(
  followed: FollowedJob,
  pod: PodObject,
  stop: AbortController,
  signal: AbortSignal,
): Promise<void> {
  try {
    for (;;) {
      const { version, state } = followed;
      const now = state.pods.find(({ metadata }) => metadata.name === pod.metadata.name);
      if (now === undefined || isEnded(now) || hasTerminated(now)) {
        break;
      }
      await followed.changed(version, WAIT_MS, signal);
    }
    await pause(REST_MS, signal);
    stop.abort();
  } catch {
    // The stream has ended before.
  }
}

function logRequest(
  namespace: string,
  pod: PodObject,
  isFollowing: boolean,
  fromMs: number,
): Parameters<KubernetesApi["stream"]>[0] {
  return {
    verb: "get",
    group: "",
    resource: "pods/log",
    namespace,
    name: pod.metadata.name,
    query: {
      container: CONTAINER,
      timestamps: true,
      ...(isFollowing ? { follow: true } : {}),
      // Whole seconds, so some lines come again.
      ...(fromMs > 0
        ? { sinceTime: new Date(Math.floor(fromMs / 1000) * 1000).toISOString() }
        : {}),
    },
  };
}

interface LogLine {
  readonly time: string;
  readonly timeMs: number;
  readonly text: string;
}

/** `2026-11-23T05:58:19.123456789Z text`; times of one log are in one zone and compare as text. */
function parseLine(line: string): LogLine {
  const space = line.indexOf(" ");
  const head = space === -1 ? line : line.slice(0, space);
  const timeMs = Date.parse(head);
  return Number.isNaN(timeMs)
    ? { time: "", timeMs: Date.now(), text: line }
    : { time: padded(head), timeMs, text: space === -1 ? "" : line.slice(space + 1) };
}

/** Go leaves out zeros at the end of a fraction; with all nine digits, times sort as text. */
function padded(time: string): string {
  const [, seconds = time, fraction = "", zone = ""] =
    /^([^.Z+]+)(?:\.(\d+))?(Z|[+-].*)?$/.exec(time) ?? [];
  return `${seconds}.${fraction.padEnd(9, "0")}${zone}`;
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, signal);
  signal.throwIfAborted();
}
