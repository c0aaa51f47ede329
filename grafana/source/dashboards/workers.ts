/** Workers and pools: is there room, what waits and for what, which worker is to blame? */
import { makeDashboard } from "./dashboard.ts";
import { bars, lines, logLines, number, rows } from "./kinds.ts";
import type { Panel } from "./panel.ts";
import { falling, none, plain, rising } from "./panel.ts";
import { alertsFiring, count, linkTo, POOL, processPanels, quantile, rate } from "./shared.ts";

const IN_POOL = 'pool=~"$pool"';
const WORKER = 'job="noetl-worker",pool=~"$pool",instance=~"$worker"';

/** Every server shows the same values of pools. */
const perPool = (metric: string, filter = ""): string =>
  `max by (pool) (${metric}{${IN_POOL}${filter}})`;

const well: readonly Panel[] = [
  number({
    title: "Live workers",
    description: "That have sent a heartbeat in time.",
    size: [3, 4],
    decimals: 0,
    steps: falling(1, 1),
    query: { expr: `sum(${perPool("noetl_pool_workers")})` },
  }),
  alertsFiring("workers"),
  number({
    title: "Pools without workers",
    description: "Pools that have commands in their queue and nobody to run them.",
    size: [3, 4],
    decimals: 0,
    steps: none,
    query: {
      expr: `count(${perPool("noetl_queue_waiting", ',reason="no_worker"')} > 0) or vector(0)`,
    },
  }),
  number({
    title: "Slots in use",
    description: "Share of the slots of live workers. At 100 % new commands wait.",
    size: [3, 4],
    unit: "percentunit",
    steps: rising(0.8, 0.95),
    query: {
      expr: `sum(${perPool("noetl_pool_slots", ',state="used"')}) / sum(max by (pool, state) (noetl_pool_slots{${IN_POOL}}))`,
    },
  }),
  number({
    title: "Queued",
    description: "Commands that wait, for whatever reason.",
    size: [3, 4],
    decimals: 0,
    steps: rising(100, 1000),
    query: { expr: `sum(${perPool("noetl_queue_depth", ',status="queued"')})` },
  }),
  number({
    title: "Oldest waits",
    description: "Age of the oldest command that could run.",
    size: [3, 4],
    unit: "s",
    steps: rising(60, 900),
    query: { expr: `max(${perPool("noetl_queue_oldest_seconds")})` },
  }),
  number({
    title: "Wait, 99 of 100",
    description: "99 of 100 commands are with a worker sooner. The aim is 5 s.",
    size: [3, 4],
    unit: "s",
    steps: rising(1, 5),
    query: { expr: quantile(0.99, "noetl_command_queue_wait_seconds", IN_POOL) },
  }),
  number({
    title: "Last heartbeat",
    description: "Of the worker that has been silent for longest. Over 10 s it counts as lost.",
    size: [3, 4],
    unit: "s",
    steps: rising(8, 15),
    query: { expr: `max(${perPool("noetl_pool_heartbeat_age_seconds")})` },
  }),
];

const waiting: readonly Panel[] = [
  lines({
    title: "Commands that wait, by reason",
    description:
      "For a live worker, a free slot (busy), GPUs, a rate limit, their time; starting: a free worker is about to take them.",
    size: [8, 8],
    decimals: 0,
    stack: true,
    queries: [
      {
        expr: `sum by (pool, reason) (max by (pool, reason) (noetl_queue_waiting{${IN_POOL}}) > 0)`,
        legend: "{{pool}}: {{reason}}",
      },
    ],
  }),
  lines({
    title: "Wait for a worker, 99 of 100",
    description: "From when a command may run to when a worker has it, by pool.",
    size: [8, 8],
    unit: "s",
    steps: rising(2.5, 5),
    queries: [
      {
        expr: quantile(0.99, "noetl_command_queue_wait_seconds", IN_POOL, "pool"),
        legend: "{{pool}}",
      },
    ],
  }),
  lines({
    title: "Notifications in JetStream",
    description:
      "Not taken by a worker (pending), or taken and not answered (unacknowledged), by pool.",
    size: [8, 8],
    decimals: 0,
    queries: [
      { expr: perPool("noetl_consumer_pending"), legend: "{{pool}}: pending" },
      { expr: perPool("noetl_consumer_ack_pending"), legend: "{{pool}}: unacknowledged" },
      { expr: perPool("noetl_consumer_redelivered"), legend: "{{pool}}: delivered again" },
    ],
  }),
];

const pools: readonly Panel[] = [
  rows({
    title: "Pools",
    description: "Each pool now. A click on its name shows it alone.",
    size: [12, 8],
    labels: { pool: "Pool" },
    sortBy: "Queued",
    links: [linkTo("noetl-workers", "This pool alone", "var-pool=${__value.raw}")],
    columns: [
      { title: "Workers", expr: perPool("noetl_pool_workers"), decimals: 0, steps: falling(1, 1) },
      { title: "Queued", expr: perPool("noetl_queue_depth", ',status="queued"'), decimals: 0 },
      { title: "Running", expr: perPool("noetl_queue_depth", ',status="running"'), decimals: 0 },
      { title: "Free slots", expr: perPool("noetl_pool_slots", ',state="free"'), decimals: 0 },
      {
        title: "Oldest",
        expr: perPool("noetl_queue_oldest_seconds"),
        unit: "s",
        steps: rising(60, 900),
      },
      {
        title: "Heartbeat",
        expr: perPool("noetl_pool_heartbeat_age_seconds"),
        unit: "s",
        steps: rising(8, 15),
      },
    ],
  }),
  rows({
    title: "Workers",
    description:
      "Each worker now. Not ready: it takes no work. Its heartbeat is what it knows of itself.",
    size: [12, 8],
    labels: { instance: "Worker", pool: "Pool" },
    sortBy: "Running",
    links: [linkTo("noetl-workers", "This worker alone", "var-worker=${__value.raw}")],
    columns: [
      {
        title: "Ready",
        expr: `max by (instance, pool) (noetl_worker_ready{${WORKER}})`,
        decimals: 0,
        steps: falling(1, 1),
      },
      {
        title: "Running",
        expr: `max by (instance, pool) (noetl_worker_concurrent_dispatches{${WORKER}})`,
        decimals: 0,
      },
      {
        title: "Slots",
        expr: `max by (instance, pool) (noetl_worker_slots{${WORKER}})`,
        decimals: 0,
      },
      {
        title: "Parked",
        expr: `max by (instance, pool) (noetl_worker_parked{${WORKER}})`,
        decimals: 0,
      },
      {
        title: "Heartbeat",
        expr: `max by (instance, pool) (noetl_worker_heartbeat_age_seconds{${WORKER}})`,
        unit: "s",
        steps: rising(8, 15),
      },
      {
        title: "NATS",
        expr: `max by (instance, pool) (noetl_worker_bus_connected{${WORKER}})`,
        decimals: 0,
        steps: falling(1, 1),
      },
    ],
  }),
  lines({
    title: "Slots",
    description: "In use and free, by pool.",
    size: [12, 8],
    decimals: 0,
    stack: true,
    queries: [
      {
        expr: `max by (pool, state) (noetl_pool_slots{${IN_POOL}})`,
        legend: "{{pool}}: {{state}}",
      },
    ],
  }),
  lines({
    title: "Running on each worker",
    description:
      "Commands that run now. One that stays at its limit while others idle is to be looked at.",
    size: [12, 8],
    decimals: 0,
    legend: "table",
    queries: [{ expr: `noetl_worker_concurrent_dispatches{${WORKER}}`, legend: "{{instance}}" }],
  }),
];

const tools: readonly Panel[] = [
  lines({
    title: "Tasks by kind of tool",
    description: "Tries a second.",
    size: [8, 8],
    unit: "short",
    stack: true,
    queries: [
      { expr: rate("noetl_worker_tool_runs_total", WORKER, "tool_kind"), legend: "{{tool_kind}}" },
    ],
  }),
  lines({
    title: "Tasks that fail",
    description: "Tries a second by kind of tool and of failure.",
    size: [8, 8],
    unit: "short",
    queries: [
      {
        expr: rate("noetl_worker_tool_runs_total", `${WORKER},outcome!="ok"`, "tool_kind, outcome"),
        legend: "{{tool_kind}}: {{outcome}}",
      },
    ],
  }),
  bars({
    title: "How long tasks take, 95 of 100",
    description: "By kind of tool.",
    size: [8, 8],
    unit: "s",
    steps: plain,
    query: {
      expr: `sort_desc(${quantile(0.95, "noetl_worker_dispatch_duration_seconds", WORKER, "tool_kind")})`,
      legend: "{{tool_kind}}",
    },
  }),
];

const leases: readonly Panel[] = [
  lines({
    title: "Claims",
    description:
      "Answers to claims a second. `gone`: another worker was first; many of them cost time.",
    size: [8, 7],
    unit: "short",
    queries: [{ expr: rate("noetl_claims_total", "", "outcome"), legend: "{{outcome}}" }],
  }),
  lines({
    title: "Leases",
    description:
      "Commands handed out again because a worker was lost or gave them back, and calls of stale attempts refused: how many in each interval.",
    size: [8, 7],
    unit: "short",
    queries: [
      {
        expr: count("noetl_commands_retried_total", "", "reason"),
        legend: "handed out again: {{reason}}",
      },
      { expr: count("noetl_fence_refusals_total", "", "call"), legend: "stale: {{call}}" },
      { expr: count("noetl_worker_leases_lost_total", WORKER), legend: "noticed by workers" },
    ],
  }),
  lines({
    title: "Workers lost, connections made anew",
    description:
      "Workers declared lost by pool, and workers that had to connect again: how many in each interval.",
    size: [8, 7],
    unit: "short",
    queries: [
      { expr: count("noetl_workers_lost_total", IN_POOL, "pool"), legend: "lost: {{pool}}" },
      {
        expr: count("noetl_worker_command_loop_reconnect_total", WORKER, "reason"),
        legend: "anew: {{reason}}",
      },
    ],
  }),
  lines({
    title: "Reports",
    description: "Until an outcome is durable, and those refused as stale.",
    size: [8, 7],
    unit: "s",
    queries: [
      { expr: quantile(0.95, "noetl_worker_report_duration_seconds", WORKER), legend: "95 of 100" },
      { expr: quantile(0.99, "noetl_worker_report_duration_seconds", WORKER), legend: "99 of 100" },
    ],
  }),
  lines({
    title: "Lines of tasks",
    description:
      "Sent to servers and dropped, a second. Dropped ones were over a limit, or no server took them.",
    size: [8, 7],
    unit: "short",
    queries: [
      { expr: rate("noetl_worker_log_lines_total", WORKER, "outcome"), legend: "{{outcome}}" },
    ],
  }),
  lines({
    title: "Containers found",
    description: "Of dead workers and lost commands, in each interval: taken over or removed.",
    size: [8, 7],
    unit: "short",
    queries: [
      {
        expr: count("noetl_worker_containers_found_total", WORKER, "outcome"),
        legend: "{{outcome}}",
      },
      { expr: count("noetl_adoptions_total", "", "outcome"), legend: "servers: {{outcome}}" },
    ],
  }),
];

const log: readonly Panel[] = [
  logLines({
    title: "Warnings and errors of workers",
    description: "The newest first. A click on an execution's id opens it in noetl.",
    size: [24, 10],
    filter: '{app="noetl-worker",pool=~"$pool"} level:in(warn, error)',
  }),
];

export const WORKERS_DASHBOARD = makeDashboard({
  uid: "noetl-workers",
  title: "NoETL Workers",
  description:
    "Is there somebody to run what waits, what does it wait for, and which worker is to blame?",
  variables: [
    POOL,
    {
      name: "worker",
      label: "Worker",
      query: 'label_values(up{job="noetl-worker",pool=~"$pool"}, instance)',
    },
  ],
  rows: [
    { title: "Is it well?", panels: well },
    { title: "What waits, and for what?", panels: waiting },
    { title: "Pools and workers", panels: pools },
    { title: "Tasks", panels: tools },
    { title: "Claims, leases, reports", panels: leases },
    { title: "Processes", panels: processPanels(WORKER), isClosed: true },
    { title: "Log", panels: log },
  ],
});
