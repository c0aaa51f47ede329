/** Vector: up, its buffer has room, and it hands on what it reads. */
import { isJsonObject } from "../core/json.ts";
import type { Service } from "./ask.ts";
import { ask, notIt, readJson } from "./ask.ts";
import type { Sample } from "./exposition.ts";
import { readSamples, total } from "./exposition.ts";
import type { Check, CheckContext, Finding, Problem } from "./finding.ts";
import { CheckFailure, degraded } from "./finding.ts";
import { bytesText, count } from "./words.ts";

export interface VectorOptions {
  /** Its API; undefined: only the metrics are asked. */
  readonly api: Service | undefined;
  /** Its `prometheus_exporter`; undefined: only the API is asked. */
  readonly metrics: Service | undefined;
}

export interface VectorFacts {
  readonly received: number | undefined;
  readonly sent: number | undefined;
  readonly bufferBytes: number | undefined;
  readonly bufferBytesMax: number | undefined;
  readonly errors: number;
  readonly discarded: number;
  /** Since the check before; none at the first. */
  readonly growth: Growth | undefined;
  /** Component with the most errors. */
  readonly worst: string | undefined;
}

interface Growth {
  readonly received: number;
  readonly sent: number;
  readonly errors: number;
  readonly discarded: number;
}

const BUFFER_SHARE = 0.8;
const NAMES = [
  "vector_component_received_events_total",
  "vector_component_sent_events_total",
  "vector_component_errors_total",
  "vector_component_discarded_events_total",
  "vector_buffer_size_bytes",
  "vector_buffer_max_size_bytes",
  // Their names before.
  "vector_buffer_byte_size",
  "vector_buffer_max_byte_size",
];

export function vectorCheck({ api, metrics }: VectorOptions): Check {
  // One on each node, and a Service leads to any of them.
  const before = new Map<string, Growth>();
  return {
    component: "vector",
    run: async (context) => {
      if (api !== undefined) {
        await checkApi(api, context);
      }
      if (metrics === undefined) {
        return [vectorFinding(undefined)];
      }
      const { host, now, ...facts } = await readMetrics(metrics, context);
      const growth = difference(now, before.get(host));
      before.set(host, now);
      return [vectorFinding({ ...facts, growth })];
    },
  };
}

async function checkApi(api: Service, context: CheckContext): Promise<void> {
  const answer = await ask(api, { path: "/health", accept: [503] }, context);
  const body = readJson(answer.text);
  if (!isJsonObject(body) || typeof body["ok"] !== "boolean") {
    throw notIt(api, "it does not answer /health as Vector does");
  }
  if (!body["ok"]) {
    throw new CheckFailure(
      "Vector says that it is not well: it starts or stops",
      "Wait; if it stays so, read its log.",
    );
  }
}

async function readMetrics(metrics: Service, context: CheckContext) {
  const { text } = await ask(metrics, { path: "/metrics" }, context);
  const samples = readSamples(text, NAMES);
  const of = (name: string, kind?: string): number | undefined =>
    total(
      samples
        .get(name)
        ?.filter((each) => kind === undefined || each.labels["component_kind"] === kind),
    );
  const errors = samples.get("vector_component_errors_total") ?? [];
  const received = of("vector_component_received_events_total", "source");
  if (received === undefined && errors.length === 0) {
    throw notIt(metrics, "there are no metrics of Vector");
  }
  // What filters take out is meant to go.
  const lost = (samples.get("vector_component_discarded_events_total") ?? []).filter(
    (each) => each.labels["intentional"] !== "true",
  );
  const sent = of("vector_component_sent_events_total", "sink");
  const counts = { errors: total(errors) ?? 0, discarded: total(lost) ?? 0 };
  return {
    received,
    sent,
    bufferBytes: of("vector_buffer_size_bytes") ?? of("vector_buffer_byte_size"),
    bufferBytesMax: of("vector_buffer_max_size_bytes") ?? of("vector_buffer_max_byte_size"),
    ...counts,
    worst: worstOf(errors),
    host: samples.get("vector_component_received_events_total")?.[0]?.labels["host"] ?? "",
    now: { received: received ?? 0, sent: sent ?? 0, ...counts },
  };
}

function worstOf(errors: readonly Sample[]): string | undefined {
  const [first] = [...errors].sort((a, b) => b.value - a.value);
  return first === undefined || first.value === 0
    ? undefined
    : `${first.labels["component_id"] ?? "?"}: ${first.labels["error_type"] ?? "error"}`;
}

/** Undefined when there was no check before, or it was started anew since. */
function difference(now: Growth, before: Growth | undefined): Growth | undefined {
  if (before === undefined || now.received < before.received) {
    return undefined;
  }
  const since = (name: keyof Growth): number => Math.max(0, now[name] - before[name]);
  return {
    received: since("received"),
    sent: since("sent"),
    errors: since("errors"),
    discarded: since("discarded"),
  };
}

export function vectorFinding(facts: VectorFacts | undefined): Finding {
  if (facts === undefined) {
    const summary = "Up (NOETL_VECTOR_METRICS_URL has buffer and errors looked at)";
    return { component: "vector", summary, problems: [], facts: {} };
  }
  const { received, sent, bufferBytes, bufferBytesMax } = facts;
  return {
    component: "vector",
    summary: `${count(received ?? 0, "line")} read · ${sent ?? 0} handed on${bufferBytes === undefined ? "" : ` · buffer ${bytesText(bufferBytes)}`}`,
    problems: [...bufferProblems(facts), ...lossProblems(facts), ...flowProblems(facts)],
    facts: {
      received_total: received ?? null,
      sent_total: sent ?? null,
      errors_total: facts.errors,
      discarded_total: facts.discarded,
      buffer_bytes: bufferBytes ?? null,
      buffer_bytes_max: bufferBytesMax ?? null,
    },
  };
}

function bufferProblems({ bufferBytes, bufferBytesMax }: VectorFacts): readonly Problem[] {
  return bufferBytes !== undefined &&
    bufferBytesMax !== undefined &&
    bufferBytesMax > 0 &&
    bufferBytes >= bufferBytesMax * BUFFER_SHARE
    ? [
        degraded(
          `Its buffer is nearly full: ${bytesText(bufferBytes)} of ${bytesText(bufferBytesMax)}`,
          "VictoriaLogs does not take lines, or too slowly: look at it and at the sink's errors.",
        ),
      ]
    : [];
}

/** Totals alone say nothing of now; with a check before there is a difference. */
function lossProblems({ growth, worst, discarded }: VectorFacts): readonly Problem[] {
  if (growth === undefined) {
    return discarded > 0
      ? [
          degraded(
            `It has thrown away ${count(discarded, "line")} since it started${worst === undefined ? "" : ` (${worst})`}`,
            "Read its log for why; the counter goes back when it is restarted.",
          ),
        ]
      : [];
  }
  return growth.discarded > 0 || growth.errors > 0
    ? [
        degraded(
          `Since the last check ${count(growth.errors, "error")} and ${count(growth.discarded, "line")} thrown away${worst === undefined ? "" : ` (${worst})`}`,
          "Read its log for why.",
        ),
      ]
    : [];
}

function flowProblems({ received, sent, growth }: VectorFacts): readonly Problem[] {
  const isStuck =
    growth === undefined
      ? (received ?? 0) > 0 && sent === 0
      : growth.received > 0 && growth.sent === 0;
  return isStuck
    ? [
        degraded(
          "It reads lines and hands none on",
          "VictoriaLogs does not take them, or no sink has them as inputs: compare vector.yaml.",
        ),
      ]
    : [];
}
