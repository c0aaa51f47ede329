/**
 * Tasks that the server runs itself, so that a run that waits for them holds no worker's slot:
 * sub-playbooks and waits. What follows from their outcome is the same for both.
 */
import type { Json } from "../core/json.ts";
import type { PipelineState, Retries } from "./command.ts";
import { taskData } from "./cut.ts";
import type { Draft } from "./draft.ts";
import { loopItem } from "./draft.ts";
import type { Failure } from "./failure.ts";
import type { TaskOutcome } from "./output.ts";
import type { PipelineRun } from "./pipeline.ts";
import { briefRetried, settleTask } from "./pipeline.ts";
import type { Visit } from "./record.ts";
import { placedFailure } from "./stop.ts";

export const PLAYBOOK_KIND = "playbook";
export const WAIT_KIND = "wait";

/** True for kinds that no worker runs. */
export function isServerKind(kind: string): boolean {
  return kind === PLAYBOOK_KIND || kind === WAIT_KIND;
}

/** The run at `pipeline`, with what its templates see. */
export function runOf(
  draft: Draft,
  visit: Visit,
  key: number,
  pipeline: PipelineState,
): PipelineRun {
  const step = draft.stepOf(visit);
  const data = taskData(draft.state, step, loopItem(draft, visit, key));
  return { step, pipeline, data, options: draft.scopeOptions };
}

interface EndedTask {
  readonly visit: Visit;
  readonly key: number;
  readonly run: PipelineRun;
  readonly outcome: TaskOutcome;
}

/** What the event that ends a task says of its run. */
interface RunEnd {
  /** Null while the run goes on. */
  readonly value: Json;
  readonly error?: Failure;
  readonly retries?: Retries;
  /** Set when the run goes on. */
  readonly pipeline?: PipelineState;
}

/** Does what the task's policy makes of the outcome; `emit` records it. */
export function settleRun(
  draft: Draft,
  { visit, key, run, outcome }: EndedTask,
  emit: (end: RunEnd) => void,
): void {
  const next = settleTask(run, outcome);
  if (next.kind === "next" || next.kind === "retry") {
    const pipeline = { ...next.pipeline, ...briefRetried(next.pipeline) };
    emit({ value: null, pipeline });
    const delayMs = next.kind === "retry" ? next.delayMs : 0;
    draft.continuations.push({ visit, key, pipeline, delayMs });
    return;
  }
  const { value, ctx } = next;
  const error =
    next.kind === "failed" ? { error: placedFailure(next.error, visit, key) } : undefined;
  emit({ value, ...error, ...briefRetried(next) });
  if (Object.keys(ctx).length > 0) {
    draft.emit({ type: "ctx.updated", values: ctx, step: visit.step });
  }
  draft.touched.push(visit);
}
