/** Every metric of a server. Names are NoETL's where it has one. */
import { counter, gauge, histogram } from "./definition.ts";
import { RUN_BUCKETS, SECONDS_BUCKETS, SIZE_BUCKETS } from "./registry.ts";

const POOL = "pool";
const PLAYBOOK = "path of the playbook; `other` beyond `NOETL_METRICS_PLAYBOOKS` of them";
const SOURCE = ["nats", "webhook"];
const STATUS = ["ok", "error"];

const engine = {
  eventsIngested: counter(
    "noetl_events_ingested_total",
    "Events written (`ok`), or reported from outside and refused (`error`).",
    { event_type: "type of event", status: STATUS },
  ),
  executeOutcomes: counter("noetl_execute_outcomes_total", "Requests to start an execution.", {
    entry: ["single", "batch", "grpc", "rerun"],
    outcome: ["new", "duplicate", "error"],
  }),
  executeBatchSize: histogram(
    "noetl_execute_batch_size",
    "Executions asked for in one batch.",
    SIZE_BUCKETS,
  ),
  executionsStarted: counter("noetl_executions_started_total", "Executions that began to run.", {
    playbook: PLAYBOOK,
  }),
  executionsFinished: counter("noetl_executions_finished_total", "Executions that ended.", {
    playbook: PLAYBOOK,
    status: ["completed", "failed", "cancelled"],
  }),
  executionSeconds: histogram(
    "noetl_execution_duration_seconds",
    "From start to end of an execution.",
    RUN_BUCKETS,
    { playbook: PLAYBOOK },
  ),
  stepsFinished: counter("noetl_steps_finished_total", "Visits of steps that ended.", {
    playbook: PLAYBOOK,
    status: ["ok", "error", "skipped"],
  }),
  stepSeconds: histogram(
    "noetl_step_duration_seconds",
    "From entering a step to leaving it, queue and retries included.",
    RUN_BUCKETS,
    { playbook: PLAYBOOK },
  ),
  signals: counter("noetl_signals_total", "Signals to executions.", {
    outcome: ["delivered", "kept", "duplicate", "refused"],
  }),
  executionsRetried: counter(
    "noetl_executions_retried_total",
    "Finished executions that were continued (`retry`), continued as a new one (`copy`) or started over (`rerun`).",
    { kind: ["retry", "copy", "rerun"] },
  ),
  batchInputs: histogram(
    "noetl_batch_inputs_size",
    "Inputs (starts, reports, timers, …) decided in one batch.",
    SIZE_BUCKETS,
  ),
  commitSeconds: histogram(
    "noetl_commit_duration_seconds",
    "One batch's statement, from sent to durable.",
    SECONDS_BUCKETS,
  ),
  commitConflicts: counter(
    "noetl_commit_conflicts_total",
    "Groups of inputs that lost the race for an execution's head and were decided again.",
  ),
  intakeDepth: gauge("noetl_intake_depth", "Inputs waiting for the batcher."),
  stateBuild: counter(
    "noetl_state_build_total",
    "States that decisions needed: from memory (`live`) or rebuilt from events (`replay`).",
    { mode: ["live", "replay"] },
  ),
  executionsOpen: gauge(
    "noetl_executions_open",
    "Executions of the whole platform that have not ended; `queued` ones wait for a place under a concurrency key.",
    { status: ["pending", "queued", "running"] },
  ),
};

const commands = {
  commandPublish: counter(
    "noetl_command_publish_total",
    "Notifications published: after the commit (`direct`), or repeated (`relay`).",
    { route: ["direct", "relay"], pool: POOL },
  ),
  commandPublishFailed: counter(
    "noetl_command_publish_failed_total",
    "Notifications that did not go out at once; the relay repeats them.",
    { reason: ["bus"] },
  ),
  commandPublishSeconds: histogram(
    "noetl_command_publish_duration_seconds",
    "One notification, until JetStream has stored it.",
    SECONDS_BUCKETS,
  ),
  relayLagSeconds: gauge(
    "noetl_relay_lag_seconds",
    "Age of the oldest queued command that nobody has announced, beyond the grace of 2 s; 0: there is none.",
  ),
  commandsRetried: counter(
    "noetl_commands_retried_total",
    "Commands handed out again: their worker was lost (`lost`) or gave them back (`returned`).",
    { reason: ["lost", "returned"] },
  ),
  claims: counter(
    "noetl_claims_total",
    "Answers to claims; `urgent`: another command than was asked for, `granted`: with the answer to a report, `waits_gpu`: no GPUs for it now, `gpu_unfit`: no worker of its pool has such.",
    {
      outcome: ["claimed", "urgent", "gone", "later", "granted", "waits_gpu", "gpu_unfit"],
    },
  ),
  adoptions: counter(
    "noetl_adoptions_total",
    "Answers to workers that have found containers of others.",
    { outcome: ["adopted", "disowned", "later"] },
  ),
  queueWaitSeconds: histogram(
    "noetl_command_queue_wait_seconds",
    "From when a command may run to when a worker has it.",
    RUN_BUCKETS,
    { pool: POOL },
  ),
  leasesRenewed: counter("noetl_leases_renewed_total", "Leases that heartbeats renewed."),
  fenceRefusals: counter(
    "noetl_fence_refusals_total",
    "Calls refused because another attempt owns the command.",
    { call: ["report", "heartbeat", "log", "credential"] },
  ),
  sweepRows: counter("noetl_sweep_rows_total", "Rows that a sweep acted on.", {
    kind: ["lease", "timer", "child", "place", "queue", "unnotified"],
  }),
  sweepSeconds: histogram(
    "noetl_sweep_duration_seconds",
    "One sweep of what is overdue.",
    SECONDS_BUCKETS,
  ),
  sweepFailures: counter("noetl_sweep_failures_total", "Sweeps that failed."),
  sweepLast: gauge(
    "noetl_sweep_last_success_timestamp_seconds",
    "When the last sweep ended well, since 1970.",
  ),
  taskLogLines: counter(
    "noetl_task_log_lines_total",
    "Lines of tasks that came from workers; `refused`: of another attempt or an unknown execution.",
    { outcome: ["stored", "refused", "failed"] },
  ),
};

const waits = {
  permits: counter("noetl_rate_limit_permits_total", "Answers to tasks with a rate limit.", {
    outcome: ["granted", "put_off"],
  }),
  permitWaitSeconds: histogram(
    "noetl_rate_limit_wait_seconds",
    "Waits that tasks were told, for a permit or until they are to ask again.",
    SECONDS_BUCKETS,
  ),
  admissions: counter(
    "noetl_admissions_total",
    "Executions with a concurrency key, by what became of them.",
    { outcome: ["started", "queued", "rejected", "cancelled"] },
  ),
  admissionWaitSeconds: histogram(
    "noetl_admission_wait_seconds",
    "From the request to the place under the concurrency key.",
    RUN_BUCKETS,
  ),
  executionsWaiting: gauge(
    "noetl_executions_waiting",
    "Executions that wait for something before they start.",
    { reason: ["concurrency"] },
  ),
};

const secrets = {
  secretsHanded: counter("noetl_secrets_handed_total", "Secrets that workers asked for.", {
    source: ["credential", "keychain"],
    outcome: ["ok", "refused", "error"],
  }),
  secretReads: counter("noetl_secret_resolve_total", "Secrets read from providers.", {
    provider: ["env", "file", "kubernetes", "vault", "gcp"],
    outcome: STATUS,
  }),
  secretReadSeconds: histogram(
    "noetl_secret_resolve_duration_seconds",
    "One secret read from a provider.",
    SECONDS_BUCKETS,
    { provider: ["env", "file", "kubernetes", "vault", "gcp"] },
  ),
  keychainRenewals: counter(
    "noetl_keychain_renewals_total",
    "Keychain values renewed ahead of their end.",
    { outcome: STATUS },
  ),
};

const results = {
  resultPuts: counter("noetl_result_store_put_total", "Values stored apart from events.", {
    status: STATUS,
  }),
  resultPutSeconds: histogram(
    "noetl_result_store_put_duration_seconds",
    "One value stored apart, from its first byte to durable.",
    SECONDS_BUCKETS,
  ),
  resultPutBytes: counter(
    "noetl_result_store_put_bytes_total",
    "Bytes of the values that were stored apart, before compression.",
  ),
  resultReads: counter(
    "noetl_result_store_resolve_total",
    "Stored values looked up, to be read or described.",
    { status: STATUS },
  ),
  retentionRemoved: counter("noetl_retention_removed_total", "Rows that housekeeping removed.", {
    kind: ["result", "body", "event", "execution"],
  }),
};

const pools = {
  workersLost: counter("noetl_workers_lost_total", "Workers declared lost.", { pool: POOL }),
  workers: gauge("noetl_pool_workers", "Live workers.", { pool: POOL }),
  heartbeatAgeSeconds: gauge(
    "noetl_pool_heartbeat_age_seconds",
    "Age of the oldest last heartbeat of the pool's workers; silent ones are forgotten after 5 minutes.",
    { pool: POOL },
  ),
  slots: gauge("noetl_pool_slots", "Slots of live workers.", {
    pool: POOL,
    state: ["free", "used"],
  }),
  queueDepth: gauge("noetl_queue_depth", "Open commands.", {
    pool: POOL,
    status: ["queued", "running"],
  }),
  queueWaiting: gauge(
    "noetl_queue_waiting",
    "Queued commands by what they wait for: a live worker, a free slot (`busy`), GPUs, a permit of a rate limit (of the first 1,000 that are not due), their time; `starting`: a free worker is about to take them.",
    { pool: POOL, reason: ["no_worker", "busy", "gpus_busy", "rate", "not_due", "starting"] },
  ),
  queueOldestSeconds: gauge(
    "noetl_queue_oldest_seconds",
    "Age of the oldest command that could run.",
    { pool: POOL },
  ),
  poolGpus: gauge("noetl_pool_gpus", "GPUs and slices of live workers, held or not.", {
    pool: POOL,
    state: ["ready", "unclean", "out_of_service"],
  }),
  gpuLeases: gauge(
    "noetl_pool_gpu_leases",
    "GPUs that commands hold; a shared one counts once for each of them.",
    { pool: POOL },
  ),
  gpuWaiters: gauge("noetl_pool_gpu_waiters", "Queued commands that have asked for GPUs in vain.", {
    pool: POOL,
  }),
  consumerPending: gauge(
    "noetl_consumer_pending",
    "Notifications in JetStream that no worker of the pool has taken.",
    { pool: POOL },
  ),
  consumerUnacked: gauge(
    "noetl_consumer_ack_pending",
    "Notifications delivered to workers of the pool and not yet acknowledged.",
    { pool: POOL },
  ),
  consumerRedelivered: gauge(
    "noetl_consumer_redelivered",
    "Of those not yet acknowledged: delivered more than once.",
    { pool: POOL },
  ),
};

const parts = {
  busConnected: gauge("noetl_bus_connected", "1 while the server is connected to NATS."),
  databaseUp: gauge(
    "noetl_database_up",
    "1 if PostgreSQL answered the last time that the server asked for the values shown here.",
  ),
  databaseConnections: gauge(
    "noetl_database_connections",
    "Connections of all servers to PostgreSQL, as it counts them; `active` and `blocked` ones (in wait for a lock) are among the `open`.",
    { state: ["open", "active", "blocked"] },
  ),
  connectionsMax: gauge(
    "noetl_database_pool_connections_max",
    "Connections that this server opens at most, by what its commits wait for.",
    { commit: ["durable", "quick"] },
  ),
  connectionsUsed: gauge(
    "noetl_database_pool_connections_used",
    "Connections of this server that are at work.",
    { commit: ["durable", "quick"] },
  ),
  connectionsWaiting: gauge(
    "noetl_database_pool_waiting",
    "Statements of this server that wait for a connection.",
    { commit: ["durable", "quick"] },
  ),
};

const requests = {
  httpRequests: counter("noetl_http_requests_total", "HTTP requests.", {
    route: "pattern of the path, or `other`",
    method: "HTTP method",
    code: "HTTP status",
  }),
  httpSeconds: histogram(
    "noetl_http_request_duration_seconds",
    "HTTP requests, until their answer begins: live streams count until they start.",
    SECONDS_BUCKETS,
    { route: "pattern of the path, or `other`", method: "HTTP method" },
  ),
  rpcCalls: counter(
    "noetl_rpc_calls_total",
    "gRPC calls; requests inside `Work` by their own names.",
    { method: "gRPC method", outcome: "`ok` or the kind of the error" },
  ),
  rpcSeconds: histogram(
    "noetl_rpc_call_duration_seconds",
    "gRPC calls, without streams that last as long as their client.",
    SECONDS_BUCKETS,
    { method: "gRPC method" },
  ),
  writeRequests: counter("noetl_write_requests_total", "Administrative writes.", {
    endpoint: "`catalog_register`, `credentials_upsert`, …",
    status: STATUS,
  }),
};

const triggers = {
  scheduleFirings: counter("noetl_schedule_firings_total", "Due times of schedules.", {
    kind: ["scheduled", "backfill", "manual"],
    outcome: ["started", "skipped", "failed"],
  }),
  scheduleLagSeconds: histogram(
    "noetl_schedule_lag_seconds",
    "From due (and its jitter) to started, of scheduled firings.",
    SECONDS_BUCKETS,
  ),
  subscriptionReceived: counter(
    "noetl_subscription_messages_received_total",
    "Messages that came to subscriptions.",
    { source: SOURCE },
  ),
  subscriptionExecutions: counter(
    "noetl_subscription_executions_total",
    "Messages by what became of them.",
    { source: SOURCE, outcome: ["started", "duplicate", "filtered", "error"] },
  ),
  subscriptionDirectives: counter(
    "noetl_subscription_directives_applied_total",
    "Headers of messages that were obeyed.",
    { controls: "what the header controls" },
  ),
  subscriptionSpooled: counter(
    "noetl_subscription_spooled_total",
    "Messages that are kept until they are dispatched.",
    { source: SOURCE },
  ),
  subscriptionSpoolBytes: gauge(
    "noetl_subscription_spool_bytes",
    "Messages that this server keeps to dispatch.",
    { source: SOURCE },
  ),
  subscriptionCircuit: counter(
    "noetl_subscription_circuit_transitions_total",
    "Circuit breakers that changed state.",
    { downstream: ["dispatch"], transition: ["open", "half_open", "closed"] },
  ),
  subscriptionDeadLettered: counter(
    "noetl_subscription_dead_lettered_total",
    "Messages put aside as dead letters.",
    { source: SOURCE },
  ),
  subscriptionBatches: counter(
    "noetl_subscription_batch_dispatch_total",
    "Dispatches of several messages together.",
    { source: SOURCE },
  ),
  subscriptionBatchMessages: counter(
    "noetl_subscription_batch_messages_total",
    "Messages in dispatches of several.",
    { source: SOURCE },
  ),
  subscriptionRateLimited: counter("noetl_subscription_rate_limited_total", "Messages held back.", {
    source: SOURCE,
    reason: ["rate", "in_flight"],
  }),
};

export const SERVER_METRICS = {
  buildInfo: gauge("noetl_server_build_info", "Constant 1, with the version.", {
    version: "version of noetl",
  }),
  ...engine,
  ...commands,
  ...waits,
  ...secrets,
  ...results,
  ...pools,
  ...parts,
  ...requests,
  ...triggers,
};
