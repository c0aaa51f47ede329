/** How each event changes the state. Used by state.ts alone; see there. */
import { assert, unreachable } from "../core/assert.ts";
import type { TimerId } from "../core/ids.ts";
import type { Json } from "../core/json.ts";
import type { Step } from "../dsl/playbook.ts";
import type { Retries, StepValue } from "./command.ts";
import type { ExecutionStatus } from "./decision.ts";
import type { EventOf, ExecutionEvent, Place } from "./event.ts";
import type { Failure } from "./failure.ts";
import { arcId, START } from "./graph.ts";
import type { Run, RunOutcome, StepRecord, Token, Visit } from "./record.ts";
import { loopStats, runKey, visitKey } from "./record.ts";
import type { ExecutionState } from "./state.ts";

export function foldEvent(state: ExecutionState, event: ExecutionEvent, timeMs: number): void {
  switch (event.type) {
    case "playbook.started":
      applyStarted(state, event, timeMs);
      break;
    case "step.entered":
      applyEntered(state, event, timeMs);
      break;
    case "step.skipped":
      takeTokens(state, event.step, event.tokenCount);
      recordOf(state, event.step).status = "skipped";
      break;
    case "step.failing":
      applyStepFailing(state, event, timeMs);
      break;
    case "loop.started":
      applyLoopStarted(state, event);
      break;
    case "command.issued":
      applyIssued(state, event, timeMs);
      break;
    case "command.retried":
      applyRetried(state, event);
      break;
    case "command.yielded":
      state.commands.delete(event.commandId);
      countRetries(state, event, event.pipeline.retries);
      moveRun(state, event, { pipeline: event.pipeline, commandId: undefined });
      break;
    case "command.cancelled":
      state.commands.delete(event.commandId);
      dropRun(state, event);
      break;
    case "call.done":
      state.commands.delete(event.commandId);
      countRetries(state, event, event.retries);
      endRun(state, event, { value: event.value, error: undefined });
      break;
    case "call.error":
      state.commands.delete(event.commandId);
      countRetries(state, event, event.retries);
      endRun(state, event, { value: event.value, error: event.error });
      break;
    case "child.started":
      applyChildStarted(state, event, timeMs);
      break;
    case "child.done":
      applyChildDone(state, event);
      break;
    case "ctx.updated":
      state.ctx = { ...state.ctx, ...event.values };
      state.revision++;
      break;
    case "loop.done":
      setValue(state, visitOf(state, event), undefined);
      break;
    case "step.exited":
      applyExited(state, event, timeMs);
      break;
    case "timer.started":
      applyTimerStarted(state, event);
      break;
    case "timer.fired":
      applyTimerFired(state, event);
      break;
    case "playbook.cancelling":
      state.cancelling = event;
      stopAll(state, timeMs);
      break;
    case "playbook.failing":
      applyFailing(state, event, timeMs);
      break;
    case "playbook.completed":
      state.result = event.result;
      end(state, "completed", timeMs);
      break;
    case "playbook.failed":
      state.failure = event.error;
      end(state, "failed", timeMs);
      break;
    case "playbook.cancelled":
      end(state, "cancelled", timeMs);
      break;
    default:
      unreachable(event);
  }
}

function applyStarted(
  state: ExecutionState,
  event: EventOf<"playbook.started">,
  timeMs: number,
): void {
  assert(state.status === "pending", "an execution starts once");
  state.status = "running";
  state.start = event;
  state.startedAtMs = timeMs;
  addToken(state, state.playbook.entryStep, START);
}

function applyEntered(state: ExecutionState, event: EventOf<"step.entered">, timeMs: number): void {
  takeTokens(state, event.step, event.tokenCount);
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
    loop: undefined,
    outcome: undefined,
    failing: undefined,
    timerId: undefined,
  });
  state.running.set(event.step, (state.running.get(event.step) ?? 0) + 1);
}

function applyStepFailing(
  state: ExecutionState,
  event: EventOf<"step.failing">,
  timeMs: number,
): void {
  const visit = visitOf(state, event);
  visit.failing = event.error;
  stopRuns(state, visit, timeMs);
}

function applyLoopStarted(state: ExecutionState, event: EventOf<"loop.started">): void {
  visitOf(state, event).loop = {
    items: event.items,
    maxInFlight: event.maxInFlight,
    next: 0,
    succeeded: 0,
    results: new Array<Json>(event.items.length).fill(null),
    errors: [],
  };
}

function applyIssued(
  state: ExecutionState,
  event: EventOf<"command.issued">,
  timeMs: number,
): void {
  const { type: _, attempt, commandId, pool, ...place } = event;
  state.commands.set(commandId, {
    ...place,
    commandId,
    pool,
    issuedAtMs: timeMs,
    attempt,
    losses: 0,
    cancelledAtMs: undefined,
  });
  moveRun(state, event, { commandId });
}

function applyRetried(state: ExecutionState, event: EventOf<"command.retried">): void {
  const command = state.commands.get(event.commandId);
  assert(command !== undefined, `command ${event.commandId} is open`);
  command.attempt = event.attempt;
  command.losses += event.isLoss ? 1 : 0;
  recordOf(state, event.step).attempts++;
}

function applyChildStarted(
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

function applyChildDone(state: ExecutionState, event: EventOf<"child.done">): void {
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

function applyExited(state: ExecutionState, event: EventOf<"step.exited">, timeMs: number): void {
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
  record.status = running > 0 ? "running" : event.status;
  record.endedAtMs = timeMs;
  record.error = event.error;
  if (event.error !== undefined) {
    setValue(state, visit, event.error);
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

function applyTimerStarted(state: ExecutionState, event: EventOf<"timer.started">): void {
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
    case "retry":
      state.retryCount++;
      moveRun(state, purpose, { timerId });
      return;
    case "execution_timeout":
    case "cancel_deadline":
      return;
    default:
      unreachable(purpose);
  }
}

function applyTimerFired(state: ExecutionState, event: EventOf<"timer.fired">): void {
  const timer = state.timers.get(event.timerId);
  assert(timer !== undefined, `timer ${event.timerId} is open`);
  state.timers.delete(event.timerId);
  if (timer.purpose.kind === "retry") {
    state.retryCount--;
    moveRun(state, timer.purpose, { timerId: undefined });
  }
}

function applyFailing(
  state: ExecutionState,
  event: EventOf<"playbook.failing">,
  timeMs: number,
): void {
  state.failing = event;
  state.failure ??= event.error;
  if (event.mode === "fail_fast") {
    stopAll(state, timeMs);
  }
}

function end(state: ExecutionState, status: ExecutionStatus, timeMs: number): void {
  state.status = status;
  state.endedAtMs = timeMs;
  for (const name of state.running.keys()) {
    const record = recordOf(state, name);
    record.status = "cancelled";
    record.endedAtMs = timeMs;
  }
  state.droppedTimers.push(...state.timers.keys());
  for (const open of [state.waiting, state.visits, state.running, state.commands]) {
    open.clear();
  }
  state.children.clear();
  state.timers.clear();
  state.retryCount = 0;
}

function stopAll(state: ExecutionState, timeMs: number): void {
  for (const visit of state.visits.values()) {
    stopRuns(state, visit, timeMs);
  }
}

/** Marks commands and children as told to stop; runs that wait for a retry simply end. */
function stopRuns(state: ExecutionState, visit: Visit, timeMs: number): void {
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
    if (!command && !child) {
      visit.runs.delete(key);
    }
  }
}

function addToken(state: ExecutionState, step: string, arc: string): void {
  const token = { arc, order: state.tokenCount++ };
  const tokens = state.waiting.get(step);
  if (tokens === undefined) {
    state.waiting.set(step, [token]);
  } else {
    tokens.push(token);
  }
}

/** Takes the tokens that meet: of a step that joins `all` the oldest of each arc. */
function takeTokens(state: ExecutionState, step: string, count: number): void {
  const tokens = state.waiting.get(step) ?? [];
  const taken = new Set<Token>();
  const arcs = new Set<string>();
  const isAll = state.graph.step(step).join === "all";
  for (const token of tokens) {
    if (taken.size < count && !(isAll && arcs.has(token.arc))) {
      taken.add(token);
      arcs.add(token.arc);
    }
  }
  assert(taken.size === count, `${count} tokens wait at ${step}`);
  const rest = tokens.filter((token) => !taken.has(token));
  if (rest.length === 0) {
    state.waiting.delete(step);
  } else {
    state.waiting.set(step, rest);
  }
}

function recordOf(state: ExecutionState, step: string): StepRecord {
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

function visitOf(state: ExecutionState, place: Place): Visit {
  const visit = state.visits.get(visitKey(place));
  assert(visit !== undefined, `visit ${place.visit} of ${place.step} is open`);
  return visit;
}

function stepOf(state: ExecutionState, place: Place): Step {
  return state.graph.step(place.step);
}

/** Adds those of a run that its step does not have yet; `retries` is the run's sum. */
function countRetries(state: ExecutionState, place: Place, retries: Retries | undefined): void {
  if (retries !== undefined) {
    const run = visitOf(state, place).runs.get(runKey(place));
    recordOf(state, place.step).attempts += retries.count - (run?.pipeline?.retries?.count ?? 0);
  }
}

/** Changes a run, which begins with its first change. */
function moveRun(state: ExecutionState, place: Place, change: Partial<Run>): void {
  const visit = visitOf(state, place);
  const key = runKey(place);
  const run = visit.runs.get(key);
  if (run !== undefined) {
    Object.assign(run, change);
    return;
  }
  beginItem(visit, key);
  recordOf(state, place.step).attempts++;
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
  }
}

function dropRun(state: ExecutionState, place: Place): Visit {
  const visit = visitOf(state, place);
  visit.runs.delete(runKey(place));
  return visit;
}

function endRun(state: ExecutionState, place: Place, outcome: RunOutcome): void {
  const visit = dropRun(state, place);
  const { loop } = visit;
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

/** Makes what the visit gave the step's value. */
function setValue(state: ExecutionState, visit: Visit, error: Failure | undefined): void {
  const { isPipeline } = stepOf(state, visit);
  const more = error === undefined ? {} : { error };
  const status = error === undefined ? "ok" : "error";
  const value: StepValue =
    visit.loop === undefined
      ? {
          value: visit.outcome?.value ?? null,
          status,
          shape: isPipeline ? "pipeline" : "task",
          ...more,
        }
      : {
          value: loopValue(visit.loop),
          status,
          shape: "loop",
          ...(isPipeline ? { itemShape: "pipeline" } : {}),
          ...more,
        };
  recordOf(state, visit.step).value = value;
  state.revision++;
}

function loopValue(loop: NonNullable<Visit["loop"]>): Json {
  const errors = loop.errors.map(({ index, error }) => ({ index, error: { ...error } }));
  const stats = { ...loopStats(loop) };
  return { results: loop.results, stats, ...(errors.length === 0 ? {} : { errors }) };
}

function dropTimer(state: ExecutionState, timerId: TimerId | undefined): void {
  if (timerId !== undefined && state.timers.delete(timerId)) {
    state.droppedTimers.push(timerId);
  }
}
