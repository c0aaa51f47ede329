/**
 * Metrics that have no series before something has happened for the first time, which does not happen here. Queries that
 * ask for one of them need to parse only; all others must have data on the running platform.
 */
export const HAPPENS: Readonly<Record<string, string>> = {
  noetl_command_publish_failed_total: "NATS refuses a notification",
  noetl_result_store_put_total: "a result is too large for its event",
  noetl_result_store_resolve_total: "a stored result is read",
  noetl_secrets_handed_total: "a task asks for a secret",
  noetl_secret_resolve_total: "a secret is read from a provider",
  noetl_commands_retried_total: "a worker is lost or gives a command back",
  noetl_workers_lost_total: "a worker is lost",
  noetl_worker_command_loop_reconnect_total: "a worker loses its connection",
  noetl_worker_containers_found_total: "a container of a dead worker is found",
  noetl_adoptions_total: "a worker asks for a container of another",
  noetl_fence_refusals_total: "an attempt is stale",
  noetl_gpu_xid_errors_total: "the driver writes an error to the kernel's log",
  noetl_schedule_firings_total: "a schedule is due",
  noetl_schedule_lag_seconds_bucket: "a schedule is due",
  noetl_subscription_executions_total: "a message comes to a subscription",
  noetl_subscription_dead_lettered_total: "a message cannot be dispatched",
  noetl_admissions_total: "a playbook has a concurrency key",
  noetl_rate_limit_permits_total: "a task has a rate limit",
  noetl_signals_total: "an execution gets a signal",
  noetl_executions_retried_total: "an execution is retried",
  noetl_retention_removed_total: "something is older than its retention",
  noetl_sweep_rows_total: "a sweep finds something",
  vmalert_alerts_send_errors_total: "vmalert is scraped, and cannot send",
  vmalert_execution_errors_total: "vmalert is scraped, and cannot evaluate",
  certmanager_certificate_expiration_timestamp_seconds: "cert-manager is installed",
  probe_ssl_earliest_cert_expiry: "blackbox_exporter is installed (here: a stand-in)",
};

/** Panels whose queries leave out what is well. */
export const ONLY_BAD: Readonly<Record<string, string>> = {
  "gRPC failures": "calls that did not end well",
  "Commands that wait, by reason": "reasons that some command has",
};
