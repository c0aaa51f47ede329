/** What passes between the engine and the workers: commands, claims, reports, heartbeats. */
import type { CommandId, ExecutionId, WorkerId } from "../core/ids.ts";
import type { Json, JsonObject } from "../core/json.ts";
import type { Cursor, Step } from "../dsl/playbook.ts";
import type { Failure } from "./failure.ts";
import type { Gpu, GpuGrant } from "./gpu.ts";

/** Everything a worker needs to run one command. Stored as JSON in the command's row. */
export interface CommandPayload {
  /** The step, without arcs; its tasks from `pipeline.position` on are to run. */
  readonly step: Pick<Step, "name" | "tasks" | "isPipeline" | "input" | "outputSelect"> & {
    /** Parts of the value that the server's templates read; absent: none. See reads.ts. */
    readonly reads?: readonly (readonly (string | number)[])[];
  };
  readonly pipeline: PipelineState;
  readonly scope: ScopeData;
  /** Limit for this command, from the step's remaining time. */
  readonly timeoutMs?: number;
  /** W3C traceparent of its step; absent: nobody follows the execution. */
  readonly trace?: string;
  /** Set for the claim of a cursor: it reports a {@link ClaimedFrame}. */
  readonly frame?: FrameShape;
}

/** How the rows of a claim become items. */
export type FrameShape = Pick<Cursor, "process" | "maxBytes">;

/** What a claim is worth. */
export interface ClaimedFrame {
  /** Each may be a reference. */
  readonly items: readonly Json[];
  /** In rows, which may be fewer items. */
  readonly rowCount: number;
  /** By item, what acknowledges it; absent if the source does not want that. */
  readonly acks?: readonly Json[];
}

/** Where a pipeline stands between two tasks. A new run starts from {@link PIPELINE_START}. */
export interface PipelineState {
  /** Index into the step's tasks. */
  readonly position: number;
  /** Tries that the task at `position` has already had. */
  readonly tries: number;
  /** Value of each finished task, by label. */
  readonly results: JsonObject;
  /** Bare names written by `set`. */
  readonly locals: JsonObject;
  /** `iter.*` as written so far. */
  readonly iter: JsonObject;
  /** `ctx.*` as written by this run so far; becomes the execution's when the command ends. */
  readonly ctx: JsonObject;
  /** Task runs so far, for the runaway guard. */
  readonly taskCount: number;
  /** Absent while no task was tried again. */
  readonly retries?: Retries;
  /** Set while the next try waits for the time that this rate limit promised it. */
  readonly permitKey?: string;
}

/** A try of a task that may start when its rate limit says so. */
export interface PermitDemand {
  /** Shared by all that count against the same limit; not empty. */
  readonly key: string;
  readonly perSecond: number;
  /** At least 1. */
  readonly burst: number;
  /** True: it comes back at the time that an earlier answer gave, before all who ask first now. */
  readonly isPromised: boolean;
}

/** Granted: it may start after the wait. Otherwise it is to ask again after the wait, as promised. */
export interface PermitAnswer {
  readonly isGranted: boolean;
  readonly waitMs: number;
}

/** What policies made of failed tries in one run of a pipeline, all its tasks together. */
export interface Retries {
  /** Tries after the first of a task. */
  readonly count: number;
  /** The newest failure that was tried again, brief; absent when a rule disliked successes only. */
  readonly last?: Failure;
}

export const PIPELINE_START: PipelineState = {
  position: 0,
  tries: 0,
  results: {},
  locals: {},
  iter: {},
  ctx: {},
  taskCount: 0,
};

/** The data that templates may read, cut down to the names that the step mentions. */
export interface ScopeData {
  readonly executionId: ExecutionId;
  readonly path: string;
  readonly version: number;
  readonly workload: JsonObject;
  readonly ctx: JsonObject;
  /** Last finished visit of each step. */
  readonly steps: Readonly<Record<string, StepValue>>;
  readonly loop?: LoopItem;
  readonly parentExecutionId?: ExecutionId;
}

/** What a step left behind, in its compact form; {@link presentValue} gives what others see. */
export interface StepValue {
  /**
   * The tool's data, a pipeline's map from label to data, or a loop's `{results, stats, errors?}`;
   * or a reference to that. Of a failed step: what there is of it, mostly null.
   */
  readonly value: Json;
  readonly status: "ok" | "error";
  readonly error?: Failure;
  readonly shape: "task" | "pipeline" | "loop";
  /** Of a loop: each result is a pipeline's map. */
  readonly itemShape?: "pipeline";
}

export interface LoopItem {
  readonly iterator: string;
  readonly item: Json;
  readonly index: number;
  readonly total: number;
}

/** A message on the command stream: a doorbell, no inputs, no secrets. */
export interface CommandNotification {
  readonly executionId: ExecutionId;
  readonly commandId: CommandId;
  /** Position of the `command.issued` event. */
  readonly eventId: string;
  readonly step: string;
  readonly attempt: number;
  /** As in the command's payload; absent too when the doorbell rings again. */
  readonly trace?: string | undefined;
}

export interface ClaimedCommand {
  readonly executionId: ExecutionId;
  readonly commandId: CommandId;
  /** The fence: every renewal, log line and report carries it. */
  readonly attempt: number;
  readonly payload: CommandPayload;
  /** Milliseconds since 1970, by the database's clock. */
  readonly claimedAtMs: number;
  /** Leased to it until it ends; absent: its task wants none, or a cluster chooses them. */
  readonly gpus?: readonly GpuGrant[];
  /** Of an adopted one: time of its newest log line that has arrived; absent: none is known. */
  readonly loggedUntilMs?: number;
}

/** A claimed command on the server, which passes the payload's JSON text on as it is stored. */
export interface GrantedCommand extends Omit<ClaimedCommand, "payload"> {
  readonly payload: string;
}

/** Answer for each command that a worker asked for, named by `commandId`. */
export type ClaimOutcome<Command = ClaimedCommand> =
  /** `command` may be another, more urgent one: then that asked for goes on waiting. */
  | { readonly commandId: CommandId; readonly status: "claimed"; readonly command: Command }
  /** Finished, cancelled, held by another worker, or a later attempt: drop the message. */
  | { readonly commandId: CommandId; readonly status: "gone" }
  /** Not due yet: ask again after the delay. */
  | { readonly commandId: CommandId; readonly status: "later"; readonly delayMs: number };

/** How a command ended, or why it gives its slot back. */
export interface CommandReport {
  readonly executionId: ExecutionId;
  readonly commandId: CommandId;
  readonly attempt: number;
  readonly workerId: WorkerId;
  readonly startedAtMs: number;
  readonly outcome: CommandOutcome;
  /**
   * Pool of a worker that has idle slots: it takes what follows from this report, one command of its
   * pool, with the answer, without a doorbell and a claim. Absent: it does not.
   */
  readonly nextPool?: string;
}

export type CommandOutcome =
  | {
      readonly status: "ok";
      readonly value: Json;
      readonly ctx: JsonObject;
      readonly retries?: Retries;
    }
  | {
      readonly status: "error";
      readonly error: Failure;
      /** What the finished tasks of a pipeline gave. */
      readonly value: Json;
      readonly ctx: JsonObject;
      readonly retries?: Retries;
    }
  /** Goes on later (a long retry delay) or at the server (a sub-playbook is next). */
  | { readonly status: "yielded"; readonly pipeline: PipelineState; readonly delayMs: number }
  /** Aborted because the server asked for it. */
  | { readonly status: "cancelled" }
  /** Never started, or stopped by the worker's own shutdown: someone else may run it. */
  | { readonly status: "released"; readonly reason: string };

/** `stale`: another attempt owns the command, or it is over; the worker forgets it. */
export type ReportAnswer = "accepted" | "stale";

/** Commands a worker holds, with their fences. */
export interface HeldCommand {
  readonly executionId: ExecutionId;
  readonly commandId: CommandId;
  readonly attempt: number;
}

/** A command whose container a worker has found, and which none of its own tasks holds. */
export interface AdoptionQuestion {
  readonly held: HeldCommand;
  /** Who started it. */
  readonly ownerId: WorkerId;
  /** True: that worker's process is gone for sure. */
  readonly isOwnerDead: boolean;
  /** True: a later attempt of the command would go on with it, as with a Job of a cluster. */
  readonly isReusable: boolean;
}

/**
 * Whose it is now:
 * - `adopted`: of the worker that asks, under the same attempt; it may have been told to stop meanwhile.
 * - `disowned`: nobody's. The command is over, or another attempt's; what is left of this one must go.
 * - `later`: a worker that may live holds it, or one of another pool must take it. Ask again.
 */
export type AdoptionAnswer<Command = ClaimedCommand> =
  | { readonly status: "adopted"; readonly command: Command }
  | { readonly status: "disowned" }
  | { readonly status: "later" };

/** What the server tells a worker over the heartbeat stream. */
export type Directive =
  /** Abort the tool and report `cancelled`. */
  | { readonly kind: "cancel"; readonly commandId: CommandId; readonly attempt: number }
  /** The lease is gone: abort the tool and report nothing. */
  | { readonly kind: "lost"; readonly commandId: CommandId; readonly attempt: number }
  | { readonly kind: "drain" }
  /** The server does not know this worker: register again. */
  | { readonly kind: "register" };

export interface WorkerRegistration {
  readonly workerId: WorkerId;
  /** Shown to people; default `<hostname>-<pid>`. */
  readonly name: string;
  readonly pool: string;
  readonly slots: number;
  readonly hostname: string;
  readonly pid: number;
  readonly version: string;
  /** Tool kinds it can run. */
  readonly tools: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  /** Address of its metrics and probes, if it serves them. */
  readonly metricsUrl?: string;
  /** What runs its containers, the usable ones first; absent: nothing does. */
  readonly runtimes?: readonly RuntimeFacts[];
  /** Absent: it has none. */
  readonly gpus?: readonly Gpu[];
}

/** A container runtime as a worker found it at its start. */
export interface RuntimeFacts {
  /** `docker`, `podman`, `nerdctl`, `kubernetes`. */
  readonly name: string;
  readonly version: string;
  readonly isUsable: boolean;
  /** Why not, and what to do. */
  readonly problem?: string;
  /** How it gives GPUs to containers; `cluster`: its scheduler chooses them, without our leases. */
  readonly gpus: "cdi" | "hook" | "cluster" | "none";
}

export interface Heartbeat {
  readonly workerId: WorkerId;
  readonly held: readonly HeldCommand[];
  /** Free right now. */
  readonly freeSlots: number;
  /** Milliseconds since the worker last had an answer to a pull: proves that it still can work. */
  readonly pullAgeMs: number;
  readonly eventLoopLagMs: number;
  readonly rssBytes: number;
  readonly cpuPercent: number;
  readonly isDraining: boolean;
  /** All that it has, as they are now; absent: it has none. */
  readonly gpus?: readonly Gpu[];
  /** How long its leases shall hold without it: it leaves its containers to the next worker. */
  readonly leaveMs?: number;
}

export interface LogLine {
  readonly executionId: ExecutionId;
  readonly commandId: CommandId;
  readonly attempt: number;
  readonly step: string;
  readonly index?: number;
  readonly task: string;
  readonly stream: "stdout" | "stderr" | "system";
  readonly timeMs: number;
  readonly text: string;
}
