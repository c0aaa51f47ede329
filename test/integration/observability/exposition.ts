/** Reads and checks Prometheus' text format. */
import type { MetricTable } from "../../../src/observability/definition.ts";

export interface Sample {
  /** Without `_bucket`, `_sum` and `_count`. */
  readonly metric: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const SAMPLE = /^(\w+)(?:\{(.*)\})? (\S+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

export function readSamples(text: string): readonly Sample[] {
  return text.split("\n").flatMap((line) => {
    const [, name = "", labels = "", value = ""] = SAMPLE.exec(line) ?? [];
    return name === "" ? [] : [toSample(name, labels, value)];
  });
}

function toSample(name: string, labels: string, value: string): Sample {
  const pairs = [...labels.matchAll(LABEL)].map(([, label = "", text = ""]) => [label, text]);
  return {
    metric: name.replace(/_(bucket|sum|count)$/, ""),
    labels: Object.fromEntries(pairs) as Record<string, string>,
    value: Number(value),
  };
}

/** What the samples have that the definitions do not know: names, labels, values of closed sets. */
export function strangers(samples: readonly Sample[], table: MetricTable): readonly string[] {
  const known = new Map(Object.values(table).map((one) => [one.name, one]));
  return samples.flatMap(({ metric, labels }) => {
    const definition = known.get(metric);
    if (definition === undefined) {
      return [metric];
    }
    return Object.entries(labels).flatMap(([label, value]) => {
      if (label === "le") {
        return [];
      }
      const values = definition.labels[label];
      const isKnown = typeof values === "string" || values?.includes(value) === true;
      return isKnown ? [] : [`${metric}{${label}="${value}"}`];
    });
  });
}

/** Undefined where there is no promtool; otherwise what it finds fault with. */
export async function promtool(text: string): Promise<string | undefined> {
  if (Bun.which("promtool") === null) {
    return undefined;
  }
  const child = Bun.spawn(["promtool", "check", "metrics"], {
    stdin: Buffer.from(text),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, problems] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  return `${out}${problems}`.trim();
}
