/** What the API shows of an execution. */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { isResultRef } from "../template/scope.ts";
import type { Failure } from "./failure.ts";
import type { OpenWait, StepRecord } from "./record.ts";
import type { ExecutionState } from "./state.ts";
import { loopList, presentValue } from "./value.ts";

export interface StepView {
  readonly step: string;
  /** `waiting`: tokens rest there and it never ran. */
  readonly status: StepRecord["status"] | "waiting";
  readonly visits: number;
  /** Runs begun in the last visit, plus what was handed out or tried again. */
  readonly attempts: number;
  /** Of the last visit. */
  readonly startedAtMs: number | undefined;
  readonly endedAtMs: number | undefined;
  /** Of the last finished visit. */
  readonly result: Json;
  readonly error: Failure | undefined;
  /** Of a running step whose task waits for a time or a signal. */
  readonly waiting?: WaitView;
}

/** The oldest wait of a step. */
export interface WaitView {
  readonly kind: "signal" | "time";
  /** Its name. */
  readonly signal?: string;
  /** When the wait is over. */
  readonly untilMs?: number;
  /** When it is given up. */
  readonly deadlineMs?: number;
  readonly sinceMs: number;
  /** Of a loop item. */
  readonly index?: number;
  /** Waits of the step, this one included: items of a loop wait side by side. */
  readonly count: number;
}

/** Steps that were reached, in the order in which they were first. */
export function stepViews(state: ExecutionState): readonly StepView[] {
  const waiting = [...state.waiting.keys()].filter((step) => !state.steps.has(step));
  const waits = waitViews(state);
  const reached = [...state.steps.values()].map((record) => {
    const wait = waits.get(record.step);
    return wait === undefined ? viewOf(record) : { ...viewOf(record), waiting: wait };
  });
  return [...reached, ...waiting.map(waitingView)];
}

function endOf(
  dueMs: number | undefined,
  isDeadline: boolean,
): Pick<WaitView, "untilMs" | "deadlineMs"> {
  if (dueMs === undefined) {
    return {};
  }
  return isDeadline ? { deadlineMs: dueMs } : { untilMs: dueMs };
}

/** What steps wait for right now, by step. */
export function waitViews(state: ExecutionState): ReadonlyMap<string, WaitView> {
  const views = new Map<string, WaitView>();
  for (const wait of state.waits.values()) {
    const first = views.get(wait.step);
    views.set(
      wait.step,
      first === undefined ? waitView(wait) : { ...first, count: first.count + 1 },
    );
  }
  return views;
}

function waitView({ signal, dueMs, isDeadline, startedAtMs, index }: OpenWait): WaitView {
  return {
    kind: signal === undefined ? "time" : "signal",
    ...(signal === undefined ? {} : { signal }),
    ...endOf(dueMs, isDeadline),
    sinceMs: startedAtMs,
    ...(index === undefined ? {} : { index }),
    count: 1,
  };
}

/** ctx as it stands. */
export function variables(state: ExecutionState): JsonObject {
  return state.ctx;
}

/**
 * Value of an execution, or of one of its steps: what a parent gets. Without a name it is that of
 * the step `end` if that ran, else of the step whose token ended last. Null where there is none.
 */
export function resultOf(state: ExecutionState, step?: string): Json {
  const name = step ?? (hasValue(state, "end") ? "end" : state.lastStep);
  const value = name === undefined ? undefined : state.steps.get(name)?.value;
  return value === undefined ? null : presentValue(value);
}

function hasValue(state: ExecutionState, step: string): boolean {
  return state.steps.get(step)?.value !== undefined;
}

function viewOf(record: StepRecord): StepView {
  const { step, status, visits, attempts, startedAtMs, endedAtMs, value, error } = record;
  const result = value === undefined ? null : presentValue(value);
  return { step, status, visits, attempts, startedAtMs, endedAtMs, result, error };
}

function waitingView(step: string): StepView {
  return {
    step,
    status: "waiting",
    visits: 0,
    attempts: 0,
    startedAtMs: undefined,
    endedAtMs: undefined,
    result: null,
    error: undefined,
  };
}

/**
 * A finished step's value, a reference where it is stored apart, or that of one item of its loop;
 * undefined if there is none.
 */
export function stepValueAt(
  state: ExecutionState,
  step: string,
  row: number | undefined,
): Json | undefined {
  const stored = state.steps.get(step)?.value;
  if (stored === undefined || isResultRef(stored.value)) {
    return stored?.value;
  }
  const only = stored.shape === "pipeline" ? onlyPart(stored.value) : undefined;
  if (only !== undefined) {
    return only;
  }
  const shown = presentValue(stored);
  const list = stored.shape === "loop" ? loopList(shown) : undefined;
  return list === undefined || row === undefined ? shown : list[row];
}

/** The data of a pipeline's only task, if that is stored apart. */
function onlyPart(results: Json): Json | undefined {
  const parts = isJsonObject(results) ? Object.values(results) : [];
  return parts.length === 1 ? parts.find(isResultRef) : undefined;
}
