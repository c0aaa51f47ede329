/** What code needs to record spans; otlp.ts sends them somewhere. Absent: nothing is recorded. */
import { counter } from "./definition.ts";

export const TRACE_METRICS = {
  spans: counter(
    "noetl_trace_spans_total",
    "Spans recorded, and of those: sent to the collector, or refused by it or given up (`failed`); the others wait or were dropped. Only with a collector.",
    { outcome: ["recorded", "sent", "failed"] },
  ),
};

export interface SpanRecord {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  /** Absent: the root of its trace. */
  readonly parentId?: string | undefined;
  /** Milliseconds since 1970. */
  readonly startMs: number;
  readonly endMs: number;
  readonly attributes: Readonly<Record<string, string | number | boolean | undefined>>;
  /** Why it failed; absent: it did not. */
  readonly error?: string | undefined;
}

export interface Tracer extends AsyncDisposable {
  /** Share of the traces that are recorded, of those that nobody outside began: 0 to 1. */
  readonly ratio: number;
  /** Returns at once, never throws: what cannot be sent is dropped. */
  record(span: SpanRecord): void;
}
