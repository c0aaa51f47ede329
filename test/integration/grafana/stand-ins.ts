/**
 * **Stand-ins** of what is not to be had here: postgres_exporter, prometheus-nats-exporter, Vector, VictoriaLogs, Grafana, the
 * kubelet. One server, one path each, with the names and labels that those programs document; the numbers are made
 * up, and counters grow.
 */

type Values = Readonly<Record<string, number>>;

/** `seconds` since the start. */
const EXPOSITIONS: Readonly<Record<string, (seconds: number) => Values>> = {
  postgres: (seconds) => ({
    pg_up: 1,
    'pg_stat_activity_count{datname="noetl",state="active"}': 3,
    'pg_stat_activity_count{datname="noetl",state="idle"}': 14,
    'pg_stat_activity_max_tx_duration{datname="noetl",state="active"}': 0.02,
    'pg_stat_activity_max_tx_duration{datname="noetl",state="idle in transaction"}': 4,
    pg_settings_max_connections: 200,
    'pg_stat_database_xact_commit{datname="noetl"}': 140 * seconds,
    'pg_stat_database_xact_rollback{datname="noetl"}': seconds,
    'pg_stat_database_blks_hit{datname="noetl"}': 9000 * seconds,
    'pg_stat_database_blks_read{datname="noetl"}': 60 * seconds,
    'pg_stat_database_deadlocks{datname="noetl"}': 0,
    'pg_database_size_bytes{datname="noetl"}': 4.2e9 + 1e5 * seconds,
    'pg_stat_user_tables_n_dead_tup{schemaname="noetl",relname="event"}': 52_000,
    'pg_stat_user_tables_n_live_tup{schemaname="noetl",relname="event"}': 1.9e6,
    'pg_stat_user_tables_n_dead_tup{schemaname="noetl",relname="command"}': 900,
    'pg_stat_user_tables_n_live_tup{schemaname="noetl",relname="command"}': 1200,
    pg_replication_lag_seconds: 0.4,
  }),
  nats: (seconds) => ({
    'gnatsd_varz_connections{server_id="nats-0"}': 9,
    'gnatsd_varz_slow_consumers{server_id="nats-0"}': 0,
    'gnatsd_varz_mem{server_id="nats-0"}': 3.1e7,
    'gnatsd_varz_in_msgs{server_id="nats-0"}': 220 * seconds,
    'gnatsd_varz_out_msgs{server_id="nats-0"}': 260 * seconds,
    ...consumer("num_pending", 3),
    ...consumer("num_ack_pending", 2),
    ...consumer("num_redelivered", 0),
    'jetstream_stream_total_bytes{stream_name="NOETL_COMMANDS"}': 81_000,
  }),
  vector: (seconds) => ({
    'vector_component_received_events_total{component_id="kubernetes"}': 41 * seconds,
    'vector_component_sent_events_total{component_id="victorialogs"}': 40 * seconds,
    'vector_component_errors_total{component_id="victorialogs"}': 0,
    'vector_component_discarded_events_total{component_id="parsed",intentional="false"}': 0,
    'vector_buffer_size_bytes{component_id="victorialogs"}': 1.2e6,
    'vector_buffer_max_size_bytes{component_id="victorialogs"}': 5.12e8,
  }),
  victorialogs: (seconds) => ({
    'vl_rows_ingested_total{type="elasticsearch_bulk"}': 40 * seconds,
    'vl_rows_dropped_total{reason="too_old"}': 0,
    vl_streams_created_total: 14,
    'vl_free_disk_space_bytes{path="/data"}': 1.6e10,
    'vl_data_size_bytes{type="storage"}': 2.3e9,
  }),
  grafana: () => ({ 'grafana_build_info{version="12.4.3"}': 1 }),
  kubelet: () => ({
    ...volume("postgres", "data-postgres-0", 31, 50),
    ...volume("nats", "data-nats-0", 9, 10),
    ...volume("noetl-platform", "data-victoriametrics-0", 18, 20),
  }),
  probes: () => ({
    'probe_ssl_earliest_cert_expiry{target="https://noetl"}': Date.now() / 1000 + 60 * 86_400,
  }),
};

function consumer(what: string, count: number): Values {
  const labels = 'stream_name="NOETL_COMMANDS",consumer_name="cpu-01"';
  return { [`jetstream_consumer_${what}{${labels}}`]: count };
}

function volume(namespace: string, claim: string, free: number, size: number): Values {
  const labels = `{namespace="${namespace}",persistentvolumeclaim="${claim}"}`;
  return {
    [`kubelet_volume_stats_available_bytes${labels}`]: free * 1e9,
    [`kubelet_volume_stats_capacity_bytes${labels}`]: size * 1e9,
  };
}

/** Jobs that it stands in for. */
export const STAND_INS: readonly string[] = Object.keys(EXPOSITIONS);

export interface StandIns extends AsyncDisposable {
  /** `host:port`; each job is at `/<job>`. */
  readonly address: string;
}

export function startStandIns(): StandIns {
  const startedAt = performance.now();
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: ({ url }) => {
      const values = EXPOSITIONS[new URL(url).pathname.slice(1)];
      const seconds = (performance.now() - startedAt) / 1000;
      return values === undefined
        ? new Response(null, { status: 404 })
        : exposition(values(seconds));
    },
  });
  return {
    address: `127.0.0.1:${server.port}`,
    [Symbol.asyncDispose]: () => server.stop(true),
  };
}

function exposition(values: Values): Response {
  const lines = Object.entries(values).map(([series, value]) => `${series} ${value}\n`);
  return new Response(lines.join(""), { headers: { "content-type": "text/plain; version=0.0.4" } });
}
