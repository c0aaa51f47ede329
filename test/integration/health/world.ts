/**
 * A platform for the tests of `noetl health`: real PostgreSQL, NATS, server and worker processes, and of what is
 * not to be had here small stand-ins that give the documented answers (VictoriaLogs, Vector, Grafana).
 */
import { join } from "node:path";
import { VERSION } from "../../../src/cli/version.ts";
import { Secret } from "../../../src/core/secret.ts";
import { findFreePort } from "../../../src/embedded/free-port.ts";
import type { HealthSettings } from "../../../src/health/plan.ts";
import { planChecks } from "../../../src/health/plan.ts";
import type { ComponentHealth, HealthReport } from "../../../src/health/report.ts";
import { runChecks } from "../../../src/health/report.ts";
import { serverComponent, workerComponent } from "../../bench/platform.ts";
import { startNats } from "../../support/nats.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { makeScratchDir } from "../../support/scratch.ts";

export const POOL = "cpu-01";
export const LIMIT_MS = 60_000;

export type World = Awaited<ReturnType<typeof startWorld>>;

export async function startWorld() {
  await using stack = new AsyncDisposableStack();
  const dir = makeScratchDir("health");
  const db = stack.use(await createTestDatabase());
  const nats = stack.use(await startNats());
  const port = await findFreePort();
  const [grpcPort, serverMetrics, workerMetrics] = [
    await findFreePort(),
    await findFreePort(),
    await findFreePort(),
  ];
  const env = {
    DATABASE_URL: db.url,
    NATS_URL: nats.url,
    NOETL_DATA_DIR: join(dir, "server"),
    NOETL_METRICS_PORT: String(serverMetrics),
  };
  const server = stack.use(serverComponent({ dir, name: "server", port, grpcPort, env }));
  await server.start();
  const worker = stack.use(
    workerComponent({
      dir,
      name: "worker-1",
      grpcPorts: [grpcPort],
      slots: 2,
      pool: POOL,
      natsUrl: nats.url,
      filesDir: join(dir, "files"),
      env: { NOETL_METRICS_PORT: String(workerMetrics) },
      sql: db.sql,
    }),
  );
  await worker.start();
  const serverUrl = `http://127.0.0.1:${port}`;
  const owned = stack.move();
  return {
    db,
    nats,
    server,
    worker,
    serverUrl,
    grpcAddress: `127.0.0.1:${grpcPort}`,
    serverTarget: `127.0.0.1:${serverMetrics}`,
    workerTarget: `127.0.0.1:${workerMetrics}`,
    settings: settingsOf({
      serverUrls: [serverUrl],
      databaseUrl: new Secret(db.url),
      nats: natsSettings(nats.url),
      grpcAddresses: [`127.0.0.1:${grpcPort}`],
    }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

export function natsSettings(url: string): NonNullable<HealthSettings["nats"]> {
  return {
    url,
    stream: "NOETL_COMMANDS",
    subjectPrefix: "noetl.commands",
    consumerPrefix: "noetl_worker",
    maxAckPending: 10_000,
    replicas: 1,
  };
}

/** Nothing is configured but what is given. */
export function settingsOf(given: Partial<HealthSettings>): HealthSettings {
  return {
    version: VERSION,
    timeoutMs: 5000,
    serverUrls: ["http://127.0.0.1:9"],
    token: undefined,
    databaseUrl: undefined,
    nats: undefined,
    grpcAddresses: [],
    pools: [],
    victoriametricsUrl: undefined,
    victorialogsUrl: undefined,
    logsFilter: 'app:in("noetl-server","noetl-worker")',
    vmalertUrl: undefined,
    vectorUrl: undefined,
    vectorMetricsUrl: undefined,
    grafanaUrl: undefined,
    grafanaToken: undefined,
    grafanaUser: undefined,
    grafanaPassword: undefined,
    only: [],
    ...given,
  };
}

export async function check(settings: HealthSettings): Promise<HealthReport> {
  return await runChecks(planChecks(settings), { timeoutMs: settings.timeoutMs });
}

/** What is said of one component when only its kind is asked about. */
export async function checkOne(
  component: string,
  settings: HealthSettings,
): Promise<ComponentHealth> {
  const [kind = ""] = component.split("/");
  const { components } = await check({ ...settings, only: [kind] });
  const found = components.find((each) => each.component === component);
  if (found === undefined) {
    throw new Error(
      `${component} is not in ${components.map((each) => each.component).join(", ")}`,
    );
  }
  return found;
}

/** All that is wrong with it, in one text. */
export function said({ status, problems, message }: ComponentHealth): string {
  const sentences = problems.map((each) => `${each.message} → ${each.nextStep}`);
  return `${status}: ${sentences.length === 0 ? message : sentences.join("\n")}`;
}

type Handler = (url: URL, request: Request) => Response | Promise<Response> | undefined;

export interface StandIn extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
}

/** A stand-in of an HTTP API; what the handler does not know is answered with 404. */
export function startStandIn(handler: Handler): StandIn {
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: async (request) =>
      (await handler(new URL(request.url), request)) ?? new Response("not found", { status: 404 }),
  });
  return {
    url: `http://127.0.0.1:${server.port}`,
    port: server.port ?? 0,
    [Symbol.asyncDispose]: async () => await server.stop(true),
  };
}

export interface LogsState {
  anyLines: number;
  /** RFC 3339, or "" for none. */
  newest: string;
  dropped: number;
  asked: string[];
}

/** VictoriaLogs: `/health`, `/metrics`, and `stats` queries as its querying documentation shows their answers. */
export function startLogsStandIn(given: Partial<LogsState> = {}): StandIn & { state: LogsState } {
  const state: LogsState = {
    anyLines: 812,
    newest: new Date().toISOString(),
    dropped: 0,
    asked: [],
    ...given,
  };
  const standIn = startStandIn((url) => {
    const query = url.searchParams.get("query") ?? "";
    switch (url.pathname) {
      case "/health":
        return new Response("OK");
      case "/metrics":
        return new Response(
          `vl_rows_ingested_total{type="elasticsearch_bulk"} 90311\nvl_rows_dropped_total{reason="too_small_timestamp"} ${state.dropped}\nvl_http_errors_total{path="/select/logsql/query"} 0\n`,
        );
      case "/select/logsql/query": {
        state.asked.push(query);
        const row = query.includes("max(_time)")
          ? { newest: state.newest }
          : { lines: String(state.anyLines) };
        return new Response(`${JSON.stringify(row)}\n`, {
          headers: { "content-type": "application/stream+json" },
        });
      }
      default:
        return undefined;
    }
  });
  return { ...standIn, state };
}

export interface VectorState {
  ok: boolean;
  received: number;
  sent: number;
  errors: number;
  discarded: number;
  buffer: number;
  host: string;
}

/** Vector: its API's `/health`, and what `prometheus_exporter` shows of `internal_metrics`, on one port. */
export function startVectorStandIn(
  given: Partial<VectorState> = {},
): StandIn & { state: VectorState } {
  const state: VectorState = {
    ok: true,
    received: 1000,
    sent: 990,
    errors: 0,
    discarded: 0,
    buffer: 10_000,
    host: "node-1",
    ...given,
  };
  const standIn = startStandIn((url) => {
    switch (url.pathname) {
      case "/health":
        return Response.json({ ok: state.ok }, { status: state.ok ? 200 : 503 });
      case "/metrics":
        return new Response(
          [
            "# TYPE vector_component_received_events_total counter",
            `vector_component_received_events_total{component_id="k8s",component_kind="source",host="${state.host}"} ${state.received} 1700000000000`,
            `vector_component_sent_events_total{component_id="vlogs",component_kind="sink"} ${state.sent}`,
            `vector_component_errors_total{component_id="vlogs",component_kind="sink",error_type="request_failed"} ${state.errors}`,
            `vector_component_discarded_events_total{component_id="vlogs",component_kind="sink",intentional="false"} ${state.discarded}`,
            `vector_component_discarded_events_total{component_id="filter",component_kind="transform",intentional="true"} 77`,
            `vector_buffer_size_bytes{component_id="vlogs"} ${state.buffer}`,
            `vector_buffer_max_size_bytes{component_id="vlogs"} 268435488`,
            "",
          ].join("\n"),
        );
      default:
        return undefined;
    }
  });
  return { ...standIn, state };
}

export interface GrafanaState {
  database: string;
  token: string;
  datasources: Record<string, { status: number; message: string }>;
  dashboards: string[];
}

/** Grafana's HTTP API: health, datasources by uid with their health, dashboards by uid; a service account's token. */
export function startGrafanaStandIn(
  given: Partial<GrafanaState> = {},
): StandIn & { state: GrafanaState } {
  const state: GrafanaState = {
    database: "ok",
    token: "glsa_right",
    datasources: {
      victoriametrics: { status: 200, message: "Data source is working" },
      victorialogs: { status: 200, message: "OK" },
    },
    dashboards: [
      "noetl-server",
      "noetl-workers",
      "noetl-gpus",
      "noetl-executions",
      "noetl-platform",
    ],
    ...given,
  };
  const standIn = startStandIn((url, request) => {
    if (url.pathname === "/api/health") {
      return Response.json({ commit: "1f2e", database: state.database, version: "12.3.0" });
    }
    if (request.headers.get("authorization") !== `Bearer ${state.token}`) {
      return Response.json({ message: "Invalid API key" }, { status: 401 });
    }
    return answerGrafana(url.pathname, state);
  });
  return { ...standIn, state };
}

function answerGrafana(path: string, { datasources, dashboards }: GrafanaState): Response {
  const [, kind = "", uid = "", rest = ""] =
    /^\/api\/(datasources|dashboards)\/uid\/([^/]+)(\/health)?$/.exec(path) ?? [];
  const datasource = datasources[uid];
  if (kind === "datasources" && datasource !== undefined) {
    const { status, message } = datasource;
    return rest === ""
      ? Response.json({ uid, name: uid })
      : Response.json({ status: status === 200 ? "OK" : "ERROR", message }, { status });
  }
  return kind === "dashboards" && dashboards.includes(uid)
    ? Response.json({ dashboard: { uid } })
    : Response.json({ message: `${kind} not found` }, { status: 404 });
}

/** Accepts connections and says nothing, as what hangs does. */
export function startSilence(): StandIn {
  const server = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: { data: () => undefined },
  });
  return {
    url: `http://127.0.0.1:${server.port}`,
    port: server.port,
    [Symbol.asyncDispose]: async () => server.stop(true),
  };
}
