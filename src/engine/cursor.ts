/**
 * Cursor loops. Each of `max_in_flight` pullers claims a frame of rows by a command, lets them run,
 * and claims again when they have ended, until a claim gives nothing. Rows are events
 * (`loop.frame`) before any of them runs, so from there on nothing is lost with a worker.
 *
 * The claim that finds nothing is made after all rows have ended: whichever puller ends last claims
 * once more. A claim that fails, after its own retries, fails the loop.
 */
import type { Json } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { Step } from "../dsl/playbook.ts";
import type { ClaimedFrame } from "./command.ts";
import { pullPipeline } from "./cursor-step.ts";
import { cursorStats } from "./cursor-value.ts";
import type { Draft } from "./draft.ts";
import type { CallEnd, CursorPhase, Place, TimerPurpose } from "./event.ts";
import { exitFailed, exitOk } from "./exit.ts";
import type { Failure } from "./failure.ts";
import { failure } from "./failure.ts";
import { failureLimit } from "./loop.ts";
import type { CursorProgress, Frame, Puller, Visit } from "./record.ts";
import { pullerKey } from "./record.ts";
import { continueRun, startRun } from "./run.ts";
import { findVisit, isHeld, startOf } from "./state.ts";
import { failVisit } from "./stop.ts";
import { isList } from "./value.ts";

export type PullEnd = Place & CallEnd & { readonly value: Json };

/** Starts what may start now: rows of frames, claims; or ends the loop. */
export function advanceCursor(draft: Draft, visit: Visit, cursor: CursorProgress): void {
  const step = draft.stepOf(visit);
  const error = errorOf(step, cursor);
  // While the execution drains nothing new starts, and what has gone well is acknowledged.
  const isStopping = error !== undefined || isHeld(draft.state);
  for (const [number, puller] of cursor.pullers.entries()) {
    if (visit.failing === undefined) {
      advancePuller(draft, visit, { number, puller, isStopping });
    }
  }
  if (visit.failing !== undefined) {
    return;
  }
  const isDrained = cursor.pullers.every((puller) => puller.isDrained);
  if (error !== undefined && visit.runs.size > 0 && step.failure === "fail_fast") {
    failVisit(draft, visit, error);
  } else if (visit.runs.size === 0 && (error !== undefined || isDrained)) {
    endCursor(draft, visit, cursor, error);
  }
}

/** Why nothing more is started. */
function errorOf(step: Step, { claimError, errors, failed }: CursorProgress): Failure | undefined {
  const isOver = failed > failureLimit(step.loop?.failure ?? "fail_fast");
  return claimError ?? (isOver ? errors[0]?.error : undefined);
}

interface Advance {
  readonly number: number;
  readonly puller: Puller;
  /** Nothing more is claimed or started. */
  readonly isStopping: boolean;
}

function advancePuller(draft: Draft, visit: Visit, { number, puller, isStopping }: Advance): void {
  const { frame, isDrained } = puller;
  if (frame !== undefined && !isStopping) {
    startRows(draft, visit, frame);
    return;
  }
  const isRunning = frame !== undefined && runningCount(frame) > 0;
  if (isRunning || visit.runs.has(pullerKey(number))) {
    return;
  }
  if (isStopping && puller.acks.length > 0) {
    pull(draft, visit, number, "settle");
  } else if (!isStopping && !isDrained) {
    pull(draft, visit, number, puller.acks.length > 0 ? "next" : "claim");
  }
}

function startRows(draft: Draft, visit: Visit, frame: Frame): void {
  const { cursor } = draft.stepOf(visit).loop ?? {};
  const most = cursor?.process === "frame" ? 1 : (cursor?.rowConcurrency ?? 1);
  while (runningCount(frame) < most && visit.failing === undefined) {
    const index = frame.indexes[frame.startedCount];
    if (index === undefined) {
      return;
    }
    startRun(draft, visit, index);
  }
}

function runningCount({ startedCount, endedCount }: Frame): number {
  return startedCount - endedCount;
}

function pull(draft: Draft, visit: Visit, number: number, phase: CursorPhase): void {
  const { state } = draft;
  const puller = visit.cursor?.pullers[number];
  if (puller === undefined) {
    return;
  }
  const isNew = phase !== "renew";
  const claim = isNew ? state.seq + 1 : puller.claim;
  const claimId = `${startOf(state).executionId}.${claim}`;
  const acks = phase === "renew" ? openAcks(visit, number) : puller.acks;
  const pipeline = pullPipeline(draft.stepOf(visit), { claimId, acks });
  continueRun(draft, { visit, key: pullerKey(number), pipeline, delayMs: 0, phase });
}

/** Of all that is not acknowledged: rows at work, rows that wait, and those that went well. */
function openAcks(visit: Visit, number: number): readonly Json[] {
  const { items, pullers } = visit.cursor ?? { items: new Map(), pullers: [] };
  const open = [...items.values()].filter(({ puller }) => puller === number);
  return [
    ...(pullers[number]?.acks ?? []),
    ...open.flatMap(({ ack }) => (ack === undefined ? [] : [ack])),
  ];
}

function endCursor(
  draft: Draft,
  visit: Visit,
  cursor: CursorProgress,
  error: Failure | undefined,
): void {
  const place = { step: visit.step, visit: visit.visit };
  draft.emit({ type: "loop.done", ...place, stats: cursorStats(cursor) });
  if (error === undefined) {
    exitOk(draft, visit);
  } else {
    exitFailed(draft, visit, error);
  }
}

/** A puller's command went well: of a claim, its rows are recorded. */
export function onPulled(draft: Draft, visit: Visit, end: PullEnd): void {
  const puller = visit.cursor?.pullers[end.puller ?? -1];
  const { value, ...rest } = end;
  if (puller?.phase !== "claim" && puller?.phase !== "next") {
    draft.emit({ type: "call.done", ...rest, value: null });
    return;
  }
  const { acknowledge } = draft.stepOf(visit).loop?.cursor ?? {};
  const frame = readFrame(value, acknowledge !== undefined);
  if (frame === undefined) {
    const message = "The claim gave no rows, not even none: is its worker of another version?";
    const error = failure("schema", message, { code: "CLAIM_INVALID", step: visit.step });
    draft.emit({ type: "call.error", ...rest, error, value: null });
    return;
  }
  draft.emit({ type: "loop.frame", ...rest, ...frame });
  if (frame.items.length > 0) {
    startRenewal(draft, visit, end.puller ?? 0);
  }
}

function readFrame(value: Json, isAcknowledged: boolean): ClaimedFrame | undefined {
  if (!isJsonObject(value) || !isList(value["items"]) || typeof value["rowCount"] !== "number") {
    return undefined;
  }
  const { items, rowCount, acks } = value;
  return { items, rowCount, ...(isAcknowledged && isList(acks) ? { acks } : {}) };
}

function startRenewal(draft: Draft, visit: Visit, puller: number): void {
  const { cursor } = draft.stepOf(visit).loop ?? {};
  if (cursor?.renew !== undefined) {
    const { step, visit: number } = visit;
    draft.startTimer({ kind: "frame_renewal", step, visit: number, puller }, cursor.heartbeatMs);
  }
}

/** The timer of a frame's renewal has fired. A renewal that is still under way is not doubled. */
export function renewFrame(
  draft: Draft,
  purpose: Extract<TimerPurpose, { readonly kind: "frame_renewal" }>,
): void {
  const visit = findVisit(draft.state, purpose);
  const puller = visit?.cursor?.pullers[purpose.puller];
  if (visit === undefined || puller?.frame === undefined || isHeld(draft.state)) {
    return;
  }
  if (visit.failing === undefined && !visit.runs.has(pullerKey(purpose.puller))) {
    pull(draft, visit, purpose.puller, "renew");
  }
  startRenewal(draft, visit, purpose.puller);
}
