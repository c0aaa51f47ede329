/** Alerts of servers: up, answering, deciding, and within their budget of errors. */
import type { Alert } from "./alert.ts";
import { growing, steady } from "./alert.ts";

const PROBES = "/metrics|/livez|/readyz|/healthz|/health|/api/health";

/** Share of failures among all, over a window. */
function httpErrors(window: string): string {
  const all = `noetl_http_requests_total{route!~"${PROBES}"}`;
  const failed = `noetl_http_requests_total{route!~"${PROBES}",code=~"5.."}`;
  return `sum(rate(${failed}[${window}])) / sum(rate(${all}[${window}]))`;
}

/**
 * The pace at which 99.9 % of good answers over 30 days would be missed: 14.4 times it for an hour uses 2 % of the
 * month's errors, 6 times it for six hours 5 %.
 */
const FAST = 0.0144;
const SLOW = 0.006;

const requests = (code: string, step: number) => ({
  [`noetl_http_requests_total{route="/api/execute",method="POST",code="${code}"}`]: growing(step),
});

const httpAlerts: readonly Alert[] = [
  {
    name: "HttpErrorsFast",
    component: "server",
    severity: "critical",
    expr: `${httpErrors("5m")} and ${httpErrors("1h")} > ${FAST}`,
    above: FAST,
    minutes: 2,
    summary: "{value:percent} of HTTP requests fail with 5xx",
    description:
      "At this pace the month's errors are used up within two days. Look at the routes and the errors in the server's log.",
    dashboard: "noetl-server",
    proof: {
      fires: { ...requests("200", 1000), ...requests("500", 30) },
      silent: { ...requests("200", 1000), ...requests("500", 10) },
    },
  },
  {
    name: "HttpErrorsSlow",
    component: "server",
    severity: "warning",
    expr: `${httpErrors("30m")} and ${httpErrors("6h")} > ${SLOW}`,
    above: SLOW,
    minutes: 15,
    summary: "{value:percent} of HTTP requests have failed with 5xx for half an hour",
    description:
      "At this pace the month's errors are used up within five days. Look at the routes and the errors in the server's log.",
    dashboard: "noetl-server",
    proof: {
      fires: { ...requests("200", 1000), ...requests("500", 10) },
      silent: { ...requests("200", 1000), ...requests("500", 4) },
    },
  },
  {
    name: "HttpSlow",
    component: "server",
    severity: "warning",
    expr: "histogram_quantile(0.99, sum by (le) (rate(noetl_http_request_duration_seconds_bucket[5m])))",
    above: 1,
    minutes: 10,
    summary: "1 in 100 HTTP requests takes {value:duration} or longer",
    description: "Commits, the pool of connections and the event loop are the usual causes.",
    dashboard: "noetl-server",
    proof: {
      fires: latency("noetl_http_request_duration_seconds", "2.5"),
      silent: latency("noetl_http_request_duration_seconds", "0.25"),
    },
  },
  {
    name: "GrpcErrors",
    component: "server",
    severity: "warning",
    expr: `
      sum by (method) (rate(noetl_rpc_calls_total{outcome=~"internal|unavailable|timeout"}[5m]))
      / sum by (method) (rate(noetl_rpc_calls_total[5m]))`,
    above: 0.05,
    minutes: 10,
    summary: "{value:percent} of the gRPC calls {method} fail",
    description: "Workers try again, so nothing is lost; work slows down. See the server's log.",
    dashboard: "noetl-server",
    proof: {
      fires: {
        'noetl_rpc_calls_total{method="Claim",outcome="ok"}': growing(90),
        'noetl_rpc_calls_total{method="Claim",outcome="internal"}': growing(10),
      },
      silent: {
        'noetl_rpc_calls_total{method="Claim",outcome="ok"}': growing(90),
        'noetl_rpc_calls_total{method="Claim",outcome="invalid"}': growing(10),
      },
    },
  },
];

/** All observations in the bucket up to `bound`. */
export function latency(name: string, bound: string, labels = ""): Record<string, string> {
  const bounds = ["0.25", "2.5", "10", "60", "+Inf"];
  const full = bounds.indexOf(bound);
  return Object.fromEntries(
    bounds.map((le, index) => [
      `${name}_bucket{${labels}le="${le}"}`,
      growing(index < full ? 0 : 10),
    ]),
  );
}

const processAlerts: readonly Alert[] = [
  {
    name: "ServerDown",
    component: "server",
    severity: "critical",
    expr: 'absent(up{job="noetl-server"} == 1)',
    above: 0,
    minutes: 1,
    summary: "No noetl server answers",
    description:
      "Nothing starts and nothing is decided. Tasks that run go on; their outcomes wait on the workers until a server is back.",
    dashboard: "noetl-server",
    proof: {
      fires: { 'up{job="noetl-server",instance="a"}': steady(0) },
      silent: {
        'up{job="noetl-server",instance="a"}': steady(0),
        'up{job="noetl-server",instance="b"}': steady(1),
      },
    },
  },
  {
    name: "ServerInstanceDown",
    component: "server",
    severity: "warning",
    expr: 'up{job="noetl-server"}',
    below: 1,
    minutes: 5,
    summary: "Server {instance} cannot be scraped",
    description: "It is down or does not answer on /metrics. The other servers do its work.",
    dashboard: "noetl-server",
    proof: {
      fires: { 'up{job="noetl-server",instance="a"}': steady(0) },
      silent: { 'up{job="noetl-server",instance="a"}': steady(1) },
    },
  },
  {
    name: "ProcessRestarting",
    component: "platform",
    severity: "warning",
    expr: 'changes(process_start_time_seconds{job=~"noetl-.*"}[30m])',
    above: 2,
    minutes: 0,
    summary: "{job} {instance} has been started {value} times within 30 minutes",
    description: "Look at why it ended: its last log lines, the pod's last state, memory limits.",
    dashboard: "noetl-server",
    proof: {
      fires: {
        'process_start_time_seconds{job="noetl-worker",instance="a"}':
          "100+0x100 200 300 400+0x120",
      },
      silent: {
        'process_start_time_seconds{job="noetl-worker",instance="a"}': "100+0x100 200+0x120",
      },
    },
  },
  {
    name: "EventLoopLagHigh",
    component: "platform",
    severity: "warning",
    expr: 'nodejs_eventloop_lag_p99_seconds{job=~"noetl-.*"}',
    above: 0.25,
    minutes: 5,
    summary: "{job} {instance} is busy: its event loop lags {value:duration}",
    description:
      "Everything that it answers is late by that, heartbeats too. More servers or workers, or less work for each.",
    dashboard: "noetl-server",
    proof: {
      fires: { 'nodejs_eventloop_lag_p99_seconds{job="noetl-server",instance="a"}': steady(0.5) },
      silent: { 'nodejs_eventloop_lag_p99_seconds{job="noetl-server",instance="a"}': steady(0.1) },
    },
  },
  {
    name: "OpenFilesHigh",
    component: "platform",
    severity: "warning",
    expr: 'process_open_fds{job=~"noetl-.*"} / process_max_fds{job=~"noetl-.*"}',
    above: 0.8,
    minutes: 10,
    summary: "{job} {instance} has {value:percent} of its open files and connections in use",
    description: "At 100 % it can open no connection and start no task.",
    dashboard: "noetl-server",
    proof: {
      fires: {
        'process_open_fds{job="noetl-server",instance="a"}': steady(900),
        'process_max_fds{job="noetl-server",instance="a"}': steady(1000),
      },
      silent: {
        'process_open_fds{job="noetl-server",instance="a"}': steady(700),
        'process_max_fds{job="noetl-server",instance="a"}': steady(1000),
      },
    },
  },
  {
    name: "SweepStale",
    component: "server",
    severity: "critical",
    expr: "time() - max(noetl_sweep_last_success_timestamp_seconds)",
    above: 60,
    minutes: 1,
    summary: "No server has swept for {value:duration}",
    description:
      "Leases do not expire, timers do not fire and lost notifications are not repeated. Usually PostgreSQL does not answer.",
    dashboard: "noetl-server",
    proof: {
      fires: { 'noetl_sweep_last_success_timestamp_seconds{instance="a"}': steady(100) },
      silent: {
        'noetl_sweep_last_success_timestamp_seconds{instance="a"}': steady(100),
        'noetl_sweep_last_success_timestamp_seconds{instance="b"}': growing(30),
      },
    },
  },
  {
    name: "IntakeBacklog",
    component: "server",
    severity: "warning",
    expr: "noetl_intake_depth",
    above: 1000,
    minutes: 5,
    summary: "{value} inputs wait on {instance} to be decided",
    description: "The server takes in more than it commits. Look at the latency of commits.",
    dashboard: "noetl-server",
    proof: {
      fires: { 'noetl_intake_depth{instance="a"}': steady(2000) },
      silent: { 'noetl_intake_depth{instance="a"}': steady(500) },
    },
  },
];

export const SERVER_ALERTS: readonly Alert[] = [...processAlerts, ...httpAlerts];
