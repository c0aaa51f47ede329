/** Runs: one way through a step's tasks, as commands for workers and children of the engine. */
import type { CommandId } from "../core/ids.ts";
import type { Json } from "../core/json.ts";
import type { Playbook, Step, Task } from "../dsl/playbook.ts";
import { hasTemplate, renderValue } from "../template/render.ts";
import { startChild } from "./child.ts";
import type { CommandPayload, ScopeData } from "./command.ts";
import { PIPELINE_START } from "./command.ts";
import { pullStep } from "./cursor-step.ts";
import { cursorData, taskData } from "./cut.ts";
import type { Continuation, Draft } from "./draft.ts";
import { loopItem } from "./draft.ts";
import type { CursorPhase } from "./event.ts";
import { templateFailure } from "./failure.ts";
import { cursorOf } from "./fold-cursor.ts";
import { GpuWishError, gpusOf } from "./gpu-demand.ts";
import { offloaded } from "./offload.ts";
import type { PipelineRun } from "./pipeline.ts";
import { currentTask, taskScope } from "./pipeline.ts";
import { readsOf } from "./reads.ts";
import type { Visit } from "./record.ts";
import { placeOf, SINGLE } from "./record.ts";
import { isServerKind, WAIT_KIND } from "./server-task.ts";
import { startOf } from "./state.ts";
import { failVisit } from "./stop.ts";
import { startWait } from "./wait.ts";

export function startRun(draft: Draft, visit: Visit, key: number): void {
  continueRun(draft, { visit, key, pipeline: PIPELINE_START, delayMs: 0 });
}

/** Goes on at `pipeline.position`: with a child or a wait there, else with a command. */
export function continueRun(draft: Draft, continuation: Continuation): void {
  try {
    goOn(draft, continuation);
  } catch (error) {
    const cause = error instanceof GpuWishError ? error.failure : templateFailure(error);
    failVisit(draft, continuation.visit, cause);
  }
}

function goOn(draft: Draft, continuation: Continuation): void {
  const { visit, key, pipeline, delayMs } = continuation;
  if (key < SINGLE) {
    issuePull(draft, continuation);
    return;
  }
  const task = currentTask({ step: draft.stepOf(visit), pipeline });
  if (!isServerKind(task.kind)) {
    issueItem(draft, continuation);
  } else if (delayMs > 0) {
    draft.startTimer({ kind: "retry", ...placeOf(visit, key) }, delayMs);
  } else if (task.kind === WAIT_KIND) {
    startWait(draft, visit, key, pipeline);
  } else {
    startChild(draft, visit, key, pipeline);
  }
}

function issueItem(draft: Draft, continuation: Continuation): void {
  const { visit, key } = continuation;
  const step = draft.stepOf(visit);
  const scope = taskData(draft.state, step, loopItem(draft, visit, key));
  issueCommand(draft, continuation, { step, scope });
}

/** What a puller of a cursor does itself. */
function issuePull(draft: Draft, continuation: Continuation): void {
  const { visit, key } = continuation;
  const phase = continuation.phase ?? cursorOf(visit).pullers[SINGLE - 1 - key]?.phase ?? "claim";
  const step = draft.stepOf(visit);
  const scope = cursorData(draft.state, step);
  issueCommand(draft, continuation, { step: pullStep(step, phase), scope, phase });
}

interface Work {
  /** With the tasks to run. */
  readonly step: Step;
  readonly scope: ScopeData;
  readonly phase?: CursorPhase;
}

function issueCommand(
  draft: Draft,
  { visit, key, pipeline, delayMs }: Continuation,
  { step, scope, phase }: Work,
): void {
  const run: PipelineRun = { step, pipeline, data: scope, options: draft.scopeOptions };
  const task = currentTask(run);
  const { isWished, demand } = gpusOf(run, task);
  const pool = choosePool(draft, run, task, isWished);
  const gpus = demand === undefined ? {} : { gpus: demand };
  const commandId = draft.environment.newId<CommandId>();
  const place = placeOf(visit, key);
  const more = phase === undefined ? {} : { phase };
  draft.emit({ type: "command.issued", ...place, commandId, pool, attempt: 1, ...more, ...gpus });
  const timeoutMs = remainingMs(draft, visit, step, delayMs);
  draft.issue.push({
    commandId,
    ...place,
    tool: task.kind,
    pool,
    priority: draft.state.playbook.executor.priority,
    availableAtMs: draft.nowMs + delayMs,
    ...gpus,
    ...(task.queueTimeoutMs === undefined ? {} : { queueTimeoutMs: task.queueTimeoutMs }),
    payload: {
      step: stepPayload(draft.state.playbook, step),
      pipeline,
      scope: offloaded(draft, scope),
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
      ...frameOf(step, phase),
    },
  });
}

function frameOf({ loop }: Step, phase: CursorPhase | undefined): Pick<CommandPayload, "frame"> {
  if (loop?.cursor === undefined || (phase !== "claim" && phase !== "next")) {
    return {};
  }
  const { process, maxBytes } = loop.cursor;
  return { frame: { process, maxBytes } };
}

const payloads = new WeakMap<Step, CommandPayload["step"]>();

function stepPayload(playbook: Playbook, step: Step): CommandPayload["step"] {
  const known = payloads.get(step);
  if (known !== undefined) {
    return known;
  }
  const { name, tasks, isPipeline, input, outputSelect } = step;
  const reads = readsOf(playbook, name);
  const payload = {
    ...{ name, tasks, isPipeline, input, outputSelect },
    ...(reads.length === 0 ? {} : { reads }),
  };
  payloads.set(step, payload);
  return payload;
}

/** What is left of the step's time when the command becomes available. */
function remainingMs(draft: Draft, visit: Visit, step: Step, delayMs: number): number | undefined {
  return step.timeoutMs === undefined
    ? undefined
    : Math.max(1, visit.enteredAtMs + step.timeoutMs - draft.nowMs - delayMs);
}

/** @throws TemplateError if the pool's name is a template that cannot be rendered. */
function choosePool(draft: Draft, run: PipelineRun, task: Task, wantsGpus: boolean): string {
  const { environment, state } = draft;
  const named = task.pool ?? state.graph.step(run.step.name).pool ?? state.playbook.executor.pool;
  const fallback = wantsGpus ? environment.gpuPool : environment.defaultPool;
  return renderPool(run, named) ?? startOf(state).pool ?? fallback;
}

/** Undefined when the template has no answer: the next candidate decides. */
function renderPool(run: PipelineRun, named: string | undefined): string | undefined {
  if (named === undefined || !hasTemplate(named)) {
    return named;
  }
  const pool: Json = renderValue(named, taskScope(run));
  return typeof pool === "string" && pool !== "" ? pool : undefined;
}
