/**
 * What the HTTP API needs from the rest of the platform. The orchestrator is a `ServerOrchestrator`
 * as it is; reader.ts makes the `ServerReader` from the store.
 */
import type { CatalogId, CommandId, ExecutionId, WorkerId } from "../core/ids.ts";
import type { Json, JsonObject } from "../core/json.ts";
import type { Diagnostic } from "../dsl/diagnostic.ts";
import type { CommandReport, LogLine, ReportAnswer, RuntimeFacts } from "../engine/command.ts";
import type { ExecutionStatus, Signal } from "../engine/decision.ts";
import type { EventType, ExecutionOrigin, RecordedEvent } from "../engine/event.ts";
import type { Failure } from "../engine/failure.ts";
import type { Gpu, GpuGrant } from "../engine/gpu.ts";
import type { NewResult, ResultInfo } from "../engine/result.ts";
import type { WaitView } from "../engine/view.ts";
import type { GpuReader } from "./gpu-rows.ts";

/** Everything that changes an execution, or follows it live. Throws AppError. */
export interface ServerOrchestrator {
  start(request: StartRequest): Promise<StartedExecution>;
  cancel(
    executionId: ExecutionId,
    options: { readonly reason: string; readonly cascade: boolean },
  ): Promise<unknown>;
  finalize(
    executionId: ExecutionId,
    options: { readonly status: "completed" | "failed"; readonly reason: string },
  ): Promise<unknown>;
  /** Gives a named signal to whoever waits for it, or keeps it. */
  signal(executionId: ExecutionId, signal: Signal): Promise<SignalAnswer>;
  /** Writes variables (`ctx.*`) of a running execution; durable when it resolves. */
  writeVariables(executionId: ExecutionId, change: VariableChange): Promise<void>;
  /** Continues a failed or cancelled execution, or a copy of it. */
  retry(
    executionId: ExecutionId,
    options: {
      readonly isNew: boolean;
      readonly steps?: readonly string[];
      readonly reason?: string;
      readonly dedup?: { readonly key: string };
    },
  ): Promise<RetriedExecution>;
  /** Starts the same playbook over; the payload is merged over the first one's. */
  rerun(
    executionId: ExecutionId,
    options: { readonly payload: JsonObject; readonly dedup?: { readonly key: string } },
  ): Promise<StartedExecution>;
  /** One answer per report, in order, after the commit. */
  report(reports: readonly CommandReport[]): Promise<readonly ReportAnswer[]>;
  /** @throws AppError `invalid` with all diagnostics in `details.diagnostics`. */
  registerPlaybook(request: {
    readonly content: string;
    readonly isStrict: boolean;
  }): Promise<RegisteredPlaybook>;
  /** Wraps all secrets with the current key. Idempotent, also while others do it. */
  rotateSecrets(): Promise<SecretRotation>;
  /** Events after `afterSeq`, in order, live until the execution ends or `signal` aborts. */
  watch(
    executionId: ExecutionId,
    options: { readonly afterSeq: number; readonly signal: AbortSignal },
  ): AsyncIterable<RecordedEvent>;
}

export interface VariableChange {
  /** By name; each replaces what was there. */
  readonly values: JsonObject;
  /** Names that are to go. */
  readonly removed: readonly string[];
}

export interface SecretRotation {
  /** The key that wraps from now on. */
  readonly keyId: string;
  readonly rewrapped: number;
  readonly failed: readonly { readonly name: string; readonly error: string }[];
  /** How many secrets each key wraps now. */
  readonly keys: Readonly<Record<string, number>>;
}

/** One of `path` and `catalogId` is set. */
export interface StartRequest {
  readonly path?: string;
  readonly catalogId?: CatalogId;
  /** Absent: the latest. */
  readonly version?: number;
  readonly payload: JsonObject;
  readonly pool?: string;
  readonly parentExecutionId?: ExecutionId;
  readonly dedup?: { readonly key: string; readonly windowMs?: number };
  /** 0 (last) to 9 (first). */
  readonly priority?: number;
  /** W3C traceparent of who asks; anything else is ignored. */
  readonly trace?: string | undefined;
}

export interface StartedExecution {
  readonly executionId: ExecutionId;
  /** `queued`: its concurrency key is at its limit; it starts when its turn comes. */
  readonly status: "started" | "queued" | "duplicate";
}

export interface SignalAnswer {
  readonly status: "delivered" | "kept" | "duplicate";
  /** Waits that it has ended. */
  readonly waitCount: number;
}

export interface RetriedExecution {
  /** The one that goes on. */
  readonly executionId: ExecutionId;
  readonly status: ExecutionStatus;
  /** The one that had ended. */
  readonly originId: ExecutionId;
}

export interface RegisteredPlaybook {
  readonly catalogId: CatalogId;
  readonly path: string;
  readonly version: number;
  readonly warnings: readonly Diagnostic[];
}

/** Reads, and the few writes that no execution depends on. Absent rows are undefined. */
export interface ServerReader extends PlatformReader, GpuReader, GaugeReader {
  checkHealth(): Promise<BackendHealth>;
  listCatalog(filter: CatalogFilter): Promise<readonly CatalogEntry[]>;
  getCatalog(key: {
    readonly catalogId?: CatalogId;
    readonly path?: string;
    readonly version?: number;
  }): Promise<CatalogEntry | undefined>;
  /** Newest first. */
  listExecutions(filter: ExecutionFilter): Promise<readonly ExecutionRow[]>;
  getExecution(executionId: ExecutionId): Promise<ExecutionRow | undefined>;
  /** In order. */
  listEvents(executionId: ExecutionId, page: EventPage): Promise<readonly RecordedEvent[]>;
  listSteps(executionId: ExecutionId): Promise<readonly StepRow[]>;
  listVariables(executionId: ExecutionId): Promise<JsonObject>;
  listOpenCommands(executionId: ExecutionId): Promise<readonly OpenCommand[]>;
  listPools(): Promise<readonly PoolRow[]>;
  listWorkers(): Promise<readonly WorkerRow[]>;
  /** Lines after a position, oldest first. */
  readLogs(
    executionId: ExecutionId,
    query: LogQuery & { readonly limit: number },
  ): Promise<LogPage>;
  /** The same, live until `signal` aborts. */
  followLogs(
    executionId: ExecutionId,
    query: LogQuery & { readonly signal: AbortSignal },
  ): AsyncIterable<LogPage>;
  /** A value that is stored apart, by reference, canonical URI or URN. @throws AppError `not_found` */
  openResult(address: string): Promise<OpenResult>;
  /** The newest of that name. @throws AppError `not_found` */
  openNamedResult(executionId: ExecutionId, name: string): Promise<OpenResult>;
  /** Oldest first. */
  listResults(
    executionId: ExecutionId,
    page: Page & { readonly name?: string | undefined },
  ): Promise<readonly ResultInfo[]>;
  /** Stores a value; its bytes are read as they come. */
  putResult(result: NewResult, source: AsyncIterable<Uint8Array>): Promise<ResultInfo>;
  /** False if there was none. */
  removeResult(ref: string): Promise<boolean>;
  saveCredential(credential: NewCredential): Promise<CredentialRow>;
  listCredentials(filter: CredentialFilter): Promise<readonly CredentialRow[]>;
  /** By id or name. */
  getCredential(key: string): Promise<CredentialRow | undefined>;
  /** The decrypted content. */
  openCredential(name: string): Promise<JsonObject>;
  /** False if there was none. */
  deleteCredential(name: string): Promise<boolean>;
  /** Values that are kept for one version of a playbook, by name. */
  listKeychain(catalogId: CatalogId): Promise<readonly KeychainRow[]>;
  getKeychain(place: KeychainKey): Promise<KeychainRow | undefined>;
  /** The decrypted value; undefined: none, or it has expired. */
  openKeychain(place: KeychainKey): Promise<JsonObject | undefined>;
  saveKeychain(value: NewKeychain): Promise<KeychainRow>;
  /** False if there was none. */
  deleteKeychain(place: KeychainKey): Promise<boolean>;
  countAll(): Promise<Totals>;
  /** Executions that wait for a place under their concurrency key. */
  countQueued(): Promise<number>;
}

/** For `/metrics`; see gauge-reader.ts. */
export interface GaugeReader {
  /** Executions that have not ended. */
  countOpen(): Promise<{ readonly pending: number; readonly running: number }>;
  /** By pool, queued commands that wait for their time under a rate limit. */
  countRateLimited(): Promise<ReadonlyMap<string, number>>;
  connectionUse(): Promise<ConnectionUse>;
  isBusConnected(): boolean;
  /** Undefined: the pool has no consumer yet, or there is no bus. */
  readLag(pool: string): Promise<PoolLag | undefined>;
}

/** Notifications of a pool in JetStream. */
export interface PoolLag {
  /** Not taken by any worker. */
  readonly pendingCount: number;
  /** Delivered, not yet acknowledged. */
  readonly unackedCount: number;
  /** Of those: delivered more than once. */
  readonly redeliveredCount: number;
}

/** What who looks after a platform asks; see operate-reader.ts. */
export interface PlatformReader {
  countCatalog(filter: Omit<CatalogFilter, keyof Page>): Promise<number>;
  /** Takes versions of a playbook out of use, or back; gives those that this changed. */
  archivePlaybooks(key: ArchiveKey, isArchived: boolean): Promise<readonly ArchivedVersion[]>;
  /** Counting stops at `max`. */
  countExecutions(filter: Omit<ExecutionFilter, keyof Page>, max: number): Promise<number>;
  /** Roots that began before a time, oldest first. */
  listUnfinished(query: {
    readonly beforeMs: number;
    readonly limit: number;
  }): Promise<readonly ExecutionId[]>;
  countEvents(
    executionId: ExecutionId,
    filter: Pick<EventPage, "afterSeq" | "types">,
  ): Promise<number>;
  /** Tables of the platform. */
  listTables(): Promise<readonly string[]>;
  /** The execution as it was after an event, or at a time; undefined if it had not started. */
  stateAt(executionId: ExecutionId, moment: Moment): Promise<PastState | undefined>;
}

export interface ArchiveKey {
  readonly catalogId?: CatalogId | undefined;
  readonly path?: string | undefined;
  /** Absent: all versions of the path. */
  readonly version?: number | undefined;
}

export interface ArchivedVersion {
  readonly catalogId: CatalogId;
  readonly path: string;
  readonly version: number;
}

/** Connections of all servers on the database. */
export interface ConnectionUse {
  readonly open: number;
  readonly active: number;
  readonly blocked: number;
}

export interface Moment {
  /** Position in the log; absent: the last one before `timeMs`. */
  readonly seq?: number | undefined;
  readonly timeMs?: number | undefined;
}

export interface PastState {
  readonly seq: number;
  readonly timeMs: number;
  readonly status: ExecutionStatus;
  readonly steps: readonly StepRow[];
  readonly variables: JsonObject;
  /** SHA-256 of the whole state: the same events always give the same. */
  readonly checksum: string;
}

/** A stored value that can be read. */
export interface OpenResult {
  readonly info: ResultInfo;
  /** Of the whole value without a range; `end` is behind the last byte. */
  read(range?: { readonly begin: number; readonly end: number }): AsyncIterable<Uint8Array>;
}

export interface BackendHealth {
  readonly database: ComponentHealth;
  readonly nats: ComponentHealth;
}

export interface ComponentHealth {
  readonly isHealthy: boolean;
  /** Why not. */
  readonly reason?: string;
}

export interface Page {
  readonly limit: number;
  readonly offset: number;
}

export interface CatalogFilter extends Page {
  /** Lower case, for example `playbook`. */
  readonly kind?: string;
  /** Part of the path, in any case. */
  readonly path?: string;
  /** Only the last version of each path. */
  readonly isLatestOnly?: boolean;
  /** Versions that are out of use too. */
  readonly hasArchived?: boolean;
  /** Default true. */
  readonly hasContent?: boolean;
}

export interface CatalogEntry {
  readonly catalogId: CatalogId;
  readonly path: string;
  readonly kind: string;
  readonly version: number;
  readonly content: string;
  /** Parsed form of the document; of a playbook see src/dsl/playbook.ts. */
  readonly document?: Json;
  readonly labels?: Readonly<Record<string, string>>;
  readonly createdAtMs: number;
  /** Out of use since. */
  readonly archivedAtMs?: number | null;
}

export interface ExecutionFilter extends Page {
  readonly catalogId?: CatalogId;
  /** Part of the path, in any case. */
  readonly path?: string;
  readonly status?: ExecutionStatus;
  /** Only those that come from this execution. */
  readonly originId?: ExecutionId;
  /** Only its children. */
  readonly parentId?: ExecutionId;
  /** Started at this time or later. */
  readonly sinceMs?: number;
  /** Started before. */
  readonly untilMs?: number;
}

export interface ExecutionRow {
  readonly executionId: ExecutionId;
  /** Absent, like the version, until a child has started. */
  readonly catalogId?: CatalogId | undefined;
  readonly path: string;
  readonly version?: number | undefined;
  readonly status: ExecutionStatus;
  /** Position of the last event. */
  readonly seq: number;
  readonly startedAtMs: number;
  readonly endedAtMs?: number | undefined;
  readonly parentExecutionId?: ExecutionId | undefined;
  /** The execution that this one continues or starts over. */
  readonly origin?: ExecutionOrigin | undefined;
  readonly error?: Failure | undefined;
  readonly result?: Json | undefined;
  /** Of a playbook that limits how many of its executions run at once. */
  readonly concurrency?: ExecutionPlace | undefined;
}

/** Where an execution stands under its concurrency key. */
export interface ExecutionPlace {
  readonly key: string;
  readonly limit: number;
  readonly onLimit: "queue" | "reject" | "cancel_oldest";
  /** Of one that waits; absent when it has its place, or has ended. */
  readonly queue?: {
    /** From 1; counted up to 1,000. */
    readonly position: number;
    /** Executions that have a place. */
    readonly held: number;
    readonly sinceMs: number;
    /** Whose place it is to get. */
    readonly cancels?: ExecutionId | undefined;
  };
}

export interface EventPage {
  readonly afterSeq: number;
  readonly limit: number;
  /** Default 0. */
  readonly offset?: number | undefined;
  /** Default false: in order. */
  readonly isNewestFirst?: boolean | undefined;
  readonly types?: readonly EventType[] | undefined;
}

export interface StepRow {
  readonly step: string;
  readonly status: string;
  readonly visits: number;
  /** Runs of its commands, retries included. */
  readonly attempts: number;
  readonly startedAtMs?: number | undefined;
  readonly endedAtMs?: number | undefined;
  readonly result?: Json | undefined;
  readonly error?: Failure | undefined;
  /** What its task waits for, at the server. */
  readonly waiting?: WaitView | undefined;
}

export interface OpenCommand {
  readonly commandId: CommandId;
  readonly step: string;
  readonly index?: number | undefined;
  readonly attempt: number;
  readonly tool?: string;
  readonly pool?: string;
  readonly status?: "queued" | "running" | "cancelling";
  readonly workerId?: WorkerId | null;
  /** Not handed out before. */
  readonly availableAtMs?: number;
  readonly claimedAtMs?: number | null;
  /** Those that it holds. */
  readonly gpus?: readonly GpuGrant[] | null;
  /** Why it has no GPUs yet. */
  readonly waitsFor?: string | null;
}

export interface PoolRow {
  readonly pool: string;
  readonly workers: number;
  readonly slots: number;
  readonly freeSlots: number;
  readonly queued: number;
  /** Of `queued`: not due yet. */
  readonly scheduled?: number;
  readonly running: number;
  /** Age of the oldest command that could run. */
  readonly oldestQueuedMs?: number | undefined;
  /** GPUs that commands of the pool hold. */
  readonly gpuLeases?: number;
  /** Commands that have asked for GPUs in vain. */
  readonly gpuWaiters?: number;
  /** Why commands wait; null when none does. */
  readonly reason:
    | "no_live_worker"
    | "gpus_busy"
    | "all_slots_busy"
    | "not_due"
    | "starting"
    | null;
}

export interface WorkerRow {
  readonly workerId: WorkerId;
  readonly name: string;
  readonly pool: string;
  readonly status: string;
  readonly slots: number;
  readonly freeSlots: number;
  readonly hostname: string;
  readonly pid: number;
  readonly version: string;
  readonly tools: readonly string[];
  /** Null: it serves none. */
  readonly metricsUrl: string | null;
  readonly registeredAtMs: number;
  readonly heartbeatAtMs: number;
  readonly heartbeatAgeMs?: number;
  /** As they were then; null: it has none. */
  readonly gpus?: readonly Gpu[] | null;
  /** What runs its containers; null: nothing does. */
  readonly runtimes?: readonly RuntimeFacts[] | null;
}

export interface LogPage {
  readonly lines: readonly LogLine[];
  /** Go on after this position. */
  readonly lastSeq: number;
}

export interface LogQuery {
  readonly step?: string;
  /** Default 0: from the first kept line. */
  readonly afterSeq?: number;
}

export interface NewCredential {
  readonly name: string;
  readonly type: string;
  readonly data: JsonObject;
  readonly meta?: JsonObject | undefined;
  readonly tags?: readonly string[] | undefined;
  readonly description?: string | undefined;
}

export interface CredentialFilter extends Page {
  readonly type?: string | undefined;
  /** Part of the name, in any case. */
  readonly query?: string | undefined;
}

export interface CredentialRow {
  readonly credentialId: string;
  readonly name: string;
  readonly type: string;
  readonly meta?: JsonObject | undefined;
  readonly tags?: readonly string[] | undefined;
  readonly description?: string | undefined;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
}

/** Which value of a keychain is meant. */
export interface KeychainKey {
  readonly catalogId: CatalogId;
  readonly name: string;
  readonly scope: "local" | "global" | "shared";
  /** Of scope local. */
  readonly executionId?: ExecutionId | undefined;
}

export interface NewKeychain extends KeychainKey {
  readonly data: JsonObject;
  /** Undefined: it does not expire. */
  readonly lifetimeMs?: number | undefined;
}

export interface KeychainRow {
  readonly cacheKey: string;
  readonly name: string;
  readonly scope: string;
  readonly executionId: ExecutionId | null;
  readonly autoRenew: boolean;
  readonly accessCount: number;
  readonly expiresAtMs: number | null;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
  readonly usedAtMs: number;
  readonly isExpired: boolean;
}

export interface Totals {
  readonly executions: Readonly<Record<ExecutionStatus, number>>;
  readonly playbooks: number;
  readonly workers: number;
}
