/** How an execution comes to its end, and how a retry opens it again. */
import { assert } from "../core/assert.ts";
import type { ExecutionStatus } from "./decision.ts";
import type { EventOf } from "./event.ts";
import type { Failure } from "./failure.ts";
import { failure } from "./failure.ts";
import { dropRenewals } from "./fold-cursor.ts";
import { dropTimer, recordOf } from "./fold-place.ts";
import { stopAll } from "./fold-run.ts";
import { addToken } from "./fold-token.ts";
import { dropWait } from "./fold-wait.ts";
import { START } from "./graph.ts";
import type { Unfinished } from "./record.ts";
import { visitKey } from "./record.ts";
import type { ExecutionState } from "./state.ts";

/** Nothing new starts. What waits at the server would only hold the failure up: it is given up. */
export function applyFailing(
  state: ExecutionState,
  event: EventOf<"playbook.failing">,
  timeMs: number,
): void {
  state.failing = event;
  state.failure ??= event.error;
  if (event.mode === "fail_fast") {
    stopAll(state, timeMs);
    return;
  }
  for (const wait of [...state.waits.values()]) {
    dropWait(state, wait);
  }
}

/** What the failure has stopped is put aside; the token is free to go where others may not. */
export function applyFinishing(
  state: ExecutionState,
  event: EventOf<"playbook.finishing">,
  timeMs: number,
): void {
  putAside(state, timeMs);
  state.isFinishing = true;
  state.failing = undefined;
  addToken(state, event.step, START);
}

export function end(state: ExecutionState, status: ExecutionStatus, timeMs: number): void {
  putAside(state, timeMs);
  state.status = status;
  state.endedAtMs = timeMs;
  state.droppedTimers.push(...state.timers.keys());
  for (const open of [state.commands, state.children, state.timers]) {
    open.clear();
  }
  for (const waited of [state.waits, state.listeners, state.signals]) {
    waited.clear();
  }
  state.retryCount = 0;
  if (status === "completed") {
    state.unfinished.clear();
    state.rested.clear();
  }
}

/** Open visits and resting tokens are what a retry goes on with; those of the final step are not. */
function putAside(state: ExecutionState, timeMs: number): void {
  for (const name of state.running.keys()) {
    const record = recordOf(state, name);
    record.status = "cancelled";
    record.endedAtMs = timeMs;
  }
  if (!state.isFinishing) {
    for (const visit of state.visits.values()) {
      const error = visit.failing ?? visit.outcome?.error;
      state.unfinished.set(visitKey(visit), { visit, error });
    }
    for (const [step, tokens] of state.waiting) {
      state.rested.set(step, tokens);
    }
  }
  for (const visit of state.visits.values()) {
    dropTimer(state, visit.timerId);
    dropRenewals(state, visit);
  }
  for (const open of [state.waiting, state.visits, state.running]) {
    open.clear();
  }
}

/** Everything is as it was before the failure, but for the visits that are to enter again. */
export function applyResumed(state: ExecutionState, { visits }: EventOf<"playbook.resumed">): void {
  const chosen = new Set(visits.map(visitKey));
  const left = [...state.unfinished].find(([key]) => !chosen.has(key))?.[1];
  assert(
    visits.every((visit) => state.unfinished.has(visitKey(visit))),
    "what is resumed is unfinished",
  );
  state.status = "running";
  state.endedAtMs = undefined;
  state.result = undefined;
  state.cancelling = undefined;
  state.failing = undefined;
  state.isFinishing = false;
  state.failure = left && leftFailure(left);
  for (const [step, tokens] of state.rested) {
    state.waiting.set(step, tokens);
  }
  state.rested.clear();
}

/** An execution that goes on without one of its steps does not end well. */
function leftFailure({ visit: { step }, error }: Unfinished): Failure {
  const message = `Step ${step} was cut off and has not been retried`;
  return error ?? failure("cancelled", message, { step });
}
