/** Between the wire and the domain, for the control service. See codec.ts. */
import type { ExecutionId } from "../core/ids.ts";
import type { ExecutionStatus, Signal } from "../engine/decision.ts";
import type { RecordedEvent } from "../engine/event.ts";
import type * as wire from "./generated/noetl/v1/control.ts";
import type {
  ExecutionFilter,
  ExecutionSummary,
  RegisteredPlaybook,
  StartExecution,
} from "./handlers.ts";
import { decodeJson, decodeJsonObject, encodeJson, integer, invalid, toId } from "./wire-value.ts";

const LIMIT_DEFAULT = 50;
const LIMIT_MAX = 100;

const STATUSES = {
  pending: "PENDING",
  running: "RUNNING",
  completed: "COMPLETED",
  failed: "FAILED",
  cancelled: "CANCELLED",
} satisfies Record<ExecutionStatus, string>;

export function encodeRegistered(registered: RegisteredPlaybook): wire.RegisterPlaybookResponse {
  const { catalogId, path, version } = registered;
  return {
    catalogId,
    path,
    version,
    warnings: registered.warnings.map((warning) => ({ ...warning })),
  };
}

export function decodeStart(request: wire.ExecuteRequest): StartExecution {
  if (request.path === "") {
    throw invalid("path is empty");
  }
  return {
    path: request.path,
    ...(request.version === 0 ? {} : { version: integer("version", request.version, 1) }),
    payload: decodeJsonObject("payload", request.payload),
    ...(request.executionPool === "" ? {} : { pool: request.executionPool }),
    ...(request.dedupKey === "" ? {} : { dedup: decodeDedup(request) }),
    ...(request.priority === undefined
      ? {}
      : { priority: integer("priority", request.priority, 0) }),
  };
}

function decodeDedup(request: wire.ExecuteRequest): NonNullable<StartExecution["dedup"]> {
  const { dedupKey: key, dedupWindowSeconds: seconds } = request;
  return seconds === 0 ? { key } : { key, windowMs: seconds * 1000 };
}

export function decodeExecutionId(text: string): ExecutionId {
  return toId<ExecutionId>("execution_id", text);
}

export function decodeSignal(request: wire.SignalExecutionRequest): Signal {
  const { name, payload, dedupKey, broadcast, sender } = request;
  return {
    name,
    payload: payload.length === 0 ? null : decodeJson("payload", payload),
    ...(dedupKey === "" ? {} : { dedupKey }),
    ...(sender === "" ? {} : { sender }),
    ...(broadcast ? { isBroadcast: true } : {}),
  };
}

export function encodeExecution(execution: ExecutionSummary): wire.Execution {
  const { endedAtMs, result, error } = execution;
  return {
    executionId: execution.executionId,
    path: execution.path,
    version: execution.version,
    status: STATUSES[execution.status],
    parentExecutionId: execution.parentExecutionId ?? "",
    startedAtMs: String(Math.round(execution.startedAtMs)),
    endedAtMs: String(Math.round(endedAtMs ?? 0)),
    result: result === undefined ? Buffer.alloc(0) : encodeJson(result),
    error: error === undefined ? Buffer.alloc(0) : encodeJson(error),
  };
}

export function encodeEvent(
  executionId: ExecutionId,
  recorded: RecordedEvent,
): wire.ExecutionEvent {
  const { seq, timeMs, event } = recorded;
  return {
    executionId,
    seq: String(seq),
    type: event.type,
    step: ("step" in event ? event.step : undefined) ?? "",
    timeMs: String(Math.round(timeMs)),
    payload: encodeJson(event),
  };
}

export function decodeFilter(request: wire.ListExecutionsRequest): ExecutionFilter {
  const limit = request.limit === 0 ? LIMIT_DEFAULT : integer("limit", request.limit, 1);
  return {
    ...(request.path === "" ? {} : { path: request.path }),
    ...(request.status === "" ? {} : { status: decodeStatus(request.status) }),
    limit: Math.min(limit, LIMIT_MAX),
    offset: integer("offset", request.offset, 0),
  };
}

function decodeStatus(text: string): ExecutionStatus {
  const wanted = text.toUpperCase();
  for (const status of Object.keys(STATUSES) as ExecutionStatus[]) {
    if (STATUSES[status] === wanted) {
      return status;
    }
  }
  throw invalid(`status "${text}" is none of ${Object.values(STATUSES).join(", ")}`);
}
