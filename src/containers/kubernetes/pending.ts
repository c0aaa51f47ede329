/** Why a Job has no running container yet: the newest event of its own or of its pod. */
import type { KubernetesApi } from "./api.ts";
import type { EventObject, ObjectList } from "./object.ts";
import { timeMs } from "./object.ts";

/** Seen once, the cluster will go on failing so until somebody changes something. */
const HOPELESS =
  /violates PodSecurity|error looking up service account|is invalid:|is forbidden: (unable to validate|pod rejected)/;

export interface PendingReason {
  readonly text: string;
  /** The pod cannot even be made. */
  readonly isHopeless: boolean;
}

/** Undefined when nothing was said, or events may not be read. */
export async function pendingReason(
  api: KubernetesApi,
  namespace: string,
  name: string,
  signal: AbortSignal,
): Promise<PendingReason | undefined> {
  const newest = (await listEvents(api, namespace, name, signal)).at(-1);
  if (newest === undefined) {
    return undefined;
  }
  const text = [newest.reason, newest.message].filter(Boolean).join(": ");
  return { text, isHopeless: newest.reason === "FailedCreate" && HOPELESS.test(text) };
}

async function listEvents(
  api: KubernetesApi,
  namespace: string,
  name: string,
  signal: AbortSignal,
): Promise<readonly EventObject[]> {
  try {
    const query = { fieldSelector: `involvedObject.name=${name}`, limit: 100 };
    const list = await api.once(
      { verb: "list", group: "", resource: "events", namespace, query },
      signal,
    );
    return [...(list as ObjectList<EventObject>).items].sort((a, b) => atMs(a) - atMs(b));
  } catch {
    // Only a help for people: a role without events, or an API that is away, changes nothing.
    return [];
  }
}

function atMs({ lastTimestamp, eventTime, metadata }: EventObject): number {
  return timeMs(lastTimestamp) ?? timeMs(eventTime) ?? timeMs(metadata.creationTimestamp) ?? 0;
}
