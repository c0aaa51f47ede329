/** Servers: do they answer, decide and announce? */
import { makeDashboard } from "./dashboard.ts";
import { bars, lines, logLines, number, numbers } from "./kinds.ts";
import type { Panel } from "./panel.ts";
import { falling, plain, rising } from "./panel.ts";
import { alertsFiring, latency, linkTo, POOL, processPanels, quantile, rate } from "./shared.ts";

const PROBES = 'route!~"/metrics|/livez|/readyz|/healthz|/health|/api/health"';
const SERVER = 'job="noetl-server",instance=~"$server"';

const well: readonly Panel[] = [
  number({
    title: "Servers up",
    description: "Servers that answer scrapes. At 0 nothing starts and nothing is decided.",
    size: [3, 4],
    steps: falling(1, 1),
    decimals: 0,
    query: { expr: 'sum(up{job="noetl-server"})' },
  }),
  alertsFiring("server|nats|postgres"),
  number({
    title: "HTTP failures",
    description:
      "Share of requests answered with 5xx, without probes. 0.1 % is what a month may have.",
    size: [3, 4],
    unit: "percentunit",
    steps: rising(0.001, 0.0144),
    none: "none",
    query: {
      expr: `(${rate("noetl_http_requests_total", `${PROBES},code=~"5.."`)} or vector(0)) / ${rate("noetl_http_requests_total", PROBES)}`,
    },
  }),
  number({
    title: "HTTP, 99 of 100",
    description: "99 of 100 requests are answered faster.",
    size: [3, 4],
    unit: "s",
    steps: rising(0.5, 1),
    query: { expr: quantile(0.99, "noetl_http_request_duration_seconds") },
  }),
  number({
    title: "Commit, 99 of 100",
    description: "99 of 100 commits are durable sooner. Every step waits for them.",
    size: [3, 4],
    unit: "s",
    steps: rising(0.1, 0.5),
    query: { expr: quantile(0.99, "noetl_commit_duration_seconds") },
  }),
  number({
    title: "Relay lag",
    description:
      "Age of the oldest command that no worker was told of. Grows when NATS takes no messages.",
    size: [3, 4],
    unit: "s",
    steps: rising(2, 10),
    query: { expr: "max(noetl_relay_lag_seconds)" },
  }),
  number({
    title: "Last sweep",
    description:
      "Since a server has last looked for ended leases, due timers and lost notifications.",
    size: [3, 4],
    unit: "s",
    steps: rising(20, 60),
    query: { expr: "time() - max(noetl_sweep_last_success_timestamp_seconds)" },
  }),
  number({
    title: "Event loop lag",
    description: "Of the busiest server, 99th percentile.",
    size: [3, 4],
    unit: "s",
    steps: rising(0.1, 0.25),
    query: { expr: 'max(nodejs_eventloop_lag_p99_seconds{job="noetl-server"})' },
  }),
];

const waiting: readonly Panel[] = [
  lines({
    title: "Commands that wait, by reason",
    description:
      "Queued commands of all pools by what they wait for: a live worker, a slot, GPUs, a rate limit, their time.",
    size: [8, 7],
    decimals: 0,
    stack: true,
    queries: [
      {
        expr: 'sum by (reason) (max by (pool, reason) (noetl_queue_waiting{pool=~"$pool"}))',
        legend: "{{reason}}",
      },
    ],
    link: linkTo("noetl-workers", "Workers"),
  }),
  lines({
    title: "Executions that are open",
    description:
      "Not yet ended, by what they do. Queued ones wait for a place under a concurrency key.",
    size: [8, 7],
    decimals: 0,
    stack: true,
    queries: [{ expr: "max by (status) (noetl_executions_open)", legend: "{{status}}" }],
    link: linkTo("noetl-executions", "Executions"),
  }),
  lines({
    title: "Inputs and statements that wait",
    description:
      "On each server: inputs for the batcher, statements for a connection. Both are near 0 when PostgreSQL keeps up.",
    size: [8, 7],
    decimals: 0,
    queries: [
      { expr: `noetl_intake_depth{${SERVER}}`, legend: "inputs, {{instance}}" },
      {
        expr: `sum by (instance) (noetl_database_pool_waiting{${SERVER}})`,
        legend: "statements, {{instance}}",
      },
    ],
  }),
];

const http: readonly Panel[] = [
  lines({
    title: "HTTP requests by status",
    description: "Requests a second, without probes.",
    size: [8, 8],
    unit: "reqps",
    stack: true,
    queries: [
      {
        expr: rate("noetl_http_requests_total", `${SERVER},${PROBES}`, "code"),
        legend: "{{code}}",
      },
    ],
  }),
  latency(
    "HTTP latency",
    "Until the answer begins.",
    "noetl_http_request_duration_seconds",
    [8, 8],
    { filter: SERVER, bad: 1 },
  ),
  bars({
    title: "Slowest routes",
    description: "The ten routes whose 95th percentile is highest.",
    size: [8, 8],
    unit: "s",
    steps: rising(0.5, 1),
    query: {
      expr: `topk(10, ${quantile(0.95, "noetl_http_request_duration_seconds", SERVER, "route")} > 0)`,
      legend: "{{route}}",
    },
  }),
  lines({
    title: "gRPC calls by method",
    description: "Calls of workers a second. Heartbeats go on when nothing else does.",
    size: [8, 8],
    unit: "reqps",
    queries: [{ expr: rate("noetl_rpc_calls_total", SERVER, "method"), legend: "{{method}}" }],
  }),
  lines({
    title: "gRPC failures",
    description:
      "Calls a second that did not end well, by kind. Stale attempts (`conflict`) are the fence at work.",
    size: [8, 8],
    unit: "reqps",
    queries: [
      {
        expr: rate("noetl_rpc_calls_total", `${SERVER},outcome!="ok"`, "method, outcome"),
        legend: "{{method}} {{outcome}}",
      },
    ],
  }),
  lines({
    title: "gRPC latency, 95 of 100",
    description: "By method, without streams.",
    size: [8, 8],
    unit: "s",
    queries: [
      {
        expr: quantile(0.95, "noetl_rpc_call_duration_seconds", SERVER, "method"),
        legend: "{{method}}",
      },
    ],
  }),
];

const decisions: readonly Panel[] = [
  latency(
    "Commit latency",
    "One batch's statement, from sent to durable.",
    "noetl_commit_duration_seconds",
    [8, 8],
    {
      filter: SERVER,
      bad: 0.5,
    },
  ),
  lines({
    title: "Batches",
    description:
      "Batches a second, and how many inputs are decided in one: larger ones under load keep commits few.",
    size: [8, 8],
    queries: [
      { expr: rate("noetl_batch_inputs_size_count", SERVER), legend: "batches a second" },
      {
        expr: `${rate("noetl_batch_inputs_size_sum", SERVER)} / (${rate("noetl_batch_inputs_size_count", SERVER)} > 0)`,
        legend: "inputs in one",
      },
    ],
  }),
  lines({
    title: "Events written",
    description: "By type, a second.",
    size: [8, 8],
    unit: "short",
    stack: true,
    queries: [
      { expr: rate("noetl_events_ingested_total", SERVER, "event_type"), legend: "{{event_type}}" },
    ],
  }),
  lines({
    title: "States rebuilt, conflicts",
    description:
      "Decisions that had to read events because the state was not in memory, and races lost to another server.",
    size: [8, 8],
    unit: "short",
    queries: [
      { expr: rate("noetl_state_build_total", SERVER, "mode"), legend: "state: {{mode}}" },
      { expr: rate("noetl_commit_conflicts_total", SERVER), legend: "conflicts" },
    ],
  }),
  lines({
    title: "Connections to PostgreSQL",
    description: "Those of each server that are at work, and how many it may open.",
    size: [8, 8],
    decimals: 0,
    queries: [
      {
        expr: `sum by (instance, commit) (noetl_database_pool_connections_used{${SERVER}})`,
        legend: "{{commit}}, {{instance}}",
      },
      {
        expr: `sum by (instance) (noetl_database_pool_connections_max{${SERVER}})`,
        legend: "at most, {{instance}}",
      },
    ],
  }),
  lines({
    title: "Sweeps",
    description:
      "Rows that sweeps acted on, by kind. Leases: workers were lost. Unnotified: notifications were.",
    size: [8, 8],
    unit: "short",
    queries: [
      { expr: rate("noetl_sweep_rows_total", SERVER, "kind"), legend: "{{kind}}" },
      { expr: rate("noetl_sweep_failures_total", SERVER), legend: "failed sweeps" },
    ],
  }),
];

const notifications: readonly Panel[] = [
  lines({
    title: "Notifications",
    description:
      "Published a second: after the commit, or repeated by the relay. A relay that works a lot hides a bus that is ill.",
    size: [8, 7],
    unit: "short",
    queries: [
      { expr: rate("noetl_command_publish_total", SERVER, "route"), legend: "{{route}}" },
      { expr: rate("noetl_command_publish_failed_total", SERVER), legend: "failed" },
    ],
  }),
  latency(
    "Publish latency",
    "Until JetStream has stored a notification.",
    "noetl_command_publish_duration_seconds",
    [8, 7],
    {
      filter: SERVER,
    },
  ),
  lines({
    title: "Relay lag",
    description:
      "Age of the oldest command that nobody was told of, on each server. Over 10 s the alert fires.",
    size: [8, 7],
    unit: "s",
    steps: rising(5, 10),
    queries: [{ expr: `noetl_relay_lag_seconds{${SERVER}}`, legend: "{{instance}}" }],
  }),
];

const values: readonly Panel[] = [
  lines({
    title: "Results stored apart",
    description: "Values a second that are too large for events, written and read.",
    size: [6, 7],
    unit: "short",
    queries: [
      { expr: rate("noetl_result_store_put_total", SERVER, "status"), legend: "put: {{status}}" },
      {
        expr: rate("noetl_result_store_resolve_total", SERVER, "status"),
        legend: "read: {{status}}",
      },
    ],
  }),
  lines({
    title: "Bytes of results",
    description: "Before compression, a second.",
    size: [6, 7],
    unit: "Bps",
    queries: [{ expr: rate("noetl_result_store_put_bytes_total", SERVER), legend: "put" }],
  }),
  lines({
    title: "Secrets",
    description: "Handed to workers, and read from providers, a second.",
    size: [6, 7],
    unit: "short",
    queries: [
      {
        expr: rate("noetl_secrets_handed_total", SERVER, "source, outcome"),
        legend: "{{source}}: {{outcome}}",
      },
      {
        expr: rate("noetl_secret_resolve_total", SERVER, "provider, outcome"),
        legend: "{{provider}}: {{outcome}}",
      },
    ],
  }),
  lines({
    title: "Housekeeping",
    description: "Rows that retention has removed, a second.",
    size: [6, 7],
    unit: "short",
    queries: [{ expr: rate("noetl_retention_removed_total", SERVER, "kind"), legend: "{{kind}}" }],
  }),
];

const versions: readonly Panel[] = [
  numbers({
    title: "Versions",
    description: "Servers by version. Two at once: an upgrade is under way, or stuck.",
    size: [8, 4],
    steps: plain,
    query: { expr: "count by (version) (noetl_server_build_info)", legend: "{{version}}" },
  }),
  numbers({
    title: "Running for",
    description: "Since each server was started.",
    size: [16, 4],
    unit: "s",
    steps: plain,
    query: { expr: `time() - process_start_time_seconds{${SERVER}}`, legend: "{{instance}}" },
  }),
];

const log: readonly Panel[] = [
  logLines({
    title: "Warnings and errors of servers",
    description: "The newest first. A click on an execution's id opens it in noetl.",
    size: [24, 10],
    filter: '{app="noetl-server"} level:in(warn, error)',
  }),
];

export const SERVER_DASHBOARD = makeDashboard({
  uid: "noetl-server",
  title: "NoETL Server",
  description: "Are the servers well, what waits for them, and what holds them up?",
  variables: [
    { name: "server", label: "Server", query: 'label_values(up{job="noetl-server"}, instance)' },
    POOL,
  ],
  rows: [
    { title: "Is it well?", panels: well },
    { title: "What waits?", panels: waiting },
    { title: "Requests", panels: http },
    { title: "Decisions and PostgreSQL", panels: decisions },
    { title: "Notifications to workers", panels: notifications },
    { title: "Results, secrets, housekeeping", panels: values, isClosed: true },
    { title: "Processes", panels: [...versions, ...processPanels(SERVER)] },
    { title: "Log", panels: log },
  ],
});
