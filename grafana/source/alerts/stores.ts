/** Alerts of what the platform stands on: NATS, PostgreSQL and disks. */
import type { Alert } from "./alert.ts";
import { growing, steady } from "./alert.ts";
import { latency } from "./server.ts";

const pending = 'noetl_consumer_pending{pool="cpu-01",instance="a"}';

const natsAlerts: readonly Alert[] = [
  {
    name: "RelayStuck",
    component: "nats",
    severity: "critical",
    expr: "max(noetl_relay_lag_seconds)",
    above: 10,
    minutes: 1,
    summary: "A queued command has not been announced for {value:duration}",
    description:
      "Commands are safe in PostgreSQL, but workers do not hear of them. NATS does not take messages, or the relay stands still.",
    dashboard: "noetl-server",
    proof: {
      fires: { 'noetl_relay_lag_seconds{instance="a"}': steady(30) },
      silent: { 'noetl_relay_lag_seconds{instance="a"}': steady(2) },
    },
  },
  {
    name: "NatsDown",
    component: "nats",
    severity: "critical",
    expr: "max(noetl_bus_connected)",
    below: 1,
    minutes: 1,
    summary: "No server is connected to NATS",
    description:
      "Commands wait in PostgreSQL and are announced once it is back. Running tasks go on.",
    dashboard: "noetl-platform",
    proof: {
      fires: { 'noetl_bus_connected{instance="a"}': steady(0) },
      silent: {
        'noetl_bus_connected{instance="a"}': steady(0),
        'noetl_bus_connected{instance="b"}': steady(1),
      },
    },
  },
  {
    name: "NatsDisconnected",
    component: "nats",
    severity: "warning",
    expr: "noetl_bus_connected or noetl_worker_bus_connected",
    below: 1,
    minutes: 2,
    summary: "{job} {instance} is not connected to NATS",
    description: "A worker without it takes no new work; a server leaves announcing to the others.",
    dashboard: "noetl-platform",
    proof: {
      fires: { 'noetl_worker_bus_connected{job="noetl-worker",instance="a"}': steady(0) },
      silent: { 'noetl_worker_bus_connected{job="noetl-worker",instance="a"}': steady(1) },
    },
  },
  {
    name: "ConsumerBacklogGrowing",
    component: "nats",
    severity: "warning",
    expr: `
      max by (pool) (noetl_consumer_pending)
      and on (pool) max by (pool) (deriv(noetl_consumer_pending[10m])) > 0`,
    above: 100,
    minutes: 10,
    summary: "{value} notifications wait for workers of pool {pool}, and more each minute",
    description:
      "More work comes than the pool's workers take. More workers or slots, or less work.",
    dashboard: "noetl-workers",
    proof: { fires: { [pending]: growing(5) }, silent: { [pending]: "1000-5x240" } },
  },
  {
    name: "ConsumerRedeliveries",
    component: "nats",
    severity: "warning",
    expr: "max by (pool) (noetl_consumer_redelivered)",
    above: 20,
    minutes: 10,
    summary: "{value} notifications of pool {pool} were delivered again",
    description:
      "Workers take them and do not answer for them: they die, or servers do not answer claims.",
    dashboard: "noetl-workers",
    proof: {
      fires: { 'noetl_consumer_redelivered{pool="cpu-01"}': steady(50) },
      silent: { 'noetl_consumer_redelivered{pool="cpu-01"}': steady(3) },
    },
  },
  {
    name: "NotificationsFailing",
    component: "nats",
    severity: "warning",
    expr: "sum(rate(noetl_command_publish_failed_total[5m]))",
    above: 0.1,
    minutes: 5,
    summary: "{value} notifications a second do not go out at once",
    description:
      "The relay repeats them, so work is late by seconds. JetStream is slow, full or without a leader.",
    dashboard: "noetl-platform",
    proof: {
      fires: { 'noetl_command_publish_failed_total{reason="bus"}': growing(30) },
      silent: { 'noetl_command_publish_failed_total{reason="bus"}': steady(30) },
    },
  },
  {
    name: "NatsSlowConsumers",
    component: "nats",
    severity: "warning",
    expr: "max by (server_id) (delta(gnatsd_varz_slow_consumers[10m]))",
    above: 0,
    minutes: 0,
    summary: "NATS has cut off {value} slow clients within 10 minutes",
    description: "They connect again by themselves. Usually a client's event loop stands still.",
    dashboard: "noetl-platform",
    proof: {
      fires: { 'gnatsd_varz_slow_consumers{server_id="nats-0"}': growing(1) },
      silent: { 'gnatsd_varz_slow_consumers{server_id="nats-0"}': steady(7) },
    },
  },
];

const activity = (state: string) => `pg_stat_activity_count{instance="pg",state="${state}"}`;
const connectionsMax = 'pg_settings_max_connections{instance="pg"}';
const table = 'instance="pg",schemaname="noetl",relname="event"';
const transaction = (state: string) =>
  `pg_stat_activity_max_tx_duration{instance="pg",datname="noetl",state="${state}"}`;

const postgresAlerts: readonly Alert[] = [
  {
    name: "PostgresDown",
    component: "postgres",
    severity: "critical",
    expr: "max(noetl_database_up)",
    below: 1,
    minutes: 1,
    summary: "PostgreSQL does not answer any server",
    description: "Nothing starts and nothing is decided; what workers report waits with them.",
    dashboard: "noetl-platform",
    proof: {
      fires: { 'noetl_database_up{instance="a"}': steady(0) },
      silent: { 'noetl_database_up{instance="a"}': steady(1) },
    },
  },
  {
    name: "PostgresConnectionsHigh",
    component: "postgres",
    severity: "warning",
    expr: "sum by (instance) (pg_stat_activity_count) / on (instance) max by (instance) (pg_settings_max_connections)",
    above: 0.8,
    minutes: 5,
    summary: "PostgreSQL has {value:percent} of its connections in use",
    description:
      "At 100 % it refuses new ones. See who holds them before max_connections is raised.",
    dashboard: "noetl-platform",
    proof: {
      fires: {
        [activity("idle")]: steady(70),
        [activity("active")]: steady(20),
        [connectionsMax]: steady(100),
      },
      silent: {
        [activity("idle")]: steady(50),
        [activity("active")]: steady(20),
        [connectionsMax]: steady(100),
      },
    },
  },
  {
    name: "ConnectionPoolSaturated",
    component: "postgres",
    severity: "warning",
    expr: "sum by (instance) (noetl_database_pool_waiting)",
    above: 5,
    minutes: 5,
    summary: "{value} statements of server {instance} wait for a connection",
    description: "Statements are slow or too many: look at commits, locks and long transactions.",
    dashboard: "noetl-server",
    proof: {
      fires: { 'noetl_database_pool_waiting{instance="a",commit="durable"}': steady(20) },
      silent: { 'noetl_database_pool_waiting{instance="a",commit="durable"}': steady(2) },
    },
  },
  {
    name: "CommitSlow",
    component: "postgres",
    severity: "warning",
    expr: "histogram_quantile(0.99, sum by (le) (rate(noetl_commit_duration_seconds_bucket[5m])))",
    above: 0.5,
    minutes: 10,
    summary: "1 in 100 commits takes {value:duration} or longer",
    description:
      "Each step waits for commits. Usually the disk of PostgreSQL, a lock or a synchronous replica.",
    dashboard: "noetl-server",
    proof: {
      fires: latency("noetl_commit_duration_seconds", "2.5"),
      silent: latency("noetl_commit_duration_seconds", "0.25"),
    },
  },
  {
    name: "PostgresBlocked",
    component: "postgres",
    severity: "warning",
    expr: 'max(noetl_database_connections{state="blocked"})',
    above: 5,
    minutes: 5,
    summary: "{value} statements wait for locks",
    description:
      "Something holds a lock for long: a migration, VACUUM FULL, or a session left open by hand.",
    dashboard: "noetl-platform",
    proof: {
      fires: { 'noetl_database_connections{state="blocked"}': steady(9) },
      silent: {
        'noetl_database_connections{state="blocked"}': steady(1),
        'noetl_database_connections{state="open"}': steady(40),
      },
    },
  },
  {
    name: "PostgresDeadTuples",
    component: "postgres",
    severity: "warning",
    expr: `
      pg_stat_user_tables_n_dead_tup
      / (pg_stat_user_tables_n_live_tup + pg_stat_user_tables_n_dead_tup)
      and pg_stat_user_tables_n_dead_tup > 100000`,
    above: 0.3,
    minutes: 30,
    summary: "{value:percent} of the rows of table {schemaname}.{relname} are dead",
    description: "Autovacuum does not keep up, or a long transaction keeps it from removing rows.",
    dashboard: "noetl-platform",
    proof: {
      fires: {
        [`pg_stat_user_tables_n_dead_tup{${table}}`]: steady(900_000),
        [`pg_stat_user_tables_n_live_tup{${table}}`]: steady(1_000_000),
      },
      silent: {
        [`pg_stat_user_tables_n_dead_tup{${table}}`]: steady(90_000),
        [`pg_stat_user_tables_n_live_tup{${table}}`]: steady(1000),
      },
    },
  },
  {
    name: "PostgresLongTransaction",
    component: "postgres",
    severity: "warning",
    expr: 'max by (datname) (pg_stat_activity_max_tx_duration{state!="idle"})',
    above: 900,
    minutes: 5,
    summary: "A transaction of database {datname} has been open for {value:duration}",
    description:
      "It keeps rows from being removed and may hold locks. pg_stat_activity says whose it is.",
    dashboard: "noetl-platform",
    proof: {
      fires: { [transaction("idle in transaction")]: steady(3600) },
      silent: { [transaction("active")]: steady(60), [transaction("idle")]: steady(9000) },
    },
  },
  {
    name: "PostgresReplicationLag",
    component: "postgres",
    severity: "warning",
    expr: "max by (instance) (pg_replication_lag_seconds)",
    above: 60,
    minutes: 5,
    summary: "The replica {instance} is {value:duration} behind",
    description: "After a failover that much would be lost. Look at its disk and at the network.",
    dashboard: "noetl-platform",
    proof: {
      fires: { 'pg_replication_lag_seconds{instance="pg"}': steady(300) },
      silent: { 'pg_replication_lag_seconds{instance="pg"}': steady(3) },
    },
  },
];

const volume = (what: string) =>
  `kubelet_volume_stats_${what}_bytes{namespace="postgres",persistentvolumeclaim="data-postgres-0"}`;
const free = `
      min by (namespace, persistentvolumeclaim) (kubelet_volume_stats_available_bytes)
      / min by (namespace, persistentvolumeclaim) (kubelet_volume_stats_capacity_bytes)`;

const diskAlerts: readonly Alert[] = [
  {
    name: "VolumeFillingUp",
    component: "platform",
    severity: "warning",
    expr: free,
    below: 0.2,
    minutes: 15,
    summary: "Volume {persistentvolumeclaim} of {namespace} has {value:percent} left",
    description: "Make it larger, or shorten what is kept.",
    dashboard: "noetl-platform",
    proof: {
      fires: { [volume("available")]: steady(15e9), [volume("capacity")]: steady(100e9) },
      silent: { [volume("available")]: steady(40e9), [volume("capacity")]: steady(100e9) },
    },
  },
  {
    name: "VolumeAlmostFull",
    component: "platform",
    severity: "critical",
    expr: free,
    below: 0.05,
    minutes: 5,
    summary: "Volume {persistentvolumeclaim} of {namespace} has {value:percent} left",
    description:
      "PostgreSQL and NATS stop taking writes when their volume is full. Make it larger now.",
    dashboard: "noetl-platform",
    proof: {
      fires: { [volume("available")]: steady(3e9), [volume("capacity")]: steady(100e9) },
      silent: { [volume("available")]: steady(15e9), [volume("capacity")]: steady(100e9) },
    },
  },
  {
    name: "StorageFillingUp",
    component: "observability",
    severity: "warning",
    expr: `
      sum by (job, instance) (vm_free_disk_space_bytes or vl_free_disk_space_bytes)
      / (sum by (job, instance) (vm_free_disk_space_bytes or vl_free_disk_space_bytes)
      + sum by (job, instance) (vm_data_size_bytes or vl_data_size_bytes))`,
    below: 0.1,
    minutes: 15,
    summary: "{job} has {value:percent} of its disk left",
    description:
      "When it is full, it becomes read-only. Make the volume larger or shorten the retention.",
    dashboard: "noetl-platform",
    proof: {
      fires: {
        'vl_free_disk_space_bytes{job="victorialogs",instance="a",path="/data"}': steady(1e9),
        'vl_data_size_bytes{job="victorialogs",instance="a",type="storage"}': steady(20e9),
      },
      silent: {
        'vl_free_disk_space_bytes{job="victorialogs",instance="a",path="/data"}': steady(9e9),
        'vl_data_size_bytes{job="victorialogs",instance="a",type="storage"}': steady(20e9),
      },
    },
  },
];

export const STORE_ALERTS: readonly Alert[] = [...natsAlerts, ...postgresAlerts, ...diskAlerts];
