/** Ends a Job, and its pods for sure. */

import type { Logger } from "../../observability/log.ts";
import { ContainerError } from "../runtime.ts";
import type { KubernetesApi } from "./api.ts";
import { explain } from "./api.ts";
import { ignoringAbsence, jobs } from "./job-start.ts";
import type { FollowedJob } from "./job-watch.ts";
import { isEnded } from "./verdict.ts";

export interface JobStopOptions {
  readonly namespace: string;
  readonly name: string;
  readonly graceMs: number;
  readonly log: Logger;
}

/** After the grace: for the node to say that it is gone. */
const MARGIN_MS = 15_000;
const LOOK_MS = 5000;

/** Resolves when no pod of it runs any more. */
export async function stopJob(
  api: KubernetesApi,
  followed: FollowedJob,
  { namespace, name, graceMs, log }: JobStopOptions,
  signal: AbortSignal,
): Promise<void> {
  const body = { propagationPolicy: "Foreground" };
  await ignoringAbsence(api.call({ ...jobs("delete", namespace, name), body }, signal));
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
