/**
 * The imperative shell around the engine: load, decide, save, publish. This file only puts its parts
 * together; each use case has a file of its own.
 */

import { AppError } from "../core/errors.ts";
import type { ExecutionId, WorkerId } from "../core/ids.ts";
import { isId } from "../core/ids.ts";
import type { JsonObject } from "../core/json.ts";
import type { Service } from "../core/service.ts";
import type {
  CommandReport,
  Directive,
  GrantedCommand,
  Heartbeat,
  LogLine,
  ReportAnswer,
  WorkerRegistration,
} from "../engine/command.ts";
import type { ExecutionStatus, Signal } from "../engine/decision.ts";
import type { RecordedEvent } from "../engine/event.ts";
import type { LargePart } from "../engine/offload.ts";
import type { NewResult, ResultInfo } from "../engine/result.ts";
import type { ExecutionState } from "../engine/state.ts";
import { stepValueAt } from "../engine/view.ts";
import { createPostgresResultStore } from "../store/result-store.ts";
import type { Overdue } from "../store/sweep.ts";
import { Admission } from "./admission.ts";
import type { Adopt } from "./adopt-commands.ts";
import { createAdoption } from "./adopt-commands.ts";
import { Batcher } from "./batcher.ts";
import type { Claim } from "./claim-commands.ts";
import { createClaims } from "./claim-commands.ts";
import { CommitEffects } from "./commit-effects.ts";
import type { ResolvedCredential, SecretQuestion } from "./credentials.ts";
import { createDatabaseClock } from "./database-clock.ts";
import { Decider } from "./decider.ts";
import { ExecutionMetrics } from "./execution-metrics.ts";
import { ExecutionTracing } from "./execution-trace.ts";
import { Feed } from "./feed.ts";
import { GpuBell } from "./gpu-bell.ts";
import { createHousekeeping } from "./housekeeping.ts";
import type { IntakeInput, Outcome } from "./intake.ts";
import { Intake } from "./intake.ts";
import { appendLogs } from "./logs.ts";
import { createNodeIds } from "./node-ids.ts";
import { Notifier } from "./notifier.ts";
import type { CommandBus, OrchestratorOptions } from "./options.ts";
import type { AcquirePermits } from "./permits.ts";
import { createPermits } from "./permits.ts";
import { createPlaybookCache } from "./playbook-cache.ts";
import { PutOffTimers } from "./put-off-timers.ts";
import { readState } from "./read-state.ts";
import type { RegisteredPlaybook, RegisterRequest } from "./register-playbook.ts";
import { registerPlaybook } from "./register-playbook.ts";
import { Relay } from "./relay.ts";
import type { ByteSource } from "./result-frames.ts";
import { DEFAULT_RESULT_LIMITS } from "./result-limits.ts";
import type { OpenResult, ResultPage } from "./results.ts";
import { Results } from "./results.ts";
import { Housekeeper } from "./retention.ts";
import type { RerunOptions, RetriedExecution, RetryOptions } from "./retry-execution.ts";
import { ExecutionRetrier } from "./retry-execution.ts";
import type { Rotation } from "./rotate-secrets.ts";
import { Secrets } from "./secrets.ts";
import type { SignalAnswer } from "./signal-execution.ts";
import { signalExecution } from "./signal-execution.ts";
import type { StartedExecution, StartRequest } from "./start-execution.ts";
import { ExecutionStarter } from "./start-execution.ts";
import { createStateCache } from "./state-cache.ts";
import { Sweeper } from "./sweeper.ts";
import { TimerWheel } from "./timer-wheel.ts";
import type { WatchOptions } from "./watch-hub.ts";
import { WatchHub } from "./watch-hub.ts";
import type { DirectiveListener, RegistrationAnswer } from "./worker-leases.ts";
import { WorkerLeases } from "./worker-leases.ts";
import type { VariableChange } from "./write-variables.ts";
import { writeVariables } from "./write-variables.ts";

export interface Orchestrator {
  start(request: StartRequest): Promise<StartedExecution>;
  /** One outcome per request, in order. */
  startBatch(
    requests: readonly StartRequest[],
  ): Promise<readonly PromiseSettledResult<StartedExecution>[]>;
  /** Idempotent. @throws AppError not_found EXECUTION_NOT_FOUND */
  cancel(
    id: ExecutionId,
    options: { readonly reason: string; readonly cascade: boolean },
  ): Promise<ChangedExecution>;
  /** Ends the execution whatever its state. @throws AppError not_found EXECUTION_NOT_FOUND */
  finalize(
    id: ExecutionId,
    options: { readonly status: "completed" | "failed"; readonly reason: string },
  ): Promise<ChangedExecution>;
  /** Gives a named signal to who waits for it. See {@link signalExecution}. */
  signal(id: ExecutionId, signal: Signal): Promise<SignalAnswer>;
  /** Writes ctx of a running execution from outside. See {@link writeVariables}. */
  writeVariables(id: ExecutionId, change: VariableChange): Promise<void>;
  /** Continues a failed or cancelled execution. See {@link ExecutionRetrier.retry}. */
  retry(id: ExecutionId, options: RetryOptions): Promise<RetriedExecution>;
  /** Starts the same playbook over, linked to the first execution. */
  rerun(id: ExecutionId, options: RerunOptions): Promise<StartedExecution>;
  register(registration: WorkerRegistration): Promise<RegistrationAnswer>;
  heartbeat(heartbeat: Heartbeat): Promise<readonly Directive[]>;
  subscribeDirectives(workerId: WorkerId, listener: DirectiveListener): () => void;
  deregister(workerId: WorkerId): Promise<void>;
  /**
   * One outcome per command, in order; it may give a more urgent one instead. `isRepeat`: the answer
   * to the same claim got lost.
   */
  readonly claim: Claim;
  /** Whose the commands of containers are that a worker has found. One answer per question, in order. */
  readonly adopt: Adopt;
  /** One answer per report, in order, after the commit. `onGrant` gets what their workers have now. */
  report(
    reports: readonly CommandReport[],
    onGrant?: (command: GrantedCommand) => void,
  ): Promise<readonly ReportAnswer[]>;
  /** One answer per demand, in order. */
  readonly acquirePermits: AcquirePermits;
  /** Resolves with the number of lines that were not taken. */
  appendLogs(lines: readonly LogLine[], workerId?: WorkerId): Promise<number>;
  readonly readLogs: CommandBus["readLogs"];
  readonly followLogs: CommandBus["followLogs"];
  /** For reading only, and at once. Undefined: no such execution, or one that never started. */
  state(id: ExecutionId): Promise<ExecutionState | undefined>;
  watch(id: ExecutionId, options: WatchOptions): AsyncIterable<RecordedEvent>;
  registerPlaybook(request: RegisterRequest): Promise<RegisteredPlaybook>;
  /** Values that are stored apart; see {@link Results}. */
  putResult(result: NewResult, source: ByteSource): Promise<ResultInfo>;
  /** By reference, canonical URI or URN. `reader`: whose data has the reference. */
  openResult(address: string, reader?: ExecutionId): Promise<OpenResult>;
  openNamedResult(executionId: ExecutionId, name: string): Promise<OpenResult>;
  listResults(executionId: ExecutionId, page: ResultPage): Promise<readonly ResultInfo[]>;
  removeResult(ref: string): Promise<boolean>;
  resolveCredential(workerId: WorkerId, question: SecretQuestion): Promise<ResolvedCredential>;
  /** For the server itself: what the credential is, tokens fetched. @throws AppError */
  openCredential(name: string): Promise<{ readonly type: string; readonly data: JsonObject }>;
  /** Wraps all secrets with the current key. Idempotent; may be called while servers run. */
  rotateSecrets(): Promise<Rotation>;
  /** Calls back with what each sweep finds, for duties beside executions. */
  onOverdue(listener: (overdue: Overdue) => void): () => void;
  /** Decimal id, unique over all servers. */
  newId(): Promise<string>;
  /** To be run as long as the orchestrator is used; stopped last first. */
  services(): readonly Service[];
}

export interface ChangedExecution {
  readonly executionId: ExecutionId;
  readonly status: ExecutionStatus;
  /** False: it had ended, or was being cancelled already. */
  readonly isChanged: boolean;
}

const LEASE_MS = 10_000;
const HEARTBEAT_INTERVAL_MS = 2500;
const SWEEP_INTERVAL_MS = 1000;
const CACHE_BYTES = 128 * 1024 * 1024;
const INTAKE_LIMIT = 20_000;
/** Housekeeping takes place once in the time of so many sweeps. */
const HOUSEKEEPING_SWEEPS = 60;
/** Sweeps missed in a row that count as an outage. */
const OUTAGE_SWEEPS = 4;
/** After an outage each worker gets the time of so many heartbeats to renew its leases. */
const AMNESTY_HEARTBEATS = 2.5;
/** A worker that missed so many may lose what it started to one that has found it. */
const SILENT_HEARTBEATS = 2;

export function createOrchestrator(options: OrchestratorOptions): Orchestrator {
  const { store, bus, metrics, log } = options;
  const leaseMs = options.leaseMs ?? LEASE_MS;
  const heartbeatIntervalMs = options.heartbeatIntervalMs ?? HEARTBEAT_INTERVAL_MS;
  const intervalMs = options.sweepIntervalMs ?? SWEEP_INTERVAL_MS;

  const clock = createDatabaseClock();
  const ids = createNodeIds({ pool: store.durable, holder: options.serverId, log });
  const playbooks = createPlaybookCache(store.durable);
  const cache = createStateCache({
    pool: store.durable,
    playbooks,
    maxBytes: options.cacheBytes ?? CACHE_BYTES,
  });
  const postgres = createPostgresResultStore(store);
  const { s3, target, limits = DEFAULT_RESULT_LIMITS } = options.results ?? {};
  const sources = { postgres, ...(s3 === undefined ? {} : { s3 }) };
  const results = new Results({
    store,
    metrics,
    target: target === "s3" && s3 !== undefined ? s3 : postgres,
    sources,
    limits,
    newId: async () => {
      await ids.acquire();
      return ids.newId();
    },
    stepValue: async (id, step, row) => {
      const state = await readState({ pool: store.durable, cache, intake }, id);
      return state && stepValueAt(state, step, row);
    },
  });
  const { retention = {} } = options;
  const housekeeper = new Housekeeper({
    ...{ store, sources, retention, metrics, log },
    now: () => clock.now(),
  });
  const loadResult = (ref: string, reader: ExecutionId) => results.load(ref, reader);
  const storePart = (id: ExecutionId, part: LargePart) => results.storePart(id, part);
  const tracing = new ExecutionTracing(options.tracer);
  const decider = new Decider({
    ...options,
    pool: store.durable,
    ...{ cache, playbooks, ids, clock, tracing, loadResult, storePart, leaseMs },
    enterChild: (applicant) => admission.enterChild(applicant),
  });
  const notifier = new Notifier(options);
  const watch = new WatchHub(options);
  const batcher = new Batcher({
    pool: store.durable,
    cache,
    decider,
    ids,
    metrics,
    log,
    onCommitted: (groups, result) => effects.apply(groups, result),
  });
  const intake = new Intake({
    process: (batch, signal) => batcher.process(batch, signal),
    limit: options.intakeLimit ?? INTAKE_LIMIT,
    onDepth: (depth) => metrics.intakeDepth.set(depth),
  });
  const putOff = new PutOffTimers(store.quick);
  const feed = new Feed({ intake, clock, putOff, log });
  const wheel = new TimerWheel((entry) =>
    feed.wakeUp(entry.executionId, entry.timerId, entry.wakeUp),
  );
  const bell = new GpuBell({ ...options, notifier, workerTimeoutMs: leaseMs });
  const workers = new WorkerLeases({ ...options, feed, bell, leaseMs, heartbeatIntervalMs });
  const admission = new Admission(options, feed);
  const effects = new CommitEffects({
    ...{ cache, feed, notifier, wheel, watch, workers, bell, admission, tracing },
    metrics: new ExecutionMetrics(options),
  });
  const relay = new Relay(options, notifier, leaseMs);
  const overdueListeners = new Set<(overdue: Overdue) => void>();
  const sweeper = new Sweeper({
    ...options,
    clock,
    feed,
    notifier,
    relay,
    bell,
    putOff,
    onOverdue: (overdue) => {
      for (const listener of overdueListeners) {
        listener(overdue);
      }
    },
    intervalMs,
    outageMs: intervalMs * OUTAGE_SWEEPS,
    amnestyMs: heartbeatIntervalMs * AMNESTY_HEARTBEATS,
  });
  const housekeeping = createHousekeeping({
    ...options,
    housekeeper,
    everyMs: intervalMs * HOUSEKEEPING_SWEEPS,
    againMs: intervalMs,
  });
  overdueListeners.add(({ freedKeys }) => {
    for (const key of freedKeys) {
      admission.release(key);
    }
  });
  const starter = new ExecutionStarter({
    ...{ pool: store.durable, ids, intake, playbooks, admission, clock, env: options.env },
  });

  /** Ids of executions that cannot exist would make a statement fail that others share. */
  const submit = (input: IntakeInput): Promise<Outcome> =>
    isId(input.executionId)
      ? intake.submit(input)
      : Promise.resolve({ isStale: true, status: undefined });
  const report = async (
    one: CommandReport,
    onGrant?: (command: GrantedCommand) => void,
  ): Promise<ReportAnswer> => {
    const input = { kind: "report", report: one } as const;
    const { isStale, granted } = await submit({ executionId: one.executionId, input });
    notifier.settle(one.commandId);
    if (granted !== undefined) {
      metrics.claims.inc("granted");
      onGrant?.(granted);
    }
    if (isStale) {
      metrics.fenceRefusals.inc("report");
    }
    return isStale ? "stale" : "accepted";
  };
  const state = async (id: ExecutionId): Promise<ExecutionState | undefined> =>
    isId(id) ? await readState({ pool: store.durable, cache, intake }, id) : undefined;
  const secrets = new Secrets({ ...options, state, playbooks });
  overdueListeners.add(({ keychain }) => void secrets.renew(keychain));
  const retrier = new ExecutionRetrier({
    pool: store.durable,
    ids,
    submit,
    start: (request) => starter.start(request),
    state,
    admission,
    metrics,
  });
  return {
    start: (request) => starter.start(request),
    startBatch: (requests) => Promise.allSettled(requests.map((one) => starter.start(one))),
    cancel: async (id, { reason, cascade }) => {
      const input = { kind: "cancel", reason } as const;
      return changed(id, await submit({ executionId: id, input, isCascading: cascade }));
    },
    finalize: async (id, { status, reason }) => {
      const input = { kind: "finalize", status, reason } as const;
      return changed(id, await submit({ executionId: id, input }));
    },
    signal: (id, signal) => signalExecution({ pool: store.durable, submit, metrics }, id, signal),
    writeVariables: (id, change) => writeVariables(store.durable, submit, id, change),
    retry: (id, retryOptions) => retrier.retry(id, retryOptions),
    rerun: (id, rerunOptions) => retrier.rerun(id, rerunOptions),
    register: (registration) => workers.register(registration),
    heartbeat: (heartbeat) => workers.heartbeat(heartbeat),
    subscribeDirectives: (workerId, listener) => workers.subscribe(workerId, listener),
    deregister: (workerId) => workers.deregister(workerId),
    claim: createClaims({ store, metrics, notifier, feed, leaseMs }),
    report: (reports, onGrant) => Promise.all(reports.map((one) => report(one, onGrant))),
    acquirePermits: createPermits({ store, metrics }),
    adopt: createAdoption({
      ...{ store, bus, metrics, log, submit, leaseMs },
      silentMs: heartbeatIntervalMs * SILENT_HEARTBEATS,
    }),
    appendLogs: (lines, workerId) => appendLogs({ bus, cache, metrics }, lines, workerId),
    readLogs: (id, query) => bus.readLogs(id, query),
    followLogs: (id, query) => bus.followLogs(id, query),
    state,
    watch: (id, watchOptions) => watch.watch(id, watchOptions),
    registerPlaybook: (request) => registerPlaybook(options, ids, request),
    putResult: (result, source) => results.put(result, source),
    openResult: (address, reader) => results.open(address, reader),
    openNamedResult: (id, name) => results.openNamed(id, name),
    listResults: (id, page) => results.list(id, page),
    removeResult: (ref) => results.remove(ref),
    resolveCredential: (workerId, question) => secrets.resolve(workerId, question),
    openCredential: (name) => secrets.open(name),
    rotateSecrets: () => secrets.rotate(),
    onOverdue: (listener) => {
      overdueListeners.add(listener);
      return () => overdueListeners.delete(listener);
    },
    newId: async () => {
      await ids.acquire();
      return ids.newId();
    },
    services: () => [
      ids.service,
      wheel.service,
      intake.service,
      relay.service,
      sweeper.service,
      housekeeping,
    ],
  };
}

function changed(id: ExecutionId, { isStale, status }: Outcome): ChangedExecution {
  if (status === undefined) {
    throw new AppError("not_found", "EXECUTION_NOT_FOUND", `There is no execution ${id}`);
  }
  return { executionId: id, status, isChanged: !isStale };
}
