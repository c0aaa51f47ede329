/** How a container says whose it is: labels, which outlive every process. */
import type { ContainerOwner, ContainerSpec } from "./runtime.ts";

export const PLATFORM_LABEL = "noetl.platform";

const OWNER_LABELS = {
  platformId: PLATFORM_LABEL,
  workerId: "noetl.worker",
  process: "noetl.process",
  executionId: "noetl.execution",
  commandId: "noetl.command",
  attempt: "noetl.attempt",
  step: "noetl.step",
  task: "noetl.task",
} as const satisfies Record<keyof ContainerOwner, string>;

const GPUS_LABEL = "noetl.gpus";

export type Labels = Readonly<Record<string, string>>;

export function labelsOf({ owner, gpus }: Pick<ContainerSpec, "owner" | "gpus">): Labels {
  const labels: Record<string, string> = {};
  for (const [field, label] of Object.entries(OWNER_LABELS)) {
    labels[label] = String(owner[field as keyof ContainerOwner]);
  }
  return { ...labels, [GPUS_LABEL]: gpus.ids.join(",") };
}

/** Undefined: they are not ours. */
export function ownerOf(labels: Labels): ContainerOwner | undefined {
  const { platformId, attempt, ...rest } = OWNER_LABELS;
  const platform = labels[platformId];
  if (platform === undefined) {
    return undefined;
  }
  const text = (label: string): string => labels[label] ?? "";
  return {
    platformId: platform,
    attempt: Number(text(attempt)),
    workerId: text(rest.workerId),
    process: text(rest.process),
    executionId: text(rest.executionId),
    commandId: text(rest.commandId),
    step: text(rest.step),
    task: text(rest.task),
  };
}

export function gpuIdsOf(labels: Labels): readonly string[] {
  return (labels[GPUS_LABEL] ?? "").split(",").filter((id) => id !== "");
}
