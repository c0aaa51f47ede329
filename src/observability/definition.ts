/**
 * What a metric is: said once, in the tables of server-metrics.ts, worker-metrics.ts, gpu-metrics.ts and
 * process-metrics.ts. From these come the instruments that code feeds ({@link createInstruments}) and the
 * table in README.md (metrics-table.ts).
 */
import type { Distribution, Level, MetricsRegistry, Tally } from "./registry.ts";

/** All values, if they are few and known here; otherwise what the values are, a closed set too. */
export type LabelValues = readonly string[] | string;

/** By name, in the order in which instruments take their values. */
export type Labels = Readonly<Record<string, LabelValues>>;

interface Definition {
  /** As on `/metrics`: ends in its unit, a counter in `_total`. */
  readonly name: string;
  /** One sentence: what is counted or measured, and what a label's value means when that is not plain. */
  readonly help: string;
  readonly labels: Labels;
}

export interface CounterDefinition extends Definition {
  readonly kind: "counter";
}

export interface GaugeDefinition extends Definition {
  readonly kind: "gauge";
}

export interface HistogramDefinition extends Definition {
  readonly kind: "histogram";
  /** Upper bounds, without infinity. */
  readonly buckets: readonly number[];
}

export type MetricDefinition = CounterDefinition | GaugeDefinition | HistogramDefinition;

/** By the name that code has for it. */
export type MetricTable = Readonly<Record<string, MetricDefinition>>;

/** What code feeds. */
export type Instruments<Table extends MetricTable> = {
  readonly [Key in keyof Table]: InstrumentOf<Table[Key]>;
};

type InstrumentOf<One extends MetricDefinition> = One extends CounterDefinition
  ? Tally
  : One extends GaugeDefinition
    ? Level
    : Distribution;

export function counter(name: string, help: string, labels: Labels = {}): CounterDefinition {
  return { kind: "counter", name, help, labels };
}

export function gauge(name: string, help: string, labels: Labels = {}): GaugeDefinition {
  return { kind: "gauge", name, help, labels };
}

export function histogram(
  name: string,
  help: string,
  buckets: readonly number[],
  labels: Labels = {},
): HistogramDefinition {
  return { kind: "histogram", name, help, buckets, labels };
}

/** Registers all of the table. */
export function createInstruments<Table extends MetricTable>(
  registry: MetricsRegistry,
  table: Table,
): Instruments<Table> {
  const made = Object.entries(table).map(([key, one]) => [key, createInstrument(registry, one)]);
  return Object.fromEntries(made) as Instruments<Table>;
}

function createInstrument(
  registry: MetricsRegistry,
  definition: MetricDefinition,
): Tally | Level | Distribution {
  const { kind, name, help } = definition;
  const labels = Object.keys(definition.labels);
  switch (kind) {
    case "counter":
      return registry.counter(name, help, labels);
    case "gauge":
      return registry.gauge(name, help, labels);
    case "histogram":
      return registry.histogram(name, help, { buckets: definition.buckets, labels });
  }
}
