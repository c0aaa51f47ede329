/** `noetl server`: the parts of a server, wired together and run until told to stop. */
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import type { Bus } from "../bus/bus.ts";
import { connectBus } from "../bus/bus.ts";
import { checkServer, isLoopback } from "../config/decide.ts";
import type { Values } from "../config/option.ts";
import type { Environment, Flags } from "../config/read.ts";
import { readOptions } from "../config/read.ts";
import type { metricsOptions, tlsOptions } from "../config/tables.ts";
import { serverOptions } from "../config/tables.ts";
import { AppError, errorMessage } from "../core/errors.ts";
import type { Service } from "../core/service.ts";
import { runServices } from "../core/service.ts";
import type { Logger } from "../observability/log.ts";
import type { ServerMetrics } from "../observability/metrics.ts";
import { createServerMetrics } from "../observability/metrics.ts";
import { startProbeServer } from "../observability/probe-server.ts";
import type { MetricsRegistry } from "../observability/registry.ts";
import { createRegistry } from "../observability/registry.ts";
import type { Orchestrator } from "../orchestrator/orchestrator.ts";
import { createOrchestrator } from "../orchestrator/orchestrator.ts";
import { checkKeys } from "../orchestrator/rotate-secrets.ts";
import type { RpcEvent } from "../rpc/call.ts";
import type { ControlHandlers, ExecutionSummary } from "../rpc/handlers.ts";
import type { ServerTls } from "../rpc/server.ts";
import { createRpcServer } from "../rpc/server.ts";
import type { HttpServer } from "../server/app.ts";
import { createHttpServer } from "../server/app.ts";
import type { ExecutionRow, ServerReader } from "../server/backend.ts";
import { createReader } from "../server/reader.ts";
import { checkSchema, migrate } from "../store/migrate.ts";
import type { Store } from "../store/pool.ts";
import { connectStore } from "../store/pool.ts";
import type { ResultStore } from "../store/result-store.ts";
import { createS3ResultStore } from "../store/s3-result-store.ts";
import { KNOWN_TOOL_KINDS } from "../tools/registry.ts";
import type { Triggers } from "../triggers/triggers.ts";
import { createTriggers } from "../triggers/triggers.ts";
import type { CliContext, ExitReason } from "./context.ts";
import { withDatabase } from "./database.ts";
import type { Infrastructure } from "./infrastructure.ts";
import { natsAddress, openInfrastructure } from "./infrastructure.ts";
import { openLogger } from "./log.ts";
import { createOperator } from "./operator.ts";
import { openProviders, openSealer } from "./secrets.ts";
import { templateEnvironment } from "./task-environment.ts";
import { readServerTls } from "./tls.ts";
import { openTracer } from "./tracing.ts";
import { VERSION } from "./version.ts";

type MetricsValues = Values<typeof metricsOptions>;
/** `up` has no metrics port: its workers have; and it has no TLS. */
type ServerValues = Omit<
  Values<typeof serverOptions>,
  keyof MetricsValues | keyof typeof tlsOptions
>;

/** A server that listens. Nothing that the API accepts is worked on before {@link run}. */
export interface RunningServer extends AsyncDisposable {
  /** Of the HTTP API, on an address that this machine reaches. */
  readonly url: string;
  readonly grpcPort: number;
  /** Runs until `signal` aborts; then drains. */
  run(signal: AbortSignal): Promise<void>;
}

export async function server(context: CliContext, flags: Flags): Promise<ExitReason> {
  const { env, signal } = context;
  const values = readOptions(serverOptions, { flags, env }, checkServer);
  const tls = readServerTls(values);
  const log = openLogger("server", values);
  await using infrastructure = await openInfrastructure(values, log);
  const metrics = values;
  const options = { values, metrics, tls, infrastructure, env, log, signal };
  await using running = await startServer(options);
  await running.run(signal);
  return "ok";
}

export interface StartServerOptions {
  readonly values: ServerValues;
  /** Where metrics are served beside the HTTP API; default: nowhere. */
  readonly metrics?: MetricsValues;
  /** For HTTP and gRPC; default: both without. */
  readonly tls?: ServerTls | undefined;
  readonly infrastructure: Infrastructure;
  readonly env: Environment;
  readonly log: Logger;
  /** Gives up starting. */
  readonly signal: AbortSignal;
}

/** Connects, migrates, listens. The first line that it logs at level `info` has the real ports. */
export async function startServer(options: StartServerOptions): Promise<RunningServer> {
  const { values, infrastructure, tls, log } = options;
  await using stack = new AsyncDisposableStack();
  const secrets = await openSealer(values, infrastructure.dataDir);
  const store = stack.use(
    connectStore(infrastructure.databaseUrl.reveal(), {
      name: "noetl server",
      max: values.databasePool,
    }),
  );
  await withDatabase(() => prepareSchema(store, values), {
    url: infrastructure.databaseUrl,
    patienceMs: DATABASE_PATIENCE_MS,
    signal: options.signal,
    log,
  });
  await checkKeys(store.durable, { secrets, log });
  const bus = stack.use(await openBus(options));
  const registry = createRegistry({ hasProcessMetrics: true, written: log.written });
  const metrics = createServerMetrics(registry, VERSION);
  registry.onScrape(() => setLoad(metrics, store.load));
  const serverId = `${hostname()}-${process.pid}-${randomUUID().slice(0, 8)}`;
  const tracer = await openTracer(values, {
    service: "noetl-server",
    instance: serverId,
    registry,
    log,
  });
  stack.use(tracer);
  const orchestrator = createOrchestrator({
    tracer,
    store,
    bus,
    secrets,
    providers: await openProviders(values, options.env, metrics),
    metrics,
    log: log.child({ component: "orchestrator" }),
    knownTools: KNOWN_TOOL_KINDS,
    serverVersion: VERSION,
    serverId,
    stream: values.natsStream,
    defaultPool: values.defaultPool,
    gpuPool: values.gpuPool,
    metricsPlaybooks: values.metricsPlaybooks,
    env: templateEnvironment(values, options.env),
    results: {
      s3: s3StoreOf(values),
      target: values.resultStore,
      limits: {
        resultBytes: values.resultBytes,
        executionBytes: values.executionResultBytes,
        templateBytes: values.templateBytes,
      },
    },
    ctxChars: values.ctxBytes,
    retention: {
      executionsMs: values.retentionExecutions,
      eventsMs: values.retentionEvents,
      resultsMs: values.retentionResults,
    },
  });
  const triggers = createTriggers({
    store,
    bus,
    orchestrator,
    metrics,
    log: log.child({ component: "triggers" }),
    serverId,
  });
  const reader = createReader({
    sql: store.durable,
    orchestrator,
    pingBus: () => bus.ping(),
    bus,
    secrets,
    workerTimeoutMs: WORKER_TIMEOUT_MS,
  });
  const rpc = await createRpcServer({
    worker: orchestrator,
    control: controlHandlers({ orchestrator, triggers, reader, metrics }),
    workerToken: values.workerToken?.reveal(),
    controlToken: values.token?.reveal(),
    tls,
    onCall: (event) => countCall(metrics, event),
    log: log.child({ component: "rpc" }),
  });
  const operator = createOperator({
    token: values.operatorToken,
    databaseUrl: infrastructure.databaseUrl,
    orchestrator,
  });
  const http = createHttpServer({
    orchestrator,
    reader,
    triggers,
    metrics,
    registry,
    log: log.child({ component: "http" }),
    version: VERSION,
    access: {
      token: values.token?.reveal(),
      operatorToken: operator.token,
      isLoopback: isLoopback(values.host),
      origins: values.origins,
    },
    knownTools: KNOWN_TOOL_KINDS,
    connectionCountMax: values.databasePool,
    operatorQuery: operator.query,
    canReadSecrets: values.secretReading,
    uploadBytesMax: values.resultBytes,
    tls,
  });
  const grpcPort = await rpc.start(values.host, values.grpcPort);
  const httpPort = await listen(http, values);
  const url = `${schemeOf(tls)}://${reachable(values.host)}:${httpPort}`;
  log.info("listening", {
    http: url,
    http_port: httpPort,
    grpc_port: grpcPort,
    tls: tlsName(tls),
    nats: natsAddress(infrastructure),
    data_dir: infrastructure.dataDir,
    pid: process.pid,
    version: VERSION,
  });
  openMetrics(stack, { ...options, registry, bus });
  const stop = new AbortController();
  const running = runServices(
    [
      ...orchestrator.services(),
      ...triggers.services(),
      listener("rpc", rpc),
      listener("http", http),
    ],
    stop.signal,
  );
  // Seen by whoever awaits it below; until then it is not unhandled.
  running.catch(() => undefined);
  await saveEmbeddedCredential(reader, infrastructure);
  const owned = stack.move();
  return {
    url,
    grpcPort,
    run: async (signal) => {
      signal.addEventListener("abort", () => stop.abort(), { once: true });
      if (signal.aborted) {
        stop.abort();
      }
      await running;
    },
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await running.catch((error: unknown) =>
        log.error("server did not stop cleanly", { error: errorMessage(error) }),
      );
      await owned.disposeAsync();
    },
  };
}

/** A database that comes up together with the server is waited for. */
const DATABASE_PATIENCE_MS = 30_000;
/** A worker that has been silent for this long is shown as lost; its leases end sooner. */
const WORKER_TIMEOUT_MS = 15_000;

/** Undefined: there is none. What it needs to take new results has been checked. */
function s3StoreOf(values: ServerValues): ResultStore | undefined {
  const { s3Bucket, s3Endpoint, s3Region, s3AccessKey, s3SecretKey } = values;
  return s3Bucket === undefined || s3AccessKey === undefined || s3SecretKey === undefined
    ? undefined
    : createS3ResultStore({
        bucket: s3Bucket,
        endpoint: s3Endpoint,
        region: s3Region,
        accessKey: s3AccessKey,
        secretKey: s3SecretKey,
        prefix: values.s3Prefix,
      });
}

async function prepareSchema(store: Store, { skipMigration }: ServerValues): Promise<void> {
  await (skipMigration ? checkSchema(store.durable) : migrate(store.durable));
}

async function openBus(options: StartServerOptions): Promise<Bus> {
  const { values, infrastructure, tls, log, signal } = options;
  const ownUrl = `${schemeOf(tls)}://${reachable(values.host)}:${values.port}`;
  const bus = await connectBus({
    url: infrastructure.natsUrl.reveal(),
    user: values.natsUser,
    password: values.natsPassword?.reveal(),
    name: "noetl server",
    stream: values.natsStream,
    subjectPrefix: values.natsSubject,
    consumerPrefix: values.natsConsumer,
    maxAckPending: values.natsMaxAckPending,
    replicas: values.natsReplicas,
    logMaxAgeMs: values.retentionLogs,
    serverUrl: values.publicUrl ?? ownUrl,
    log: log.child({ component: "bus" }),
    signal,
  });
  await bus.ensureStreams();
  return bus;
}

/** For scrapers that have no token. The HTTP API's `/readyz` says more: it asks PostgreSQL too. */
function openMetrics(
  stack: AsyncDisposableStack,
  {
    metrics,
    registry,
    bus,
    log,
  }: Pick<StartServerOptions, "metrics" | "log"> & {
    readonly registry: MetricsRegistry;
    readonly bus: Bus;
  },
): void {
  if (metrics?.metricsPort === undefined) {
    return;
  }
  const { metricsHost: host, metricsPort: port } = metrics;
  const readiness = () => ({ isReady: bus.isConnected, details: {} });
  const probes = stack.use(startProbeServer({ host, port, registry, readiness }));
  log.info("Serving metrics and probes", {
    url: `http://${reachable(host)}:${probes.port}/metrics`,
  });
}

function schemeOf(tls: ServerTls | undefined): "http" | "https" {
  return tls === undefined ? "http" : "https";
}

/** For the log. */
function tlsName(tls: ServerTls | undefined): "none" | "server" | "mutual" {
  if (tls === undefined) {
    return "none";
  }
  return tls.clientAuthority === undefined ? "server" : "mutual";
}

/** An address of this machine for one that means all of them. */
function reachable(host: string): string {
  if (host === "0.0.0.0" || host === "::") {
    return "127.0.0.1";
  }
  return host.includes(":") ? `[${host}]` : host;
}

/** @throws AppError `HTTP_LISTEN_FAILED`. */
async function listen(http: HttpServer, { host, port }: ServerValues): Promise<number> {
  try {
    return await http.start(host, port);
  } catch (error) {
    throw cannotListen(host, port, error);
  }
}

function cannotListen(host: string, port: number, cause: unknown): AppError {
  return new AppError(
    "unavailable",
    "HTTP_LISTEN_FAILED",
    `Cannot listen on ${host}:${port} (${errorMessage(cause)}): choose another port with --port`,
    { cause },
  );
}

function listener(name: string, { stop }: { readonly stop: () => Promise<void> }): Service {
  return {
    name,
    run: async (signal) => {
      await untilAborted(signal);
      await stop();
    },
  };
}

export function untilAborted(signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  signal.addEventListener("abort", () => resolve(), { once: true });
  return signal.aborted ? Promise.resolve() : promise;
}

/** Streams that last as long as their clients: how long says nothing. */
const LASTING_CALLS: ReadonlySet<string> = new Set(["Heartbeats", "Work", "WatchExecution"]);

function countCall(metrics: ServerMetrics, { method, outcome, seconds }: RpcEvent): void {
  metrics.rpcCalls.inc(method, outcome);
  if (!LASTING_CALLS.has(method)) {
    metrics.rpcSeconds.observe(seconds, method);
  }
}

function setLoad(metrics: ServerMetrics, load: Store["load"]): void {
  for (const commit of ["durable", "quick"] as const) {
    const { max, underWay } = load[commit];
    metrics.connectionsMax.set(max, commit);
    metrics.connectionsUsed.set(Math.min(max, underWay), commit);
    metrics.connectionsWaiting.set(Math.max(0, underWay - max), commit);
  }
}

/** Reads that gRPC clients ask for come from where the HTTP API has them. */
function controlHandlers({
  orchestrator,
  triggers,
  reader,
  metrics: { executeOutcomes },
}: {
  readonly orchestrator: Orchestrator;
  readonly triggers: Triggers;
  readonly reader: ServerReader;
  readonly metrics: Pick<ServerMetrics, "executeOutcomes">;
}): ControlHandlers {
  return {
    registerPlaybook: (request) => triggers.register(request),
    start: async (request) => {
      try {
        const started = await orchestrator.start(request);
        executeOutcomes.inc("grpc", started.status === "duplicate" ? "duplicate" : "new");
        return started;
      } catch (error) {
        executeOutcomes.inc("grpc", "error");
        throw error;
      }
    },
    watch: (id, options) => orchestrator.watch(id, options),
    cancel: (id, options) => orchestrator.cancel(id, options),
    signal: (id, signal) => orchestrator.signal(id, signal),
    retry: (id, options) => orchestrator.retry(id, options),
    rerun: (id, options) => orchestrator.rerun(id, options),
    getExecution: async (id) => {
      const row = await reader.getExecution(id);
      if (row === undefined) {
        throw new AppError("not_found", "EXECUTION_NOT_FOUND", `There is no execution ${id}`);
      }
      return summary(row);
    },
    listExecutions: async (filter) => (await reader.listExecutions(filter)).map(summary),
  };
}

function summary(row: ExecutionRow): ExecutionSummary {
  return { ...row, version: row.version ?? 0 };
}

/** Playbooks reach the embedded PostgreSQL as `platform`: a database that is theirs alone. */
async function saveEmbeddedCredential(
  reader: ServerReader,
  { playbooksUrl }: Infrastructure,
): Promise<void> {
  if (playbooksUrl === undefined) {
    return;
  }
  const url = new URL(playbooksUrl.reveal());
  await reader.saveCredential({
    name: "platform",
    type: "postgres",
    description: "The embedded PostgreSQL, database for playbooks",
    data: {
      db_host: url.hostname,
      db_port: Number(url.port),
      db_user: url.username,
      db_password: url.password,
      db_name: url.pathname.slice(1),
    },
  });
}
