/**
 * Stopping: cancel, fail-fast, timeouts. What runs is told to stop and counts as open until it is
 * confirmed gone, or until a deadline at which it is declared lost.
 */
import type { CommandId, ExecutionId } from "../core/ids.ts";
import type { Draft } from "./draft.ts";
import type { Place } from "./event.ts";
import type { Failure } from "./failure.ts";
import { failure } from "./failure.ts";
import type { OpenCommand, Visit } from "./record.ts";
import { placeIn, placeOf } from "./record.ts";
import { findVisit, isStopping } from "./state.ts";

/** How long a worker has to confirm that a cancelled command is gone. */
export const CANCEL_DEADLINE_MS = 30_000;
/**
 * The same while it holds GPUs, which are not free before it is gone: longer than a container may take to
 * stop. A worker that is dead is known by its lease.
 */
export const GPU_CANCEL_DEADLINE_MS = 900_000;

interface Running {
  readonly commands: readonly CommandId[];
  readonly children: readonly ExecutionId[];
}

/** Ends the execution with this failure; the first one counts. */
export function failExecution(draft: Draft, error: Failure, mode: "drain" | "fail_fast"): void {
  const { state } = draft;
  if (isStopping(state) || (state.failing !== undefined && mode === "drain")) {
    return;
  }
  const running = runningOf(draft, state.visits.values());
  draft.emit({ type: "playbook.failing", error: state.failing?.error ?? error, mode });
  if (mode === "fail_fast") {
    tellToStop(draft, running);
  }
}

export function cancelExecution(draft: Draft, reason: string): void {
  const running = runningOf(draft, draft.state.visits.values());
  draft.emit({ type: "playbook.cancelling", reason });
  tellToStop(draft, running);
}

/** Fails a visit whose commands still run; it exits when they are gone. */
export function failVisit(draft: Draft, visit: Visit, error: Failure): void {
  const running = runningOf(draft, [visit]);
  draft.emit({ type: "step.failing", step: visit.step, visit: visit.visit, error });
  tellToStop(draft, running);
  draft.touched.push(visit);
}

export function onStepTimeout(draft: Draft, place: Place): void {
  const visit = findVisit(draft.state, place);
  if (visit === undefined || visit.failing !== undefined || isStopping(draft.state)) {
    return;
  }
  const { timeoutMs = 0 } = draft.stepOf(visit);
  const message = `Step ${visit.step} did not end within ${timeoutMs} ms`;
  failVisit(draft, visit, failure("timeout", message, { code: "STEP_TIMEOUT", step: visit.step }));
}

export function onExecutionTimeout(draft: Draft): void {
  const { timeoutMs = 0 } = draft.state.playbook.executor;
  const message = `The execution did not end within ${timeoutMs} ms`;
  failExecution(draft, failure("timeout", message, { code: "EXECUTION_TIMEOUT" }), "fail_fast");
}

/** Declares lost what should be gone by now; children have a deadline of their own and are told again. */
export function onCancelDeadline(draft: Draft): void {
  const { state, nowMs } = draft;
  const cancelled = [...state.commands.values()].filter((c) => c.cancelledAtMs !== undefined);
  const overdue = cancelled.filter((c) => (c.cancelledAtMs ?? nowMs) + deadlineOf(c) <= nowMs);
  for (const command of overdue) {
    confirmCancelled(draft, command, true);
  }
  const children = [...state.children.values()].filter((c) => c.cancelledAtMs !== undefined);
  draft.cancelChildren.push(...children.map(({ childId }) => childId));
  if (children.length > 0 || overdue.length < cancelled.length) {
    draft.startTimer({ kind: "cancel_deadline" }, CANCEL_DEADLINE_MS);
  }
}

function deadlineOf({ wantsGpus }: OpenCommand): number {
  return wantsGpus ? GPU_CANCEL_DEADLINE_MS : CANCEL_DEADLINE_MS;
}

/** A cancelled command is gone, or given up. */
export function confirmCancelled(draft: Draft, command: OpenCommand, isLost: boolean): void {
  const { commandId } = command;
  const place = placeIn(command);
  const owner = findVisit(draft.state, place);
  const lease = draft.leaseOf(commandId);
  draft.emit({ type: "command.cancelled", commandId, isLost, ...place, ...lease });
  draft.remove.push(commandId);
  if (owner !== undefined) {
    draft.touched.push(owner);
  }
}

/** Children and commands of the visits that were not told to stop yet. */
function runningOf(draft: Draft, visits: Iterable<Visit>): Running {
  const commands: CommandId[] = [];
  const children: ExecutionId[] = [];
  for (const visit of visits) {
    for (const { commandId, childId } of visit.runs.values()) {
      const command = commandId && draft.state.commands.get(commandId);
      const child = childId && draft.state.children.get(childId);
      if (command && command.cancelledAtMs === undefined) {
        commands.push(command.commandId);
      }
      if (child && child.cancelledAtMs === undefined) {
        children.push(child.childId);
      }
    }
  }
  return { commands, children };
}

function tellToStop(draft: Draft, { commands, children }: Running): void {
  draft.cancel.push(...commands);
  draft.cancelChildren.push(...children);
  if (commands.length + children.length > 0) {
    draft.startTimer({ kind: "cancel_deadline" }, CANCEL_DEADLINE_MS);
  }
}

/** The error of a run, with its place filled in. */
export function placedFailure(
  error: Failure,
  visit: Visit,
  key: number,
  attempt?: number,
): Failure {
  const { step, index } = placeOf(visit, key);
  return {
    step,
    ...(index === undefined ? {} : { index }),
    ...(attempt === undefined ? {} : { attempt }),
    ...error,
  };
}
