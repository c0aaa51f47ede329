/** GPUs: are they well, who holds them, who waits for them? */
import { makeDashboard } from "./dashboard.ts";
import { bars, lines, logLines, number, rows, states } from "./kinds.ts";
import type { Panel } from "./panel.ts";
import { none, plain, rising } from "./panel.ts";
import { alertsFiring, POOL, rate } from "./shared.ts";

const IN_POOL = 'pool=~"$pool"';
const GPU = 'pool=~"$pool",gpu=~"$gpu"';
const PAGE = { title: "GPUs in noetl", url: "${page}/#/gpus" };
const BY = "gpu, index, name, instance";
const LEGEND = "{{instance}} {{index}}";

/** Every server shows the same values of pools. */
const perPool = (metric: string, filter = ""): string =>
  `max by (pool) (${metric}{${IN_POOL}${filter}})`;
const perGpu = (metric: string): string => `max by (${BY}) (noetl_gpu_${metric}{${GPU}})`;
const inState = (state: string): string =>
  `sum(${perPool("noetl_pool_gpus", `,state="${state}"`)}) or vector(0)`;

const well: readonly Panel[] = [
  number({
    title: "GPUs",
    description: "GPUs and slices of live workers.",
    size: [3, 4],
    decimals: 0,
    steps: plain,
    query: { expr: `sum(max by (pool, state) (noetl_pool_gpus{${IN_POOL}})) or vector(0)` },
    link: PAGE,
  }),
  alertsFiring("gpus"),
  number({
    title: "Out of service",
    description: "Broken, lost or failing: no task gets them. `noetl gpu list` says why.",
    size: [3, 4],
    decimals: 0,
    steps: none,
    query: { expr: inState("out_of_service") },
    link: PAGE,
  }),
  number({
    title: "Not clean",
    description:
      "Something that no task owns computes on them. Seconds after a task are normal, minutes are not.",
    size: [3, 4],
    decimals: 0,
    steps: [
      [undefined, "green"],
      [1, "orange"],
    ],
    query: { expr: inState("unclean") },
    link: PAGE,
  }),
  number({
    title: "Held by tasks",
    description: "GPUs that commands hold; a shared one counts once for each.",
    size: [3, 4],
    decimals: 0,
    steps: plain,
    query: { expr: `sum(${perPool("noetl_pool_gpu_leases")}) or vector(0)` },
  }),
  number({
    title: "Commands that wait",
    description: "Queued commands that have asked for GPUs in vain.",
    size: [3, 4],
    decimals: 0,
    steps: rising(1, 20),
    query: { expr: `sum(${perPool("noetl_pool_gpu_waiters")}) or vector(0)` },
    link: PAGE,
  }),
  number({
    title: "Hottest",
    description: "Over 85 °C a GPU slows down.",
    size: [3, 4],
    unit: "celsius",
    steps: rising(75, 85),
    query: { expr: `max(noetl_gpu_temperature_celsius{${GPU}})` },
  }),
  number({
    title: "Errors (XID), 1 day",
    description: "That the driver has reported, other than notices.",
    size: [3, 4],
    decimals: 0,
    steps: none,
    query: {
      expr: 'sum(increase(noetl_gpu_xid_errors_total{gpu=~"$gpu",class!="notice"}[1d])) or vector(0)',
    },
  }),
];

const each: readonly Panel[] = [
  rows({
    title: "Each GPU",
    description:
      "As its worker sees it now. Ready, held, unclean, out of service: 1 for the one that it is in.",
    size: [24, 8],
    labels: { instance: "Worker", index: "No.", name: "GPU", gpu: "Id" },
    sortBy: "Used",
    links: [PAGE],
    columns: [
      {
        title: "Ready",
        expr: `max by (${BY}) (noetl_gpu_state{${GPU},state="ready"})`,
        decimals: 0,
      },
      { title: "Tasks", expr: perGpu("leases"), decimals: 0 },
      {
        title: "Unclean",
        expr: `max by (${BY}) (noetl_gpu_state{${GPU},state="unclean"})`,
        decimals: 0,
        steps: rising(1, 2),
      },
      {
        title: "Out of service",
        expr: `max by (${BY}) (noetl_gpu_state{${GPU},state="out_of_service"})`,
        decimals: 0,
        steps: none,
      },
      { title: "Used", expr: perGpu("utilization_ratio"), unit: "percentunit" },
      { title: "Memory used", expr: perGpu("memory_used_bytes"), unit: "bytes" },
      { title: "Memory", expr: perGpu("memory_total_bytes"), unit: "bytes" },
      {
        title: "Temperature",
        expr: perGpu("temperature_celsius"),
        unit: "celsius",
        steps: rising(75, 85),
      },
      { title: "Power", expr: perGpu("power_watts"), unit: "watt" },
      { title: "ECC errors", expr: perGpu("ecc_errors"), decimals: 0, steps: none },
    ],
  }),
];

const leases: readonly Panel[] = [
  states({
    title: "Tasks on each GPU",
    description:
      "How many tasks held it, over time. Long gaps while others wait: they ask for more or for another type.",
    size: [12, 8],
    steps: [
      [undefined, "text"],
      [1, "green"],
      [2, "blue"],
    ],
    texts: { "0": "free", "1": "held" },
    query: { expr: perGpu("leases"), legend: LEGEND },
  }),
  lines({
    title: "Held and waited for",
    description: "By pool: GPUs that are there, those held, and commands that wait for some.",
    size: [12, 8],
    decimals: 0,
    queries: [
      {
        expr: `sum by (pool) (max by (pool, state) (noetl_pool_gpus{${IN_POOL}}))`,
        legend: "{{pool}}: there",
      },
      {
        expr: `${perPool("noetl_pool_gpu_leases")} and on (pool) noetl_pool_gpus`,
        legend: "{{pool}}: held",
      },
      {
        expr: `${perPool("noetl_pool_gpu_waiters")} and on (pool) noetl_pool_gpus`,
        legend: "{{pool}}: waiting commands",
      },
    ],
  }),
];

const measured: readonly Panel[] = [
  lines({
    title: "Utilization",
    description:
      "Share of time in which anything ran on it, which is not how well it was used. Held and at 0: a task hangs.",
    size: [12, 8],
    unit: "percentunit",
    max: 1,
    legend: "table",
    queries: [{ expr: perGpu("utilization_ratio"), legend: LEGEND }],
  }),
  lines({
    title: "Memory in use",
    description: "Of each GPU. What stays after a task makes it unclean.",
    size: [12, 8],
    unit: "bytes",
    legend: "table",
    queries: [{ expr: perGpu("memory_used_bytes"), legend: LEGEND }],
  }),
  lines({
    title: "Temperature",
    description: "Over 85 °C the alert fires.",
    size: [12, 8],
    unit: "celsius",
    steps: rising(75, 85),
    legend: "table",
    queries: [{ expr: perGpu("temperature_celsius"), legend: LEGEND }],
  }),
  lines({
    title: "Power",
    description: "Drawn by each GPU. Little of it at full utilization: it is throttled.",
    size: [12, 8],
    unit: "watt",
    legend: "table",
    queries: [{ expr: perGpu("power_watts"), legend: LEGEND }],
  }),
];

const errors: readonly Panel[] = [
  lines({
    title: "Errors (XID) by class",
    description:
      "In the kernel's log, an hour. Application: of a task's own program. The others are of the GPU.",
    size: [8, 7],
    decimals: 0,
    queries: [
      {
        expr: 'sum by (gpu, class) (increase(noetl_gpu_xid_errors_total{gpu=~"$gpu"}[1h]))',
        legend: "{{class}} {{gpu}}",
      },
    ],
  }),
  bars({
    title: "Uncorrected memory errors",
    description: "Since the driver was loaded. More and more of them: have it replaced.",
    size: [8, 7],
    decimals: 0,
    steps: none,
    query: { expr: perGpu("ecc_errors"), legend: LEGEND },
  }),
  lines({
    title: "Readings of nvidia-smi",
    description:
      "A second. Those that fail or hang leave the GPUs without news, and without tasks.",
    size: [8, 7],
    unit: "short",
    queries: [
      { expr: rate("noetl_gpu_readings_total", IN_POOL, "outcome"), legend: "{{outcome}}" },
    ],
  }),
];

const log: readonly Panel[] = [
  logLines({
    title: "What workers say of GPUs",
    description: "Lines of workers that name a GPU, the newest first.",
    size: [24, 9],
    filter: '{app="noetl-worker",pool=~"$pool"} (gpu:* OR _msg:~"(?i)gpu|xid|nvidia")',
  }),
];

export const GPUS_DASHBOARD = makeDashboard({
  uid: "noetl-gpus",
  title: "GPU pool",
  description: "Are the GPUs well, who holds them, and who waits for them?",
  variables: [
    POOL,
    { name: "gpu", label: "GPU", query: 'label_values(noetl_gpu_leases{pool=~"$pool"}, gpu)' },
  ],
  from: "now-3h",
  rows: [
    { title: "Is it well?", panels: well },
    { title: "Each GPU", panels: each },
    { title: "Who holds them, who waits?", panels: leases },
    { title: "Measurements", panels: measured },
    { title: "Faults", panels: errors },
    { title: "Log", panels: log },
  ],
});
