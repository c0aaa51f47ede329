/** The log of an execution: what happened, in order, once. State is a fold over these. */
import type { CommandId, ExecutionId, TimerId, WorkerId } from "../core/ids.ts";
import type { Json, JsonObject } from "../core/json.ts";
import type { PipelineState, Retries } from "./command.ts";
import type { Failure } from "./failure.ts";
import type { GpuDemand, GpuLease } from "./gpu.ts";

/** Identifies the work of one visit of a step, or of one item of its loop. */
export interface Place {
  readonly step: string;
  /** From 1. */
  readonly visit: number;
  /** Of a loop item, from 0. */
  readonly index?: number;
  /** Of what a cursor's puller does itself, from 0. */
  readonly puller?: number;
}

/**
 * What a puller of a cursor does by a command. `next`: as `claim`, after it has acknowledged what
 * was processed; `settle`: acknowledges only, because nothing more is claimed.
 */
export type CursorPhase = "claim" | "next" | "renew" | "settle";

export interface LoopStats {
  readonly total: number;
  readonly succeeded: number;
  readonly failed: number;
  /** Of a cursor: frames that had rows. */
  readonly frames?: number;
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
      /** The execution that this one starts over (`rerun`) or continues (`retry`). */
      readonly origin?: ExecutionOrigin;
    }
  | ({
      readonly type: "step.entered" /** Tokens that met here. */;
      readonly tokenCount: number;
      /** Of a retry: the visit that failed or was cut off, and whose loop results are kept. */
      readonly resumes?: number;
    } & Place)
  /** Not admitted: the tokens end here. */
  | {
      readonly type: "step.skipped";
      readonly step: string;
      readonly tokenCount: number;
      readonly reason: string;
      /** As in `step.entered`. */
      readonly resumes?: number;
    }
  /** The visit has failed (timeout, `fail_fast`): what it still runs is being cancelled. */
  | ({ readonly type: "step.failing"; readonly error: Failure } & Place)
  | ({
      readonly type: "loop.started";
      readonly items: readonly Json[];
      readonly maxInFlight: number;
      /** Kind of the cursor that items come from; `maxInFlight` is the number of its pullers then. */
      readonly cursor?: string;
    } & Place)
  /** A claim of a cursor ended well. Its items are those that follow the ones before, in order. */
  | ({
      readonly type: "loop.frame";
      /** Empty: there was nothing to claim. */
      readonly items: readonly Json[];
      /** In rows, which may be fewer items. */
      readonly rowCount: number;
      /** What acknowledges each item, if the source wants that. */
      readonly acks?: readonly Json[];
    } & CallEnd &
      Place)
  | ({
      readonly type: "command.issued";
      readonly commandId: CommandId;
      readonly pool: string;
      readonly attempt: 1;
      /** Of a puller. */
      readonly phase?: CursorPhase;
      /** It is only handed out together with them. */
      readonly gpus?: GpuDemand;
    } & Place)
  /** Its worker was lost or gave it back; `attempt` is the new fence. */
  | ({
      readonly type: "command.retried";
      readonly commandId: CommandId;
      readonly attempt: number;
      readonly reason: string;
      /** True when its worker was lost: only those count against the limit. */
      readonly isLoss: boolean;
    } & LeaseEnd &
      Place)
  /** Another worker goes on with what the first one started, under the same attempt. */
  | ({
      readonly type: "command.adopted";
      readonly commandId: CommandId;
      readonly attempt: number;
      readonly workerId: WorkerId;
    } & Place)
  /** Gave its slot back: the run goes on from `pipeline` with another command or a child. */
  | ({
      readonly type: "command.yielded";
      readonly commandId: CommandId;
      readonly attempt: number;
      readonly pipeline: PipelineState;
      readonly delayMs: number;
    } & LeaseEnd &
      Place)
  | ({
      readonly type: "command.cancelled";
      readonly commandId: CommandId;
      /** True when nobody confirmed it in time. */
      readonly isLost: boolean;
    } & LeaseEnd &
      Place)
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
  /** A task waits here, at the server, for a time or a signal. */
  | ({ readonly type: "wait.started"; readonly pipeline: PipelineState } & WaitGoal & Place)
  | ({
      readonly type: "wait.done";
      /** Position of the signal that it was waiting for; absent: the time has come, or ran out. */
      readonly signalSeq?: number;
      /** As in `child.done`, like the three that follow. */
      readonly value: Json;
      readonly error?: Failure;
      readonly retries?: Retries;
      readonly pipeline?: PipelineState;
    } & Place)
  /** Kept until a wait of that name takes it; a broadcast is for all that wait for it now. */
  | {
      readonly type: "signal.received";
      readonly name: string;
      readonly payload: Json;
      readonly sender?: string;
      /** The same key again is the same signal. */
      readonly dedupKey?: string;
      readonly isBroadcast?: boolean;
    }
  | {
      readonly type: "ctx.updated";
      readonly values: JsonObject;
      /** Whose `set` it was; absent: written from outside. */
      readonly step?: string;
      /** Names that are gone. */
      readonly removed?: readonly string[];
    }
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
  /** All has come to rest: the final step runs, whatever the outcome was. */
  | { readonly type: "playbook.finishing"; readonly step: string }
  /** A retry: the only event that may follow a terminal one. */
  | {
      readonly type: "playbook.resumed";
      /** Visits that failed or were cut off and that enter again. */
      readonly visits: readonly Pick<Place, "step" | "visit">[];
      readonly reason?: string;
    }
  | { readonly type: "playbook.completed"; readonly result: Json }
  | { readonly type: "playbook.failed"; readonly error: Failure }
  | { readonly type: "playbook.cancelled"; readonly reason: string };

/** An execution that another one comes from. */
export interface ExecutionOrigin {
  readonly executionId: ExecutionId;
  readonly kind: "retry" | "rerun";
}

/** What a `kind: wait` task waits for. */
export interface WaitGoal {
  /** Absent: only for the time. */
  readonly signal?: string;
  /** Absent: as long as it takes. */
  readonly dueMs?: number;
  /** True: at `dueMs` it has waited in vain. */
  readonly isDeadline: boolean;
  /** In vain: the task fails with kind `timeout`, or ends without a payload. */
  readonly onTimeout: "fail" | "continue";
}

/** Common to all that ends a command or takes it from its worker. */
export interface LeaseEnd {
  /** GPUs that are free from here on; absent: it held none. */
  readonly lease?: GpuLease;
}

/** Common to both ends of a command. */
export interface CallEnd extends LeaseEnd {
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
  /** The wait at this place is over, or in vain. */
  | ({ readonly kind: "wait" } & Place)
  /** The rows of the puller's frame are to be kept ours. */
  | {
      readonly kind: "frame_renewal";
      readonly step: string;
      readonly visit: number;
      readonly puller: number;
    }
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

/** Each ends the log, or is followed by `playbook.resumed`. */
export const TERMINAL_EVENTS: ReadonlySet<EventType> = new Set([
  "playbook.completed",
  "playbook.failed",
  "playbook.cancelled",
]);
