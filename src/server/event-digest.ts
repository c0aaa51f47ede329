/**
 * Events for whoever draws progress: without values, and what happened to the items of a loop summed
 * up. A loop of 100,000 items has several hundred thousand events; of a batch of them one
 * `loop.progress` is left for each visit, so that a page takes seconds and little memory to follow it.
 */
import type { ExecutionId } from "../core/ids.ts";
import type { JsonObject } from "../core/json.ts";
import type { Retries } from "../engine/command.ts";
import type { EventOf, RecordedEvent } from "../engine/event.ts";
import type { ApiEvent } from "./event-view.ts";
import { failureText, isoTime, mainEvent } from "./event-view.ts";

/** Sub-playbooks of a loop that are named. */
const CHILDREN_MAX = 20;

/** Events that loops have by the item. */
type ItemEvent = EventOf<
  | "command.issued"
  | "command.retried"
  | "command.adopted"
  | "command.yielded"
  | "command.cancelled"
  | "call.done"
  | "call.error"
  | "loop.frame"
  | "child.started"
  | "child.done"
>;

const ITEM_TYPES: ReadonlySet<string> = new Set<ItemEvent["type"]>([
  "command.issued",
  "command.retried",
  "command.adopted",
  "command.yielded",
  "command.cancelled",
  "call.done",
  "call.error",
  "loop.frame",
  "child.started",
  "child.done",
]);

/** Sums of one visit over one batch. */
interface Sum {
  last: RecordedEvent;
  readonly step: string;
  readonly visit: number;
  issued: number;
  done: number;
  failed: number;
  /** Of cursors: items and rows that frames brought, and frames that had rows. */
  items: number;
  rows: number;
  frames: number;
  handedOut: number;
  cancelled: number;
  /** By index: how often policies had it tried again so far. */
  readonly retried: Record<string, number>;
  retriedAfter: string | null;
  rateLimit: string | null;
  error: string | null;
  pool: string | null;
  worker: string | null;
  readonly children: string[];
}

/** A batch of events, which follow each other, for display; in order. */
export function digestEvents(
  executionId: ExecutionId,
  batch: readonly RecordedEvent[],
): readonly ApiEvent[] {
  const sums = new Map<string, Sum>();
  const events: ApiEvent[] = [];
  for (const recorded of batch) {
    const { event } = recorded;
    if (isOfItem(event)) {
      addItem(sums, recorded, event);
      continue;
    }
    if ("step" in event && "visit" in event) {
      const key = `${event.step}#${event.visit}`;
      events.push(...viewSums(executionId, sums.get(key)));
      sums.delete(key);
    }
    events.push(withoutValues(executionId, recorded));
  }
  return [...events, ...[...sums.values()].flatMap((sum) => viewSums(executionId, sum))];
}

function isOfItem(event: RecordedEvent["event"]): event is ItemEvent {
  return (
    ITEM_TYPES.has(event.type) &&
    (("index" in event && event.index !== undefined) ||
      ("puller" in event && event.puller !== undefined))
  );
}

function addItem(sums: Map<string, Sum>, recorded: RecordedEvent, event: ItemEvent): void {
  const key = `${event.step}#${event.visit}`;
  const sum = sums.get(key) ?? newSum(recorded, event);
  sums.set(key, sum);
  sum.last = recorded;
  noteRetries(sum, event);
  // What a cursor's puller does itself is no item.
  const isItem = event.puller === undefined;
  switch (event.type) {
    case "command.issued":
      sum.issued += isItem ? 1 : 0;
      sum.pool = event.pool;
      return;
    case "command.retried":
      sum.handedOut++;
      return;
    case "command.adopted":
      sum.worker = event.workerId;
      return;
    case "command.yielded":
      sum.rateLimit = event.pipeline.permitKey ?? sum.rateLimit;
      return;
    case "command.cancelled":
      sum.cancelled++;
      return;
    case "loop.frame":
      sum.items += event.items.length;
      sum.rows += event.rowCount;
      sum.frames += event.rowCount > 0 ? 1 : 0;
      sum.worker = event.workerId ?? sum.worker;
      return;
    case "call.done":
    case "call.error":
      sum.worker = event.workerId ?? sum.worker;
      addEnd(sum, isItem, event.type === "call.error" ? event.error : undefined);
      return;
    case "child.started":
      sum.issued++;
      sum.children.push(event.childId);
      sum.children.splice(0, sum.children.length - CHILDREN_MAX);
      return;
    case "child.done":
      if (event.pipeline === undefined) {
        addEnd(sum, isItem, event.error);
      }
  }
}

function addEnd(sum: Sum, isItem: boolean, error: EventOf<"call.error">["error"] | undefined) {
  if (error !== undefined) {
    sum.error = failureText(error);
  }
  if (isItem) {
    sum[error === undefined ? "done" : "failed"]++;
  }
}

/** Events carry the sum of their run, so the newest one says it all. */
function noteRetries(sum: Sum, event: ItemEvent): void {
  const own = "retries" in event ? event.retries : undefined;
  const pipeline = "pipeline" in event ? event.pipeline : undefined;
  const retries: Retries | undefined = own ?? pipeline?.retries;
  if (retries !== undefined && event.index !== undefined) {
    sum.retried[String(event.index)] = retries.count;
    sum.retriedAfter = retries.last?.message ?? sum.retriedAfter;
  }
}

function newSum(last: RecordedEvent, { step, visit }: ItemEvent): Sum {
  return {
    ...{ last, step, visit, issued: 0, done: 0, failed: 0, items: 0, rows: 0, frames: 0 },
    ...{ handedOut: 0, cancelled: 0, retried: {}, retriedAfter: null, rateLimit: null },
    ...{ error: null, pool: null, worker: null, children: [] },
  };
}

function viewSums(executionId: ExecutionId, sum: Sum | undefined): readonly ApiEvent[] {
  if (sum === undefined) {
    return [];
  }
  const { last, step, visit, issued, done, failed, items, rows, frames, pool, worker } = sum;
  const { handedOut, cancelled, retried, retriedAfter, rateLimit, children, error } = sum;
  const context: JsonObject = {
    ...{ issued, done, failed, items, rows, frames, handed_out: handedOut, cancelled },
    ...{ retried, retried_after: retriedAfter, rate_limit: rateLimit, pool, worker, children },
  };
  return [
    {
      event_id: String(last.seq),
      seq: last.seq,
      execution_id: executionId,
      event_type: "loop.progress",
      node_name: step,
      status: "RUNNING",
      created_at: isoTime(last.timeMs),
      result: null,
      error,
      context,
      meta: { visit },
    },
  ];
}

function withoutValues(executionId: ExecutionId, recorded: RecordedEvent): ApiEvent {
  const { event } = recorded;
  const view = { ...mainEvent(executionId, recorded), result: null };
  if (event.type === "ctx.updated") {
    return { ...view, context: null };
  }
  if (event.type === "signal.received") {
    return { ...view, context: { signal: event.name, sender: event.sender ?? null } };
  }
  if ((event.type === "call.done" || event.type === "call.error") && event.startedAtMs) {
    return { ...view, meta: { ...view.meta, started_at: isoTime(event.startedAtMs) } };
  }
  return view;
}
