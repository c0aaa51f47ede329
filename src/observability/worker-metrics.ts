/** Every metric of a worker but those of its GPUs. Names are NoETL's where it has one. */
import { counter, gauge, histogram } from "./definition.ts";
import { RUN_BUCKETS, SECONDS_BUCKETS, SIZE_BUCKETS } from "./registry.ts";

const TOOL = "kind of tool";

const pulls = {
  pulls: counter("noetl_worker_pulls_total", "Answers to pulls from JetStream.", {
    outcome: ["messages", "error"],
  }),
  pullSeconds: histogram(
    "noetl_worker_pull_duration_seconds",
    "Claims, from notifications at hand to commands.",
    SECONDS_BUCKETS,
  ),
  claimSucceeded: counter("noetl_worker_claim_succeeded_total", "Commands claimed."),
  claimFailed: counter("noetl_worker_claim_failed_total", "Commands not to be had."),
  reconnects: counter("noetl_worker_command_loop_reconnect_total", "Connections made anew.", {
    reason: ["heartbeat", "nats"],
  }),
  busConnected: gauge("noetl_worker_bus_connected", "1 while the worker is connected to NATS."),
  heartbeatAgeSeconds: gauge(
    "noetl_worker_heartbeat_age_seconds",
    "Since a server last answered a heartbeat.",
  ),
  ready: gauge("noetl_worker_ready", "1 while the worker pulls work."),
};

const runs = {
  dispatchSeconds: histogram(
    "noetl_worker_dispatch_duration_seconds",
    "One try of a task.",
    RUN_BUCKETS,
    { tool_kind: TOOL },
  ),
  dispatchErrors: counter("noetl_worker_dispatch_errors_total", "Tries of tasks that failed.", {
    tool_kind: TOOL,
  }),
  toolRuns: counter("noetl_worker_tool_runs_total", "Tries of tasks by how they ended.", {
    tool_kind: TOOL,
    outcome: "`ok` or the kind of the failure: `timeout`, `connection`, `exit_code`, …",
  }),
  concurrentDispatches: gauge("noetl_worker_concurrent_dispatches", "Commands running now."),
  slots: gauge("noetl_worker_slots", "Commands that the worker may run at once."),
  leasesLost: counter("noetl_worker_leases_lost_total", "Commands that another attempt owns now."),
  parked: gauge(
    "noetl_worker_parked",
    "Commands whose work goes on outside this machine, in no slot.",
  ),
  containersFound: counter(
    "noetl_worker_containers_found_total",
    "Containers of dead workers and of lost commands that were found.",
    { outcome: ["adopted", "removed"] },
  ),
};

const reports = {
  reportBatchSize: histogram(
    "noetl_worker_report_batch_size",
    "Reports sent in one call.",
    SIZE_BUCKETS,
  ),
  reportSeconds: histogram(
    "noetl_worker_report_duration_seconds",
    "Calls that report, until the outcome is durable.",
    SECONDS_BUCKETS,
  ),
  reportStale: counter(
    "noetl_worker_report_stale_total",
    "Reports refused: another attempt owns the command.",
  ),
  logLines: counter(
    "noetl_worker_log_lines_total",
    "Lines of tasks: sent to a server, or dropped by a limit or because no server took them.",
    { outcome: ["sent", "dropped"] },
  ),
};

export const WORKER_METRICS = {
  buildInfo: gauge("noetl_worker_build_info", "Constant 1, with the version.", {
    version: "version of noetl",
  }),
  ...pulls,
  ...runs,
  ...reports,
};
