/**
 * What Vector does with a line and its sink, by its documentation and sources: Vector itself is not to be had in tests.
 * The program that transforms lines runs in Vector's own engine, compiled to WebAssembly.
 */
import { execute } from "@bpinternal/verel";
import { parse } from "yaml";

const DIR = "deploy/vector";

export const PROGRAM = await Bun.file(`${DIR}/transform.vrl`).text();

export type LogEvent = Readonly<Record<string, unknown>>;

export interface VectorConfig {
  readonly data_dir: string;
  readonly api: { readonly enabled: boolean; readonly address: string };
  readonly sources: Readonly<Record<string, { readonly type: string } & LogEvent>>;
  readonly transforms: Readonly<
    Record<
      string,
      { readonly type: string; readonly inputs: readonly string[]; readonly file: string }
    >
  >;
  readonly sinks: {
    readonly victorialogs: ElasticsearchSink;
    readonly metrics: { readonly type: string; readonly address: string };
  };
}

interface ElasticsearchSink {
  readonly type: string;
  readonly inputs: readonly string[];
  readonly endpoints: readonly [string];
  readonly mode: string;
  readonly bulk: { readonly action: string; readonly index: string };
  readonly compression: string;
  readonly healthcheck: { readonly enabled: boolean };
  readonly request: { readonly headers: Readonly<Record<string, string>> };
  readonly buffer: {
    readonly type: string;
    readonly max_size: number;
    readonly when_full: string;
  };
}

export async function readConfig(name: "kubernetes" | "compose"): Promise<VectorConfig> {
  return parse(await Bun.file(`${DIR}/${name}.yaml`).text()) as VectorConfig;
}

/** Undefined: the program refuses the line, so it goes nowhere. */
export function transform(event: LogEvent): LogEvent | undefined {
  try {
    return execute(PROGRAM, event).event as LogEvent;
  } catch (error) {
    if (String(error).includes("aborted")) {
      return undefined;
    }
    throw error;
  }
}

const READ_AT = "2026-11-23T09:00:00Z";

/** As `kubernetes_logs` gives it. */
export function podLine(app: string, message: string, pool?: string): LogEvent {
  return {
    message,
    stream: "stderr",
    timestamp: READ_AT,
    kubernetes: {
      pod_namespace: "noetl-platform",
      pod_name: `${app}-0`,
      container_name: app,
      pod_node_name: "node-1",
      pod_labels: {
        "app.kubernetes.io/name": app,
        ...(pool === undefined ? {} : { "noetl.io/pool": pool }),
      },
    },
  };
}

/** As `docker_logs` gives it, of a container of docker compose. */
export function composeLine(service: string, message: string): LogEvent {
  return {
    message,
    stream: "stdout",
    timestamp: READ_AT,
    host: "laptop",
    container_name: `noetl-${service}-1`,
    label: { "com.docker.compose.project": "noetl", "com.docker.compose.service": service },
  };
}

/** The request that the sink sends for a batch. */
export function bulkRequest(
  { endpoints: [endpoint], bulk, request, compression }: ElasticsearchSink,
  events: readonly LogEvent[],
): Request {
  const action = JSON.stringify({ [bulk.action]: { _index: bulk.index } });
  const body = events.map((event) => `${action}\n${JSON.stringify(event)}\n`).join("");
  return new Request(`${endpoint.replace(/\/$/, "")}/_bulk`, {
    method: "POST",
    headers: {
      "content-type": "application/x-ndjson",
      ...(compression === "gzip" ? { "content-encoding": "gzip" } : {}),
      ...request.headers,
    },
    body: compression === "gzip" ? Bun.gzipSync(Buffer.from(body)) : body,
  });
}
