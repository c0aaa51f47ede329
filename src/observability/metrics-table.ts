/** The table of all metrics for README.md, made from their definitions. */
import type { LabelValues, MetricDefinition, MetricTable } from "./definition.ts";
import { GPU_METRICS } from "./gpu-metrics.ts";
import { HEALTH_METRICS } from "./health-metrics.ts";
import { PROCESS_METRICS } from "./process-metrics.ts";
import { SERVER_METRICS } from "./server-metrics.ts";
import { TRACE_METRICS } from "./tracer.ts";
import { WORKER_METRICS } from "./worker-metrics.ts";

/** Who has which metrics on its `/metrics`. */
export const METRICS_BY_ROLE: Readonly<Record<string, MetricTable>> = {
  server: SERVER_METRICS,
  worker: WORKER_METRICS,
  "worker with GPUs": GPU_METRICS,
  "health --listen": HEALTH_METRICS,
  "server, worker": { ...PROCESS_METRICS, ...TRACE_METRICS },
};

const BEGIN = "<!-- metrics: made by `bun run docs` -->";
const END = "<!-- end of metrics -->";

/** The document with the current table between its two marks. */
export function withMetrics(document: string): string {
  const [before = "", rest = ""] = document.split(BEGIN);
  const after = rest.split(END)[1] ?? "";
  return `${before}${BEGIN}\n${metricsTable()}\n${END}${after}`;
}

/** Markdown: one row a metric, by role and name. */
function metricsTable(): string {
  const rows = Object.entries(METRICS_BY_ROLE).flatMap(([role, table]) =>
    Object.values(table)
      .toSorted((a, b) => (a.name < b.name ? -1 : 1))
      .map((definition) => rowText(definition, role)),
  );
  return ["| metric | type | labels | of | what it is |", "|---|---|---|---|---|", ...rows].join(
    "\n",
  );
}

function rowText({ name, kind, labels, help }: MetricDefinition, role: string): string {
  const list = Object.entries(labels).map(([label, values]) => `\`${label}\`${valuesText(values)}`);
  const cells = [`\`${name}\``, kind, list.join("; "), role, help];
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}

function valuesText(values: LabelValues): string {
  if (typeof values !== "string") {
    return `: ${values.join(", ")}`;
  }
  return values === "pool" ? "" : `: ${values}`;
}
