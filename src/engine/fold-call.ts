/** How events change the open commands, children, waits and timers. */
import { assert, unreachable } from "../core/assert.ts";
import type { EventOf } from "./event.ts";
import { beginPhase, pullerOf } from "./fold-cursor.ts";
import { dropTimer, recordOf, visitOf } from "./fold-place.ts";
import { countRetries, endRun, moveRun } from "./fold-run.ts";
import { addWait, dropWait, takeSignal } from "./fold-wait.ts";
import { placeKey } from "./record.ts";
import type { ExecutionState } from "./state.ts";

export function applyIssued(
  state: ExecutionState,
  event: EventOf<"command.issued">,
  timeMs: number,
): void {
  const { type: _, attempt, commandId, pool, phase, gpus, ...place } = event;
  state.commands.set(commandId, {
    ...place,
    commandId,
    pool,
    issuedAtMs: timeMs,
    wantsGpus: gpus !== undefined,
    attempt,
    adoptedBy: undefined,
    losses: 0,
    cancelledAtMs: undefined,
  });
  if (phase !== undefined) {
    beginPhase(state, event, phase);
  }
  moveRun(state, event, { commandId });
}

export function applyRetried(state: ExecutionState, event: EventOf<"command.retried">): void {
  const command = state.commands.get(event.commandId);
  assert(command !== undefined, `command ${event.commandId} is open`);
  command.attempt = event.attempt;
  command.adoptedBy = undefined;
  command.losses += event.isLoss ? 1 : 0;
  recordOf(state, event.step).attempts++;
}

export function applyAdopted(state: ExecutionState, event: EventOf<"command.adopted">): void {
  const command = state.commands.get(event.commandId);
  assert(command !== undefined, `command ${event.commandId} is open`);
  command.adoptedBy = event.workerId;
}

export function applyChildStarted(
  state: ExecutionState,
  event: EventOf<"child.started">,
  timeMs: number,
): void {
  const { type: _, isWaited, childId, path, pipeline, ...place } = event;
  if (!isWaited) {
    moveRun(state, event, { pipeline });
    return;
  }
  state.children.set(childId, {
    ...place,
    childId,
    path,
    pipeline,
    startedAtMs: timeMs,
    cancelledAtMs: undefined,
    timerId: undefined,
  });
  moveRun(state, event, { pipeline, childId });
}

export function applyChildDone(state: ExecutionState, event: EventOf<"child.done">): void {
  const child = event.childId === undefined ? undefined : state.children.get(event.childId);
  if (child !== undefined) {
    state.children.delete(child.childId);
    dropTimer(state, child.timerId);
  }
  countRetries(state, event, event.retries ?? event.pipeline?.retries);
  if (event.pipeline === undefined) {
    endRun(state, event, { value: event.value, error: event.error });
  } else {
    moveRun(state, event, { pipeline: event.pipeline, childId: undefined });
  }
}

export function applyWaitStarted(
  state: ExecutionState,
  event: EventOf<"wait.started">,
  timeMs: number,
): void {
  const { type: _, ...wait } = event;
  addWait(state, { ...wait, startedAtMs: timeMs, timerId: undefined });
  moveRun(state, event, { pipeline: event.pipeline });
}

export function applyWaitDone(state: ExecutionState, event: EventOf<"wait.done">): void {
  const wait = dropWait(state, event);
  if (wait?.signal !== undefined && event.signalSeq !== undefined) {
    takeSignal(state, wait.signal, event.signalSeq);
  }
  countRetries(state, event, event.retries ?? event.pipeline?.retries);
  if (event.pipeline === undefined) {
    endRun(state, event, { value: event.value, error: event.error });
  } else {
    moveRun(state, event, { pipeline: event.pipeline });
  }
}

export function applyTimerStarted(state: ExecutionState, event: EventOf<"timer.started">): void {
  const { timerId, purpose, dueMs } = event;
  state.timers.set(timerId, { purpose, dueMs });
  switch (purpose.kind) {
    case "step_timeout":
      visitOf(state, purpose).timerId = timerId;
      return;
    case "child_timeout": {
      const child = state.children.get(purpose.childId);
      assert(child !== undefined, `child ${purpose.childId} is open`);
      child.timerId = timerId;
      return;
    }
    case "wait": {
      const wait = state.waits.get(placeKey(purpose));
      assert(wait !== undefined, `${placeKey(purpose)} waits`);
      wait.timerId = timerId;
      return;
    }
    case "retry":
      state.retryCount++;
      moveRun(state, purpose, { timerId });
      return;
    case "frame_renewal":
      pullerOf(state, purpose).timerId = timerId;
      return;
    case "execution_timeout":
    case "cancel_deadline":
      return;
    default:
      unreachable(purpose);
  }
}

export function applyTimerFired(state: ExecutionState, event: EventOf<"timer.fired">): void {
  const timer = state.timers.get(event.timerId);
  assert(timer !== undefined, `timer ${event.timerId} is open`);
  state.timers.delete(event.timerId);
  if (timer.purpose.kind === "retry") {
    state.retryCount--;
    moveRun(state, timer.purpose, { timerId: undefined });
  }
  if (timer.purpose.kind === "frame_renewal") {
    pullerOf(state, timer.purpose).timerId = undefined;
  }
}
