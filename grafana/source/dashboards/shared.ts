/** What several dashboards show alike. */
import type { DashboardUid } from "../names.ts";
import type { Variable } from "./dashboard.ts";
import { lines, number } from "./kinds.ts";
import type { Link, Panel } from "./panel.ts";
import { none, rising } from "./panel.ts";

export const POOL: Variable = {
  name: "pool",
  label: "Pool",
  query: "label_values(noetl_pool_workers, pool)",
};

/** To another dashboard, with the time shown here. */
export function linkTo(uid: DashboardUid, title: string, query = ""): Link {
  const more = query === "" ? "" : `&${query}`;
  return { title, url: `/d/${uid}?\${__url_time_range}&\${datasource:queryparam}${more}` };
}

/** Alerts of these components that fire now, as vmalert has written them. */
export function alertsFiring(components: string, width = 3): Panel {
  return number({
    title: "Alerts firing",
    description:
      "Alerts of these parts that fire now; 0 also when vmalert does not write. The red marks in the panels say since when.",
    size: [width, 4],
    steps: none,
    decimals: 0,
    query: {
      expr: `count(ALERTS{alertstate="firing",component=~"${components}"}) or vector(0)`,
    },
    link: { title: "All alerts", url: "/alerting/list" },
  });
}

/** A quantile of a histogram. */
export function quantile(at: number, name: string, filter = "", by = ""): string {
  const labels = by === "" ? "le" : `le, ${by}`;
  const matchers = filter === "" ? "" : `{${filter}}`;
  return `histogram_quantile(${at}, sum by (${labels}) (rate(${name}_bucket${matchers}[$__rate_interval])))`;
}

/** Median, 95th and 99th percentile over time. */
export function latency(
  title: string,
  description: string,
  name: string,
  size: readonly [number, number],
  options: { readonly filter?: string; readonly bad?: number } = {},
): Panel {
  const { filter = "", bad } = options;
  return lines({
    title,
    description,
    size,
    unit: "s",
    ...(bad === undefined ? {} : { steps: rising(bad / 2, bad) }),
    queries: [
      { expr: quantile(0.5, name, filter), legend: "half take less" },
      { expr: quantile(0.95, name, filter), legend: "95 of 100" },
      { expr: quantile(0.99, name, filter), legend: "99 of 100" },
    ],
  });
}

/** A counter's increase a second, by labels. */
export function rate(name: string, filter = "", by = ""): string {
  const grouping = by === "" ? "" : ` by (${by}) `;
  const matchers = filter === "" ? "" : `{${filter}}`;
  return `sum${grouping}(rate(${name}${matchers}[$__rate_interval]))`;
}

/** How often something rare has happened, since the value before it in a graph. */
export function count(name: string, filter = "", by = ""): string {
  return rate(name, filter, by).replace("(rate(", "(increase(");
}

/** CPU, memory, event loop and open files of processes. */
export function processPanels(filter: string): readonly Panel[] {
  return [
    lines({
      title: "CPU",
      description: "Cores in use by each process; a server's event loop has one.",
      size: [6, 7],
      unit: "short",
      queries: [
        {
          expr: `sum by (instance) (rate(process_cpu_seconds_total{${filter}}[$__rate_interval]))`,
          legend: "{{instance}}",
        },
      ],
    }),
    lines({
      title: "Memory",
      description: "Resident memory of each process. One that only grows leaks.",
      size: [6, 7],
      unit: "bytes",
      queries: [{ expr: `process_resident_memory_bytes{${filter}}`, legend: "{{instance}}" }],
    }),
    lines({
      title: "Event loop lag",
      description:
        "How late each process comes to anything, 99th percentile. Over 0.25 s heartbeats suffer.",
      size: [6, 7],
      unit: "s",
      steps: rising(0.1, 0.25),
      queries: [{ expr: `nodejs_eventloop_lag_p99_seconds{${filter}}`, legend: "{{instance}}" }],
    }),
    lines({
      title: "Lines of log",
      description: "What each process writes, by level. Errors are in the panel below.",
      size: [6, 7],
      unit: "short",
      stack: true,
      queries: [
        {
          expr: `sum by (level) (rate(noetl_log_lines_total{${filter}}[$__rate_interval]))`,
          legend: "{{level}}",
        },
      ],
    }),
  ];
}
