/** Tokens enter steps: join rule, admit rules, first commands. */
import type { Step } from "../dsl/playbook.ts";
import { evaluateGuard } from "../template/render.ts";
import { routingData } from "./cut.ts";
import type { Draft } from "./draft.ts";
import type { Place } from "./event.ts";
import { exitFailed } from "./exit.ts";
import type { Failure } from "./failure.ts";
import { failure, templateFailure } from "./failure.ts";
import type { Ready } from "./join.ts";
import { impossibleJoin, nextReady } from "./join.ts";
import { startLoop } from "./loop.ts";
import { okWord } from "./output.ts";
import type { Visit } from "./record.ts";
import { SINGLE } from "./record.ts";
import { startRun } from "./run.ts";
import { buildScope } from "./scope.ts";
import { findVisit, isHeld, isTerminal } from "./state.ts";
import { failExecution } from "./stop.ts";

/** Guard against cycles that need no worker, such as one of empty loops. */
export const ENTERED_COUNT_MAX = 10_000;

/** Lets the next ready tokens enter their step; false when there are none. */
export function dispatchNext(draft: Draft): boolean {
  const { state } = draft;
  if (isTerminal(state) || isHeld(state) || state.waiting.size === 0) {
    return false;
  }
  const ready = nextReady(state);
  if (ready !== undefined) {
    enter(draft, ready);
    return true;
  }
  const step = impossibleJoin(state);
  if (step !== undefined) {
    failJoin(draft, state.graph.step(step));
  }
  return false;
}

/** Of a retry: the visit is admitted and begins anew, without a token; a loop keeps its results. */
export function enterAgain(draft: Draft, { step, visit }: Pick<Place, "step" | "visit">): void {
  enter(draft, { step, tokenCount: 0 }, visit);
}

function enter(draft: Draft, { step: name, tokenCount }: Ready, resumes?: number): void {
  const { state } = draft;
  const step = state.graph.step(name);
  const again = resumes === undefined ? {} : { resumes };
  const admission = admit(draft, step);
  if (admission === false) {
    const reason = "not admitted";
    draft.emit({ type: "step.skipped", step: name, tokenCount, reason, ...again });
    return;
  }
  const number = (state.steps.get(name)?.visits ?? 0) + 1;
  draft.emit({ type: "step.entered", step: name, visit: number, tokenCount, ...again });
  const visit = findVisit(state, { step: name, visit: number });
  if (visit === undefined) {
    return;
  }
  draft.enteredCount++;
  if (admission !== true) {
    exitFailed(draft, visit, admission);
  } else if (draft.enteredCount > ENTERED_COUNT_MAX) {
    exitFailed(draft, visit, runawayFailure(name));
  } else {
    begin(draft, visit, step);
  }
}

function begin(draft: Draft, visit: Visit, step: Step): void {
  const { timeoutMs, loop } = step;
  if (timeoutMs !== undefined) {
    draft.startTimer({ kind: "step_timeout", step: visit.step, visit: visit.visit }, timeoutMs);
  }
  if (loop === undefined) {
    startRun(draft, visit, SINGLE);
  } else if (visit.loop !== undefined || visit.cursor !== undefined) {
    draft.touched.push(visit);
  } else {
    startLoop(draft, visit, loop);
  }
}

/** The first rule that matches decides; without one the step is admitted. */
function admit(draft: Draft, step: Step): boolean | Failure {
  if (step.admit.length === 0) {
    return true;
  }
  try {
    const data = routingData(draft.state, step);
    const rule = step.admit.find(
      ({ when }) =>
        when === undefined ||
        evaluateGuard(when, buildScope(data, { ...draft.scopeOptions, okWord: okWord(when) })),
    );
    return rule?.isAllowed ?? true;
  } catch (error) {
    return templateFailure(error);
  }
}

function failJoin(draft: Draft, step: Step): void {
  const message = `Step ${step.name} joins all of its arcs, but not every one can still be taken`;
  const error = failure("client_error", message, { code: "JOIN_IMPOSSIBLE", step: step.name });
  failExecution(draft, error, step.failure === "fail_fast" ? "fail_fast" : "drain");
}

function runawayFailure(step: string): Failure {
  const message = `Step ${step} is part of a cycle that never waits for a worker`;
  return failure("limit", message, { code: "CYCLE_RUNAWAY" });
}
