/** Alerts of what watches the platform: scraping, logs, alerting itself, certificates. */
import { JOBS } from "../names.ts";
import type { Alert } from "./alert.ts";
import { growing, steady } from "./alert.ts";

const up = (job: string) => `up{job="${job}",instance="a"}`;
const allUp = Object.fromEntries(JOBS.map((job) => [up(job), steady(1)]));

const scrapeAlerts: readonly Alert[] = [
  {
    name: "TargetDown",
    component: "observability",
    severity: "warning",
    expr: 'up{job!~"noetl-server|noetl-worker"}',
    below: 1,
    minutes: 5,
    summary: "{job} {instance} cannot be scraped",
    description: "It is down, or its metrics cannot be reached from VictoriaMetrics.",
    dashboard: "noetl-platform",
    proof: { fires: { [up("nats")]: steady(0) }, silent: { [up("nats")]: steady(1) } },
  },
  {
    name: "TargetMissing",
    component: "observability",
    severity: "warning",
    expr: JOBS.map((job) => `absent(up{job="${job}"})`).join(" or "),
    above: 0,
    minutes: 10,
    summary: "Nothing of job {job} is scraped",
    description:
      "Its alerts are blind. Its pods are gone, or the scrape configuration does not find them.",
    dashboard: "noetl-platform",
    proof: {
      fires: Object.fromEntries(Object.entries(allUp).filter(([name]) => name !== up("vector"))),
      silent: allUp,
    },
  },
  {
    name: "AlertsNotSent",
    component: "observability",
    severity: "critical",
    expr: "sum(increase(vmalert_alerts_send_errors_total[15m]))",
    above: 0,
    minutes: 5,
    summary: "vmalert could not send {value} alerts within 15 minutes",
    description: "Nobody is told of what is wrong. Look at the notifier that -notifier.url names.",
    dashboard: "noetl-platform",
    proof: {
      fires: { 'vmalert_alerts_send_errors_total{addr="http://alertmanager:9093"}': growing(1) },
      silent: { 'vmalert_alerts_send_errors_total{addr="http://alertmanager:9093"}': steady(3) },
    },
  },
  {
    name: "RulesFailing",
    component: "observability",
    severity: "warning",
    expr: "sum(increase(vmalert_execution_errors_total[15m]))",
    above: 0,
    minutes: 5,
    summary: "vmalert could not evaluate {value} rules within 15 minutes",
    description: "VictoriaMetrics does not answer or refuses a rule; vmalert's log says which.",
    dashboard: "noetl-platform",
    proof: {
      fires: { 'vmalert_execution_errors_total{instance="a"}': growing(1) },
      silent: { 'vmalert_execution_errors_total{instance="a"}': steady(3) },
    },
  },
];

const buffer = (what: string) =>
  `vector_buffer_${what}_bytes{instance="a",component_id="victorialogs"}`;
const discarded = (isIntentional: boolean) =>
  `vector_component_discarded_events_total{component_id="victorialogs",intentional="${isIntentional}"}`;

const logAlerts: readonly Alert[] = [
  {
    name: "LogsMissing",
    component: "observability",
    severity: "warning",
    expr: `
      sum(increase(vl_rows_ingested_total[15m]))
      and on () sum(increase(noetl_log_lines_total[15m])) > 0`,
    below: 1,
    minutes: 10,
    summary: "VictoriaLogs has taken in nothing for 15 minutes, though there are lines",
    description:
      "Vector is down, cannot reach VictoriaLogs, or sends with a content type that it ignores.",
    dashboard: "noetl-platform",
    proof: {
      fires: {
        'vl_rows_ingested_total{type="elasticsearch_bulk"}': steady(1000),
        'noetl_log_lines_total{level="info"}': growing(5),
      },
      silent: {
        'vl_rows_ingested_total{type="elasticsearch_bulk"}': growing(5),
        'noetl_log_lines_total{level="info"}': growing(5),
      },
    },
  },
  {
    name: "LogsRejected",
    component: "observability",
    severity: "warning",
    expr: "sum by (reason) (increase(vl_rows_dropped_total[15m]))",
    above: 0,
    minutes: 0,
    summary: "VictoriaLogs has refused {value} lines: {reason}",
    description:
      "Lines that are too old, too new or too long are lost. See clocks, retention and limits.",
    dashboard: "noetl-platform",
    proof: {
      fires: { 'vl_rows_dropped_total{reason="too_old"}': growing(5) },
      silent: { 'vl_rows_dropped_total{reason="too_old"}': steady(5) },
    },
  },
  {
    name: "LogsDiscarded",
    component: "observability",
    severity: "warning",
    expr: 'sum by (component_id) (increase(vector_component_discarded_events_total{intentional="false"}[15m]))',
    above: 0,
    minutes: 0,
    summary: "Vector has lost {value} lines at {component_id}",
    description: "They could not be parsed or delivered. Vector's own log says why.",
    dashboard: "noetl-platform",
    proof: {
      fires: { [discarded(false)]: growing(5) },
      silent: { [discarded(false)]: steady(5), [discarded(true)]: growing(5) },
    },
  },
  {
    name: "LogsBuffered",
    component: "observability",
    severity: "warning",
    expr: `
      max by (instance, component_id) (vector_buffer_size_bytes)
      / max by (instance, component_id) (vector_buffer_max_size_bytes)`,
    above: 0.5,
    minutes: 5,
    summary: "Vector's buffer before {component_id} on {instance} is {value:percent} full",
    description:
      "VictoriaLogs takes lines too slowly or not at all. When the buffer is full, Vector waits.",
    dashboard: "noetl-platform",
    proof: {
      fires: { [buffer("size")]: steady(200e6), [buffer("max_size")]: steady(256e6) },
      silent: { [buffer("size")]: steady(60e6), [buffer("max_size")]: steady(256e6) },
    },
  },
  {
    name: "VectorErrors",
    component: "observability",
    severity: "warning",
    expr: "sum by (component_id) (rate(vector_component_errors_total[5m]))",
    above: 0.1,
    minutes: 10,
    summary: "Vector has {value} errors a second at {component_id}",
    description: "Lines arrive late, or without their fields. Vector's own log says why.",
    dashboard: "noetl-platform",
    proof: {
      fires: { 'vector_component_errors_total{component_id="victorialogs"}': growing(10) },
      silent: { 'vector_component_errors_total{component_id="victorialogs"}': steady(10) },
    },
  },
];

const DAY = 86_400;

const certificateAlerts: readonly Alert[] = [
  {
    name: "CertificateExpiring",
    component: "platform",
    severity: "warning",
    expr: `
      min by (instance) (probe_ssl_earliest_cert_expiry) - time()
      or min by (namespace, name) (certmanager_certificate_expiration_timestamp_seconds) - time()`,
    below: 14 * DAY,
    minutes: 60,
    summary: "A certificate ({instance}{namespace} {name}) ends in {value:duration}",
    description: "Known only where blackbox_exporter or cert-manager is scraped. Renew it.",
    dashboard: "noetl-platform",
    proof: {
      fires: { 'probe_ssl_earliest_cert_expiry{instance="https://noetl"}': steady(10 * DAY) },
      silent: { 'probe_ssl_earliest_cert_expiry{instance="https://noetl"}': steady(30 * DAY) },
      atMinutes: 90,
    },
  },
];

export const WATCH_ALERTS: readonly Alert[] = [...scrapeAlerts, ...logAlerts, ...certificateAlerts];
