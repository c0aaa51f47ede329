/** Runs checks side by side, each within its time, and puts what they found together. */
import type { TimeMs } from "../core/clock.ts";
import { errorMessage } from "../core/errors.ts";
import type { Json, JsonObject } from "../core/json.ts";
import type { Check, Finding, HealthStatus, Problem } from "./finding.ts";
import { CheckFailure, kindOf, worst } from "./finding.ts";
import type { Sinces } from "./history.ts";
import { secondsText } from "./words.ts";

/** What is known of one component. */
export interface ComponentHealth {
  readonly component: string;
  readonly status: HealthStatus;
  /** The worst problem, or what there is to say of a component that is well. */
  readonly message: string;
  /** What to do about that problem. */
  readonly nextStep: string | undefined;
  /** All of them, the worst first. */
  readonly problems: readonly Problem[];
  readonly facts: JsonObject;
  /** How long the check took; undefined: it is not checked. */
  readonly latencyMs: number | undefined;
}

export interface HealthReport {
  readonly status: HealthStatus;
  readonly checkedAtMs: TimeMs;
  readonly components: readonly ComponentHealth[];
}

/** A component that is not checked, and the setting that would change that. */
export interface Unconfigured {
  readonly component: string;
  readonly setting: string;
}

export interface CheckPlan {
  readonly checks: readonly Check[];
  readonly unconfigured: readonly Unconfigured[];
  /** Called before each round. */
  readonly begin: () => void;
  /** Which of the components found are wanted. */
  readonly isWanted: (component: string) => boolean;
}

export interface RunOptions {
  /** Of each check. */
  readonly timeoutMs: number;
  /** Stops all of them. */
  readonly signal?: AbortSignal | undefined;
}

/** Without these nothing runs; when others are down, the platform is degraded. */
const ESSENTIAL: ReadonlySet<string> = new Set(["postgresql", "nats", "server", "grpc", "pool"]);

/** Never rejects; takes as long as the slowest check, at most `timeoutMs`. */
export async function runChecks(plan: CheckPlan, options: RunOptions): Promise<HealthReport> {
  plan.begin();
  const found = await Promise.all(plan.checks.map((check) => runCheck(check, options)));
  const all = [...found.flat(), ...plan.unconfigured.map(unconfigured)];
  const components = all.filter(({ component }) => plan.isWanted(component));
  return { status: overall(components), checkedAtMs: Date.now(), components };
}

async function runCheck(
  check: Check,
  { timeoutMs, signal }: RunOptions,
): Promise<readonly ComponentHealth[]> {
  const startedMs = performance.now();
  const stop = new AbortController();
  const late = Promise.withResolvers<readonly Finding[]>();
  let waitsFor = "an answer";
  const giveUp = setTimeout(() => {
    late.resolve([timedOut(check.component, waitsFor, timeoutMs)]);
    stop.abort();
  }, timeoutMs);
  const doing = (what: string): void => {
    waitsFor = what;
  };
  const cut = (): void => stop.abort();
  try {
    signal?.addEventListener("abort", cut, { once: true });
    const running = attempt(check, { signal: stop.signal, doing });
    const findings = await Promise.race([running, late.promise]);
    const latencyMs = performance.now() - startedMs;
    return findings.map((finding) => toHealth(finding, latencyMs));
  } finally {
    clearTimeout(giveUp);
    signal?.removeEventListener("abort", cut);
    stop.abort();
  }
}

async function attempt(
  check: Check,
  context: Parameters<Check["run"]>[0],
): Promise<readonly Finding[]> {
  try {
    return await check.run(context);
  } catch (error) {
    return [failed(check.component, error)];
  }
}

function failed(component: string, error: unknown): Finding {
  const problem: Problem =
    error instanceof CheckFailure
      ? error.problem
      : {
          status: "unknown",
          message: `The check itself failed: ${errorMessage(error)}`,
          nextStep: "Look at the component by hand; the rest of this report holds.",
        };
  return { component, summary: "", problems: [problem], facts: {} };
}

function timedOut(component: string, waitsFor: string, timeoutMs: number): Finding {
  const problem: Problem = {
    status: "down",
    message: `No answer within ${secondsText(timeoutMs)} (waited for ${waitsFor})`,
    nextStep:
      "It hangs, is overloaded, or something on the way drops packets. --timeout waits longer.",
  };
  return { component, summary: "", problems: [problem], facts: {} };
}

function toHealth({ component, summary, problems, facts }: Finding, latencyMs: number) {
  const sorted = [...problems].sort((a, b) => rank(b) - rank(a));
  const [first] = sorted;
  return {
    component,
    status: worst(problems.map(({ status }) => status)),
    message: first?.message ?? summary,
    nextStep: first?.nextStep,
    problems: sorted,
    facts,
    latencyMs,
  };
}

function rank({ status }: Problem): number {
  return ["unknown", "degraded", "down"].indexOf(status);
}

function unconfigured({ component, setting }: Unconfigured): ComponentHealth {
  return {
    component,
    status: "not_configured",
    message: "Not configured, not checked",
    nextStep: `${setting} has it checked.`,
    problems: [],
    facts: {},
    latencyMs: undefined,
  };
}

/**
 * Down only if something is without which nothing runs, and of several of a kind all of them. When only
 * other components were asked about, the worst of these.
 */
export function overall(components: readonly ComponentHealth[]): HealthStatus {
  const checked = components.filter(({ status }) => status !== "not_configured");
  if (checked.length === 0) {
    return "unknown";
  }
  const hasEssential = checked.some(({ component }) => ESSENTIAL.has(kindOf(component)));
  const kinds = Map.groupBy(checked, ({ component }) => kindOf(component));
  return worst([...kinds].map(([kind, all]) => ofKind(all, hasEssential && !ESSENTIAL.has(kind))));
}

function ofKind(all: readonly ComponentHealth[], isExtra: boolean): HealthStatus {
  const status = worst(all.map((each) => each.status));
  const isAllDown = all.every((each) => each.status === "down");
  return status === "down" && (isExtra || !isAllDown) ? "degraded" : status;
}

/** The stable form for programs. */
export function reportJson(
  report: HealthReport,
  version: string,
  sinces?: Sinces | undefined,
): JsonObject {
  return {
    status: report.status,
    version,
    checked_at: new Date(report.checkedAtMs).toISOString(),
    components: report.components.map((health) => componentJson(health, sinces)),
  };
}

function componentJson(health: ComponentHealth, sinces: Sinces | undefined): JsonObject {
  const since = sinces?.get(health.component);
  return {
    component: health.component,
    status: health.status,
    message: health.message,
    next_step: health.nextStep ?? null,
    problems: health.problems.map(
      ({ status, message, nextStep }): Json => ({ status, message, next_step: nextStep }),
    ),
    facts: health.facts,
    latency_ms: health.latencyMs === undefined ? null : Math.round(health.latencyMs * 10) / 10,
    since: since === undefined ? null : new Date(since.sinceMs).toISOString(),
    previous: since?.before ?? null,
  };
}
