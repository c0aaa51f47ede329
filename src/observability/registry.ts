/**
 * The metrics of one process. Made once by the composition root and passed on explicitly; nothing
 * here is module state, so tests and `noetl up` can hold several.
 *
 * Counting on a hot path must cost nothing: a {@link Tally} keeps plain numbers under joined labels
 * and hands them to prom-client only when somebody scrapes. Labels are closed sets (types, pools,
 * outcomes), never ids.
 */
import type { Metric } from "prom-client";
import { Counter, Gauge, Registry } from "prom-client";
import type { LogLevel } from "./log.ts";
import { observeProcess } from "./process-metrics.ts";

/**
 * Bounds of what the platform does itself, in seconds: fine where a healthy step lives (0.25–50 ms), coarse up
 * to the minute where only "too slow" matters. One table, so that panels can be laid side by side.
 */
export const SECONDS_BUCKETS: readonly number[] = [
  0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
];

/** Bounds of what playbooks do, in seconds: from a task of a millisecond to a day of training. */
export const RUN_BUCKETS: readonly number[] = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900,
  3600, 14_400, 86_400,
];

/** Bounds of batch sizes: powers of two up to the largest batch. */
export const SIZE_BUCKETS: readonly number[] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

export interface Tally {
  /** Adds one under these labels, given in the order of the metric's label names. */
  inc(first?: string, second?: string, third?: string): void;
  add(count: number, first?: string, second?: string, third?: string): void;
}

export interface Level {
  set(value: number, ...labels: readonly string[]): void;
  /** Forgets all labels, before a full set of new values is written. */
  reset(): void;
}

export interface Distribution {
  observe(value: number, first?: string, second?: string): void;
}

export interface MetricsRegistry {
  counter(name: string, help: string, labels?: readonly string[]): Tally;
  gauge(name: string, help: string, labels?: readonly string[]): Level;
  histogram(
    name: string,
    help: string,
    options: { readonly buckets: readonly number[]; readonly labels?: readonly string[] },
  ): Distribution;
  /** Calls back before each exposition, for what is only worth reading then. */
  onScrape(read: () => void): void;
  readonly contentType: string;
  /** The exposition in Prometheus text format. */
  text(): Promise<string>;
}

export interface RegistryOptions {
  /** Adds CPU, memory and event-loop lag of the process. */
  readonly hasProcessMetrics: boolean;
  /** Lines that the process has logged, see {@link Logger.written}; default: none. */
  readonly written?: Readonly<Record<LogLevel, number>>;
}

export function createRegistry({ hasProcessMetrics, written }: RegistryOptions): MetricsRegistry {
  const registry = new Registry();
  const readers: (() => void)[] = [];
  const own: MetricsRegistry = {
    contentType: registry.contentType,
    counter: (name, help, labels = []) => createTally(registry, { name, help, labels }),
    gauge: (name, help, labels = []) => createLevel(registry, { name, help, labels }),
    histogram: (name, help, { buckets, labels = [] }) =>
      createDistribution(registry, { name, help, labels }, buckets),
    onScrape: (read) => void readers.push(read),
    text: async () => {
      for (const read of readers) {
        read();
      }
      return await registry.metrics();
    },
  };
  if (hasProcessMetrics) {
    observeProcess(own, written ?? { debug: 0, info: 0, warn: 0, error: 0 });
  }
  return own;
}

interface Description {
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
}

interface Cell {
  readonly labels: Readonly<Record<string, string>>;
  count: number;
}

const SEPARATOR = "\u0000";

function createTally(registry: Registry, { name, help, labels }: Description): Tally {
  const cells = new Map<string, Cell>();
  new Counter({
    name,
    help,
    labelNames: [...labels],
    registers: [registry],
    collect() {
      this.reset();
      for (const cell of cells.values()) {
        this.inc(cell.labels, cell.count);
      }
    },
  });
  const add = (count: number, first = "", second = "", third = ""): void => {
    const key = second === "" ? first : first + SEPARATOR + second + SEPARATOR + third;
    const cell = cells.get(key);
    if (cell === undefined) {
      cells.set(key, { labels: labelled(labels, [first, second, third]), count });
    } else {
      cell.count += count;
    }
  };
  if (labels.length === 0) {
    add(0);
  }
  return { add, inc: (first, second, third) => add(1, first, second, third) };
}

function createLevel(registry: Registry, { name, help, labels }: Description): Level {
  const gauge = new Gauge({ name, help, labelNames: [...labels], registers: [registry] });
  return {
    set: (value, ...values) => {
      gauge.set(labelled(labels, values), value);
    },
    reset: () => gauge.reset(),
  };
}

/** Of one combination of labels: observations by bucket, the last one beyond all bounds, and their sum. */
interface Bins {
  readonly labels: Readonly<Record<string, string>>;
  readonly counts: number[];
  sum: number;
}

/** `prom-client`'s own takes ten times as long for each observation. */
function createDistribution(
  registry: Registry,
  description: Description,
  buckets: readonly number[],
): Distribution {
  const all = new Map<string, Bins>();
  const open = (key: string, values: readonly string[]): Bins => {
    const labels = labelled(description.labels, values);
    const bins = { labels, counts: new Array<number>(buckets.length + 1).fill(0), sum: 0 };
    all.set(key, bins);
    return bins;
  };
  if (description.labels.length === 0) {
    open("", []);
  }
  registry.registerMetric(exposed(description, buckets, all));
  return {
    observe: (value, first = "", second = "") => {
      const key = second === "" ? first : first + SEPARATOR + second;
      const bins = all.get(key) ?? open(key, [first, second]);
      let index = 0;
      while (index < buckets.length && value > (buckets[index] ?? 0)) {
        index++;
      }
      bins.counts[index] = (bins.counts[index] ?? 0) + 1;
      bins.sum += value;
    },
  };
}

/** What `prom-client` asks of a metric when somebody scrapes. */
function exposed(
  { name, help }: Description,
  buckets: readonly number[],
  all: ReadonlyMap<string, Bins>,
): Metric {
  const bounds = [...buckets, "+Inf"];
  const valuesOf = ({ labels, counts, sum }: Bins) => {
    let count = 0;
    const bins = bounds.map((le, index) => {
      count += counts[index] ?? 0;
      return { metricName: `${name}_bucket`, labels: { le, ...labels }, value: count };
    });
    return [
      ...bins,
      { metricName: `${name}_sum`, labels, value: sum },
      { metricName: `${name}_count`, labels, value: count },
    ];
  };
  const get = () =>
    Promise.resolve({ name, help, type: "histogram", values: [...all.values()].flatMap(valuesOf) });
  // Its classes are not open to others, its registry is.
  return { name, get } as unknown as Metric;
}

function labelled(
  names: readonly string[],
  values: readonly string[],
): Readonly<Record<string, string>> {
  return Object.fromEntries(names.map((name, index) => [name, values[index] ?? ""]));
}
