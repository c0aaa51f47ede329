/**
 * Makes a Job and what it needs, or takes over the one that its command has already. Whatever dies in
 * between, doing it again brings it to the same end: the Job is suspended until it owns its secrets.
 */
import { sleep } from "../../core/clock.ts";
import type { ContainerOwner } from "../runtime.ts";
import { ContainerError } from "../runtime.ts";
import type { ApiRequest, KubernetesApi } from "./api.ts";
import { isStatus } from "./api.ts";
import type { JobParts } from "./job.ts";
import type { JobObject } from "./object.ts";
import { attemptLabels, ownerAnnotations, readOwner } from "./owner.ts";

/** Between two looks at a Job of an earlier attempt that is being deleted. */
const GONE_POLL_MS = 500;
const TIDY_MS = 10_000;

export interface StartedJob {
  readonly wasThere: boolean;
  readonly job: JobObject;
}

/** @throws KubernetesApiError; ContainerError when a later attempt has it. */
export async function startJob(
  api: KubernetesApi,
  parts: JobParts,
  owner: ContainerOwner,
  signal: AbortSignal,
): Promise<StartedJob> {
  for (;;) {
    signal.throwIfAborted();
    const made = await create(api, parts, signal);
    const job = made ?? (await findJob(api, parts, signal));
    // It may have gone away between the two answers, or be about to.
    if (job === undefined || job.metadata.deletionTimestamp !== undefined) {
      await sleep(GONE_POLL_MS, signal);
    } else if (await settle(api, parts, job, owner, signal)) {
      return { wasThere: made === undefined && job.spec.suspend !== true, job };
    }
  }
}

async function create(
  api: KubernetesApi,
  { namespace, job }: JobParts,
  signal: AbortSignal,
): Promise<JobObject | undefined> {
  try {
    return (await api.call({ ...jobs("create", namespace), body: job }, signal)) as JobObject;
  } catch (error) {
    if (isStatus(error, 409)) {
      return undefined;
    }
    throw error;
  }
}

export async function findJob(
  api: KubernetesApi,
  { namespace, name }: Pick<JobParts, "namespace" | "name">,
  signal: AbortSignal,
): Promise<JobObject | undefined> {
  try {
    return (await api.call(jobs("get", namespace, name), signal)) as JobObject;
  } catch (error) {
    if (isStatus(error, 404)) {
      return undefined;
    }
    throw error;
  }
}

/** Gives it its secrets, its owner, and lets it run; false if it was changed meanwhile. */
async function settle(
  api: KubernetesApi,
  parts: JobParts,
  job: JobObject,
  owner: ContainerOwner,
  signal: AbortSignal,
): Promise<boolean> {
  const current = readOwner(job.metadata);
  if (current !== undefined && current.attempt > owner.attempt) {
    const text = `Job ${parts.namespace}/${parts.name} belongs to attempt ${current.attempt} by now`;
    throw new ContainerError("worker_lost", "ATTEMPT_STALE", text);
  }
  const isSuspended = job.spec.suspend === true;
  const isOwn = current?.attempt === owner.attempt && current.workerId === owner.workerId;
  if (isOwn && !isSuspended) {
    return true;
  }
  try {
    if (isSuspended) {
      await createSecrets(api, parts, job, signal);
    }
    await api.call(takeOver(parts, job, owner, isSuspended), signal);
    return true;
  } catch (error) {
    if (isStatus(error, 409) || isStatus(error, 404)) {
      return false;
    }
    if (isSuspended) {
      await giveUp(api, parts);
    }
    throw error;
  }
}

function takeOver(
  { namespace, name }: JobParts,
  { metadata }: JobObject,
  owner: ContainerOwner,
  isSuspended: boolean,
): ApiRequest {
  return {
    ...jobs("patch", namespace, name),
    body: {
      metadata: {
        // Refused if it was changed since: two attempts must not both have it.
        resourceVersion: metadata.resourceVersion,
        labels: attemptLabels(owner),
        annotations: ownerAnnotations(owner),
      },
      ...(isSuspended ? { spec: { suspend: false } } : {}),
    },
  };
}

async function createSecrets(
  api: KubernetesApi,
  { namespace, name, secrets }: JobParts,
  job: JobObject,
  signal: AbortSignal,
): Promise<void> {
  const owner = { apiVersion: "batch/v1", kind: "Job", name, uid: job.metadata.uid ?? "" };
  for (const { secret } of secrets) {
    const metadata = { ...secret.metadata, namespace, ownerReferences: [owner] };
    await createSecret(api, namespace, { ...secret, metadata }, signal);
  }
}

/** One that is there is of an earlier Job of that name, or of an earlier try; nothing runs that reads it. */
async function createSecret(
  api: KubernetesApi,
  namespace: string,
  secret: { readonly metadata: { readonly name?: string } },
  signal: AbortSignal,
): Promise<void> {
  const request = { group: "", resource: "secrets", namespace } as const;
  for (;;) {
    try {
      await api.call({ verb: "create", ...request, body: secret }, signal);
      return;
    } catch (error) {
      if (!isStatus(error, 409)) {
        throw error;
      }
    }
    await ignoringAbsence(
      api.call({ verb: "delete", ...request, name: `${secret.metadata.name}` }, signal),
    );
  }
}

/** A Job that never ran would stay suspended for ever. */
async function giveUp(api: KubernetesApi, { namespace, name }: JobParts): Promise<void> {
  const body = { propagationPolicy: "Background" };
  const request = { ...jobs("delete", namespace, name), body };
  // What cannot be removed now is found by its labels later.
  await api.call(request, AbortSignal.timeout(TIDY_MS)).catch(() => undefined);
}

export async function ignoringAbsence(call: Promise<unknown>): Promise<void> {
  try {
    await call;
  } catch (error) {
    if (!isStatus(error, 404)) {
      throw error;
    }
  }
}

export function jobs(verb: ApiRequest["verb"], namespace: string, name?: string): ApiRequest {
  return {
    verb,
    group: "batch",
    resource: "jobs",
    namespace,
    ...(name === undefined ? {} : { name }),
  };
}
