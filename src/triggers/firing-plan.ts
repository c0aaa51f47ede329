/**
 * What a schedule does about its due times, without a clock or a database: which of those that have
 * passed are met, and what each does while earlier executions run.
 */
import type { ExecutionId } from "../core/ids.ts";
import type { Schedule } from "../dsl/schedule.ts";
import type { NewFiring, WaitingFiring } from "../store/schedule-firing.ts";
import type { Timing } from "./timing.ts";

/** Due times that are no later than this are met whatever `catchup` says: somebody was only slow. */
const LATE_MS = 30_000;
/** As many as there can be within it. */
const LATE_COUNT = LATE_MS / 1000 + 1;
/** Firings that wait for their turn at most, with `overlap: queue`. */
const QUEUE_MAX = 100;

export interface Advance {
  readonly firings: readonly NewFiring[];
  /** After now; undefined: over. */
  readonly nextRunMs: number | undefined;
}

/**
 * The due times from `nextRunMs` up to now. Of those that were missed the last, all or none are met,
 * as the schedule says; the rest is one skipped firing that says so.
 *
 * @param random 0 to 1, for the jitter.
 */
export function planAdvance(
  schedule: Schedule,
  timing: Timing,
  {
    nextRunMs,
    nowMs,
    random,
  }: {
    readonly nextRunMs: number;
    readonly nowMs: number;
    readonly random: () => number;
  },
): Advance {
  const met = dueTimesToMeet(schedule, timing, { nextRunMs, nowMs });
  const firings: NewFiring[] = met.map((dueMs) => ({
    dueMs,
    notBeforeMs: dueMs + Math.floor(random() * schedule.jitterMs),
    skipped: undefined,
  }));
  const oldest = met[0] ?? nowMs + 1;
  if (oldest > nextRunMs) {
    firings.unshift(missed(nextRunMs, oldest, schedule.catchup));
  }
  return { firings, nextRunMs: timing.next(nowMs) };
}

/** Oldest first. */
function dueTimesToMeet(
  { catchup, catchupLimit }: Schedule,
  timing: Timing,
  { nextRunMs, nowMs }: { readonly nextRunMs: number; readonly nowMs: number },
): readonly number[] {
  const count = Math.max(LATE_COUNT, catchup === "all" ? catchupLimit : 1);
  const passed = timing.last(nowMs, { count, sinceMs: nextRunMs });
  const recent = passed.filter((dueMs) => nowMs - dueMs <= LATE_MS);
  const kept = { none: 0, last: 1, all: catchupLimit }[catchup];
  return passed.slice(0, Math.max(recent.length, kept)).reverse();
}

function missed(fromMs: number, toMs: number, catchup: Schedule["catchup"]): NewFiring {
  const times = `from ${new Date(fromMs).toISOString()} to before ${new Date(toMs).toISOString()}`;
  const reason = `due times ${times} were missed (catchup: ${catchup})`;
  return { dueMs: fromMs, notBeforeMs: fromMs, skipped: reason };
}

export interface Turn {
  /** To be started, in order. */
  readonly start: readonly WaitingFiring[];
  readonly skip: readonly { readonly dueMs: number; readonly reason: string }[];
  readonly cancel: readonly ExecutionId[];
  /** The rest waits until executions have ended. */
  readonly isBlocked: boolean;
}

/**
 * Whose turn it is. What a person asked for by hand never waits; backfills queue where scheduled
 * firings would be skipped.
 *
 * @param waiting oldest first.
 * @param open executions of the schedule that run.
 */
export function planTurn(
  overlap: Schedule["overlap"],
  waiting: readonly WaitingFiring[],
  open: readonly ExecutionId[],
): Turn {
  if (overlap === "allow") {
    return { start: waiting, skip: [], cancel: [], isBlocked: false };
  }
  const manual = waiting.filter(({ kind }) => kind === "manual");
  const backfill = waiting.filter(({ kind }) => kind === "backfill");
  const scheduled = waiting.filter(({ kind }) => kind === "scheduled");
  const turn = {
    skip: skipOverlapping,
    queue: queueAll,
    cancel_previous: cancelPrevious,
  }[overlap](scheduled, open);
  const isFree = open.length === 0 && turn.start.length === 0;
  const next = isFree ? backfill.slice(0, 1) : [];
  return {
    ...turn,
    start: [...manual, ...turn.start, ...next],
    isBlocked: turn.isBlocked || backfill.length > next.length,
  };
}

function skipOverlapping(waiting: readonly WaitingFiring[], open: readonly ExecutionId[]): Turn {
  const start = open.length === 0 ? waiting.slice(0, 1) : [];
  const reason =
    open.length === 0 ? "an earlier firing was just started" : `execution ${open[0]} still ran`;
  const skip = waiting.slice(start.length).map(({ dueMs }) => ({ dueMs, reason }));
  return { start, skip, cancel: [], isBlocked: false };
}

function queueAll(waiting: readonly WaitingFiring[], open: readonly ExecutionId[]): Turn {
  const start = open.length === 0 ? waiting.slice(0, 1) : [];
  const skip = waiting
    .slice(start.length + QUEUE_MAX)
    .map(({ dueMs }) => ({ dueMs, reason: `${QUEUE_MAX} firings waited already` }));
  return { start, skip, cancel: [], isBlocked: waiting.length > start.length + skip.length };
}

/** The newest takes the place of all others; it starts once they are gone. */
function cancelPrevious(waiting: readonly WaitingFiring[], open: readonly ExecutionId[]): Turn {
  const newest = waiting.slice(-1);
  const skip = waiting
    .slice(0, -1)
    .map(({ dueMs }) => ({ dueMs, reason: "a later firing took its place" }));
  return newest.length > 0 && open.length > 0
    ? { start: [], skip, cancel: open, isBlocked: true }
    : { start: newest, skip, cancel: [], isBlocked: false };
}
