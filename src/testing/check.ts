/** Holds what became of an execution against what its test expects. */
import type { Json, JsonObject } from "../core/json.ts";
import type { Failure } from "../engine/failure.ts";
import type { StepView } from "../engine/view.ts";
import type { Difference } from "./compare.ts";
import { checkCondition, compare, show } from "./compare.ts";
import type { Rehearsal } from "./rehearsal.ts";
import { mismatch } from "./stub-book.ts";
import type { CallExpectation, Expectation, Expected, StepExpectation } from "./test-case.ts";

/** Empty: all is as expected. */
export function checkRehearsal(expect: Expectation, seen: Rehearsal): readonly Difference[] {
  const { status, result, steps, visited, notVisited, ctx, error, calls, that } = expect;
  return [
    ...(status === seen.status ? [] : [statusDifference(status, seen)]),
    ...(result === undefined ? [] : compare(result.value, seen.result, "result")),
    ...(error === undefined ? [] : checkError(error, seen.error, "error")),
    ...(visited === undefined ? [] : compare([...visited], [...seen.visited], "visited")),
    ...notVisited.flatMap((step) => (seen.visited.includes(step) ? [wasVisited(step)] : [])),
    ...Object.entries(steps).flatMap(([name, step]) => checkStep(name, step, seen)),
    ...(ctx === undefined ? [] : compare(ctx, seen.ctx, "ctx")),
    ...calls.flatMap((call, index) => checkCall(call, index, seen)),
    ...that.flatMap((guard, index) => checkThat(guard, index, seen)),
  ];
}

function statusDifference(expected: string, { status, error }: Rehearsal): Difference {
  const why = error === undefined ? "" : `: ${failureText(error)}`;
  return { path: "status", expected, actual: `${status}${why}` };
}

function wasVisited(step: string): Difference {
  return { path: "not_visited", expected: `${step} does not run`, actual: "it ran" };
}

/** A text is to be a part of the error's text; null: there is to be none. */
function checkError(
  { value }: Expected,
  error: Failure | undefined,
  path: string,
): readonly Difference[] {
  if (typeof value === "string" && error !== undefined && !value.includes("{{")) {
    const text = failureText(error);
    const isIn = text.toLowerCase().includes(value.toLowerCase());
    return isIn ? [] : [{ path, expected: `a text with ${show(value)}`, actual: show(text) }];
  }
  return compare(value, error === undefined ? null : { ...error }, path);
}

function checkStep(
  name: string,
  expected: StepExpectation,
  { steps, calls }: Rehearsal,
): readonly Difference[] {
  const path = `steps.${name}`;
  const step = steps.find((each) => each.step === name);
  if (step === undefined) {
    return isForAbsent(expected)
      ? []
      : [{ path, expected: show(fieldsOf(expected)), actual: "the step was not reached" }];
  }
  const own = calls.filter((call) => call.step === name && call.playbook === undefined);
  const { result, error, ...plain } = expected;
  const seen = { status: statusOf(step), visits: step.visits, calls: own.length };
  return [
    ...compare({ ...plain }, seen, path),
    ...(result === undefined ? [] : compare(result.value, step.result, `${path}.result`)),
    ...(error === undefined ? [] : checkError(error, step.error, `${path}.error`)),
  ];
}

/** What is true of a step that was never reached. */
function isForAbsent({ visits, calls, status, result, error }: StepExpectation): boolean {
  const counts = [visits, calls].filter((count) => count !== undefined);
  const isOther = status !== undefined || result !== undefined || error !== undefined;
  return counts.length > 0 && counts.every((count) => count === 0) && !isOther;
}

function fieldsOf({ result, error, ...rest }: StepExpectation): JsonObject {
  return {
    ...rest,
    ...(result === undefined ? {} : { result: result.value }),
    ...(error === undefined ? {} : { error: error.value }),
  };
}

/** As the API names them. */
function statusOf({ status }: StepView): string {
  const words: Readonly<Record<string, string>> = { ok: "completed", error: "failed" };
  return words[status] ?? status;
}

function checkCall(
  expected: CallExpectation,
  index: number,
  { calls }: Rehearsal,
): readonly Difference[] {
  const { count, ...pattern } = expected;
  const fitting = calls.filter((call) => mismatch(pattern, call) === undefined);
  const isMet = count === undefined ? fitting.length > 0 : fitting.length === count;
  if (isMet) {
    return [];
  }
  const near = calls.find((call) => call.step === expected.step);
  const reason = near === undefined ? "" : `; ${mismatch(pattern, near) ?? ""}`;
  const actual = `${fitting.length} of ${calls.length} calls${fitting.length === 0 ? reason : ""}`;
  const wanted = count === undefined ? "a call" : `${count} calls`;
  return [{ path: `calls[${index}]`, expected: `${wanted} ${show({ ...pattern })}`, actual }];
}

function checkThat(guard: string, index: number, seen: Rehearsal): readonly Difference[] {
  const steps = Object.fromEntries(
    seen.steps.map((step): [string, Json] => [
      step.step,
      { status: statusOf(step), result: step.result, visits: step.visits },
    ]),
  );
  const { result, ctx, workload, status, tookMs } = seen;
  const names = { result, ctx, workload, status, steps, took: tookMs / 1000 };
  const problem = checkCondition(guard, names);
  return problem === undefined
    ? []
    : [{ path: `that[${index}]`, expected: problem, actual: `false; result is ${show(result)}` }];
}

/** Where and what, as the API shows it. */
export function failureText({ step, index, message, code }: Failure): string {
  const place = step === undefined ? "" : `${step}${index === undefined ? "" : `[${index}]`}: `;
  return `${place}${message} (${code})`;
}
