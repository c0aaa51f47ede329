/** How events change a cursor: what its pullers do, the frames that they bring, how items end. */
import { assert } from "../core/assert.ts";
import type { Json } from "../core/json.ts";
import type { CursorPhase, EventOf, Place } from "./event.ts";
import { dropTimer, stepOf, visitOf } from "./fold-place.ts";
import type { CursorItem, CursorProgress, Frame, Puller, RunOutcome, Visit } from "./record.ts";
import { runKey } from "./record.ts";
import type { ExecutionState } from "./state.ts";

/** Results of a cursor that are kept: the newest. */
export const CURSOR_RESULT_COUNT_MAX = 1000;
/** Failed items that are kept: the first. */
export const CURSOR_ERROR_COUNT_MAX = 1000;

export function newCursor(pullerCount: number): CursorProgress {
  return {
    pullers: Array.from({ length: pullerCount }, newPuller),
    total: 0,
    frameCount: 0,
    succeeded: 0,
    failed: 0,
    items: new Map(),
    failedItems: new Map(),
    results: [],
    omitted: 0,
    errors: [],
    claimError: undefined,
  };
}

/**
 * The cursor of a visit that is retried: its good items stay, the others run again, each with the
 * puller that brought it, and then claims go on. Failed items that were not kept are given up.
 */
export function cursorAgain(before: CursorProgress): CursorProgress {
  const open = [...before.items, ...before.failedItems].sort(([a], [b]) => a - b);
  return {
    ...before,
    results: [...before.results],
    items: new Map(open),
    failedItems: new Map(),
    errors: [],
    failed: 0,
    claimError: undefined,
    pullers: before.pullers.map(({ acks }, number) => {
      const indexes = open.filter(([, { puller }]) => puller === number).map(([index]) => index);
      return { ...newPuller(), acks, frame: newFrame(indexes) };
    }),
  };
}

function newFrame(indexes: readonly number[]): Frame | undefined {
  return indexes.length === 0 ? undefined : { indexes, startedCount: 0, endedCount: 0 };
}

function newPuller(): Puller {
  return {
    phase: undefined,
    claim: 0,
    frame: undefined,
    acks: [],
    isDrained: false,
    timerId: undefined,
  };
}

export function cursorOf(visit: Visit): CursorProgress {
  assert(visit.cursor !== undefined, `step ${visit.step} runs a cursor`);
  return visit.cursor;
}

export function pullerOf(
  state: ExecutionState,
  place: Place & { readonly puller?: number },
): Puller {
  const puller = cursorOf(visitOf(state, place)).pullers[place.puller ?? -1];
  assert(puller !== undefined, `step ${place.step} has a puller ${place.puller}`);
  return puller;
}

/** A puller's command begins, or goes on with another one. */
export function beginPhase(state: ExecutionState, place: Place, phase: CursorPhase): void {
  const puller = pullerOf(state, place);
  if (puller.phase === undefined && phase !== "renew") {
    puller.claim = state.seq + 1;
    puller.acks = [];
  }
  puller.phase = phase;
}

/** A claim brought items, or nothing. A full frame promises more: then all pullers claim again. */
export function applyFrame(state: ExecutionState, event: EventOf<"loop.frame">): void {
  const visit = visitOf(state, event);
  const cursor = cursorOf(visit);
  const puller = pullerOf(state, event);
  visit.runs.delete(runKey(event));
  puller.phase = undefined;
  if (event.items.length === 0) {
    puller.isDrained = true;
    return;
  }
  const first = cursor.total;
  for (const [offset, item] of event.items.entries()) {
    const ack = event.acks?.[offset];
    cursor.items.set(first + offset, { item, ack, puller: event.puller ?? 0 });
  }
  cursor.total += event.items.length;
  cursor.frameCount++;
  puller.frame = newFrame(event.items.map((_, offset) => first + offset));
  widen(cursor, event.items.length);
  if (event.rowCount >= (stepOf(state, event).loop?.cursor?.maxRows ?? 1)) {
    for (const other of cursor.pullers) {
      other.isDrained = false;
    }
  }
}

/** Makes room for the results of new items; the oldest ones go. */
function widen(cursor: CursorProgress, count: number): void {
  const kept = Math.min(count, CURSOR_RESULT_COUNT_MAX);
  const excess = cursor.results.length + kept - CURSOR_RESULT_COUNT_MAX;
  if (excess > 0) {
    cursor.results.splice(0, excess);
  }
  cursor.results.push(...new Array<Json>(kept).fill(null));
  cursor.omitted = cursor.total - cursor.results.length;
}

export function beginCursorItem(cursor: CursorProgress, index: number): void {
  const frame = cursor.pullers[cursor.items.get(index)?.puller ?? -1]?.frame;
  if (frame !== undefined && frame.indexes[frame.startedCount] === index) {
    frame.startedCount++;
  }
}

/** What a puller did itself has failed, or an item has ended. */
export function endCursorRun(state: ExecutionState, place: Place, outcome: RunOutcome): void {
  const cursor = cursorOf(visitOf(state, place));
  if (place.puller === undefined) {
    endItem(state, cursor, runKey(place), outcome);
    return;
  }
  const puller = pullerOf(state, place);
  if (puller.phase === "claim" || puller.phase === "next") {
    cursor.claimError ??= outcome.error;
  }
  puller.phase = undefined;
}

function endItem(
  state: ExecutionState,
  cursor: CursorProgress,
  index: number,
  { value, error }: RunOutcome,
): void {
  const item = cursor.items.get(index);
  const puller = cursor.pullers[item?.puller ?? -1];
  assert(item !== undefined && puller !== undefined, `item ${index} is at work`);
  beginCursorItem(cursor, index);
  cursor.items.delete(index);
  if (error === undefined) {
    keepResult(cursor, index, value);
    keepAck(puller, item);
  } else {
    cursor.failed++;
    if (cursor.errors.length < CURSOR_ERROR_COUNT_MAX) {
      cursor.errors.push({ index, error });
      cursor.failedItems.set(index, item);
    }
  }
  endFrame(state, puller);
}

function keepResult(cursor: CursorProgress, index: number, value: Json): void {
  cursor.succeeded++;
  if (index >= cursor.omitted) {
    cursor.results[index - cursor.omitted] = value;
  }
}

function keepAck(puller: Puller, { ack }: CursorItem): void {
  if (ack !== undefined) {
    puller.acks.push(ack);
  }
}

function endFrame(state: ExecutionState, puller: Puller): void {
  const { frame } = puller;
  if (frame === undefined) {
    return;
  }
  frame.endedCount++;
  if (frame.endedCount === frame.indexes.length) {
    puller.frame = undefined;
    dropTimer(state, puller.timerId);
    puller.timerId = undefined;
  }
}

/** No frame of the visit is renewed any more. */
export function dropRenewals(state: ExecutionState, visit: Visit): void {
  for (const puller of visit.cursor?.pullers ?? []) {
    dropTimer(state, puller.timerId);
    puller.timerId = undefined;
  }
}
