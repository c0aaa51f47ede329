/**
 * Every metric of the platform by role. Names are NoETL's where it has one; each ends in its unit.
 * `ServerMetrics` and `WorkerMetrics` share one registry in `noetl up`.
 */
import type { Distribution, Level, MetricsRegistry, Tally } from "./registry.ts";
import { SECONDS_BUCKETS, SIZE_BUCKETS } from "./registry.ts";

export interface ServerMetrics {
  /** {event_type, status}: events written (`ok`), or reported from outside and refused (`error`). */
  readonly eventsIngested: Tally;
  /** {entry: single|batch|grpc, outcome: new|duplicate|error}. */
  readonly executeOutcomes: Tally;
  readonly executeBatchSize: Distribution;
  /** {status: completed|failed|cancelled}. */
  readonly executionsFinished: Tally;
  readonly executionSeconds: Distribution;
  /** {outcome: delivered|kept|duplicate|refused}. */
  readonly signals: Tally;
  /** {kind: retry|copy|rerun}; `copy`: a retry as a new execution. */
  readonly executionsRetried: Tally;
  /** {route: direct|relay, pool}: notifications published. */
  readonly commandPublish: Tally;
  /** {reason}: notifications that the relay must repeat. */
  readonly commandPublishFailed: Tally;
  /**
   * {outcome: claimed|urgent|gone|later|granted|waits_gpu|gpu_unfit}; `urgent`: another one than was
   * asked for, `waits_gpu`: no GPUs for it now, `gpu_unfit`: no worker of its pool has such.
   */
  readonly claims: Tally;
  /** {outcome: adopted|disowned|later}: answers to workers that have found containers of others. */
  readonly adoptions: Tally;
  /** {pool}: from available to claimed. */
  readonly queueWaitSeconds: Distribution;
  /** {outcome: granted|put_off}: answers to tasks that ask for a permit of their rate limit. */
  readonly permits: Tally;
  /** Waits that tasks were told, for a permit or until they are to ask again. */
  readonly permitWaitSeconds: Distribution;
  /** {outcome: started|queued|rejected|cancelled}: executions whose playbook has a concurrency key. */
  readonly admissions: Tally;
  /** From the request to the place under the concurrency key. */
  readonly admissionWaitSeconds: Distribution;
  /** {reason: concurrency}: executions that wait for something before they start. */
  readonly executionsWaiting: Level;
  /** Inputs (starts, reports, timers, …) decided in one batch. */
  readonly batchInputs: Distribution;
  /** Of one batch's statement, from sent to durable. */
  readonly commitSeconds: Distribution;
  /** Groups that lost the race for an execution's head and were decided again. */
  readonly commitConflicts: Tally;
  /** Inputs waiting for the batcher. */
  readonly intakeDepth: Level;
  /** {mode: live|replay}: states taken from the cache or rebuilt from events. */
  readonly stateBuild: Tally;
  /** {source: credential|keychain, outcome: ok|refused|error}: secrets that workers asked for. */
  readonly secretsHanded: Tally;
  /** {provider: env|file|kubernetes|vault|gcp, outcome: ok|error}. */
  readonly secretReads: Tally;
  /** {provider}. */
  readonly secretReadSeconds: Distribution;
  /** {outcome: ok|error}: values renewed ahead of their end. */
  readonly keychainRenewals: Tally;
  /** {call: report|heartbeat|log|credential}: refused because another attempt owns the command. */
  readonly fenceRefusals: Tally;
  /** {kind: lease|timer|child|place|unnotified}: rows that a sweep acted on. */
  readonly sweepRows: Tally;
  readonly sweepSeconds: Distribution;
  /** {status: ok|error}: values stored apart. */
  readonly resultPuts: Tally;
  readonly resultPutSeconds: Distribution;
  /** Of those that were stored, before compression. */
  readonly resultPutBytes: Tally;
  /** {status: ok|error}: stored values looked up, to be read or described. */
  readonly resultReads: Tally;
  /** {kind: result|body|event|execution}: rows that housekeeping removed. */
  readonly retentionRemoved: Tally;
  /** {pool}: workers declared lost. */
  readonly workersLost: Tally;
  /** {pool, status: queued|running}. */
  readonly queueDepth: Level;
  /** {pool}: age of the oldest command that could run. */
  readonly queueOldestSeconds: Level;
  /** {pool, state: free|used}. */
  readonly slots: Level;
  /** {pool}: GPUs that commands hold; a shared one counts once for each of them. */
  readonly gpuLeases: Level;
  /** {pool}: queued commands that have asked for GPUs in vain. */
  readonly gpuWaiters: Level;
  /** {pool}. */
  readonly workers: Level;
  /** {route, method, code}. */
  readonly httpRequests: Tally;
  /** {method}: without live streams. */
  readonly httpSeconds: Distribution;
  /** {method, outcome: ok or the kind of the error}; requests inside `Work` by their own names. */
  readonly rpcCalls: Tally;
  /** {method}: without streams that last as long as their client. */
  readonly rpcSeconds: Distribution;
  /** {endpoint: catalog_register|credentials_upsert|…, status: ok|error}. */
  readonly writeRequests: Tally;
  /** {kind: scheduled|backfill|manual, outcome: started|skipped|failed}. */
  readonly scheduleFirings: Tally;
  /** From due (and its jitter) to started, of scheduled firings. */
  readonly scheduleLagSeconds: Distribution;
  /** {source: nats|webhook}. */
  readonly subscriptionReceived: Tally;
  /** {source, outcome: started|duplicate|filtered|error}. */
  readonly subscriptionExecutions: Tally;
  /** {controls}. */
  readonly subscriptionDirectives: Tally;
  /** {source}: messages that are kept until they are dispatched. */
  readonly subscriptionSpooled: Tally;
  /** {source}: size of what this server keeps. */
  readonly subscriptionSpoolBytes: Level;
  /** {downstream: dispatch, transition: open|half_open|closed}. */
  readonly subscriptionCircuit: Tally;
  /** {source}. */
  readonly subscriptionDeadLettered: Tally;
  /** {source}: dispatches of several messages. */
  readonly subscriptionBatches: Tally;
  /** {source}: messages in them. */
  readonly subscriptionBatchMessages: Tally;
  /** {source, reason: rate|in_flight}. */
  readonly subscriptionRateLimited: Tally;
}

/** @param version shown by `noetl_server_build_info`. */
export function createServerMetrics(registry: MetricsRegistry, version: string): ServerMetrics {
  registry.gauge("noetl_server_build_info", "Constant 1.", ["version"]).set(1, version);
  return {
    ...engineMetrics(registry),
    ...commandMetrics(registry),
    ...waitMetrics(registry),
    ...secretMetrics(registry),
    ...resultMetrics(registry),
    ...poolMetrics(registry),
    ...httpMetrics(registry),
    ...scheduleMetrics(registry),
    ...subscriptionMetrics(registry),
  };
}

function engineMetrics(registry: MetricsRegistry) {
  const seconds = { buckets: SECONDS_BUCKETS };
  const sizes = { buckets: SIZE_BUCKETS };
  return {
    eventsIngested: registry.counter("noetl_events_ingested_total", "Events written.", [
      "event_type",
      "status",
    ]),
    executeOutcomes: registry.counter("noetl_execute_outcomes_total", "Requests to execute.", [
      "entry",
      "outcome",
    ]),
    executeBatchSize: registry.histogram("noetl_execute_batch_size", "Executions a batch.", sizes),
    executionsFinished: registry.counter("noetl_executions_finished_total", "Executions ended.", [
      "status",
    ]),
    executionSeconds: registry.histogram(
      "noetl_execution_duration_seconds",
      "From start to end of an execution.",
      seconds,
    ),
    signals: registry.counter("noetl_signals_total", "Signals to executions.", ["outcome"]),
    executionsRetried: registry.counter(
      "noetl_executions_retried_total",
      "Finished executions that were continued or started over.",
      ["kind"],
    ),
    batchInputs: registry.histogram("noetl_batch_inputs_size", "Inputs decided a batch.", sizes),
    commitSeconds: registry.histogram("noetl_commit_duration_seconds", "Durable commits.", seconds),
    commitConflicts: registry.counter(
      "noetl_commit_conflicts_total",
      "Groups decided again because another server was first.",
    ),
    intakeDepth: registry.gauge("noetl_intake_depth", "Inputs waiting for the batcher."),
    stateBuild: registry.counter("noetl_state_build_total", "States used by decisions.", ["mode"]),
  };
}

function commandMetrics(registry: MetricsRegistry) {
  const seconds = { buckets: SECONDS_BUCKETS };
  return {
    commandPublish: registry.counter("noetl_command_publish_total", "Notifications published.", [
      "route",
      "pool",
    ]),
    commandPublishFailed: registry.counter(
      "noetl_command_publish_failed_total",
      "Notifications that did not go out at once.",
      ["reason"],
    ),
    claims: registry.counter("noetl_claims_total", "Answers to claims.", ["outcome"]),
    adoptions: registry.counter(
      "noetl_adoptions_total",
      "Answers to workers that have found containers of others.",
      ["outcome"],
    ),
    queueWaitSeconds: registry.histogram(
      "noetl_command_queue_wait_seconds",
      "From available to claimed.",
      { ...seconds, labels: ["pool"] },
    ),
    fenceRefusals: registry.counter("noetl_fence_refusals_total", "Calls with a stale attempt.", [
      "call",
    ]),
    sweepRows: registry.counter("noetl_sweep_rows_total", "Rows that a sweep acted on.", ["kind"]),
    sweepSeconds: registry.histogram("noetl_sweep_duration_seconds", "One sweep.", seconds),
  };
}

function secretMetrics(registry: MetricsRegistry) {
  return {
    secretsHanded: registry.counter(
      "noetl_secrets_handed_total",
      "Secrets that workers asked for.",
      ["source", "outcome"],
    ),
    secretReads: registry.counter("noetl_secret_resolve_total", "Secrets read from providers.", [
      "provider",
      "outcome",
    ]),
    secretReadSeconds: registry.histogram(
      "noetl_secret_resolve_duration_seconds",
      "One secret read from a provider.",
      { buckets: SECONDS_BUCKETS, labels: ["provider"] },
    ),
    keychainRenewals: registry.counter(
      "noetl_keychain_renewals_total",
      "Keychain values renewed ahead of their end.",
      ["outcome"],
    ),
  };
}

function waitMetrics(registry: MetricsRegistry) {
  const seconds = { buckets: SECONDS_BUCKETS };
  return {
    permits: registry.counter("noetl_rate_limit_permits_total", "Answers to rate-limited tasks.", [
      "outcome",
    ]),
    permitWaitSeconds: registry.histogram(
      "noetl_rate_limit_wait_seconds",
      "Waits that rate-limited tasks were told.",
      seconds,
    ),
    admissions: registry.counter(
      "noetl_admissions_total",
      "Executions with a concurrency key, by what became of them.",
      ["outcome"],
    ),
    admissionWaitSeconds: registry.histogram(
      "noetl_admission_wait_seconds",
      "From the request to a place under the concurrency key.",
      seconds,
    ),
    executionsWaiting: registry.gauge("noetl_executions_waiting", "Executions not yet started.", [
      "reason",
    ]),
  };
}

function resultMetrics(registry: MetricsRegistry) {
  return {
    resultPuts: registry.counter("noetl_result_store_put_total", "Values stored apart.", [
      "status",
    ]),
    resultPutSeconds: registry.histogram(
      "noetl_result_store_put_duration_seconds",
      "From the first byte to durable.",
      { buckets: SECONDS_BUCKETS },
    ),
    resultPutBytes: registry.counter(
      "noetl_result_store_put_bytes_total",
      "Bytes of stored values, before compression.",
    ),
    resultReads: registry.counter("noetl_result_store_resolve_total", "Stored values looked up.", [
      "status",
    ]),
    retentionRemoved: registry.counter(
      "noetl_retention_removed_total",
      "Rows that housekeeping removed.",
      ["kind"],
    ),
  };
}

function poolMetrics(registry: MetricsRegistry) {
  return {
    workersLost: registry.counter("noetl_workers_lost_total", "Workers declared lost.", ["pool"]),
    queueDepth: registry.gauge("noetl_queue_depth", "Open commands.", ["pool", "status"]),
    queueOldestSeconds: registry.gauge(
      "noetl_queue_oldest_seconds",
      "Age of the oldest command that could run.",
      ["pool"],
    ),
    slots: registry.gauge("noetl_pool_slots", "Slots of live workers.", ["pool", "state"]),
    gpuLeases: registry.gauge("noetl_pool_gpu_leases", "GPUs that commands hold.", ["pool"]),
    gpuWaiters: registry.gauge("noetl_pool_gpu_waiters", "Commands that wait for GPUs.", ["pool"]),
    workers: registry.gauge("noetl_pool_workers", "Live workers.", ["pool"]),
  };
}

function httpMetrics(registry: MetricsRegistry) {
  return {
    httpRequests: registry.counter("noetl_http_requests_total", "HTTP requests.", [
      "route",
      "method",
      "code",
    ]),
    httpSeconds: registry.histogram("noetl_http_request_duration_seconds", "Without streams.", {
      buckets: SECONDS_BUCKETS,
      labels: ["method"],
    }),
    rpcCalls: registry.counter("noetl_rpc_calls_total", "gRPC calls.", ["method", "outcome"]),
    rpcSeconds: registry.histogram("noetl_rpc_call_duration_seconds", "Without streams.", {
      buckets: SECONDS_BUCKETS,
      labels: ["method"],
    }),
    writeRequests: registry.counter("noetl_write_requests_total", "Administrative writes.", [
      "endpoint",
      "status",
    ]),
  };
}

function scheduleMetrics(registry: MetricsRegistry) {
  return {
    scheduleFirings: registry.counter("noetl_schedule_firings_total", "Due times met or not.", [
      "kind",
      "outcome",
    ]),
    scheduleLagSeconds: registry.histogram("noetl_schedule_lag_seconds", "From due to started.", {
      buckets: SECONDS_BUCKETS,
    }),
  };
}

function subscriptionMetrics(registry: MetricsRegistry) {
  const counter = (name: string, help: string, ...labels: readonly string[]): Tally =>
    registry.counter(`noetl_subscription_${name}_total`, help, labels);
  return {
    subscriptionReceived: counter("messages_received", "Messages that came.", "source"),
    subscriptionExecutions: counter("executions", "What became of them.", "source", "outcome"),
    subscriptionDirectives: counter("directives_applied", "Headers obeyed.", "controls"),
    subscriptionSpooled: counter("spooled", "Messages kept to be dispatched.", "source"),
    subscriptionSpoolBytes: registry.gauge(
      "noetl_subscription_spool_bytes",
      "Messages that this server keeps to dispatch.",
      ["source"],
    ),
    subscriptionCircuit: counter(
      "circuit_transitions",
      "Circuit breakers that changed state.",
      "downstream",
      "transition",
    ),
    subscriptionDeadLettered: counter("dead_lettered", "Dead letters.", "source"),
    subscriptionBatches: counter("batch_dispatch", "Dispatches of several messages.", "source"),
    subscriptionBatchMessages: counter("batch_messages", "Messages in them.", "source"),
    subscriptionRateLimited: counter("rate_limited", "Messages held back.", "source", "reason"),
  };
}

export interface WorkerMetrics {
  /** {outcome: messages|error}. */
  readonly pulls: Tally;
  readonly pullSeconds: Distribution;
  readonly claimSucceeded: Tally;
  readonly claimFailed: Tally;
  /** {tool_kind}. */
  readonly dispatchSeconds: Distribution;
  /** {tool_kind}. */
  readonly dispatchErrors: Tally;
  readonly concurrentDispatches: Level;
  readonly slots: Level;
  /** Reports sent in one call. */
  readonly reportBatchSize: Distribution;
  readonly reportSeconds: Distribution;
  /** Reports that a server refused: another attempt owns the command. */
  readonly reportStale: Tally;
  readonly leasesLost: Tally;
  /** {outcome: sent|dropped}. */
  readonly logLines: Tally;
  /** {reason: heartbeat|nats}. */
  readonly reconnects: Tally;
  /** Commands whose work goes on outside this machine, in no slot. */
  readonly parked: Level;
  /** {outcome: adopted|removed}: containers that no command of the worker held. */
  readonly containersFound: Tally;
  /** 1 while it pulls work. */
  readonly ready: Level;
}

/** @param version shown by `noetl_worker_build_info`. */
export function createWorkerMetrics(registry: MetricsRegistry, version: string): WorkerMetrics {
  registry.gauge("noetl_worker_build_info", "Constant 1.", ["version"]).set(1, version);
  return { ...pullMetrics(registry), ...runMetrics(registry), ...reportMetrics(registry) };
}

function pullMetrics(registry: MetricsRegistry) {
  return {
    pulls: registry.counter("noetl_worker_pulls_total", "Pulls from the stream.", ["outcome"]),
    pullSeconds: registry.histogram("noetl_worker_pull_duration_seconds", "Pull and claim.", {
      buckets: SECONDS_BUCKETS,
    }),
    claimSucceeded: registry.counter("noetl_worker_claim_succeeded_total", "Commands claimed."),
    claimFailed: registry.counter("noetl_worker_claim_failed_total", "Commands not to be had."),
    reconnects: registry.counter(
      "noetl_worker_command_loop_reconnect_total",
      "Connections made anew.",
      ["reason"],
    ),
    ready: registry.gauge("noetl_worker_ready", "1 while the worker pulls work."),
  };
}

function runMetrics(registry: MetricsRegistry) {
  return {
    dispatchSeconds: registry.histogram("noetl_worker_dispatch_duration_seconds", "Tool runs.", {
      buckets: SECONDS_BUCKETS,
      labels: ["tool_kind"],
    }),
    dispatchErrors: registry.counter(
      "noetl_worker_dispatch_errors_total",
      "Tool runs that failed.",
      ["tool_kind"],
    ),
    concurrentDispatches: registry.gauge("noetl_worker_concurrent_dispatches", "Running now."),
    slots: registry.gauge("noetl_worker_slots", "Commands it may run at once."),
    leasesLost: registry.counter("noetl_worker_leases_lost_total", "Commands lost to another."),
    parked: registry.gauge("noetl_worker_parked", "Commands that hold no slot, such as Jobs."),
    containersFound: registry.counter(
      "noetl_worker_containers_found_total",
      "Containers of dead workers and of lost commands.",
      ["outcome"],
    ),
  };
}

function reportMetrics(registry: MetricsRegistry) {
  return {
    reportBatchSize: registry.histogram("noetl_worker_report_batch_size", "Reports a call.", {
      buckets: SIZE_BUCKETS,
    }),
    reportSeconds: registry.histogram("noetl_worker_report_duration_seconds", "Report calls.", {
      buckets: SECONDS_BUCKETS,
    }),
    reportStale: registry.counter("noetl_worker_report_stale_total", "Reports refused as stale."),
    logLines: registry.counter("noetl_worker_log_lines_total", "Lines of tools.", ["outcome"]),
  };
}
