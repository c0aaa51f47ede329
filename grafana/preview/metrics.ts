/** Asks VictoriaMetrics (or Prometheus) what a panel asks. */

export interface Line {
  readonly labels: Readonly<Record<string, string>>;
  /** Unix seconds and values. */
  readonly points: readonly (readonly [number, number])[];
}

export interface MetricsClient {
  /** What {@link range} covers, in Unix seconds. */
  readonly from: number;
  readonly to: number;
  range(expr: string): Promise<readonly Line[]>;
  instant(expr: string): Promise<readonly Line[]>;
}

const POINTS = 160;

/** @param seconds how far back; in place of all variables stands "all". */
export function connectMetrics(url: string, seconds: number): MetricsClient {
  const end = Date.now() / 1000;
  const step = Math.max(1, Math.round(seconds / POINTS));
  const fill = (expr: string): string =>
    expr
      .replaceAll("$__rate_interval", `${Math.max(10, 4 * step)}s`)
      .replaceAll("$__range", `${seconds}s`)
      .replaceAll(/\$\{?(?:pool|server|worker|gpu|playbook)\}?/g, ".*");
  const ask = async (path: string, more: Readonly<Record<string, string>>) => {
    const body = new URLSearchParams(more);
    const answer = Object(
      await (await fetch(`${url}/api/v1/${path}`, { method: "POST", body })).json(),
    );
    if (answer.status !== "success") {
      throw new Error(`${url} refuses ${more["query"]}: ${answer.error}`);
    }
    return answer.data.result as readonly {
      metric: Line["labels"];
      value?: Pair;
      values?: Pair[];
    }[];
  };
  return {
    from: end - seconds,
    to: end,
    range: async (expr) => {
      const times = { start: String(end - seconds), end: String(end), step: `${step}s` };
      return (await ask("query_range", { query: fill(expr), ...times })).map(lineOf);
    },
    instant: async (expr) => (await ask("query", { query: fill(expr) })).map(lineOf),
  };
}

type Pair = readonly [number, string];

function lineOf({
  metric,
  value,
  values,
}: {
  metric: Line["labels"];
  value?: Pair;
  values?: Pair[];
}) {
  const pairs = values ?? (value === undefined ? [] : [value]);
  return { labels: metric, points: pairs.map(([time, text]) => [time, Number(text)] as const) };
}
