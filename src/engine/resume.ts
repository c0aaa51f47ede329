/** Retries of finished executions: what failed or was cut off enters again, all else is kept. */
import type { Refusal, RetryRequest } from "./decision.ts";
import { enterAgain } from "./dispatch.ts";
import type { Draft } from "./draft.ts";
import type { Visit } from "./record.ts";
import type { ExecutionState } from "./state.ts";

/** Opens a finished execution again. */
export function resume(draft: Draft, request: RetryRequest): true | Refusal {
  const { state } = draft;
  const refusal = refusalOfRetry(state, request);
  if (refusal !== undefined) {
    return refusal;
  }
  const { steps, reason } = request;
  const visits = visitsOf(state)
    .filter(({ step }) => steps === undefined || steps.includes(step))
    .map(({ step, visit }) => ({ step, visit }));
  draft.emit({ type: "playbook.resumed", visits, ...(reason === undefined ? {} : { reason }) });
  const { timeoutMs } = state.playbook.executor;
  if (timeoutMs !== undefined) {
    draft.startTimer({ kind: "execution_timeout" }, timeoutMs);
  }
  for (const visit of visits) {
    enterAgain(draft, visit);
  }
  return true;
}

/** Why the execution cannot be retried like this; undefined: it can. */
export function refusalOfRetry(
  state: ExecutionState,
  { steps, atSeq }: RetryRequest,
): Refusal | undefined {
  if (atSeq !== undefined && atSeq !== state.seq) {
    return { code: "EXECUTION_CHANGED", message: "The execution has gone on since" };
  }
  return refusalOf(state) ?? refusalOfSteps(visitsOf(state), steps);
}

function visitsOf({ unfinished }: ExecutionState): readonly Visit[] {
  return [...unfinished.values()].map(({ visit }) => visit);
}

function refusalOf({ status, steps }: ExecutionState): Refusal | undefined {
  switch (status) {
    case "pending":
    case "running":
      return {
        code: "EXECUTION_RUNNING",
        message: "The execution has not ended: only a FAILED or CANCELLED one can be retried",
      };
    case "completed":
      return {
        code: "EXECUTION_COMPLETED",
        message: "The execution has completed: nothing of it failed. To start it over, rerun it",
      };
    case "failed":
    case "cancelled":
      return steps.size > 0
        ? undefined
        : {
            code: "NOTHING_TO_RETRY",
            message: "The execution ended before its first step. To start it over, rerun it",
          };
  }
}

function refusalOfSteps(
  unfinished: readonly Visit[],
  wanted: readonly string[] = [],
): Refusal | undefined {
  const names = [...new Set(unfinished.map(({ step }) => step))];
  const unknown = wanted.filter((step) => !names.includes(step));
  if (unknown.length === 0) {
    return undefined;
  }
  const known = names.length === 0 ? "none" : names.join(", ");
  const message = `Steps that failed or were cut off: ${known}; ${unknown.join(", ")} did not`;
  return { code: "STEP_NOT_RETRYABLE", message };
}
