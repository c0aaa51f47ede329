/** Names of metrics and labels in PromQL, held against the definitions in src/observability. */
import type { MetricDefinition } from "../../../src/observability/definition.ts";
import { GPU_METRICS } from "../../../src/observability/gpu-metrics.ts";
import { PROCESS_METRICS } from "../../../src/observability/process-metrics.ts";
import { SERVER_METRICS } from "../../../src/observability/server-metrics.ts";
import { WORKER_METRICS } from "../../../src/observability/worker-metrics.ts";

const DEFINITIONS: readonly MetricDefinition[] = [
  ...Object.values(SERVER_METRICS),
  ...Object.values(WORKER_METRICS),
  ...Object.values(GPU_METRICS),
  ...Object.values(PROCESS_METRICS),
];

/** Labels that scraping adds. */
const SCRAPED = ["job", "instance", "pool", "pod", "namespace", "node", "le"];

const SELECTOR = /\b([a-zA-Z_]\w*)\{([^}]*)\}|\b((?:noetl|process|nodejs)_\w+)\b/g;

/** Functions and words of PromQL have no braces and none of our prefixes. */
export function metricsIn(expr: string): readonly string[] {
  const named = [...expr.matchAll(SELECTOR)].map(([, name, , plain]) => name ?? plain ?? "");
  const bare = [
    ...expr.matchAll(/\b((?:pg|gnatsd|jetstream|vector|vl|vm|vmalert|kubelet)_\w+)\b/g),
  ];
  return [...new Set([...named, ...bare.map(([, name = ""]) => name)])];
}

function definitionOf(name: string): MetricDefinition | undefined {
  const base = name.replace(/_(bucket|sum|count)$/, "");
  return DEFINITIONS.find(
    (one) => one.name === name || (one.kind === "histogram" && one.name === base),
  );
}

/** Metrics of noetl that are not defined, and labels or values of them that are not: what and where. */
export function unknownLabels(expr: string): readonly string[] {
  return [...expr.matchAll(SELECTOR)].flatMap(([, named, matchers = "", plain]) => {
    const name = named ?? plain ?? "";
    if (!/^(noetl|process|nodejs)_/.test(name)) {
      return [];
    }
    const definition = definitionOf(name);
    return definition === undefined ? [`no metric ${name}`] : checkMatchers(definition, matchers);
  });
}

const MATCHER = /(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"/g;

function checkMatchers({ name, labels }: MetricDefinition, matchers: string): readonly string[] {
  return [...matchers.matchAll(MATCHER)].flatMap(([, label = "", operator = "", value = ""]) => {
    const values = labels[label];
    if (values === undefined) {
      return SCRAPED.includes(label) ? [] : [`${name} has no label ${label}`];
    }
    if (typeof values === "string" || value.includes("$")) {
      return [];
    }
    const wanted = operator.includes("~") ? value.split("|") : [value];
    return wanted
      .filter((one) => !values.includes(one))
      .map((one) => `${name}: ${label} is never ${one}`);
  });
}
