/** What workers say about their commands, and what happens when they say nothing. */
import { unreachable } from "../core/assert.ts";
import type { CommandId } from "../core/ids.ts";
import type { Json, JsonObject } from "../core/json.ts";
import type { Task } from "../dsl/playbook.ts";
import type { CommandReport, PipelineState } from "./command.ts";
import { PIPELINE_START } from "./command.ts";
import type { PullEnd } from "./cursor.ts";
import { onPulled } from "./cursor.ts";
import type { EngineInput } from "./decision.ts";
import type { Draft } from "./draft.ts";
import type { CallEnd } from "./event.ts";
import type { Failure } from "./failure.ts";
import { failure } from "./failure.ts";
import { briefRetried, retriedOf, settleTask } from "./pipeline.ts";
import type { OpenCommand, Visit } from "./record.ts";
import { placeIn, runKey } from "./record.ts";
import { runOf } from "./server-task.ts";
import { findVisit } from "./state.ts";
import { confirmCancelled, placedFailure } from "./stop.ts";

/** Times a command is handed out again after its worker was lost. */
export const LOSS_COUNT_MAX = 2;

/** False when the report is stale: another attempt or worker owns the command, or it is over. */
export function onReport(draft: Draft, report: CommandReport): boolean {
  const command = draft.state.commands.get(report.commandId);
  if (command === undefined || command.attempt !== report.attempt || isDisowned(command, report)) {
    return false;
  }
  if (command.cancelledAtMs !== undefined) {
    confirmCancelled(draft, command, false);
  } else {
    accept(draft, command, report);
  }
  return true;
}

/** The worker that it was taken from may wake up, and knows the attempt. */
function isDisowned({ adoptedBy }: OpenCommand, { workerId }: CommandReport): boolean {
  return adoptedBy !== undefined && adoptedBy !== workerId;
}

/** False when the command is over, or another attempt owns it. Twice is the same as once. */
export function onAdopt(
  draft: Draft,
  { commandId, attempt, workerId }: Extract<EngineInput, { kind: "adopt" }>,
): boolean {
  const command = draft.state.commands.get(commandId);
  if (command === undefined || command.attempt !== attempt) {
    return false;
  }
  if (command.adoptedBy !== workerId) {
    draft.emit({ type: "command.adopted", ...placeIn(command), commandId, attempt, workerId });
  }
  return true;
}

/** False when the command is over or has another holder by now. */
export function onLeaseExpired(draft: Draft, commandId: CommandId, attempt: number): boolean {
  const command = draft.state.commands.get(commandId);
  if (command === undefined || command.attempt !== attempt) {
    return false;
  }
  if (command.cancelledAtMs !== undefined) {
    confirmCancelled(draft, command, false);
  } else if (command.losses < lossCountMax(draft, command) && isRepeatable(draft, command)) {
    handOutAgain(draft, command, "worker lost", true);
  } else {
    const times = command.losses + 1;
    const message = `The worker was lost ${times === 1 ? "" : `${times} times `}while it ran the task`;
    endCall(draft, command, {}, failure("worker_lost", message.trim()), null);
  }
  return true;
}

/** Its task has failed without a try that anybody made; false when it is over, or a worker has it. */
export function onUnclaimed(
  draft: Draft,
  { commandId, attempt, error }: Extract<EngineInput, { kind: "unclaimed" }>,
): boolean {
  const command = draft.state.commands.get(commandId);
  if (command === undefined || command.attempt !== attempt) {
    return false;
  }
  if (command.cancelledAtMs !== undefined) {
    confirmCancelled(draft, command, false);
  } else {
    failUntried(draft, command, error);
  }
  return true;
}

/** The task's policy says what follows, as if a worker had reported the failure. */
function failUntried(draft: Draft, command: OpenCommand, error: Failure): void {
  const visit = findVisit(draft.state, placeIn(command));
  if (visit === undefined || command.puller !== undefined) {
    endCall(draft, command, {}, error, null);
    return;
  }
  const run = runOf(draft, visit, runKey(command), pipelineOf(draft, command));
  const next = settleTask(run, { ok: false, failure: error });
  if (next.kind === "next" || next.kind === "retry") {
    const pipeline = { ...next.pipeline, ...briefRetried(next.pipeline) };
    yieldCommand(draft, command, pipeline, next.kind === "retry" ? next.delayMs : 0);
    return;
  }
  const failed = next.kind === "failed" ? next.error : undefined;
  endCall(draft, command, briefRetried(next), failed, next.value);
  updateCtx(draft, command, next.ctx);
}

function accept(draft: Draft, command: OpenCommand, report: CommandReport): void {
  const { outcome, workerId, startedAtMs } = report;
  const source = { workerId, startedAtMs };
  switch (outcome.status) {
    case "ok":
      endCall(draft, command, { ...source, ...retriedOf(outcome) }, undefined, outcome.value);
      updateCtx(draft, command, outcome.ctx);
      break;
    case "error":
      endCall(draft, command, { ...source, ...retriedOf(outcome) }, outcome.error, outcome.value);
      updateCtx(draft, command, outcome.ctx);
      break;
    case "yielded":
      yieldCommand(draft, command, outcome.pipeline, outcome.delayMs);
      break;
    case "cancelled":
      endCall(draft, command, source, failure("cancelled", "The worker aborted the task"), null);
      break;
    case "released":
      handOutAgain(draft, command, outcome.reason, false);
      break;
    default:
      unreachable(outcome);
  }
}

function endCall(
  draft: Draft,
  command: OpenCommand,
  source: Pick<CallEnd, "workerId" | "startedAtMs" | "retries">,
  error: Failure | undefined,
  value: Json,
): void {
  const { commandId, attempt } = command;
  const place = placeIn(command);
  const visit = findVisit(draft.state, place);
  if (visit === undefined) {
    return;
  }
  const base = { ...place, commandId, attempt, ...source, ...draft.leaseOf(commandId), value };
  if (place.puller !== undefined && error === undefined) {
    endPull(draft, visit, base);
    return;
  }
  draft.emit(
    error === undefined
      ? { type: "call.done", ...base }
      : { type: "call.error", ...base, error: placed(error, visit, command) },
  );
  draft.remove.push(commandId);
  draft.touched.push(visit);
}

/** What a puller did itself went well. */
function endPull(draft: Draft, visit: Visit, end: PullEnd): void {
  onPulled(draft, visit, end);
  draft.remove.push(end.commandId);
  draft.touched.push(visit);
}

function placed(error: Failure, visit: Visit, command: OpenCommand): Failure {
  return placedFailure(error, visit, runKey(command), command.attempt);
}

function updateCtx(draft: Draft, command: OpenCommand, values: JsonObject): void {
  if (Object.keys(values).length > 0) {
    draft.emit({ type: "ctx.updated", values, step: command.step });
  }
}

function yieldCommand(
  draft: Draft,
  command: OpenCommand,
  pipeline: typeof PIPELINE_START,
  delayMs: number,
): void {
  const { commandId, attempt } = command;
  const place = placeIn(command);
  const lease = draft.leaseOf(commandId);
  draft.emit({
    type: "command.yielded",
    ...place,
    commandId,
    attempt,
    pipeline,
    delayMs,
    ...lease,
  });
  draft.remove.push(commandId);
  const visit = findVisit(draft.state, place);
  if (visit !== undefined) {
    draft.continuations.push({ visit, key: runKey(command), pipeline, delayMs });
  }
}

function handOutAgain(draft: Draft, command: OpenCommand, reason: string, isLoss: boolean): void {
  const { commandId } = command;
  const attempt = command.attempt + 1;
  const place = placeIn(command);
  const lease = draft.leaseOf(commandId);
  draft.emit({ type: "command.retried", ...place, commandId, attempt, reason, isLoss, ...lease });
  const queueTimeoutMs = taskOf(draft, command)?.queueTimeoutMs;
  const limit = queueTimeoutMs === undefined ? {} : { queueTimeoutMs };
  draft.requeue.push({ commandId, attempt, availableAtMs: draft.nowMs, ...limit });
}

/** The task that it began with; undefined for what a puller does itself. */
function taskOf(draft: Draft, command: OpenCommand): Task | undefined {
  const { position } = pipelineOf(draft, command);
  return command.puller === undefined
    ? draft.state.graph.step(command.step).tasks[position]
    : undefined;
}

/** Where its run stood when it was issued. */
function pipelineOf(draft: Draft, command: OpenCommand): PipelineState {
  const visit = findVisit(draft.state, placeIn(command));
  return visit?.runs.get(runKey(command))?.pipeline ?? PIPELINE_START;
}

/** Of a cursor's work its author may say it. */
function lossCountMax(draft: Draft, { step }: OpenCommand): number {
  const { cursor } = draft.state.graph.step(step).loop ?? {};
  return cursor === undefined ? LOSS_COUNT_MAX : cursor.maxAttempts - 1;
}

/** Any of the tasks that the lost worker may have been running must allow to be run again. */
function isRepeatable(draft: Draft, command: OpenCommand): boolean {
  if (command.puller !== undefined) {
    return true;
  }
  const { tasks } = draft.state.graph.step(command.step);
  const { position } = pipelineOf(draft, command);
  return tasks.slice(position).every((task) => task.isIdempotent);
}
