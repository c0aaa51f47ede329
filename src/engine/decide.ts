/**
 * The one decision function: state and something that happened in, everything that follows out.
 * Pure and synchronous. See README.md for the states and their events.
 *
 * An input is first accepted (it ends commands, fires timers), then the draft is settled: runs go
 * on, loops advance, finished visits leave, tokens enter, until nothing moves any more. What is left
 * is outstanding work, a timer, or the end of the execution.
 */
import { assert, unreachable } from "../core/assert.ts";
import { errorMessage } from "../core/errors.ts";
import { RefNeededError } from "../template/scope.ts";
import { mergeDeep } from "./assign.ts";
import { onCancelledChild, onChildDone, onChildTimeout } from "./child.ts";
import { PIPELINE_START } from "./command.ts";
import { advanceCursor, renewFrame } from "./cursor.ts";
import type {
  ChildEnd,
  Decision,
  EngineInput,
  Environment,
  ExecutionStart,
  Refusal,
} from "./decision.ts";
import { dispatchNext } from "./dispatch.ts";
import { Draft } from "./draft.ts";
import type { EventOf, Place, TimerPurpose } from "./event.ts";
import { exitFailed, exitOk } from "./exit.ts";
import { failure, templateFailure } from "./failure.ts";
import { advanceLoop } from "./loop.ts";
import { StoreNeededError } from "./offload.ts";
import type { OpenTimer, Visit } from "./record.ts";
import { placeIn, placeKey, runKey, visitKey } from "./record.ts";
import { onAdopt, onLeaseExpired, onReport, onUnclaimed } from "./report.ts";
import { resume } from "./resume.ts";
import { continueRun } from "./run.ts";
import { onSignal } from "./signal.ts";
import type { ExecutionState } from "./state.ts";
import { findVisit, isStopping, isTerminal } from "./state.ts";
import {
  cancelExecution,
  failExecution,
  onCancelDeadline,
  onExecutionTimeout,
  onStepTimeout,
} from "./stop.ts";
import { resultOf } from "./view.ts";
import { onWaitDue } from "./wait.ts";
import { startWorkload } from "./workload.ts";

/**
 * Decides what follows from `input` and applies it to `state`. The caller commits all of it or drops
 * the state.
 *
 * @throws RefNeededError when a template needs a stored result, StoreNeededError when a part is too
 *   large for a command: the state is unusable then too.
 */
export function decide(
  state: ExecutionState,
  input: EngineInput,
  environment: Environment,
): Decision {
  const draft = new Draft(state, environment);
  try {
    const accepted = accept(draft, input);
    if (accepted === true) {
      settle(draft);
    }
    return draft.decision(accepted);
  } catch (error) {
    if (error instanceof RefNeededError || error instanceof StoreNeededError) {
      throw error;
    }
    endByBug(draft, error);
    return draft.decision(true);
  }
}

/** False when the input has no meaning for the state: it came late, or twice. */
function accept(draft: Draft, input: EngineInput): boolean | Refusal {
  const { state } = draft;
  if (input.kind === "start") {
    return state.status === "pending" && acceptStart(draft, input.start);
  }
  if (input.kind === "retry") {
    return resume(draft, input);
  }
  if (state.status !== "running") {
    return false;
  }
  switch (input.kind) {
    case "report":
      return onReport(draft, input.report);
    case "lease_expired":
      return onLeaseExpired(draft, input.commandId, input.attempt);
    case "unclaimed":
      return onUnclaimed(draft, input);
    case "adopt":
      return onAdopt(draft, input);
    case "timer": {
      const timer = state.timers.get(input.timerId);
      return timer !== undefined && acceptTimer(draft, input, timer);
    }
    case "child_done":
      return acceptChild(draft, input.child);
    case "signal":
      return onSignal(draft, input.signal);
    case "variables":
      return acceptVariables(draft, input);
    case "cancel":
      return state.cancelling === undefined && acceptCancel(draft, input.reason);
    case "finalize":
      return acceptFinalize(draft, input);
    default:
      return unreachable(input);
  }
}

function acceptStart(draft: Draft, start: ExecutionStart): boolean {
  const { executionId, path, version, payload, pool, parent, origin } = start;
  const { executor } = draft.state.playbook;
  const more = {
    ...(pool === undefined ? {} : { pool }),
    ...(parent === undefined ? {} : { parent }),
    ...(origin === undefined ? {} : { origin }),
  };
  const base = { type: "playbook.started", executionId, path, version, ...more } as const;
  try {
    const workload = startWorkload(draft.state.playbook, start, draft.scopeOptions);
    draft.emit({ ...base, workload });
  } catch (error) {
    const cause = templateFailure(error);
    draft.emit({ ...base, workload: mergeDeep(draft.state.playbook.workload, payload) });
    failExecution(draft, cause, "drain");
    return true;
  }
  if (executor.timeoutMs !== undefined) {
    draft.startTimer({ kind: "execution_timeout" }, executor.timeoutMs);
  }
  return true;
}

function acceptTimer(
  draft: Draft,
  { timerId }: Extract<EngineInput, { kind: "timer" }>,
  { purpose }: OpenTimer,
): boolean {
  const pipeline = pipelineOfRetry(draft, purpose);
  draft.emit({ type: "timer.fired", timerId });
  switch (purpose.kind) {
    case "execution_timeout":
      onExecutionTimeout(draft);
      return true;
    case "step_timeout":
      onStepTimeout(draft, purpose);
      return true;
    case "cancel_deadline":
      onCancelDeadline(draft);
      return true;
    case "child_timeout": {
      const child = draft.state.children.get(purpose.childId);
      const visit = child && findVisit(draft.state, child);
      if (child !== undefined && visit !== undefined && child.cancelledAtMs === undefined) {
        onChildTimeout(draft, visit, child);
      }
      return true;
    }
    case "wait":
      acceptWait(draft, purpose);
      return true;
    case "frame_renewal":
      renewFrame(draft, purpose);
      return true;
    case "retry": {
      const visit = findVisit(draft.state, purpose);
      if (visit !== undefined) {
        draft.continuations.push({ visit, key: runKey(purpose), pipeline, delayMs: 0 });
      }
      return true;
    }
    default:
      return unreachable(purpose);
  }
}

function acceptWait(draft: Draft, place: Place): void {
  const wait = draft.state.waits.get(placeKey(place));
  if (wait !== undefined) {
    onWaitDue(draft, wait);
  }
}

function pipelineOfRetry(draft: Draft, purpose: TimerPurpose): typeof PIPELINE_START {
  const visit = purpose.kind === "retry" ? findVisit(draft.state, purpose) : undefined;
  const run = purpose.kind === "retry" ? visit?.runs.get(runKey(purpose)) : undefined;
  return run?.pipeline ?? PIPELINE_START;
}

function acceptChild(draft: Draft, end: ChildEnd): boolean {
  const child = draft.state.children.get(end.childId);
  const visit = child && findVisit(draft.state, child);
  if (child === undefined || visit === undefined) {
    return false;
  }
  if (child.cancelledAtMs === undefined) {
    onChildDone(draft, visit, child, end);
  } else {
    onCancelledChild(draft, visit, child);
  }
  return true;
}

/** What runs already goes on with the ctx that it was given. False when nothing changes. */
function acceptVariables(
  draft: Draft,
  { values, removed }: Extract<EngineInput, { kind: "variables" }>,
): boolean {
  const gone = removed.filter((name) => Object.hasOwn(draft.state.ctx, name));
  if (Object.keys(values).length + gone.length > 0) {
    const names = gone.length === 0 ? {} : { removed: gone };
    draft.emit({ type: "ctx.updated", values, ...names });
  }
  return true;
}

function acceptCancel(draft: Draft, reason: string): boolean {
  cancelExecution(draft, reason);
  return true;
}

/** Ends the execution at once, whatever still runs: its workers learn that their right is gone. */
function acceptFinalize(
  draft: Draft,
  { status, reason }: Extract<EngineInput, { kind: "finalize" }>,
): boolean {
  abandon(draft);
  freeGpus(draft);
  if (status === "completed") {
    draft.emit({ type: "playbook.completed", result: resultOf(draft.state) });
  } else {
    const error = failure("cancelled", reason, { code: "FINALIZED" });
    draft.emit({ type: "playbook.failed", error: draft.state.failure ?? error });
  }
  return true;
}

function abandon(draft: Draft): void {
  const { commands, children } = draft.state;
  draft.remove.push(...commands.keys());
  draft.cancel.push(...commands.keys());
  draft.cancelChildren.push(...children.keys());
}

/** From here on others may get them; their workers see to it that nothing of these commands is left first. */
function freeGpus(draft: Draft): void {
  for (const command of [...draft.state.commands.values()]) {
    const { commandId } = command;
    const end = draft.leaseOf(commandId);
    if (end.lease !== undefined) {
      const place = placeIn(command);
      draft.emit({ type: "command.cancelled", commandId, isLost: true, ...place, ...end });
    }
  }
}

/** Lets everything happen that can happen now. */
function settle(draft: Draft): void {
  while (!isTerminal(draft.state)) {
    const continuation = draft.continuations.shift();
    const visit = continuation === undefined ? draft.touched.pop() : undefined;
    if (continuation !== undefined) {
      if (isOpen(draft, continuation.visit) && continuation.visit.runs.has(continuation.key)) {
        continueRun(draft, continuation);
      }
    } else if (visit !== undefined) {
      if (isOpen(draft, visit)) {
        advance(draft, visit);
      }
    } else if (!dispatchNext(draft) && !startFinalStep(draft)) {
      break;
    }
  }
  finish(draft);
}

function isOpen({ state }: Draft, visit: Visit): boolean {
  return !isStopping(state) && state.visits.get(visitKey(visit)) === visit;
}

function advance(draft: Draft, visit: Visit): void {
  if (visit.failing !== undefined) {
    if (visit.runs.size === 0) {
      exitFailed(draft, visit, visit.failing);
    }
  } else if (visit.loop !== undefined) {
    advanceLoop(draft, visit, visit.loop);
  } else if (visit.cursor !== undefined) {
    advanceCursor(draft, visit, visit.cursor);
  } else if (visit.outcome?.error !== undefined) {
    exitFailed(draft, visit, visit.outcome.error);
  } else if (visit.outcome !== undefined) {
    exitOk(draft, visit);
  }
}

/** Once all has come to rest the final step runs, however the execution went; not after a cancel. */
function startFinalStep(draft: Draft): boolean {
  const { state } = draft;
  const { finalStep } = state.playbook.executor;
  const isDue = finalStep !== undefined && !state.isFinishing && state.cancelling === undefined;
  if (!isDue || isTerminal(state) || isBusy(state)) {
    return false;
  }
  draft.emit({ type: "playbook.finishing", step: finalStep });
  return true;
}

/** Ends the execution when nothing is outstanding. */
function finish(draft: Draft): void {
  const { state } = draft;
  if (!isTerminal(state) && !isBusy(state)) {
    draft.emit(lastEvent(state));
  }
}

function isBusy({ commands, children, waits, retryCount }: ExecutionState): boolean {
  return commands.size + children.size + waits.size + retryCount > 0;
}

function lastEvent(
  state: ExecutionState,
): EventOf<"playbook.completed" | "playbook.failed" | "playbook.cancelled"> {
  if (state.cancelling !== undefined) {
    return { type: "playbook.cancelled", reason: state.cancelling.reason };
  }
  if (state.failing !== undefined) {
    const error = state.isFinishing ? state.failure : undefined;
    return { type: "playbook.failed", error: error ?? state.failing.error };
  }
  assert(state.visits.size + state.waiting.size === 0, "no token is left when nothing runs");
  return state.failure === undefined
    ? { type: "playbook.completed", result: resultOf(state) }
    : { type: "playbook.failed", error: state.failure };
}

/** A bug of ours must not leave an execution that never ends. */
function endByBug(draft: Draft, thrown: unknown): void {
  if (draft.state.status !== "running") {
    throw thrown;
  }
  abandon(draft);
  const message = `The engine could not decide: ${errorMessage(thrown)}`;
  draft.emit({ type: "playbook.failed", error: failure("internal", message) });
}
