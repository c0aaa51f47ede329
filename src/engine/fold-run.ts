/** How runs of a visit begin, change, end and are stopped. */
import type { Retries } from "./command.ts";
import type { Place } from "./event.ts";
import { beginCursorItem, dropRenewals, endCursorRun } from "./fold-cursor.ts";
import { dropTimer, recordOf, visitOf } from "./fold-place.ts";
import { setValue } from "./fold-value.ts";
import { dropWait } from "./fold-wait.ts";
import type { Run, RunOutcome, Visit } from "./record.ts";
import { placeOf, runKey } from "./record.ts";
import type { ExecutionState } from "./state.ts";

/** Changes a run, which begins with its first change. */
export function moveRun(state: ExecutionState, place: Place, change: Partial<Run>): void {
  const visit = visitOf(state, place);
  const key = runKey(place);
  const run = visit.runs.get(key);
  if (run !== undefined) {
    Object.assign(run, change);
    return;
  }
  if (place.puller === undefined) {
    beginItem(visit, key);
    recordOf(state, place.step).attempts++;
  }
  visit.runs.set(key, {
    pipeline: undefined,
    commandId: undefined,
    childId: undefined,
    timerId: undefined,
    ...change,
  });
}

function beginItem(visit: Visit, key: number): void {
  if (visit.loop !== undefined) {
    visit.loop.next = Math.max(visit.loop.next, key + 1);
    visit.loop.again.delete(key);
  }
  if (visit.cursor !== undefined) {
    beginCursorItem(visit.cursor, key);
  }
}

/** Adds those of a run that its step does not have yet; `retries` is the run's sum. */
export function countRetries(
  state: ExecutionState,
  place: Place,
  retries: Retries | undefined,
): void {
  if (retries !== undefined) {
    const run = visitOf(state, place).runs.get(runKey(place));
    recordOf(state, place.step).attempts += retries.count - (run?.pipeline?.retries?.count ?? 0);
  }
}

export function endRun(state: ExecutionState, place: Place, outcome: RunOutcome): void {
  const visit = dropRun(state, place);
  const { loop } = visit;
  if (visit.cursor !== undefined) {
    endCursorRun(state, place, outcome);
    return;
  }
  if (loop === undefined) {
    visit.outcome = outcome;
    setValue(state, visit, outcome.error);
    return;
  }
  const index = runKey(place);
  beginItem(visit, index);
  if (outcome.error === undefined) {
    loop.succeeded++;
    loop.results[index] = outcome.value;
  } else {
    loop.errors.push({ index, error: outcome.error });
  }
}

function dropRun(state: ExecutionState, place: Place): Visit {
  const visit = visitOf(state, place);
  visit.runs.delete(runKey(place));
  return visit;
}

/** The run is over without an outcome. */
export function stopRun(visit: Visit, key: number): void {
  visit.runs.delete(key);
  visit.loop?.stopped.push(key);
}

export function stopAll(state: ExecutionState, timeMs: number): void {
  for (const visit of state.visits.values()) {
    stopRuns(state, visit, timeMs);
  }
}

/** Marks commands and children as told to stop; runs that wait at the server simply end. */
export function stopRuns(state: ExecutionState, visit: Visit, timeMs: number): void {
  dropRenewals(state, visit);
  for (const [key, run] of visit.runs) {
    const command = run.commandId && state.commands.get(run.commandId);
    const child = run.childId && state.children.get(run.childId);
    for (const open of [command, child]) {
      if (open) {
        open.cancelledAtMs ??= timeMs;
      }
    }
    if (run.timerId !== undefined) {
      state.retryCount--;
      dropTimer(state, run.timerId);
    }
    dropWait(state, placeOf(visit, key));
    if (!command && !child) {
      stopRun(visit, key);
    }
  }
}
