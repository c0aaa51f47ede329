/** Loops: what their items are, and which of them run. */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject, parseJson } from "../core/json.ts";
import type { Loop, LoopFailure } from "../dsl/playbook.ts";
import { joinRef, loadRef, splitRef } from "../template/ref.ts";
import { renderValue } from "../template/render.ts";
import type { Scope } from "../template/scope.ts";
import { isResultRef } from "../template/scope.ts";
import { routingData } from "./cut.ts";
import type { Draft } from "./draft.ts";
import { exitFailed, exitOk } from "./exit.ts";
import type { Failure } from "./failure.ts";
import { failure, templateFailure } from "./failure.ts";
import type { LoopProgress, Visit } from "./record.ts";
import { loopStats } from "./record.ts";
import { startRun } from "./run.ts";
import { buildScope } from "./scope.ts";
import { isHeld } from "./state.ts";
import { failVisit } from "./stop.ts";
import { isList, loopList } from "./value.ts";

/** Most items of one loop. */
export const ITEM_COUNT_MAX = 1_000_000;
/** A stored list that is larger is not loaded to be iterated over. */
const LOADED_BYTES_MAX = 4 * 1024 * 1024;
/** Most pullers of one cursor. */
export const PULLER_COUNT_MAX = 1000;

type Items =
  | { readonly ok: true; readonly items: readonly Json[] }
  | { readonly ok: false; readonly failure: Failure };

/** Renders what to iterate over; a step whose loop cannot start fails. */
export function startLoop(draft: Draft, visit: Visit, loop: Loop): void {
  try {
    const data = routingData(draft.state, draft.stepOf(visit));
    const scope = buildScope(data, draft.scopeOptions);
    const items = readItems(draft, loop, scope);
    if (!items.ok) {
      exitFailed(draft, visit, items.failure);
      return;
    }
    const { step, visit: number } = visit;
    const maxInFlight = readMaxInFlight(loop, scope);
    if (typeof maxInFlight !== "number") {
      exitFailed(draft, visit, maxInFlight);
      return;
    }
    draft.emit({
      type: "loop.started",
      step,
      visit: number,
      items: items.items,
      maxInFlight,
      ...(loop.cursor === undefined ? {} : { cursor: loop.cursor.kind }),
    });
    draft.touched.push(visit);
  } catch (error) {
    exitFailed(draft, visit, templateFailure(error));
  }
}

/** Starts the next items as far as `max_in_flight` allows, or ends the loop. */
export function advanceLoop(draft: Draft, visit: Visit, loop: LoopProgress): void {
  const step = draft.stepOf(visit);
  const errorsMax = failureLimit(step.loop?.failure ?? "fail_fast");
  while (
    loop.errors.length <= errorsMax &&
    hasMore(loop) &&
    visit.runs.size < loop.maxInFlight &&
    visit.failing === undefined &&
    !isHeld(draft.state)
  ) {
    startRun(draft, visit, nextIndex(loop));
  }
  const error = loop.errors.length > errorsMax ? loop.errors[0]?.error : undefined;
  if (visit.failing !== undefined) {
    return;
  }
  if (error !== undefined && visit.runs.size > 0 && step.failure === "fail_fast") {
    failVisit(draft, visit, error);
  } else if (visit.runs.size === 0 && (error !== undefined || !hasMore(loop))) {
    endLoop(draft, visit, loop, error);
  }
}

function hasMore({ again, next, items }: LoopProgress): boolean {
  return again.size > 0 || next < items.length;
}

/** What a retry runs again comes first. */
function nextIndex({ again, next }: LoopProgress): number {
  const [first = next] = again;
  return first;
}

function endLoop(draft: Draft, visit: Visit, loop: LoopProgress, error: Failure | undefined): void {
  const { step, visit: number } = visit;
  draft.emit({ type: "loop.done", step, visit: number, stats: loopStats(loop) });
  if (error === undefined) {
    exitOk(draft, visit);
  } else {
    exitFailed(draft, visit, error);
  }
}

/** Failed items that do not fail the loop yet. */
export function failureLimit(policy: LoopFailure): number {
  if (typeof policy === "object") {
    return policy.maxFailures;
  }
  return policy === "continue" ? Number.POSITIVE_INFINITY : 0;
}

function readItems(draft: Draft, loop: Loop, scope: Scope): Items {
  if (loop.cursor !== undefined) {
    return { ok: true, items: [] };
  }
  const value = load(draft, renderValue(loop.in ?? null, scope));
  const source = typeof value === "string" ? parseText(value) : value;
  const items = toItems(source);
  if (items === undefined) {
    const shown = JSON.stringify(value).slice(0, 80);
    return notIterable(`The loop got ${shown}, which is nothing to iterate over`, "NOT_ITERABLE");
  }
  if (items.length > ITEM_COUNT_MAX) {
    const message = `The loop has ${items.length} items, more than ${ITEM_COUNT_MAX}`;
    return { ok: false, failure: failure("limit", message, { code: "LOOP_LIMIT" }) };
  }
  return { ok: true, items };
}

function notIterable(message: string, code: string): Items {
  return { ok: false, failure: failure("schema", message, { code }) };
}

/** A long list stays where it is: its items are references that workers resolve one by one. */
function load(draft: Draft, value: Json): Json {
  if (!isResultRef(value)) {
    return value;
  }
  const { resolved } = draft.environment;
  const { type, length = 0, size, $ref } = value;
  if (type !== "array" || size <= LOADED_BYTES_MAX) {
    return loadRef(value, resolved);
  }
  const { base, pointer } = splitRef($ref);
  return Array.from({ length: Math.min(length, ITEM_COUNT_MAX + 1) }, (_, index) => ({
    $ref: joinRef(base, [...pointer, index]),
    size,
    type: "object",
  }));
}

function parseText(text: string): Json | undefined {
  try {
    const value = parseJson(text);
    return typeof value === "string" ? undefined : value;
  } catch {
    // Not JSON: nothing to iterate over.
    return undefined;
  }
}

function toItems(value: Json | undefined): readonly Json[] | undefined {
  if (isList(value)) {
    return value;
  }
  if (typeof value === "number") {
    return toRange(value);
  }
  return value !== undefined && isJsonObject(value)
    ? (loopList(value) ?? toPairs(value))
    : undefined;
}

/** One number too many is enough to be refused. */
function toRange(count: number): readonly number[] | undefined {
  if (!Number.isInteger(count) || count < 0) {
    return undefined;
  }
  return Array.from({ length: Math.min(count, ITEM_COUNT_MAX + 1) }, (_, index) => index);
}

function toPairs(map: JsonObject): readonly JsonObject[] {
  return Object.entries(map).map(([key, value]) => ({ key, value }));
}

function readMaxInFlight(loop: Loop, scope: Scope): number | Failure {
  if (loop.mode === "sequential") {
    return 1;
  }
  const value = renderValue(loop.maxInFlight, scope);
  const count = typeof value === "number" || typeof value === "string" ? Number(value) : Number.NaN;
  if (loop.cursor !== undefined && count > PULLER_COUNT_MAX) {
    const message = `max_in_flight is ${count}: a cursor may have ${PULLER_COUNT_MAX} pullers`;
    return failure("limit", message, { code: "MAX_IN_FLIGHT" });
  }
  if (Number.isInteger(count) && count >= 1) {
    return count;
  }
  const message = `max_in_flight is ${JSON.stringify(value)}: it must be 1 or more`;
  return failure("schema", message, { code: "MAX_IN_FLIGHT" });
}
