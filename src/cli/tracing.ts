/** Opens what traces go to. */
import type { Values } from "../config/option.ts";
import type { traceOptions } from "../config/tables.ts";
import type { Logger } from "../observability/log.ts";
import type { MetricsRegistry } from "../observability/registry.ts";
import type { Tracer } from "../observability/tracer.ts";
import { VERSION } from "./version.ts";

export interface TracingOptions {
  /** `noetl-server` or `noetl-worker`. */
  readonly service: string;
  /** Tells processes of one service apart. */
  readonly instance: string;
  /** Absent for a server. */
  readonly pool?: string;
  readonly registry: MetricsRegistry;
  readonly log: Logger;
}

const PERCENT = 100;

/** Undefined when no collector is configured: then not even the library is loaded. */
export async function openTracer(
  { otlpEndpoint, otlpHeaders, tracePercent }: Values<typeof traceOptions>,
  { service, instance, pool, registry, log }: TracingOptions,
): Promise<Tracer | undefined> {
  if (otlpEndpoint === undefined) {
    return undefined;
  }
  const { createOtlpTracer } = await import("../observability/otlp.ts");
  return createOtlpTracer({
    endpoint: otlpEndpoint,
    headers: readHeaders(otlpHeaders?.reveal() ?? ""),
    ratio: tracePercent / PERCENT,
    resource: {
      "service.name": service,
      "service.version": VERSION,
      "service.instance.id": instance,
      ...(pool === undefined ? {} : { "noetl.pool": pool }),
    },
    registry,
    log: log.child({ component: "traces" }),
  });
}

/** `name=value,…`, values percent-encoded where they must be. */
function readHeaders(text: string): Readonly<Record<string, string>> {
  const pairs = text.split(",").flatMap((pair) => {
    const [, name, value] = /^\s*([^=]+?)\s*=\s*(.*?)\s*$/.exec(pair) ?? [];
    return name === undefined || value === undefined ? [] : [[name, decoded(value)] as const];
  });
  return Object.fromEntries(pairs);
}

function decoded(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    // Not encoded after all.
    return value;
  }
}
