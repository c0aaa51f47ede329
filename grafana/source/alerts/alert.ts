/**
 * What an alert is: written once, in the tables beside this file. From it come the rules of vmalert, those of
 * Grafana, and the tests that show it to fire and to stay silent.
 *
 * Expressions are PromQL that MetricsQL understands alike: both promtool and vmalert read them. They hold no `$`,
 * which Grafana would take for a variable.
 */
import type { DashboardUid } from "../names.ts";

export type Component =
  | "server"
  | "executions"
  | "workers"
  | "gpus"
  | "nats"
  | "postgres"
  | "observability"
  | "triggers"
  | "platform";

export type Severity = "critical" | "warning";

/** Values of series from time 0 on, one each 30 s, as promtool has them: `5+0x60`. */
export type Series = Readonly<Record<string, string>>;

export interface Proof {
  /** These make it fire … */
  readonly fires: Series;
  /** … and these do not, though they come near. */
  readonly silent: Series;
  /** When both are looked at; default: an hour on. */
  readonly atMinutes?: number;
}

export interface Alert {
  /** Also the name of its page. */
  readonly name: string;
  readonly component: Component;
  readonly severity: Severity;
  readonly expr: string;
  readonly above?: number;
  readonly below?: number;
  /** How long it must be so, in minutes. */
  readonly minutes: number;
  /**
   * What is wrong, in one line. `{pool}` is a label of the result, `{value}` its value: `{value:duration}` of
   * seconds, `{value:percent}` of a ratio, `{value:bytes}`.
   */
  readonly summary: string;
  /** What follows from it, and where to look first. */
  readonly description: string;
  readonly dashboard: DashboardUid;
  readonly proof: Proof;
}

/** Evaluated together. */
export interface AlertGroup {
  readonly name: string;
  readonly alerts: readonly Alert[];
}

/** The condition as one expression. */
export function conditionOf({ expr, above, below }: Alert): string {
  const text = expr.replace(/\s*\n\s*/g, " ").trim();
  return above === undefined ? `(${text}) < ${below}` : `(${text}) > ${above}`;
}

const PLACEHOLDER = /\{(\w+)(?::(\w+))?\}/g;

/** Labels that the texts show. */
export function labelsOf({ summary, description }: Alert): readonly string[] {
  const names = [...`${summary} ${description}`.matchAll(PLACEHOLDER)].map(([, name = ""]) => name);
  return [...new Set(names)].filter((name) => name !== "value").toSorted();
}

/** @param value how the template language names the value, for example `$value`. */
export function textOf(text: string, value: string): string {
  return text.replace(PLACEHOLDER, (_, name: string, unit?: string) =>
    name === "value"
      ? `{{ ${FORMATS[unit ?? ""] ?? "humanize"} ${value} }}`
      : `{{ $labels.${name} }}`,
  );
}

const FORMATS: Readonly<Record<string, string>> = {
  duration: "humanizeDuration",
  percent: "humanizePercentage",
  bytes: "humanize1024",
};

/** Always this value, for two hours. */
export const steady = (value: number): string => `${value}+0x240`;

/** A counter that grows by so much every 30 s. */
export const growing = (step: number): string => `0+${step}x240`;
