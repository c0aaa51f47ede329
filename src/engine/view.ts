/** What the API shows of an execution. */
import type { Json, JsonObject } from "../core/json.ts";
import type { Failure } from "./failure.ts";
import type { StepRecord } from "./record.ts";
import type { ExecutionState } from "./state.ts";
import { presentValue } from "./value.ts";

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
}

/** Steps that were reached, in the order in which they were first. */
export function stepViews(state: ExecutionState): readonly StepView[] {
  const waiting = [...state.waiting.keys()].filter((step) => !state.steps.has(step));
  return [...[...state.steps.values()].map(viewOf), ...waiting.map(waitingView)];
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
