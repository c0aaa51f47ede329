/** What goes into the decision function and what comes out of it. */

import type { TimeMs } from "../core/clock.ts";
import type { CommandId, ExecutionId, NewId, TimerId, WorkerId } from "../core/ids.ts";
import type { Json, JsonObject } from "../core/json.ts";
import type { Resolved, ResultRef } from "../template/scope.ts";
import type { CommandPayload, CommandReport, HeldCommand } from "./command.ts";
import type { ExecutionEvent, ExecutionOrigin, TimerPurpose } from "./event.ts";
import type { Failure } from "./failure.ts";
import type { GpuDemand, GpuLease } from "./gpu.ts";

export type ExecutionStatus = "pending" | "running" | "completed" | "failed" | "cancelled";

/** Something that happened outside and that an execution must react to. */
export type EngineInput =
  | { readonly kind: "start"; readonly start: ExecutionStart }
  | { readonly kind: "report"; readonly report: CommandReport }
  /** The lease of a claimed command ran out, or its worker deregistered without a report. */
  | { readonly kind: "lease_expired"; readonly commandId: CommandId; readonly attempt: number }
  /** No worker will ever have the command: it waited too long, or wants GPUs that nobody has. */
  | {
      readonly kind: "unclaimed";
      readonly commandId: CommandId;
      readonly attempt: number;
      readonly error: Failure;
    }
  /** A worker has taken over what the one before it started; from now on only its reports count. */
  | ({ readonly kind: "adopt"; readonly workerId: WorkerId } & Pick<
      HeldCommand,
      "commandId" | "attempt"
    >)
  | { readonly kind: "timer"; readonly timerId: TimerId; readonly purpose: TimerPurpose }
  | { readonly kind: "child_done"; readonly child: ChildEnd }
  | { readonly kind: "cancel"; readonly reason: string }
  | { readonly kind: "signal"; readonly signal: Signal }
  /** Somebody outside writes ctx: `values` over it, without the names in `removed`. */
  | {
      readonly kind: "variables";
      readonly values: JsonObject;
      readonly removed: readonly string[];
    }
  /** A finished execution goes on from what failed or was cut off. */
  | ({ readonly kind: "retry" } & RetryRequest)
  /** Ends the execution from outside, whatever its state (`/finalize`). */
  | { readonly kind: "finalize"; readonly status: "completed" | "failed"; readonly reason: string };

export interface ExecutionStart {
  readonly executionId: ExecutionId;
  readonly path: string;
  readonly version: number;
  /** The request's payload; the engine merges it over the playbook's workload. */
  readonly payload: JsonObject;
  readonly pool?: string;
  readonly parent?: { readonly executionId: ExecutionId; readonly depth: number };
  readonly origin?: ExecutionOrigin;
}

/** Sent from outside to whoever waits for its name. */
export interface Signal {
  readonly name: string;
  readonly payload: Json;
  /** Who sent it, for people. */
  readonly sender?: string;
  /** The same key again is taken for the same signal. */
  readonly dedupKey?: string;
  /** For all that wait for it now; for the next one if none does. */
  readonly isBroadcast?: boolean;
}

export interface RetryRequest {
  /** Only these of the steps that failed or were cut off; absent: all. The others stay as they are. */
  readonly steps?: readonly string[];
  readonly reason?: string;
  /** Only if that is its last event; absent: whatever has happened since. */
  readonly atSeq?: number;
}

export interface ChildEnd {
  readonly childId: ExecutionId;
  readonly status: "completed" | "failed" | "cancelled";
  /** The child's result, or the value of the step that the parent asked for. */
  readonly value: Json;
  readonly error?: Failure;
}

/** Facts that the pure engine may not find out itself. */
export interface Environment {
  readonly nowMs: TimeMs;
  readonly newId: NewId;
  /** Pool for tasks that name none. */
  readonly defaultPool: string;
  /** Pool for tasks that need GPUs and name none. */
  readonly gpuPool: string;
  /** Names visible as `env.*`. */
  readonly env: Readonly<Record<string, string>>;
  /** Stored results that templates touch in this decision, by `$ref`; see {@link RefNeededError}. */
  readonly resolved: Resolved;
  /** GPUs that commands hold which may end in this decision. */
  readonly leases?: ReadonlyMap<CommandId, GpuLease>;
  /** Large parts that are stored apart, by key; see offload.ts. Absent: commands carry them whole. */
  readonly stored?: ReadonlyMap<string, ResultRef>;
}

/** Everything one decision changes. The orchestrator commits it all at once, or nothing. */
export interface Decision {
  readonly events: readonly ExecutionEvent[];
  readonly issue: readonly NewCommand[];
  /** Rows to hand out again under a new fence. */
  readonly requeue: readonly RequeuedCommand[];
  /** Rows of commands that are over. */
  readonly remove: readonly CommandId[];
  /** Running commands whose workers must be told to stop. */
  readonly cancel: readonly CommandId[];
  readonly timers: readonly NewTimer[];
  readonly stopTimers: readonly TimerId[];
  readonly children: readonly NewChild[];
  /** Children that a cancel must reach. */
  readonly cancelChildren: readonly ExecutionId[];
  /** What the sender of a report is told. */
  readonly isStale: boolean;
  /** Set when the input is one that the state does not allow; nothing changes then. */
  readonly refusal?: Refusal;
}

/** Why an input from outside is refused, for its sender. */
export interface Refusal {
  /** For example `EXECUTION_RUNNING`. */
  readonly code: string;
  readonly message: string;
}

export interface NewCommand {
  readonly commandId: CommandId;
  readonly step: string;
  readonly visit: number;
  readonly index?: number;
  /** Of what a cursor's puller does itself. */
  readonly puller?: number;
  /** Kind of the first task it runs. */
  readonly tool: string;
  readonly pool: string;
  readonly priority: number;
  /** Not to be claimed before this time. */
  readonly availableAtMs: TimeMs;
  readonly payload: CommandPayload;
  /** It is only handed out together with them. */
  readonly gpus?: GpuDemand;
  /** Longest time in the queue from then on, see `unclaimed`. */
  readonly queueTimeoutMs?: number;
}

export interface RequeuedCommand {
  readonly commandId: CommandId;
  readonly attempt: number;
  readonly availableAtMs: TimeMs;
  readonly queueTimeoutMs?: number;
}

export interface NewTimer {
  readonly timerId: TimerId;
  readonly dueMs: TimeMs;
  readonly purpose: TimerPurpose;
}

export interface NewChild {
  readonly childId: ExecutionId;
  readonly path: string;
  /** Absent: the latest. */
  readonly version?: number;
  readonly payload: JsonObject;
  readonly depth: number;
  /** Step of the child whose value the parent wants; absent: the child's result. */
  readonly returnStep?: string;
  /** False for fire-and-forget: the parent is not told of the end. */
  readonly isWaited: boolean;
  readonly pool?: string;
}
