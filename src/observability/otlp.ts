/**
 * Sends spans to an OpenTelemetry collector (OTLP over HTTP, protobuf). Loaded only when an address is configured.
 *
 * Spans wait in a bounded queue and go in batches; a collector that is away costs the spans that do not fit, and a
 * line in the log, nothing else.
 */
import type { AttributeValue } from "@opentelemetry/api";
import { ROOT_CONTEXT, SpanStatusCode, TraceFlags, trace } from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { resourceFromAttributes } from "@opentelemetry/resources";
import type { ReadableSpan, SpanExporter } from "@opentelemetry/sdk-trace";
import { AlwaysOnSampler, BatchSpanProcessor, TracerProvider } from "@opentelemetry/sdk-trace";
import { createInstruments } from "./definition.ts";
import type { Logger } from "./log.ts";
import type { MetricsRegistry, Tally } from "./registry.ts";
import type { SpanRecord, Tracer } from "./tracer.ts";
import { TRACE_METRICS } from "./tracer.ts";

export interface OtlpOptions {
  /** Of the collector; `/v1/traces` is appended. */
  readonly endpoint: string;
  /** Sent with each request, for example to authenticate. */
  readonly headers: Readonly<Record<string, string>>;
  readonly ratio: number;
  /** `service.name`, `service.instance.id` and the like. */
  readonly resource: Readonly<Record<string, string>>;
  readonly registry: MetricsRegistry;
  readonly log: Logger;
}

/** About a second of work at full load; more are dropped. */
const QUEUE_MAX = 8192;
const BATCH_MAX = 512;
const DELAY_MS = 2000;
const EXPORT_MS_MAX = 5000;
const CLOSE_MS_MAX = 2000;
const SUCCESS = 0;

export function createOtlpTracer(options: OtlpOptions): Tracer {
  const { endpoint, headers, ratio, resource, registry } = options;
  const { spans } = createInstruments(registry, TRACE_METRICS);
  /** The library takes ids from a generator: it gets those that the span has. */
  let next = { traceId: "", spanId: "" };
  const exporter = new OTLPTraceExporter({
    url: `${endpoint.replace(/\/+$/, "")}/v1/traces`,
    headers: { ...headers },
    timeoutMillis: EXPORT_MS_MAX,
  });
  const provider = new TracerProvider({
    resource: resourceFromAttributes(resource),
    sampler: new AlwaysOnSampler(),
    idGenerator: { generateTraceId: () => next.traceId, generateSpanId: () => next.spanId },
    spanProcessors: [
      new BatchSpanProcessor({
        exporter: counted(exporter, spans, options),
        maxQueueSize: QUEUE_MAX,
        maxExportBatchSize: BATCH_MAX,
        scheduledDelayMillis: DELAY_MS,
        exportTimeoutMillis: EXPORT_MS_MAX,
      }),
    ],
  });
  const tracer = provider.getTracer("noetl");
  return {
    ratio,
    record: (span) => {
      next = span;
      spans.inc("recorded");
      const { name, startMs, endMs, error } = span;
      const attributes = attributesOf(span);
      const made = tracer.startSpan(name, { startTime: startMs, attributes }, parentOf(span));
      if (error !== undefined) {
        made.setStatus({ code: SpanStatusCode.ERROR, message: error });
      }
      made.end(Math.max(startMs, endMs));
    },
    [Symbol.asyncDispose]: async () => {
      const limit = Promise.withResolvers<void>();
      const timer = setTimeout(limit.resolve, CLOSE_MS_MAX);
      await Promise.race([provider.shutdown().catch(() => undefined), limit.promise]);
      clearTimeout(timer);
    },
  };
}

function parentOf({ traceId, parentId }: SpanRecord) {
  return parentId === undefined
    ? ROOT_CONTEXT
    : trace.setSpanContext(ROOT_CONTEXT, {
        traceId,
        spanId: parentId,
        traceFlags: TraceFlags.SAMPLED,
        isRemote: true,
      });
}

function attributesOf({ attributes }: SpanRecord): Record<string, AttributeValue> {
  const known: Record<string, AttributeValue> = {};
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined) {
      known[`noetl.${name}`] = value;
    }
  }
  return known;
}

/** Counts, and says once when the collector goes away and when it is back. */
function counted(
  exporter: SpanExporter,
  spans: Tally,
  { log, endpoint }: Pick<OtlpOptions, "log" | "endpoint">,
): SpanExporter {
  let isAway = false;
  const note = (failed: boolean, reason: string | undefined): void => {
    if (failed !== isAway) {
      isAway = failed;
      if (failed) {
        log.warn("spans cannot be sent and are dropped", { endpoint, reason });
      } else {
        log.info("spans are sent again", { endpoint });
      }
    }
  };
  return {
    export: (batch: ReadableSpan[], done) =>
      exporter.export(batch, (result) => {
        const failed = result.code !== SUCCESS;
        spans.add(batch.length, failed ? "failed" : "sent");
        note(failed, result.error?.message);
        done(result);
      }),
    shutdown: async () => await exporter.shutdown(),
    forceFlush: async () => await exporter.forceFlush?.(),
  };
}
