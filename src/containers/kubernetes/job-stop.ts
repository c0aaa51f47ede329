/** Ends a Job, and its pods for sure. */

import { sleep } from "../../core/clock.ts";
import type { Logger } from "../../observability/log.ts";
import type { ContainerOwner } from "../runtime.ts";
import { ContainerError } from "../runtime.ts";
import type { KubernetesApi } from "./api.ts";
import { explain, isStatus } from "./api.ts";
import { findJob, ignoringAbsence, jobs } from "./job-start.ts";
import type { FollowedJob } from "./job-watch.ts";
import type { JobObject } from "./object.ts";
import { readOwner } from "./owner.ts";
import { isEnded } from "./verdict.ts";

/** A Job as one attempt of its command has it; without owner and uid it is whoever's it is. */
export interface HeldJob {
  readonly namespace: string;
  readonly name: string;
  readonly owner?: ContainerOwner;
  readonly uid?: string;
}

export interface JobStopOptions {
  readonly graceMs: number;
  readonly log: Logger;
}

/** After the grace: for the node to say that it is gone. */
const MARGIN_MS = 15_000;
const LOOK_MS = 5000;
const CONFLICT_MS = 100;

/** Resolves when no pod of it runs any more, or it was found to be another attempt's. */
export async function stopJob(
  api: KubernetesApi,
  followed: FollowedJob,
  held: HeldJob,
  { graceMs, log }: JobStopOptions,
  signal: AbortSignal,
): Promise<void> {
  const { namespace, name } = held;
  if (!(await deleteJob(api, held, "Foreground", signal))) {
    return;
  }
  await deletePods(api, followed, namespace, Math.ceil(graceMs / 1000), signal);
  const forceAtMs = Date.now() + graceMs + MARGIN_MS;
  let isForced = false;
  for (;;) {
    const { version } = followed;
    // The cluster removes the Job last, so none of its pods can appear any more.
    if (openPods(followed).length === 0 && followed.state.job === undefined) {
      return;
    }
    if (!isForced && Date.now() >= forceAtMs) {
      isForced = true;
      log.warn("Pod removed by force: its node did not say that it has ended", {
        job: `${namespace}/${name}`,
        nodes: followed.state.pods.map(({ spec }) => spec?.nodeName),
      });
      await deletePods(api, followed, namespace, 0, signal);
    }
    await followed.changed(version, LOOK_MS, signal);
  }
}

/** False: it belongs to another attempt, or is another Job by now, and stays. True also when there is none. */
export async function deleteJob(
  api: KubernetesApi,
  held: HeldJob,
  propagationPolicy: "Foreground" | "Background",
  signal: AbortSignal,
): Promise<boolean> {
  for (;;) {
    signal.throwIfAborted();
    const job = await findJob(api, held, signal);
    if (job === undefined || isAnothers(job, held)) {
      return job === undefined;
    }
    const { uid, resourceVersion } = job.metadata;
    // Refused if somebody takes it over between the look and this.
    const body = { propagationPolicy, preconditions: { uid, resourceVersion } };
    try {
      await api.call({ ...jobs("delete", held.namespace, held.name), body }, signal);
      return true;
    } catch (error) {
      if (!isStatus(error, 409) && !isStatus(error, 404)) {
        throw error;
      }
    }
    await sleep(CONFLICT_MS, signal);
  }
}

function isAnothers({ metadata }: JobObject, { owner, uid }: HeldJob): boolean {
  if (uid !== undefined && metadata.uid !== uid) {
    return true;
  }
  const current = readOwner(metadata);
  if (owner === undefined || current === undefined) {
    return false;
  }
  const isTaken = current.attempt === owner.attempt && current.workerId !== owner.workerId;
  return current.attempt > owner.attempt || isTaken;
}

function openPods(followed: FollowedJob): readonly string[] {
  return followed.state.pods.filter((pod) => !isEnded(pod)).map(({ metadata }) => metadata.name);
}

async function deletePods(
  api: KubernetesApi,
  followed: FollowedJob,
  namespace: string,
  gracePeriodSeconds: number,
  signal: AbortSignal,
): Promise<void> {
  const request = { verb: "delete", group: "", resource: "pods", namespace } as const;
  try {
    await Promise.all(
      openPods(followed).map((pod) =>
        ignoringAbsence(api.call({ ...request, name: pod, body: { gracePeriodSeconds } }, signal)),
      ),
    );
  } catch (error) {
    const reason = explain(error);
    throw reason instanceof ContainerError ? reason : error;
  }
}
