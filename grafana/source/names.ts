/** Names that dashboards, alerts, provisioning and manifests share. */

/** Plugins of the data sources. */
export const PLUGINS = {
  metrics: "victoriametrics-metrics-datasource",
  logs: "victoriametrics-logs-datasource",
  fallback: "prometheus",
} as const;

/** Uids of the provisioned data sources. */
export const DATASOURCES = {
  metrics: "victoriametrics",
  logs: "victorialogs",
  fallback: "prometheus",
} as const;

export const DASHBOARDS = {
  server: "noetl-server",
  workers: "noetl-workers",
  gpus: "noetl-gpus",
  executions: "noetl-executions",
  platform: "noetl-platform",
} as const;

export type DashboardUid = (typeof DASHBOARDS)[keyof typeof DASHBOARDS];

/** Values of the label `job`, one for each kind of scrape target. */
export const JOBS = [
  "noetl-server",
  "noetl-worker",
  "postgres",
  "nats",
  "vector",
  "victoriametrics",
  "victorialogs",
  "grafana",
] as const;

/** Folders in Grafana. */
export const FOLDER = "NoETL";

/** Where the pages of the alerts are (`<base>/<name of the alert>.md`), unless `--runbooks` says otherwise. */
export const RUNBOOKS = "deploy/docs/alerts";
