/**
 * What the gRPC services call. Domain types only: codec.ts stands between these and the wire. The
 * orchestrator's methods fit {@link WorkerHandlers} as they are.
 */
import type { CatalogId, ExecutionId, WorkerId } from "../core/ids.ts";
import type { Json, JsonObject } from "../core/json.ts";
import type {
  AdoptionAnswer,
  AdoptionQuestion,
  ClaimOutcome,
  CommandReport,
  Directive,
  GrantedCommand,
  Heartbeat,
  HeldCommand,
  LogLine,
  PermitAnswer,
  PermitDemand,
  ReportAnswer,
  WorkerRegistration,
} from "../engine/command.ts";
import type { ExecutionStatus, Signal } from "../engine/decision.ts";
import type { RecordedEvent } from "../engine/event.ts";
import type { Failure } from "../engine/failure.ts";
import type { NewResult, ResultInfo } from "../engine/result.ts";

/** Methods behind `noetl.v1.WorkerService`. They throw AppError; anything else is a bug. */
export interface WorkerHandlers {
  register(registration: WorkerRegistration): Promise<RegistrationAnswer>;
  /** Renews the leases of what it lists; gives what the worker must be told, often nothing. */
  heartbeat(heartbeat: Heartbeat): Promise<readonly Directive[]>;
  /** Calls `listener` whenever there is something to tell the worker between two heartbeats. */
  subscribeDirectives(
    workerId: WorkerId,
    listener: (directives: readonly Directive[]) => void,
  ): () => void;
  /**
   * One outcome per command, in order; it may give a more urgent command instead of its own.
   * `isRepeat`: the answer to the same request got lost.
   */
  claim(
    workerId: WorkerId,
    commands: readonly HeldCommand[],
    isRepeat: boolean,
  ): Promise<readonly ClaimOutcome<GrantedCommand>[]>;
  /** One answer per report, in order, after the commit. `onGrant` gets what the worker has now. */
  report(
    reports: readonly CommandReport[],
    onGrant: (command: GrantedCommand) => void,
  ): Promise<readonly ReportAnswer[]>;
  /** One answer per demand, in order. */
  acquirePermits(demands: readonly PermitDemand[]): Promise<readonly PermitAnswer[]>;
  /** Resolves with the number of lines that were not taken. */
  appendLogs(lines: readonly LogLine[], workerId: WorkerId): Promise<number>;
  /** Whose the commands of containers are that the worker has found. One answer per question, in order. */
  adopt(
    workerId: WorkerId,
    questions: readonly AdoptionQuestion[],
  ): Promise<readonly AdoptionAnswer<GrantedCommand>[]>;
  /** @throws AppError `forbidden` when the worker does not hold a command that names it. */
  resolveCredential(workerId: WorkerId, question: SecretQuestion): Promise<ResolvedCredential>;
  /** @param source the bytes as they come; need not be read to the end. */
  putResult(result: NewResult, source: AsyncIterable<Uint8Array>): Promise<ResultInfo>;
  /**
   * By reference, canonical URI or URN.
   *
   * @param reader the execution whose data has the reference; none: whoever wrote the playbook named it.
   * @throws AppError `not_found`; forbidden RESULT_FOREIGN.
   */
  openResult(address: string, reader?: ExecutionId): Promise<OpenResult>;
  /** The newest of that name. @throws AppError `not_found`. */
  openNamedResult(executionId: ExecutionId, name: string): Promise<OpenResult>;
  listResults(executionId: ExecutionId, page: ResultPage): Promise<readonly ResultInfo[]>;
  /** False if there was none. */
  removeResult(ref: string): Promise<boolean>;
  deregister(workerId: WorkerId): Promise<void>;
}

/** What a worker asks for on behalf of a command. */
export interface SecretQuestion {
  readonly held: HeldCommand;
  /** Of a credential, or alias of a keychain entry. */
  readonly name: string;
  /** The command reads it as `keychain.<name>`. */
  readonly isKeychain: boolean;
  /** Version of the value that a remote side refused; "" for none. */
  readonly refusedVersion: string;
}

export interface RegistrationAnswer {
  /** How long a claim holds without a heartbeat. */
  readonly leaseMs: number;
  readonly heartbeatIntervalMs: number;
  readonly serverVersion: string;
  /** Made once for each database; labels the containers of its tasks. */
  readonly platformId: string;
}

export interface ResolvedCredential {
  readonly name: string;
  /** `postgres`, `bearer`, `basic`, `api_key`, … */
  readonly type: string;
  readonly data: JsonObject;
  /** Names a value that can be fetched anew when it is refused; "" for others. */
  readonly version: string;
}

/** A stored value that can be read. */
export interface OpenResult {
  readonly info: ResultInfo;
  /** Pieces that are not too large for a message. */
  read(): AsyncIterable<Uint8Array>;
}

export interface ResultPage {
  readonly limit: number;
  readonly offset: number;
  readonly name?: string | undefined;
}

/** Methods behind `noetl.v1.ControlService`. */
export interface ControlHandlers {
  registerPlaybook(request: {
    readonly content: string;
    readonly isStrict: boolean;
  }): Promise<RegisteredPlaybook>;
  start(request: StartExecution): Promise<StartedExecution>;
  getExecution(executionId: ExecutionId): Promise<ExecutionSummary>;
  /** Events after `afterSeq`, in order, live until the execution ends or `signal` aborts. */
  watch(
    executionId: ExecutionId,
    options: { readonly afterSeq: number; readonly signal: AbortSignal },
  ): AsyncIterable<RecordedEvent>;
  cancel(
    executionId: ExecutionId,
    options: { readonly reason: string; readonly cascade: boolean },
  ): Promise<unknown>;
  signal(
    executionId: ExecutionId,
    signal: Signal,
  ): Promise<{ readonly status: string; readonly waitCount: number }>;
  /** Resolves with the execution that goes on. */
  retry(
    executionId: ExecutionId,
    options: {
      readonly isNew: boolean;
      readonly steps?: readonly string[];
      readonly reason?: string;
    },
  ): Promise<{ readonly executionId: ExecutionId }>;
  rerun(
    executionId: ExecutionId,
    options: { readonly payload: JsonObject; readonly dedup?: { readonly key: string } },
  ): Promise<StartedExecution>;
  listExecutions(filter: ExecutionFilter): Promise<readonly ExecutionSummary[]>;
}

export interface RegisteredPlaybook {
  readonly catalogId: CatalogId;
  readonly path: string;
  readonly version: number;
  readonly warnings: readonly PlaybookDiagnostic[];
}

/** A `Diagnostic` of src/dsl/diagnostic.ts, as far as the wire knows it. */
export interface PlaybookDiagnostic {
  readonly severity: string;
  readonly code: string;
  readonly message: string;
  readonly path: string;
  readonly line: number;
  readonly column: number;
}

export interface StartExecution {
  readonly path: string;
  /** Absent: the latest. */
  readonly version?: number;
  readonly payload: JsonObject;
  readonly pool?: string;
  readonly dedup?: { readonly key: string; readonly windowMs?: number };
  /** 0 (last) to 9 (first); absent: the playbook's. */
  readonly priority?: number;
  /** W3C traceparent of who asks, from the call's metadata. */
  readonly trace?: string | undefined;
}

export interface StartedExecution {
  readonly executionId: ExecutionId;
  /** `queued`: its concurrency key is at its limit. */
  readonly status: "started" | "queued" | "duplicate";
}

export interface ExecutionSummary {
  readonly executionId: ExecutionId;
  readonly path: string;
  readonly version: number;
  readonly status: ExecutionStatus;
  readonly parentExecutionId?: ExecutionId | undefined;
  readonly startedAtMs: number;
  readonly endedAtMs?: number | undefined;
  readonly result?: Json | undefined;
  readonly error?: Failure | undefined;
}

export interface ExecutionFilter {
  readonly path?: string;
  readonly status?: ExecutionStatus;
  /** 1 to 100. */
  readonly limit: number;
  readonly offset: number;
}
