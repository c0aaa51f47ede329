/**
 * Metrics of the process, under the names that Prometheus' client libraries give them. Read when somebody scrapes;
 * only the event loop's lag is sampled between scrapes.
 *
 * Not `prom-client`'s own set: under Bun some of it is never filled (handles, heap spaces) or wrong (heap), and its
 * gauges in `_total` offend `promtool check metrics`.
 */
import { readdirSync, readFileSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { counter, createInstruments, gauge } from "./definition.ts";
import type { LogLevel } from "./log.ts";
import { LOG_LEVELS } from "./log.ts";
import type { MetricsRegistry } from "./registry.ts";

export const PROCESS_METRICS = {
  cpu: counter("process_cpu_seconds_total", "CPU time, user and system."),
  startTime: gauge("process_start_time_seconds", "When the process began, since 1970."),
  residentBytes: gauge("process_resident_memory_bytes", "Memory of the process."),
  openFiles: gauge("process_open_fds", "Open files and connections; Linux only."),
  openFilesMax: gauge("process_max_fds", "Open files and connections at most; Linux only."),
  heapTotalBytes: gauge("nodejs_heap_size_total_bytes", "JavaScript heap."),
  heapUsedBytes: gauge("nodejs_heap_size_used_bytes", "JavaScript heap in use."),
  externalBytes: gauge(
    "nodejs_external_memory_bytes",
    "Memory that JavaScript objects own outside the heap.",
  ),
  lagMean: gauge(
    "nodejs_eventloop_lag_mean_seconds",
    "Mean lag of the event loop since the last scrape.",
  ),
  lagMedian: gauge("nodejs_eventloop_lag_p50_seconds", "Median of the lag."),
  lagHigh: gauge("nodejs_eventloop_lag_p99_seconds", "99th percentile of the lag."),
  lagMax: gauge("nodejs_eventloop_lag_max_seconds", "Longest lag since the last scrape."),
  linesLogged: counter("noetl_log_lines_total", "Lines that the process itself has logged.", {
    level: LOG_LEVELS,
  }),
};

/** How often the event loop is looked at: often enough to see stalls, cheap when idle. */
const LAG_RESOLUTION_MS = 100;

/** @param written lines logged so far. */
export function observeProcess(
  registry: MetricsRegistry,
  written: Readonly<Record<LogLevel, number>>,
): void {
  const metrics = createInstruments(registry, PROCESS_METRICS);
  const lag = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS });
  lag.enable();
  metrics.startTime.set(Math.round(Date.now() / 1000 - process.uptime()));
  const openFilesMax = readOpenFilesMax();
  const cpuGrowth = createGrowth();
  const lines = LOG_LEVELS.map((level) => ({ level, growth: createGrowth() }));
  registry.onScrape(() => {
    const { user, system } = process.cpuUsage();
    metrics.cpu.add(cpuGrowth((user + system) / 1e6));
    for (const { level, growth } of lines) {
      metrics.linesLogged.add(growth(written[level]), level);
    }
    const { rss, heapTotal, heapUsed, external } = process.memoryUsage();
    metrics.residentBytes.set(rss);
    metrics.heapTotalBytes.set(heapTotal);
    metrics.heapUsedBytes.set(heapUsed);
    metrics.externalBytes.set(external);
    const openFiles = countOpenFiles();
    if (openFiles !== undefined && openFilesMax !== undefined) {
      metrics.openFiles.set(openFiles);
      metrics.openFilesMax.set(openFilesMax);
    }
    metrics.lagMean.set(seconds(lag.mean));
    metrics.lagMedian.set(seconds(lag.percentile(50)));
    metrics.lagHigh.set(seconds(lag.percentile(99)));
    metrics.lagMax.set(seconds(lag.max));
    lag.reset();
  });
}

/** By how much a total that something else keeps has grown since the last call. */
function createGrowth(): (total: number) => number {
  let counted = 0;
  return (total) => {
    const growth = total - counted;
    counted = total;
    return growth;
  };
}

/** From nanoseconds. Nothing was measured since the last scrape: 0. */
function seconds(nanoseconds: number): number {
  return Number.isFinite(nanoseconds) && nanoseconds < Number.MAX_SAFE_INTEGER
    ? nanoseconds / 1e9
    : 0;
}

function countOpenFiles(): number | undefined {
  try {
    return readdirSync("/proc/self/fd").length;
  } catch {
    // Not Linux.
    return undefined;
  }
}

function readOpenFilesMax(): number | undefined {
  try {
    const limits = readFileSync("/proc/self/limits", "utf8");
    const [, max] = /^Max open files\s+(\d+)/m.exec(limits) ?? [];
    return max === undefined ? undefined : Number(max);
  } catch {
    // Not Linux.
    return undefined;
  }
}
