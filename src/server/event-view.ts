/**
 * Events as the API shows them, in the shape that NoETL's clients read: data below
 * `result.context.data`, the error as text.
 *
 * The log records the end of a command in one event; clients expect its life in several. So
 * `command.claimed` and `command.started` are shown before a `call.done`, `call.error` or `loop.frame`,
 * and `command.completed` or `command.failed` behind it. Their ids lie between the log's positions
 * (`11.8`, `11.9`, `12`, `12.1`), so that ids always ascend; a client that goes on behind any of
 * them goes on behind its whole part.
 */
import type { ExecutionId } from "../core/ids.ts";
import type { JsonObject } from "../core/json.ts";
import type { Retries } from "../engine/command.ts";
import type { EventOf, ExecutionEvent, RecordedEvent } from "../engine/event.ts";
import type { Failure } from "../engine/failure.ts";
import { apiEventName } from "./event-name.ts";

export interface ApiEvent {
  readonly event_id: string;
  /** Position in the log; derived events have that of their origin. */
  readonly seq: number;
  readonly execution_id: string;
  readonly event_type: string;
  /** The step, or `playbook`. */
  readonly node_name: string;
  /** In capitals, for example `COMPLETED`. */
  readonly status: string;
  readonly created_at: string;
  /** `{status, context: {data}}` where something came out; else null. */
  readonly result: unknown;
  readonly error: string | null;
  /** What else the event says. */
  readonly context: unknown;
  readonly meta: Readonly<Record<string, unknown>>;
}

/** The position to go on behind, from an `event_id` or `Last-Event-ID`; 0 for anything odd. */
export function seqOfEventId(id: string | null | undefined): number {
  const seq = Number.parseInt(id ?? "", 10);
  return Number.isSafeInteger(seq) && seq > 0 ? seq : 0;
}

/** One event of the log as one or more of the API, in order. */
export function viewEvent(executionId: ExecutionId, recorded: RecordedEvent): readonly ApiEvent[] {
  const { event, seq } = recorded;
  const main = mainEvent(executionId, recorded);
  if (event.type !== "call.done" && event.type !== "call.error" && event.type !== "loop.frame") {
    return [main];
  }
  const end = event.type === "call.error" ? "command.failed" : "command.completed";
  const begin = event.startedAtMs === undefined ? [] : startEvents(main, seq, event.startedAtMs);
  return [...begin, main, { ...main, event_id: `${seq}.1`, event_type: end, result: null }];
}

function startEvents(main: ApiEvent, seq: number, startedAtMs: number): readonly ApiEvent[] {
  const begin = { ...main, created_at: isoTime(startedAtMs), result: null, error: null };
  return [
    { ...begin, event_id: `${seq - 1}.8`, event_type: "command.claimed", status: "RUNNING" },
    { ...begin, event_id: `${seq - 1}.9`, event_type: "command.started", status: "STARTED" },
  ];
}

/** The event of the log itself. */
export function mainEvent(
  executionId: ExecutionId,
  { event, seq, timeMs }: RecordedEvent,
): ApiEvent {
  const status = statusOf(event);
  const error = "error" in event && event.error !== undefined ? event.error : undefined;
  return {
    event_id: String(seq),
    seq,
    execution_id: executionId,
    event_type: apiEventName(event.type),
    node_name: ("step" in event ? event.step : undefined) ?? "playbook",
    status,
    created_at: isoTime(timeMs),
    result: resultOf(event, status),
    error: error === undefined ? null : failureText(error),
    context: contextOf(event),
    meta: { ...metaOf(event), ...retriesOf(event), ...(error === undefined ? {} : { error }) },
  };
}

const STATUS: Readonly<Partial<Record<ExecutionEvent["type"], string>>> = {
  "playbook.started": "STARTED",
  "step.entered": "ENTERED",
  "step.skipped": "SKIPPED",
  "loop.started": "STARTED",
  "command.issued": "PENDING",
  "command.retried": "PENDING",
  "command.adopted": "RUNNING",
  "command.yielded": "PENDING",
  "command.cancelled": "CANCELLED",
  "call.error": "FAILED",
  "child.started": "STARTED",
  "ctx.updated": "CONTEXT",
  "timer.started": "STARTED",
  "wait.started": "STARTED",
  "signal.received": "RECEIVED",
  "playbook.cancelling": "RUNNING",
  "playbook.failing": "RUNNING",
  "playbook.finishing": "RUNNING",
  "playbook.resumed": "RUNNING",
  "playbook.failed": "FAILED",
  "playbook.cancelled": "CANCELLED",
};

function statusOf(event: ExecutionEvent): string {
  const hasFailed =
    (event.type === "step.exited" && event.status === "error") ||
    ((event.type === "child.done" || event.type === "wait.done") && event.error !== undefined);
  return hasFailed ? "FAILED" : (STATUS[event.type] ?? "COMPLETED");
}

function resultOf(event: ExecutionEvent, status: string): unknown {
  switch (event.type) {
    case "call.done":
    case "call.error":
    case "child.done":
    case "wait.done":
      return { status, context: { data: event.value } };
    case "loop.done":
      return { status, context: { stats: event.stats } };
    case "playbook.completed":
      return { status, context: { data: event.result } };
    default:
      return null;
  }
}

/** Items of loops are counted, not repeated: there may be a hundred thousand. */
function contextOf(event: ExecutionEvent): JsonObject | null {
  switch (event.type) {
    case "playbook.started":
      return {
        path: event.path,
        version: event.version,
        workload: event.workload,
        ...(event.origin === undefined
          ? {}
          : { origin: { execution_id: event.origin.executionId, kind: event.origin.kind } }),
      };
    case "loop.started":
      return {
        iterations_expected: event.items.length,
        max_in_flight: event.maxInFlight,
        ...(event.cursor === undefined ? {} : { cursor: event.cursor }),
      };
    case "loop.frame":
      return { items: event.items.length, rows: event.rowCount };
    case "ctx.updated":
      return {
        values: event.values,
        ...(event.removed === undefined ? {} : { removed: event.removed }),
      };
    case "command.issued":
      return { pool: event.pool, ...(event.phase === undefined ? {} : { phase: event.phase }) };
    case "child.started":
      return { execution_id: event.childId, path: event.path, is_waited: event.isWaited };
    case "child.done":
      return { execution_id: event.childId ?? null };
    case "wait.started":
      return waitContext(event);
    case "wait.done":
      return { signal_event_id: event.signalSeq === undefined ? null : `${event.signalSeq}` };
    case "signal.received":
      return signalContext(event);
    case "playbook.resumed":
      return {
        steps: event.visits.map(({ step }) => step),
        reason: event.reason ?? null,
      };
    case "playbook.finishing":
      return { step: event.step };
    case "step.entered":
      return event.resumes === undefined ? null : { resumes: event.resumes };
    case "step.exited":
      return { arcs: event.arcs, is_handled: event.isHandled ?? false };
    case "command.retried":
    case "step.skipped":
    case "playbook.cancelling":
    case "playbook.cancelled":
      return { reason: event.reason };
    case "command.yielded":
      return {
        delay_seconds: event.delayMs / 1000,
        rate_limit: event.pipeline.permitKey ?? null,
      };
    default:
      return null;
  }
}

function waitContext({ signal, dueMs, isDeadline }: EventOf<"wait.started">): JsonObject {
  const due = dueMs === undefined ? null : isoTime(dueMs);
  return {
    signal: signal ?? null,
    until: isDeadline ? null : due,
    deadline: isDeadline ? due : null,
  };
}

function signalContext(event: EventOf<"signal.received">): JsonObject {
  const { name, payload, sender = null, dedupKey = null, isBroadcast = false } = event;
  return { signal: name, payload, sender, dedup_key: dedupKey, is_broadcast: isBroadcast };
}

const META: readonly (readonly [key: string, name: string])[] = [
  ["commandId", "command_id"],
  ["attempt", "attempt"],
  ["workerId", "worker_id"],
  ["visit", "visit"],
  ["index", "iteration_index"],
  ["puller", "puller"],
];

function metaOf(event: ExecutionEvent): Readonly<Record<string, unknown>> {
  const fields: Readonly<Record<string, unknown>> = { ...event };
  return Object.fromEntries(
    META.filter(([key]) => fields[key] !== undefined).map(([key, name]) => [name, fields[key]]),
  );
}

/** Of the event's run up to here: `{count, last}`, the latter a failure. */
function retriesOf(event: ExecutionEvent): { readonly retries?: Retries } {
  const own = "retries" in event ? event.retries : undefined;
  const retries = own ?? (isContinued(event) ? event.pipeline?.retries : undefined);
  return retries === undefined ? {} : { retries };
}

function isContinued(
  event: ExecutionEvent,
): event is EventOf<"command.yielded" | "child.done" | "wait.done"> {
  return ["command.yielded", "child.done", "wait.done"].includes(event.type);
}

/** One line that says where and what: `fetch[3], attempt 2: HTTP 503 from … (HTTP_503)`. */
export function failureText(error: Failure): string {
  const index = error.index === undefined ? "" : `[${error.index}]`;
  const attempt = (error.attempt ?? 1) > 1 ? `, attempt ${error.attempt}` : "";
  const place = error.step === undefined ? "" : `${error.step}${index}${attempt}: `;
  return `${place}${error.message} (${error.code})`;
}

export function isoTime(timeMs: number): string {
  return new Date(timeMs).toISOString();
}
