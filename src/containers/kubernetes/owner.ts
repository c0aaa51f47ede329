/** Whose a Job is, in labels and annotations: labels take 63 characters of few kinds, annotations anything. */
import { createHash } from "node:crypto";
import type { ContainerOwner } from "../runtime.ts";
import type { ObjectMeta } from "./object.ts";

/** Selects all that is ours in a namespace, whatever the platform. */
export const MANAGED = "app.kubernetes.io/managed-by=noetl,noetl.tool-kind=container";

const LABEL_CHARS_MAX = 63;
const STEP_CHARS_MAX = 20;
const ANNOTATION = "noetl.owner";

/**
 * The Job's name: of its command, not of an attempt, so that a later attempt finds what an earlier one
 * started, and of the platform, because several may share a namespace.
 */
export function jobName({ platformId, step, commandId }: ContainerOwner): string {
  const words = step.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-");
  const short = words.slice(0, STEP_CHARS_MAX).replaceAll(/^-+|-+$/g, "");
  const platform = createHash("sha256").update(platformId).digest("hex").slice(0, 8);
  return ["noetl", ...(short === "" ? [] : [short]), commandId, platform].join("-");
}

export function platformSelector(platformId: string): string {
  return `${MANAGED},noetl.platform=${labelValue(platformId)}`;
}

export function ownerLabels(owner: ContainerOwner): Record<string, string> {
  return {
    "app.kubernetes.io/managed-by": "noetl",
    "noetl.tool-kind": "container",
    "noetl.platform": labelValue(owner.platformId),
    "noetl.execution-id": labelValue(owner.executionId),
    "noetl.command": labelValue(owner.commandId),
    "noetl.step-name": labelValue(owner.step),
  };
}

/** What changes when another attempt takes the Job over; of the Job only. */
export function attemptLabels(owner: ContainerOwner): Record<string, string> {
  return { "noetl.worker": labelValue(owner.workerId), "noetl.attempt": String(owner.attempt) };
}

export function ownerAnnotations(owner: ContainerOwner): Record<string, string> {
  return { [ANNOTATION]: JSON.stringify(owner) };
}

/** Undefined for what is not ours, or was changed by hand. */
export function readOwner(metadata: ObjectMeta): ContainerOwner | undefined {
  try {
    const owner = JSON.parse(metadata.annotations?.[ANNOTATION] ?? "null") as ContainerOwner | null;
    return typeof owner?.commandId === "string" && typeof owner.attempt === "number"
      ? owner
      : undefined;
  } catch {
    return undefined;
  }
}

/** Letters, digits, `-`, `_` and `.`, the first and the last a letter or digit. */
export function labelValue(text: string): string {
  return text
    .replaceAll(/[^A-Za-z0-9._-]+/g, "-")
    .slice(0, LABEL_CHARS_MAX)
    .replaceAll(/^[^A-Za-z0-9]+|[^A-Za-z0-9]+$/g, "");
}
