/** Executions by playbook: do they end well, which ones do not, and what waits? */
import { makeDashboard } from "./dashboard.ts";
import { bars, lines, logLines, logTable, number, rows } from "./kinds.ts";
import type { Panel } from "./panel.ts";
import { none, plain, rising } from "./panel.ts";
import { alertsFiring, count, linkTo, quantile, rate } from "./shared.ts";

const PLAYBOOK = 'playbook=~"$playbook"';
const PAGE = { title: "Its executions in noetl", url: "${page}/#/?path=${__value.raw}" };
const EXECUTION = { title: "Show in noetl", url: "${page}/#/e/${__value.raw}" };
const FINISHED = "noetl_executions_finished_total";

/** Over what is shown. */
const counted = (metric: string, filter = ""): string =>
  `sum by (playbook) (increase(${metric}{${PLAYBOOK}${filter}}[$__range]))`;

const well: readonly Panel[] = [
  number({
    title: "Running now",
    description: "Executions that have begun and not ended.",
    size: [3, 4],
    decimals: 0,
    steps: plain,
    query: { expr: 'max(noetl_executions_open{status="running"})' },
    link: { title: "In noetl", url: "${page}/#/?status=running" },
  }),
  alertsFiring("executions|triggers"),
  number({
    title: "Failed",
    description:
      "Share of the executions that ended, in the time shown. 1 % is what a month may have.",
    size: [3, 4],
    unit: "percentunit",
    steps: rising(0.01, 0.06),
    none: "none ended",
    query: {
      expr: `(sum(increase(${FINISHED}{${PLAYBOOK},status="failed"}[$__range])) or vector(0)) / sum(increase(${FINISHED}{${PLAYBOOK}}[$__range]))`,
    },
  }),
  number({
    title: "Failed, count",
    description: "In the time shown. The table below says of which playbooks.",
    size: [3, 4],
    decimals: 0,
    steps: none,
    query: {
      expr: `sum(increase(${FINISHED}{${PLAYBOOK},status="failed"}[$__range])) or vector(0)`,
    },
    link: { title: "In noetl", url: "${page}/#/?status=failed" },
  }),
  number({
    title: "Not started",
    description: "Accepted and not begun: a place under a concurrency key, or a server.",
    size: [3, 4],
    decimals: 0,
    steps: rising(50, 500),
    query: { expr: 'sum(max by (status) (noetl_executions_open{status=~"pending|queued"}))' },
  }),
  number({
    title: "Oldest command waits",
    description: "Age of the oldest command that could run, of any pool.",
    size: [3, 4],
    unit: "s",
    steps: rising(60, 900),
    query: { expr: "max(noetl_queue_oldest_seconds)" },
    link: linkTo("noetl-workers", "Workers"),
  }),
  number({
    title: "Ended a minute",
    description: "However they ended.",
    size: [3, 4],
    steps: plain,
    decimals: 1,
    query: { expr: `60 * ${rate(FINISHED, PLAYBOOK)}` },
  }),
  number({
    title: "Duration, 95 of 100",
    description: "95 of 100 executions end sooner.",
    size: [3, 4],
    unit: "s",
    steps: plain,
    query: { expr: quantile(0.95, "noetl_execution_duration_seconds", PLAYBOOK) },
  }),
];

const blame: readonly Panel[] = [
  rows({
    title: "Playbooks",
    description:
      "In the time shown. A click on a path shows its executions in noetl, its graphs here, or its log.",
    size: [24, 10],
    labels: { playbook: "Playbook" },
    sortBy: "Failed",
    links: [PAGE, linkTo("noetl-executions", "This playbook alone", "var-playbook=${__value.raw}")],
    columns: [
      { title: "Started", expr: counted("noetl_executions_started_total"), decimals: 0 },
      { title: "Completed", expr: counted(FINISHED, ',status="completed"'), decimals: 0 },
      { title: "Failed", expr: counted(FINISHED, ',status="failed"'), decimals: 0, steps: none },
      { title: "Cancelled", expr: counted(FINISHED, ',status="cancelled"'), decimals: 0 },
      {
        title: "Failed, share",
        expr: `${counted(FINISHED, ',status="failed"')} / (${counted(FINISHED)} > 0)`,
        unit: "percentunit",
        steps: rising(0.01, 0.06),
      },
      {
        title: "Half take less than",
        expr: `histogram_quantile(0.5, sum by (le, playbook) (increase(noetl_execution_duration_seconds_bucket{${PLAYBOOK}}[$__range])))`,
        unit: "s",
      },
      {
        title: "95 of 100",
        expr: `histogram_quantile(0.95, sum by (le, playbook) (increase(noetl_execution_duration_seconds_bucket{${PLAYBOOK}}[$__range])))`,
        unit: "s",
      },
      {
        title: "Failed steps",
        expr: counted("noetl_steps_finished_total", ',status="error"'),
        decimals: 0,
      },
    ],
  }),
  logTable({
    title: "Executions with errors in the log",
    description:
      "Those with the most lines of level error. A click on the id shows the execution in noetl.",
    size: [10, 8],
    filter:
      '{app=~"noetl-.*"} execution_id:* level:=error | stats by (execution_id) count() as errors | sort by (errors) desc | limit 20',
    column: "execution_id",
    links: [EXECUTION],
  }),
  logLines({
    title: "Errors that name an execution",
    description: "The newest first. A click on the id of the execution shows it in noetl.",
    size: [14, 8],
    filter: '{app=~"noetl-.*"} execution_id:* level:in(warn, error)',
  }),
];

const ended: readonly Panel[] = [
  lines({
    title: "Executions that end",
    description: "A minute, by how.",
    size: [8, 8],
    unit: "short",
    stack: true,
    queries: [{ expr: `60 * ${rate(FINISHED, PLAYBOOK, "status")}`, legend: "{{status}}" }],
  }),
  lines({
    title: "Executions that fail, by playbook",
    description: "A minute, the worst first in the legend by its last value.",
    size: [8, 8],
    unit: "short",
    legend: "table",
    queries: [
      {
        expr: `60 * ${rate(FINISHED, `${PLAYBOOK},status="failed"`, "playbook")}`,
        legend: "{{playbook}}",
      },
    ],
  }),
  lines({
    title: "Duration by playbook, 95 of 100",
    description:
      "From start to end. One that grows has a step that waits or a task that is slower.",
    size: [8, 8],
    unit: "s",
    legend: "table",
    queries: [
      {
        expr: quantile(0.95, "noetl_execution_duration_seconds", PLAYBOOK, "playbook"),
        legend: "{{playbook}}",
      },
    ],
  }),
  lines({
    title: "Steps that end",
    description: "A second, by how.",
    size: [8, 8],
    unit: "short",
    stack: true,
    queries: [
      { expr: rate("noetl_steps_finished_total", PLAYBOOK, "status"), legend: "{{status}}" },
    ],
  }),
  bars({
    title: "Slowest steps, by playbook",
    description:
      "95 of 100 visits of steps take less, queue and retries included; the ten highest.",
    size: [8, 8],
    unit: "s",
    steps: plain,
    query: {
      expr: `topk(10, ${quantile(0.95, "noetl_step_duration_seconds", PLAYBOOK, "playbook")} > 0)`,
      legend: "{{playbook}}",
    },
  }),
  lines({
    title: "Executions that are open",
    description: "Of the whole platform, by status.",
    size: [8, 8],
    decimals: 0,
    stack: true,
    queries: [{ expr: "max by (status) (noetl_executions_open)", legend: "{{status}}" }],
  }),
];

const asked: readonly Panel[] = [
  lines({
    title: "Requests to start",
    description: "A second, by how they came and what became of them.",
    size: [8, 7],
    unit: "short",
    queries: [
      {
        expr: rate("noetl_execute_outcomes_total", "", "entry, outcome"),
        legend: "{{entry}}: {{outcome}}",
      },
    ],
  }),
  lines({
    title: "Schedules",
    description: "Due times a second, by what became of them, and how late they start.",
    size: [8, 7],
    unit: "short",
    queries: [
      { expr: rate("noetl_schedule_firings_total", "", "outcome"), legend: "{{outcome}}" },
      { expr: quantile(0.95, "noetl_schedule_lag_seconds"), legend: "seconds late, 95 of 100" },
    ],
  }),
  lines({
    title: "Subscriptions",
    description:
      "Messages a second, by what became of them; dead letters: how many in each interval.",
    size: [8, 7],
    unit: "short",
    queries: [
      {
        expr: rate("noetl_subscription_executions_total", "", "source, outcome"),
        legend: "{{source}}: {{outcome}}",
      },
      {
        expr: count("noetl_subscription_dead_lettered_total", "", "source"),
        legend: "{{source}}: dead letters",
      },
    ],
  }),
  lines({
    title: "Concurrency keys",
    description: "What became of executions whose playbook has one, a second, and how many wait.",
    size: [8, 7],
    unit: "short",
    queries: [
      { expr: rate("noetl_admissions_total", "", "outcome"), legend: "{{outcome}}" },
      { expr: "max(noetl_executions_waiting)", legend: "waiting now" },
    ],
  }),
  lines({
    title: "Rate limits",
    description: "Permits a second. Put off: the task was told to come back.",
    size: [8, 7],
    unit: "short",
    queries: [
      { expr: rate("noetl_rate_limit_permits_total", "", "outcome"), legend: "{{outcome}}" },
    ],
  }),
  lines({
    title: "Signals, retries, reruns",
    description: "Signals to executions and executions continued or started over, a second.",
    size: [8, 7],
    unit: "short",
    queries: [
      { expr: rate("noetl_signals_total", "", "outcome"), legend: "signal: {{outcome}}" },
      { expr: rate("noetl_executions_retried_total", "", "kind"), legend: "{{kind}}" },
    ],
  }),
];

export const EXECUTIONS_DASHBOARD = makeDashboard({
  uid: "noetl-executions",
  title: "Executions",
  description: "Do executions end well, which playbooks do not, and what do they wait for?",
  variables: [
    {
      name: "playbook",
      label: "Playbook",
      query: "label_values(noetl_executions_started_total, playbook)",
    },
  ],
  rows: [
    { title: "Is it well?", panels: well },
    { title: "Who is to blame?", panels: blame },
    { title: "How they end", panels: ended },
    { title: "How they come", panels: asked },
  ],
});
