/** A container that no command of this worker holds: whose it says it is, and how soon to ask about it again. */
import type { HostContainer } from "../containers/host.ts";
import { processState } from "../containers/process-identity.ts";
import type { CommandId, ExecutionId, WorkerId } from "../core/ids.ts";
import { isId } from "../core/ids.ts";
import type { AdoptionQuestion } from "../engine/command.ts";

/** While nothing is open. */
export const PASS_MS = 30_000;
/** For those whose worker is dead or frozen, or may be: their leases last a few seconds more. */
export const AGAIN_MS = 1000;
/** As often after that, while another worker seems to have taken them over. */
export const LONG_AGAIN_MS = 3000;
const QUICK_COUNT = 15;
/** Of a cluster: with more, each pass costs servers too much to be made so often. */
const CLUSTER_QUICK_MAX = 200;

/** False for labels that somebody else has written. */
export function isNamed({
  executionId,
  commandId,
  attempt,
  workerId,
}: HostContainer["owner"]): boolean {
  return (
    isId(executionId) &&
    isId(commandId) &&
    Number.isInteger(attempt) &&
    attempt > 0 &&
    workerId !== ""
  );
}

export function questionOf({ owner, runtime }: HostContainer): AdoptionQuestion {
  const { executionId, commandId, attempt, workerId, process } = owner;
  return {
    held: {
      executionId: executionId as ExecutionId,
      commandId: commandId as CommandId,
      attempt,
    },
    ownerId: workerId as WorkerId,
    isOwnerDead: processState(process) === "dead",
    isReusable: runtime.isCluster,
  };
}

export interface StrayHistory {
  readonly workerId: WorkerId;
  /** How often it was asked about; undefined: it is decided. */
  readonly count: number | undefined;
  readonly passCount: number;
  readonly strayCount: number;
}

/**
 * Leases end soon, so what may be taken over must be soon; what a living worker has need not be, unless it is on
 * GPUs that wait for its end here too.
 */
export function againMs(
  { owner, runtime, gpuIds }: HostContainer,
  { workerId, count, passCount, strayCount }: StrayHistory,
): number {
  if (count === undefined) {
    return PASS_MS;
  }
  if (runtime.isCluster) {
    return clusterAgainMs(passCount, strayCount);
  }
  const state = owner.workerId === workerId ? "unknown" : processState(owner.process);
  const isNew = count <= QUICK_COUNT;
  if (state === "alive" || (state !== "dead" && !isNew)) {
    return gpuIds.length === 0 ? PASS_MS : LONG_AGAIN_MS;
  }
  return isNew ? AGAIN_MS : LONG_AGAIN_MS;
}

/** Nobody can see whether the worker of a Job lives. */
function clusterAgainMs(passCount: number, strayCount: number): number {
  if (passCount <= QUICK_COUNT) {
    return AGAIN_MS;
  }
  return strayCount <= CLUSTER_QUICK_MAX ? LONG_AGAIN_MS : PASS_MS;
}
