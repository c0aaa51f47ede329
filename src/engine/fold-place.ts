/** Finds in the state what an event names by its place. */
import { assert } from "../core/assert.ts";
import type { TimerId } from "../core/ids.ts";
import type { Step } from "../dsl/playbook.ts";
import type { Place } from "./event.ts";
import type { StepRecord, Visit } from "./record.ts";
import { visitKey } from "./record.ts";
import type { ExecutionState } from "./state.ts";

export function recordOf(state: ExecutionState, step: string): StepRecord {
  const known = state.steps.get(step);
  if (known !== undefined) {
    return known;
  }
  const record: StepRecord = {
    step,
    status: "skipped",
    visits: 0,
    attempts: 0,
    startedAtMs: undefined,
    endedAtMs: undefined,
    value: undefined,
    error: undefined,
  };
  state.steps.set(step, record);
  return record;
}

export function visitOf(state: ExecutionState, place: Place): Visit {
  const visit = state.visits.get(visitKey(place));
  assert(visit !== undefined, `visit ${place.visit} of ${place.step} is open`);
  return visit;
}

export function stepOf(state: ExecutionState, place: Place): Step {
  return state.graph.step(place.step);
}

export function dropTimer(state: ExecutionState, timerId: TimerId | undefined): void {
  if (timerId !== undefined && state.timers.delete(timerId)) {
    state.droppedTimers.push(timerId);
  }
}
