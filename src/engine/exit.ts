/**
 * The end of a visit: `set` of the step, then arc guards, then the `set` of the arcs that fire. A
 * failed step writes nothing and leaves by arcs that look at its error, or fails the execution.
 */
import type { JsonObject } from "../core/json.ts";
import type { Arc, Assignment, Step } from "../dsl/playbook.ts";
import { evaluateGuard, renderValue } from "../template/render.ts";
import type { Scope } from "../template/scope.ts";
import { Aliased } from "../template/scope.ts";
import { assign, parseTarget } from "./assign.ts";
import type { ScopeData, StepValue } from "./command.ts";
import { looksAtError, routingData } from "./cut.ts";
import type { Draft } from "./draft.ts";
import type { Failure } from "./failure.ts";
import { failure, templateFailure } from "./failure.ts";
import { okWord, outputAliased } from "./output.ts";
import type { Visit } from "./record.ts";
import { SINGLE } from "./record.ts";
import { buildScope } from "./scope.ts";
import { failExecution, placedFailure } from "./stop.ts";
import { failureJson, member, stepAliased } from "./value.ts";

interface FiredArc {
  readonly index: number;
  readonly arc: Arc;
}

/** Leaves a visit whose work went well, unless its own `set`, guards or arcs fail it. */
export function exitOk(draft: Draft, visit: Visit): void {
  const step = draft.stepOf(visit);
  try {
    write(draft, step, step.set);
    const fired = fire(draft, step, false);
    const isUnmatched = fired.length === 0 && step.next.arcs.length > 0;
    if (isUnmatched && mustMatch(draft, step)) {
      exitFailed(draft, visit, unmatchedFailure(step));
      return;
    }
    leave(draft, visit, fired, isUnmatched && step.next.onNoMatch !== "quiet");
  } catch (error) {
    exitUnhandled(draft, visit, placedFailure(templateFailure(error), visit, SINGLE));
  }
}

/** Leaves a visit that failed: by arcs that look at the error, or by failing the execution. */
export function exitFailed(draft: Draft, visit: Visit, cause: Failure): void {
  const step = draft.stepOf(visit);
  const error = placedFailure(cause, visit, SINGLE);
  try {
    const fired = fire(draft, step, true, error);
    if (fired.length === 0) {
      exitUnhandled(draft, visit, error);
      return;
    }
    for (const { arc } of fired) {
      write(draft, step, arc.set, error);
    }
    const arcs = fired.map(({ index }) => index);
    const place = { step: visit.step, visit: visit.visit };
    draft.emit({ type: "step.exited", ...place, status: "error", error, arcs, isHandled: true });
  } catch (thrown) {
    exitUnhandled(draft, visit, placedFailure(templateFailure(thrown), visit, SINGLE));
  }
}

function exitUnhandled(draft: Draft, visit: Visit, error: Failure): void {
  const { failure: mode } = draft.stepOf(visit);
  const place = { step: visit.step, visit: visit.visit };
  draft.emit({ type: "step.exited", ...place, status: "error", error, arcs: [] });
  if (mode !== "best_effort") {
    failExecution(draft, error, mode);
  }
}

function leave(draft: Draft, visit: Visit, fired: readonly FiredArc[], isUnmatched: boolean): void {
  const step = draft.stepOf(visit);
  for (const { arc } of fired) {
    write(draft, step, arc.set);
  }
  draft.emit({
    type: "step.exited",
    step: visit.step,
    visit: visit.visit,
    status: "ok",
    arcs: fired.map(({ index }) => index),
    ...(isUnmatched ? { isUnmatched } : {}),
  });
}

/**
 * The arcs that fire. After a failure an exclusive step considers only guards that look at the
 * error; an inclusive one fires all that hold once such a guard does.
 */
function fire(draft: Draft, step: Step, isFailed: boolean, error?: Failure): readonly FiredArc[] {
  const { mode, arcs } = step.next;
  const fired: FiredArc[] = [];
  let isHandled = !isFailed;
  for (const [index, arc] of arcs.entries()) {
    const canHandle = isFailed && looksAtError(step, arc);
    if (mode === "exclusive" && isFailed && !canHandle) {
      continue;
    }
    if (arc.when === undefined || evaluateGuard(arc.when, routingScope(draft, step, arc, error))) {
      fired.push({ index, arc });
      isHandled ||= canHandle;
      if (mode === "exclusive") {
        break;
      }
    }
  }
  return isHandled ? fired : [];
}

function mustMatch(draft: Draft, step: Step): boolean {
  return step.next.onNoMatch === "fail" || draft.state.playbook.executor.isNoMatchError;
}

function unmatchedFailure(step: Step): Failure {
  const message = `No arc of step ${step.name} matched`;
  return failure("client_error", message, { code: "NO_ARC_MATCHED", task: step.name });
}

/** Writes to ctx, one after the other, each seeing the ones before; recorded once. */
function write(
  draft: Draft,
  step: Step,
  assignments: readonly Assignment[],
  error?: Failure,
): void {
  let written: JsonObject = {};
  for (const assignment of assignments) {
    const scope = routingScope(draft, step, assignment, error, written);
    const { names } = parseTarget(assignment.target);
    const [name] = names;
    const base = { [name]: draft.state.ctx[name] ?? null, ...written };
    written = assign(base, names, renderValue(assignment.value, scope));
  }
  if (assignments.length > 0) {
    draft.emit({ type: "ctx.updated", values: written, step: step.name });
  }
}

/** What `set` and guards of a finished step see. */
function routingScope(
  draft: Draft,
  step: Step,
  source: Arc | Assignment,
  error: Failure | undefined,
  written: JsonObject = {},
): Scope {
  const word = okWord("when" in source ? { when: source.when } : { value: readValue(source) });
  const data = withCtx(routingData(draft.state, step), written);
  const stored = storedValue(draft, step, error);
  const { resolved, ...options } = draft.scopeOptions;
  const self = stepAliased(stored, word, resolved ?? new Map());
  return buildScope(data, {
    ...options,
    resolved: resolved ?? new Map(),
    okWord: word,
    names: {
      [step.name]: self,
      output: outputAliased({ data: self, ...(error === undefined ? {} : { error }) }, word),
      error: error === undefined ? undefined : failureJson(error),
      event: { name: eventName(step, error), step: step.name },
      ...(step.loop === undefined ? {} : { loop: doneLoop(self) }),
    },
  });
}

/** `loop` of a step whose loop has ended. */
function doneLoop(self: Aliased): Aliased {
  return new Aliased({ done: true }, (name) => {
    const stats = name === "length" || name === "total" ? member(self, "stats") : undefined;
    return member(stats, "total");
  });
}

function readValue(source: Arc | Assignment): unknown {
  return "value" in source ? source.value : undefined;
}

function withCtx(data: ScopeData, written: JsonObject): ScopeData {
  return Object.keys(written).length === 0 ? data : { ...data, ctx: { ...data.ctx, ...written } };
}

/** The step's value as of now: a step that fails before it did anything has none of its own. */
function storedValue(draft: Draft, step: Step, error: Failure | undefined): StepValue {
  const value = draft.state.steps.get(step.name)?.value;
  if (error === undefined) {
    return value ?? { value: null, status: "ok", shape: "task" };
  }
  return value?.error === undefined
    ? { value: null, status: "error", error, shape: "task" }
    : value;
}

function eventName(step: Step, error: Failure | undefined): string {
  if (error !== undefined) {
    return "call.error";
  }
  return step.loop === undefined ? "call.done" : "loop.done";
}
