/** Checks again and again, and keeps the last report for whoever asks: no request causes a check. */
import { sleep } from "../core/clock.ts";
import type { HealthMetrics } from "../observability/health-metrics.ts";
import type { HealthStatus } from "./finding.ts";
import type { Change, Sinces } from "./history.ts";
import { HealthHistory } from "./history.ts";
import type { CheckPlan, HealthReport } from "./report.ts";
import { runChecks } from "./report.ts";

export interface MonitorOptions {
  readonly plan: CheckPlan;
  readonly timeoutMs: number;
  /** From the end of a round to the beginning of the next. */
  readonly intervalMs: number;
  readonly metrics?: HealthMetrics | undefined;
  /** Told after each round; `changes` is empty after the first. */
  readonly onReport: (report: HealthReport, changes: readonly Change[]) => void;
}

const LEVELS: Readonly<Record<HealthStatus, number>> = {
  ok: 1,
  not_configured: 1,
  unknown: 0.5,
  degraded: 0.5,
  down: 0,
};

export class HealthMonitor {
  readonly #options: MonitorOptions;
  readonly #history = new HealthHistory();
  #report: HealthReport | undefined;

  constructor(options: MonitorOptions) {
    this.#options = options;
  }

  /** Undefined before the first round has ended. */
  get report(): HealthReport | undefined {
    return this.#report;
  }

  get sinces(): Sinces {
    return this.#history.sinces;
  }

  /** False before the first report and when rounds have stopped ending. */
  isCurrent(nowMs: number): boolean {
    const { intervalMs, timeoutMs } = this.#options;
    const limitMs = 2 * (intervalMs + timeoutMs) + 1000;
    return this.#report !== undefined && nowMs - this.#report.checkedAtMs <= limitMs;
  }

  /** Ends with `signal`. */
  async run(signal: AbortSignal): Promise<void> {
    const { plan, timeoutMs, intervalMs, metrics, onReport } = this.#options;
    while (!signal.aborted) {
      const report = await runChecks(plan, { timeoutMs, signal });
      if (signal.aborted) {
        return;
      }
      this.#report = report;
      const changes = this.#history.update(report);
      if (metrics !== undefined) {
        setMetrics(metrics, report);
      }
      onReport(report, changes);
      await sleep(intervalMs, signal);
    }
  }
}

function setMetrics(metrics: HealthMetrics, report: HealthReport): void {
  metrics.componentStatus.reset();
  metrics.checkSeconds.reset();
  for (const { component, status, latencyMs } of report.components) {
    if (latencyMs !== undefined) {
      metrics.componentStatus.set(LEVELS[status], component);
      metrics.checkSeconds.set(latencyMs / 1000, component);
    }
  }
  metrics.platformStatus.set(LEVELS[report.status]);
  metrics.checkedAt.set(report.checkedAtMs / 1000);
}
