/** How events change the visits of steps: entered, failing, left. */
import { assert } from "../core/assert.ts";
import type { Json } from "../core/json.ts";
import type { EventOf } from "./event.ts";
import { cursorAgain, dropRenewals, newCursor } from "./fold-cursor.ts";
import { dropTimer, recordOf, stepOf, visitOf } from "./fold-place.ts";
import { stopRuns } from "./fold-run.ts";
import { addToken, takeTokens } from "./fold-token.ts";
import { setValue } from "./fold-value.ts";
import { arcId } from "./graph.ts";
import type { LoopProgress, Visit } from "./record.ts";
import { visitKey } from "./record.ts";
import type { ExecutionState } from "./state.ts";

export function applyEntered(
  state: ExecutionState,
  event: EventOf<"step.entered">,
  timeMs: number,
): void {
  takeTokens(state, event.step, event.tokenCount);
  const again = progressOf(state, event);
  const record = recordOf(state, event.step);
  record.status = "running";
  record.visits = event.visit;
  record.attempts = 0;
  record.startedAtMs = timeMs;
  record.endedAtMs = undefined;
  record.error = undefined;
  state.visits.set(visitKey(event), {
    step: event.step,
    visit: event.visit,
    enteredAtMs: timeMs,
    runs: new Map(),
    loop: again?.loop,
    cursor: again?.cursor,
    outcome: undefined,
    failing: undefined,
    timerId: undefined,
  });
  state.running.set(event.step, (state.running.get(event.step) ?? 0) + 1);
}

/** Of the loop of the visit that this one resumes: its good items stay, the others run again. */
function progressOf(
  state: ExecutionState,
  { step, resumes }: EventOf<"step.entered">,
): Pick<Visit, "loop" | "cursor"> | undefined {
  if (resumes === undefined) {
    return undefined;
  }
  const key = visitKey({ step, visit: resumes });
  const before = state.unfinished.get(key)?.visit;
  state.unfinished.delete(key);
  return (
    before && {
      loop: before.loop && loopAgain(before.loop, before.runs),
      cursor: before.cursor && cursorAgain(before.cursor),
    }
  );
}

function loopAgain(loop: LoopProgress, runs: Visit["runs"]): LoopProgress {
  const failed = loop.errors.map(({ index }) => index);
  const again = [...failed, ...loop.stopped, ...loop.again, ...runs.keys()];
  return { ...loop, errors: [], stopped: [], again: new Set(again.sort((a, b) => a - b)) };
}

export function applyStepFailing(
  state: ExecutionState,
  event: EventOf<"step.failing">,
  timeMs: number,
): void {
  const visit = visitOf(state, event);
  visit.failing = event.error;
  stopRuns(state, visit, timeMs);
}

export function applyLoopStarted(state: ExecutionState, event: EventOf<"loop.started">): void {
  if (event.cursor !== undefined) {
    visitOf(state, event).cursor = newCursor(event.maxInFlight);
    return;
  }
  visitOf(state, event).loop = {
    items: event.items,
    maxInFlight: event.maxInFlight,
    next: 0,
    succeeded: 0,
    results: new Array<Json>(event.items.length).fill(null),
    errors: [],
    stopped: [],
    again: new Set(),
  };
}

export function applyExited(
  state: ExecutionState,
  event: EventOf<"step.exited">,
  timeMs: number,
): void {
  const visit = visitOf(state, event);
  const record = recordOf(state, event.step);
  state.visits.delete(visitKey(event));
  const running = (state.running.get(event.step) ?? 0) - 1;
  if (running > 0) {
    state.running.set(event.step, running);
  } else {
    state.running.delete(event.step);
  }
  dropTimer(state, visit.timerId);
  dropRenewals(state, visit);
  record.status = running > 0 ? "running" : event.status;
  record.endedAtMs = timeMs;
  record.error = event.error;
  if (event.error !== undefined) {
    setValue(state, visit, event.error);
    if (event.isHandled !== true && !state.isFinishing) {
      state.unfinished.set(visitKey(event), { visit, error: event.error });
    }
  }
  leave(state, event);
}

/** Sends a token along each fired arc. */
function leave(state: ExecutionState, event: EventOf<"step.exited">): void {
  const arcs = stepOf(state, event).next.arcs;
  for (const index of event.arcs) {
    const arc = arcs[index];
    assert(arc !== undefined, `step ${event.step} has an arc ${index}`);
    addToken(state, arc.step, arcId(event.step, index));
  }
  if (event.error !== undefined && event.isHandled !== true) {
    state.failure ??= event.error;
  } else if (event.arcs.length === 0) {
    state.lastStep = event.step;
  }
}
