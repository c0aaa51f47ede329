/** What noetl stands on: PostgreSQL, NATS, logs, metrics and disks. */
import { makeDashboard } from "./dashboard.ts";
import { bars, lines, logCounts, logLines, number, numbers, rows } from "./kinds.ts";
import type { Panel } from "./panel.ts";
import { falling, rising } from "./panel.ts";
import { alertsFiring, linkTo, rate } from "./shared.ts";

const UP = { "0": "down", "1": "up" };

const well: readonly Panel[] = [
  numbers({
    title: "Is it scraped?",
    description: "Targets of each job that answer. A job that is missing is not found at all.",
    size: [21, 4],
    unit: "percentunit",
    decimals: 0,
    steps: falling(0.5, 1),
    query: { expr: "avg by (job) (up)", legend: "{{job}}" },
  }),
  alertsFiring(".+"),
  number({
    title: "PostgreSQL",
    description: "Whether it answered the servers.",
    size: [3, 4],
    steps: falling(1, 1),
    texts: UP,
    query: { expr: "max(noetl_database_up)" },
  }),
  number({
    title: "Connections",
    description: "Share of max_connections in use. At 100 % PostgreSQL refuses new ones.",
    size: [3, 4],
    unit: "percentunit",
    steps: rising(0.6, 0.8),
    query: {
      expr: "max(sum by (instance) (pg_stat_activity_count) / on (instance) max by (instance) (pg_settings_max_connections))",
    },
  }),
  number({
    title: "Dead rows",
    description: "Of the table that has the largest share of them and more than 10,000.",
    size: [3, 4],
    unit: "percentunit",
    steps: rising(0.15, 0.3),
    none: "few",
    query: {
      expr: "max(pg_stat_user_tables_n_dead_tup / (pg_stat_user_tables_n_live_tup + pg_stat_user_tables_n_dead_tup) and pg_stat_user_tables_n_dead_tup > 10000)",
    },
  }),
  number({
    title: "NATS",
    description: "Whether a server is connected to it.",
    size: [3, 4],
    steps: falling(1, 1),
    texts: UP,
    query: { expr: "max(noetl_bus_connected)" },
  }),
  number({
    title: "JetStream pending",
    description: "Messages that no worker has taken, of all consumers.",
    size: [3, 4],
    decimals: 0,
    steps: rising(1000, 10_000),
    query: { expr: "sum(max by (stream_name, consumer_name) (jetstream_consumer_num_pending))" },
    link: linkTo("noetl-workers", "Workers"),
  }),
  number({
    title: "Lines stored",
    description: "That VictoriaLogs takes in, a second. 0: nobody would see what goes wrong.",
    size: [3, 4],
    decimals: 1,
    steps: falling(0.01, 0.1),
    query: { expr: rate("vl_rows_ingested_total") },
  }),
  number({
    title: "Samples stored",
    description: "That VictoriaMetrics takes in, a second.",
    size: [3, 4],
    decimals: 0,
    steps: falling(1, 10),
    query: { expr: rate("vm_rows_inserted_total") },
  }),
  number({
    title: "Least disk left",
    description: "Of the volume that is fullest.",
    size: [3, 4],
    unit: "percentunit",
    steps: falling(0.05, 0.2),
    query: {
      expr: "min(kubelet_volume_stats_available_bytes / kubelet_volume_stats_capacity_bytes)",
    },
  }),
];

const postgres: readonly Panel[] = [
  lines({
    title: "Connections by state",
    description:
      "Of all clients, and how many there may be. Idle in transaction for long: somebody forgot to commit.",
    size: [8, 8],
    decimals: 0,
    queries: [
      { expr: "sum by (state) (pg_stat_activity_count)", legend: "{{state}}" },
      { expr: "max(pg_settings_max_connections)", legend: "at most" },
    ],
  }),
  lines({
    title: "Transactions",
    description: "Committed and rolled back, a second, of the platform's database.",
    size: [8, 8],
    unit: "short",
    queries: [
      {
        expr: rate("pg_stat_database_xact_commit", 'datname!~"template.*"', "datname"),
        legend: "{{datname}}: committed",
      },
      {
        expr: rate("pg_stat_database_xact_rollback", 'datname!~"template.*"', "datname"),
        legend: "{{datname}}: rolled back",
      },
    ],
  }),
  lines({
    title: "Longest transaction",
    description: "By state. One that is open for long keeps dead rows from being removed.",
    size: [8, 8],
    unit: "s",
    steps: rising(300, 900),
    queries: [
      {
        expr: 'max by (state) (pg_stat_activity_max_tx_duration{state!="idle"})',
        legend: "{{state}}",
      },
    ],
  }),
  lines({
    title: "Read from memory",
    description: "Share of blocks that were found in PostgreSQL's own cache.",
    size: [8, 8],
    unit: "percentunit",
    max: 1,
    queries: [
      {
        expr: `${rate("pg_stat_database_blks_hit", 'datname="noetl"')} / (${rate("pg_stat_database_blks_hit", 'datname="noetl"')} + ${rate("pg_stat_database_blks_read", 'datname="noetl"')} > 0)`,
        legend: "noetl",
      },
    ],
  }),
  lines({
    title: "Waits for locks, deadlocks",
    description: "Statements that wait for a lock, as the servers see it, and deadlocks a second.",
    size: [8, 8],
    queries: [
      { expr: 'max(noetl_database_connections{state="blocked"})', legend: "waiting" },
      { expr: rate("pg_stat_database_deadlocks"), legend: "deadlocks" },
    ],
  }),
  lines({
    title: "Size",
    description: "Of each database, with indexes and dead rows.",
    size: [8, 8],
    unit: "bytes",
    queries: [
      {
        expr: 'max by (datname) (pg_database_size_bytes{datname!~"template.*"})',
        legend: "{{datname}}",
      },
    ],
  }),
  rows({
    title: "Tables",
    description:
      "Those with the most dead rows. Autovacuum removes them; if it does not, look for a long transaction.",
    size: [16, 8],
    labels: { relname: "Table" },
    sortBy: "Dead rows",
    columns: [
      {
        title: "Dead rows",
        expr: "topk(12, max by (relname) (pg_stat_user_tables_n_dead_tup))",
        decimals: 0,
      },
      {
        title: "Live rows",
        expr: "max by (relname) (pg_stat_user_tables_n_live_tup)",
        decimals: 0,
      },
      {
        title: "Dead, share",
        expr: "max by (relname) (pg_stat_user_tables_n_dead_tup / (pg_stat_user_tables_n_live_tup + pg_stat_user_tables_n_dead_tup > 0))",
        unit: "percentunit",
        steps: rising(0.3, 0.6),
      },
    ],
  }),
  lines({
    title: "Behind the primary",
    description: "Of each replica, in seconds.",
    size: [8, 8],
    unit: "s",
    steps: rising(30, 60),
    queries: [{ expr: "max by (instance) (pg_replication_lag_seconds)", legend: "{{instance}}" }],
  }),
];

const nats: readonly Panel[] = [
  lines({
    title: "Consumers: pending",
    description: "Messages that nobody has taken, by consumer. One consumer a pool.",
    size: [8, 8],
    decimals: 0,
    queries: [
      {
        expr: "max by (stream_name, consumer_name) (jetstream_consumer_num_pending)",
        legend: "{{stream_name}} {{consumer_name}}",
      },
    ],
  }),
  lines({
    title: "Consumers: unacknowledged, delivered again",
    description:
      "Taken and not answered. Many delivered again: workers die, or servers do not answer claims.",
    size: [8, 8],
    decimals: 0,
    queries: [
      {
        expr: "max by (consumer_name) (jetstream_consumer_num_ack_pending)",
        legend: "{{consumer_name}}: unacknowledged",
      },
      {
        expr: "max by (consumer_name) (jetstream_consumer_num_redelivered)",
        legend: "{{consumer_name}}: again",
      },
    ],
  }),
  lines({
    title: "Streams",
    description: "Bytes that each stream holds.",
    size: [8, 8],
    unit: "bytes",
    queries: [
      { expr: "max by (stream_name) (jetstream_stream_total_bytes)", legend: "{{stream_name}}" },
    ],
  }),
  lines({
    title: "Messages",
    description: "In and out of each NATS server, a second.",
    size: [8, 7],
    unit: "short",
    queries: [
      { expr: rate("gnatsd_varz_in_msgs", "", "server_id"), legend: "{{server_id}}: in" },
      { expr: rate("gnatsd_varz_out_msgs", "", "server_id"), legend: "{{server_id}}: out" },
    ],
  }),
  lines({
    title: "Clients",
    description: "Connections to each NATS server, and clients cut off because they were slow.",
    size: [8, 7],
    decimals: 0,
    queries: [
      {
        expr: "max by (server_id) (gnatsd_varz_connections)",
        legend: "{{server_id}}: connections",
      },
      { expr: "max by (server_id) (gnatsd_varz_slow_consumers)", legend: "{{server_id}}: slow" },
    ],
  }),
  lines({
    title: "Memory of NATS",
    description: "Of each server.",
    size: [8, 7],
    unit: "bytes",
    queries: [{ expr: "max by (server_id) (gnatsd_varz_mem)", legend: "{{server_id}}" }],
  }),
];

const logs: readonly Panel[] = [
  lines({
    title: "Vector: events",
    description:
      "Received and sent by each of its components, a second. A gap between source and sink fills the buffer.",
    size: [8, 8],
    unit: "short",
    queries: [
      {
        expr: rate("vector_component_received_events_total", "", "component_id"),
        legend: "{{component_id}}: in",
      },
      {
        expr: rate("vector_component_sent_events_total", "", "component_id"),
        legend: "{{component_id}}: out",
      },
    ],
  }),
  lines({
    title: "Vector: buffers",
    description:
      "How full the buffers before sinks are. At 100 % Vector waits, and sources fall behind.",
    size: [8, 8],
    unit: "percentunit",
    steps: rising(0.25, 0.5),
    queries: [
      {
        expr: "max by (instance, component_id) (vector_buffer_size_bytes) / max by (instance, component_id) (vector_buffer_max_size_bytes)",
        legend: "{{component_id}} {{instance}}",
      },
    ],
  }),
  lines({
    title: "Vector: errors and losses",
    description: "A second. Discarded on purpose is what filters do; the rest is lost.",
    size: [8, 8],
    unit: "short",
    queries: [
      {
        expr: rate("vector_component_errors_total", "", "component_id"),
        legend: "{{component_id}}: errors",
      },
      {
        expr: rate(
          "vector_component_discarded_events_total",
          'intentional="false"',
          "component_id",
        ),
        legend: "{{component_id}}: lost",
      },
    ],
  }),
  lines({
    title: "VictoriaLogs: lines",
    description: "Taken in and refused, a second.",
    size: [8, 7],
    unit: "short",
    queries: [
      { expr: rate("vl_rows_ingested_total", "", "type"), legend: "{{type}}" },
      { expr: rate("vl_rows_dropped_total", "", "reason"), legend: "refused: {{reason}}" },
    ],
  }),
  lines({
    title: "VictoriaLogs: new streams",
    description: "A second. Many of them: an id has become a stream field, and searches get slow.",
    size: [8, 7],
    unit: "short",
    queries: [{ expr: rate("vl_streams_created_total"), legend: "new streams" }],
  }),
  logCounts({
    title: "Lines by level",
    description: "As VictoriaLogs has them, of all components.",
    size: [8, 7],
    decimals: 0,
    filter: "* | stats by (level) count() as lines",
    legend: "{{level}}",
  }),
];

const metrics: readonly Panel[] = [
  lines({
    title: "VictoriaMetrics: samples",
    description: "Taken in, a second, by how they came.",
    size: [8, 7],
    unit: "short",
    queries: [{ expr: `${rate("vm_rows_inserted_total", "", "type")} > 0`, legend: "{{type}}" }],
  }),
  lines({
    title: "VictoriaMetrics: series",
    description: "New ones a second. A jump that stays: a label has become an id.",
    size: [8, 7],
    unit: "short",
    queries: [{ expr: rate("vm_new_timeseries_created_total"), legend: "new series" }],
  }),
  bars({
    title: "How long scrapes take",
    description: "The slowest targets. Over 10 s a scrape is given up.",
    size: [8, 7],
    unit: "s",
    steps: rising(1, 5),
    query: {
      expr: "topk(10, max by (job, instance) (scrape_duration_seconds))",
      legend: "{{job}} {{instance}}",
    },
  }),
  lines({
    title: "vmalert",
    description: "Rules that could not be evaluated and alerts that could not be sent, an hour.",
    size: [8, 7],
    decimals: 0,
    queries: [
      {
        expr: "sum(increase(vmalert_execution_errors_total[1h])) or vector(0)",
        legend: "rules failed",
      },
      {
        expr: "sum(increase(vmalert_alerts_send_errors_total[1h])) or vector(0)",
        legend: "alerts not sent",
      },
    ],
  }),
  lines({
    title: "Volumes: left",
    description: "Share of each volume that is free. PostgreSQL and NATS stop at 0.",
    size: [8, 7],
    unit: "percentunit",
    max: 1,
    steps: falling(0.05, 0.2),
    queries: [
      {
        expr: "min by (namespace, persistentvolumeclaim) (kubelet_volume_stats_available_bytes) / min by (namespace, persistentvolumeclaim) (kubelet_volume_stats_capacity_bytes)",
        legend: "{{persistentvolumeclaim}}",
      },
    ],
  }),
  lines({
    title: "VictoriaMetrics, VictoriaLogs: disk",
    description: "What they hold, and what is left on their disks.",
    size: [8, 7],
    unit: "bytes",
    queries: [
      { expr: "sum by (job) (vm_data_size_bytes or vl_data_size_bytes)", legend: "{{job}}: held" },
      {
        expr: "sum by (job) (vm_free_disk_space_bytes or vl_free_disk_space_bytes)",
        legend: "{{job}}: left",
      },
    ],
  }),
];

const log: readonly Panel[] = [
  logLines({
    title: "Errors of all components",
    description: "The newest first: PostgreSQL, NATS, Vector and noetl's own.",
    size: [24, 10],
    filter: "level:=error",
  }),
];

export const PLATFORM_DASHBOARD = makeDashboard({
  uid: "noetl-platform",
  title: "Platform",
  description: "PostgreSQL, NATS, logs, metrics and disks: what noetl stands on.",
  variables: [],
  from: "now-3h",
  rows: [
    { title: "Is it well?", panels: well },
    { title: "PostgreSQL", panels: postgres },
    { title: "NATS", panels: nats },
    { title: "Logs: Vector and VictoriaLogs", panels: logs },
    { title: "Metrics, alerts, disks", panels: metrics },
    { title: "Log", panels: log },
  ],
});
