/** Alerts of executions, queues and workers. */
import type { Alert } from "./alert.ts";
import { growing, steady } from "./alert.ts";
import { latency } from "./server.ts";

/** Share of executions that failed. */
function failures(window: string): string {
  return `sum(rate(noetl_executions_finished_total{status="failed"}[${window}])) / sum(rate(noetl_executions_finished_total[${window}]))`;
}

/** 99 % of executions are to end well; the paces are those of the HTTP requests. */
const FAST = 0.144;
const SLOW = 0.06;

const finished = (status: string, step: number) => ({
  [`noetl_executions_finished_total{playbook="a",status="${status}"}`]: growing(step),
});

const executionAlerts: readonly Alert[] = [
  {
    name: "ExecutionsFailingFast",
    component: "executions",
    severity: "critical",
    expr: `${failures("5m")} and ${failures("1h")} > ${FAST}`,
    above: FAST,
    minutes: 2,
    summary: "{value:percent} of executions fail",
    description: "See which playbooks fail, and with which errors.",
    dashboard: "noetl-executions",
    proof: {
      fires: { ...finished("completed", 70), ...finished("failed", 30) },
      silent: { ...finished("completed", 90), ...finished("failed", 10) },
    },
  },
  {
    name: "ExecutionsFailingSlow",
    component: "executions",
    severity: "warning",
    expr: `${failures("30m")} and ${failures("6h")} > ${SLOW}`,
    above: SLOW,
    minutes: 15,
    summary: "{value:percent} of executions have failed for half an hour",
    description: "See which playbooks fail, and with which errors.",
    dashboard: "noetl-executions",
    proof: {
      fires: { ...finished("completed", 90), ...finished("failed", 10) },
      silent: { ...finished("completed", 96), ...finished("failed", 4) },
    },
  },
  {
    name: "ResultsNotStored",
    component: "executions",
    severity: "warning",
    expr: 'sum(increase(noetl_result_store_put_total{status="error"}[10m]))',
    above: 3,
    minutes: 0,
    summary: "{value} results could not be stored within 10 minutes",
    description: "Tasks with large results fail or are tried again. Look at the result store.",
    dashboard: "noetl-executions",
    proof: {
      fires: { 'noetl_result_store_put_total{status="error"}': growing(1) },
      silent: {
        'noetl_result_store_put_total{status="error"}': steady(2),
        'noetl_result_store_put_total{status="ok"}': growing(5),
      },
    },
  },
];

const depth = (status: string) => `noetl_queue_depth{pool="cpu-01",status="${status}"}`;
const workers = 'noetl_pool_workers{pool="cpu-01"}';

const queueAlerts: readonly Alert[] = [
  {
    name: "PoolWithoutWorkers",
    component: "workers",
    severity: "critical",
    expr: `
      max by (pool) (noetl_queue_depth{status="queued"})
      unless on (pool) max by (pool) (noetl_pool_workers) > 0`,
    above: 0,
    minutes: 2,
    summary: "{value} commands wait for pool {pool}, which has no live worker",
    description:
      "Nothing of this pool runs. Start a worker of it, or see why its workers are gone.",
    dashboard: "noetl-workers",
    proof: {
      fires: { [depth("queued")]: steady(3), [workers]: steady(0) },
      silent: { [depth("queued")]: steady(3), [workers]: steady(1) },
    },
  },
  {
    name: "QueueWaitHigh",
    component: "workers",
    severity: "warning",
    expr: "histogram_quantile(0.99, sum by (le, pool) (rate(noetl_command_queue_wait_seconds_bucket[5m])))",
    above: 5,
    minutes: 10,
    summary: "1 in 100 commands of pool {pool} waits {value:duration} or longer for a worker",
    description:
      "See what they wait for: slots (more workers), GPUs, a rate limit, or a bus that is late.",
    dashboard: "noetl-workers",
    proof: {
      fires: latency("noetl_command_queue_wait_seconds", "10", 'pool="cpu-01",'),
      silent: latency("noetl_command_queue_wait_seconds", "2.5", 'pool="cpu-01",'),
    },
  },
  {
    name: "QueueStuck",
    component: "workers",
    severity: "warning",
    expr: "max by (pool) (noetl_queue_oldest_seconds)",
    above: 900,
    minutes: 5,
    summary: "The oldest command of pool {pool} has waited {value:duration}",
    description: "See what the pool waits for, and whether its workers take anything at all.",
    dashboard: "noetl-workers",
    proof: {
      fires: { 'noetl_queue_oldest_seconds{pool="cpu-01"}': steady(1200) },
      silent: { 'noetl_queue_oldest_seconds{pool="cpu-01"}': steady(600) },
    },
  },
  {
    name: "CommandsLost",
    component: "workers",
    severity: "warning",
    expr: 'sum(increase(noetl_commands_retried_total{reason="lost"}[10m]))',
    above: 5,
    minutes: 0,
    summary: "{value} leases have expired within 10 minutes",
    description:
      "Workers die or are cut off while they run tasks, which then run again. Look for killed pods and memory limits.",
    dashboard: "noetl-workers",
    proof: {
      fires: { 'noetl_commands_retried_total{reason="lost"}': growing(1) },
      silent: {
        'noetl_commands_retried_total{reason="lost"}': "0+0x60 3+0x180",
        'noetl_commands_retried_total{reason="returned"}': growing(5),
      },
    },
  },
];

const beat = 'noetl_pool_heartbeat_age_seconds{pool="cpu-01"}';

const workerAlerts: readonly Alert[] = [
  {
    name: "WorkerHeartbeatMissing",
    component: "workers",
    severity: "warning",
    expr: "max by (pool) (noetl_pool_heartbeat_age_seconds)",
    above: 15,
    minutes: 1,
    summary: "A worker of pool {pool} has been silent for {value:duration}",
    description:
      "It is dead, frozen or cut off; what it ran starts again elsewhere. It is forgotten after 5 minutes, and this alert ends.",
    dashboard: "noetl-workers",
    proof: { fires: { [beat]: steady(40) }, silent: { [beat]: steady(6) } },
  },
  {
    name: "WorkersLost",
    component: "workers",
    severity: "warning",
    expr: "sum by (pool) (increase(noetl_workers_lost_total[30m]))",
    above: 2,
    minutes: 0,
    summary: "{value} workers of pool {pool} were lost within 30 minutes",
    description: "More than a restart: look for killed pods, memory limits and the network.",
    dashboard: "noetl-workers",
    proof: {
      fires: { 'noetl_workers_lost_total{pool="cpu-01"}': "0+0x80 1 2 3 4+0x150" },
      silent: { 'noetl_workers_lost_total{pool="cpu-01"}': "0+0x80 1+0x150" },
    },
  },
  {
    name: "WorkerDown",
    component: "workers",
    severity: "warning",
    expr: 'up{job="noetl-worker"}',
    below: 1,
    minutes: 5,
    summary: "Worker {instance} cannot be scraped",
    description: "It is down, or its metrics port cannot be reached.",
    dashboard: "noetl-workers",
    proof: {
      fires: { 'up{job="noetl-worker",instance="a"}': steady(0) },
      silent: { 'up{job="noetl-worker",instance="a"}': steady(1) },
    },
  },
  {
    name: "WorkerNotReady",
    component: "workers",
    severity: "warning",
    expr: "noetl_worker_ready",
    below: 1,
    minutes: 10,
    summary: "Worker {instance} runs but takes no work",
    description: "It cannot reach a server or NATS, or it is about to end. /readyz says why.",
    dashboard: "noetl-workers",
    proof: {
      fires: { 'noetl_worker_ready{instance="a"}': steady(0) },
      silent: { 'noetl_worker_ready{instance="a"}': steady(1) },
    },
  },
  {
    name: "TaskLogsDropped",
    component: "workers",
    severity: "warning",
    expr: 'sum by (instance) (rate(noetl_worker_log_lines_total{outcome="dropped"}[5m]))',
    above: 1,
    minutes: 10,
    summary: "Worker {instance} drops {value} lines of tasks a second",
    description: "A task writes more than its limit, or no server takes lines.",
    dashboard: "noetl-workers",
    proof: {
      fires: { 'noetl_worker_log_lines_total{instance="a",outcome="dropped"}': growing(100) },
      silent: { 'noetl_worker_log_lines_total{instance="a",outcome="sent"}': growing(100) },
    },
  },
];

const triggerAlerts: readonly Alert[] = [
  {
    name: "SchedulesLate",
    component: "triggers",
    severity: "warning",
    expr: "histogram_quantile(0.99, sum by (le) (rate(noetl_schedule_lag_seconds_bucket[15m])))",
    above: 30,
    minutes: 5,
    summary: "Schedules start {value:duration} late",
    description: "The servers are overloaded, or none of them held the schedules for a while.",
    dashboard: "noetl-executions",
    proof: {
      fires: latency("noetl_schedule_lag_seconds", "60"),
      silent: latency("noetl_schedule_lag_seconds", "10"),
    },
  },
  {
    name: "DeadLetters",
    component: "triggers",
    severity: "warning",
    expr: "sum by (source) (increase(noetl_subscription_dead_lettered_total[30m]))",
    above: 0,
    minutes: 0,
    summary: "{value} messages from {source} were put aside as dead letters",
    description:
      "They could not be dispatched after all tries. They are kept; see why they are refused.",
    dashboard: "noetl-executions",
    proof: {
      fires: { 'noetl_subscription_dead_lettered_total{source="nats"}': growing(1) },
      silent: { 'noetl_subscription_dead_lettered_total{source="nats"}': steady(4) },
    },
  },
  {
    name: "SecretsUnreadable",
    component: "executions",
    severity: "warning",
    expr: 'sum by (provider) (increase(noetl_secret_resolve_total{outcome="error"}[10m]))',
    above: 3,
    minutes: 0,
    summary: "{value} secrets could not be read from {provider} within 10 minutes",
    description:
      "Tasks that need them fail. Look at the provider and at the rights of the servers.",
    dashboard: "noetl-executions",
    proof: {
      fires: { 'noetl_secret_resolve_total{provider="vault",outcome="error"}': growing(1) },
      silent: {
        'noetl_secret_resolve_total{provider="vault",outcome="error"}': steady(1),
        'noetl_secret_resolve_total{provider="vault",outcome="ok"}': growing(5),
      },
    },
  },
];

export const WORK_ALERTS: readonly Alert[] = [
  ...executionAlerts,
  ...queueAlerts,
  ...workerAlerts,
  ...triggerAlerts,
];
