/** The log of an execution: what happened, in order, once. State is a fold over these. */
import type { CommandId, ExecutionId, TimerId, WorkerId } from "../core/ids.ts";
import type { Json, JsonObject } from "../core/json.ts";
import type { PipelineState, Retries } from "./command.ts";
import type { Failure } from "./failure.ts";

/** Identifies the work of one visit of a step, or of one item of its loop. */
export interface Place {
  readonly step: string;
  /** From 1. */
  readonly visit: number;
  /** Of a loop item, from 0. */
  readonly index?: number;
}

export interface LoopStats {
  readonly total: number;
  readonly succeeded: number;
  readonly failed: number;
}

export type ExecutionEvent =
  | {
      readonly type: "playbook.started";
      readonly executionId: ExecutionId;
      readonly path: string;
      readonly version: number;
      readonly workload: JsonObject;
      /** `depth` is this execution's: 1 for a child of a top-level one. */
      readonly parent?: { readonly executionId: ExecutionId; readonly depth: number };
      /** Pool named by the request (`execution_pool`). */
      readonly pool?: string;
    }
  | ({
      readonly type: "step.entered" /** Tokens that met here. */;
      readonly tokenCount: number;
    } & Place)
  /** Not admitted: the tokens end here. */
  | {
      readonly type: "step.skipped";
      readonly step: string;
      readonly tokenCount: number;
      readonly reason: string;
    }
  /** The visit has failed (timeout, `fail_fast`): what it still runs is being cancelled. */
  | ({ readonly type: "step.failing"; readonly error: Failure } & Place)
  | ({
      readonly type: "loop.started";
      readonly items: readonly Json[];
      readonly maxInFlight: number;
    } & Place)
  | ({
      readonly type: "command.issued";
      readonly commandId: CommandId;
      readonly pool: string;
      readonly attempt: 1;
    } & Place)
  /** Its worker was lost or gave it back; `attempt` is the new fence. */
  | ({
      readonly type: "command.retried";
      readonly commandId: CommandId;
      readonly attempt: number;
      readonly reason: string;
      /** True when its worker was lost: only those count against the limit. */
      readonly isLoss: boolean;
    } & Place)
  /** Gave its slot back: the run goes on from `pipeline` with another command or a child. */
  | ({
      readonly type: "command.yielded";
      readonly commandId: CommandId;
      readonly attempt: number;
      readonly pipeline: PipelineState;
      readonly delayMs: number;
    } & Place)
  | ({
      readonly type: "command.cancelled";
      readonly commandId: CommandId;
      /** True when nobody confirmed it in time. */
      readonly isLost: boolean;
    } & Place)
  | ({ readonly type: "call.done"; readonly value: Json } & CallEnd & Place)
  | ({ readonly type: "call.error"; readonly error: Failure; readonly value: Json } & CallEnd &
      Place)
  | ({
      readonly type: "child.started";
      readonly childId: ExecutionId;
      readonly path: string;
      readonly pipeline: PipelineState;
      readonly isWaited: boolean;
    } & Place)
  | ({
      readonly type: "child.done";
      /** Absent: it could not even start. */
      readonly childId?: ExecutionId;
      /** Value of the run when it is over; null when it goes on (`pipeline.results` has it then). */
      readonly value: Json;
      /** Why the run failed; absent when it goes on. */
      readonly error?: Failure;
      /** Of the run, when it is over; when it goes on `pipeline.retries` has them. */
      readonly retries?: Retries;
      /** Set when the run goes on: a retry, or further tasks. */
      readonly pipeline?: PipelineState;
    } & Place)
  | { readonly type: "ctx.updated"; readonly values: JsonObject; readonly step: string }
  | ({ readonly type: "loop.done"; readonly stats: LoopStats } & Place)
  | ({
      readonly type: "step.exited";
      readonly status: "ok" | "error";
      readonly error?: Failure;
      /** Indexes of the arcs that fired, in order. */
      readonly arcs: readonly number[];
      /** Set when an arc took care of the error. */
      readonly isHandled?: boolean;
      /** Set when there were arcs and none matched (not with `on_no_match: quiet`). */
      readonly isUnmatched?: boolean;
    } & Place)
  | {
      readonly type: "timer.started";
      readonly timerId: TimerId;
      readonly purpose: TimerPurpose;
      readonly dueMs: number;
    }
  | { readonly type: "timer.fired"; readonly timerId: TimerId }
  | { readonly type: "playbook.cancelling"; readonly reason: string }
  /** Nothing new starts. `drain`: what runs may end; `fail_fast`: it is cancelled. */
  | {
      readonly type: "playbook.failing";
      readonly error: Failure;
      readonly mode: "drain" | "fail_fast";
    }
  | { readonly type: "playbook.completed"; readonly result: Json }
  | { readonly type: "playbook.failed"; readonly error: Failure }
  | { readonly type: "playbook.cancelled"; readonly reason: string };

/** Common to both ends of a command. */
export interface CallEnd {
  readonly commandId: CommandId;
  readonly attempt: number;
  /** Absent when the platform ended it (worker lost, timeout). */
  readonly workerId?: WorkerId;
  readonly startedAtMs?: number;
  /** Absent when no task was tried again. */
  readonly retries?: Retries;
}

export type TimerPurpose =
  | { readonly kind: "execution_timeout" }
  | { readonly kind: "step_timeout"; readonly step: string; readonly visit: number }
  /** The run at this place goes on: its retry delay at the server is over. */
  | ({ readonly kind: "retry" } & Place)
  /** Limit of a sub-playbook task. */
  | { readonly kind: "child_timeout"; readonly childId: ExecutionId }
  /** Commands not confirmed gone by then are declared lost. */
  | { readonly kind: "cancel_deadline" };

export type EventType = ExecutionEvent["type"];

export type EventOf<Type extends EventType> = Extract<ExecutionEvent, { type: Type }>;

/** An event at its position in the log. */
export interface RecordedEvent {
  /** From 1, without gaps. */
  readonly seq: number;
  readonly timeMs: number;
  readonly event: ExecutionEvent;
}

export const TERMINAL_EVENTS: ReadonlySet<EventType> = new Set([
  "playbook.completed",
  "playbook.failed",
  "playbook.cancelled",
]);
