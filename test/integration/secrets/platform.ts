/**
 * A whole platform in this process: a real database and bus, one server (HTTP and gRPC) and one worker
 * with the real tools. All log lines of both are kept, so that tests can look for secrets in them.
 */
import { connectBus } from "../../../src/bus/bus.ts";
import type { WorkerId } from "../../../src/core/ids.ts";
import type { Json } from "../../../src/core/json.ts";
import { runServices } from "../../../src/core/service.ts";
import { createLogger } from "../../../src/observability/log.ts";
import { createServerMetrics, createWorkerMetrics } from "../../../src/observability/metrics.ts";
import { createRegistry } from "../../../src/observability/registry.ts";
import { createOrchestrator } from "../../../src/orchestrator/orchestrator.ts";
import { connectWorkerClient } from "../../../src/rpc/client.ts";
import type { ControlHandlers } from "../../../src/rpc/handlers.ts";
import { createRpcServer } from "../../../src/rpc/server.ts";
import type { ProvidersOptions } from "../../../src/secrets/providers.ts";
import { createProviders } from "../../../src/secrets/providers.ts";
import type { Sealer } from "../../../src/secrets/sealing.ts";
import { createSealer, KEY_BYTES } from "../../../src/secrets/sealing.ts";
import { createHttpServer } from "../../../src/server/app.ts";
import { createReader } from "../../../src/server/reader.ts";
import { connectStore } from "../../../src/store/pool.ts";
import { createTools, KNOWN_TOOL_KINDS } from "../../../src/tools/registry.ts";
import { createWorker } from "../../../src/worker/worker.ts";
import { startNats } from "../../support/nats.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { waitFor } from "../../support/wait.ts";

export const KEY = new Uint8Array(KEY_BYTES).fill(5);

export interface PlatformOptions {
  /** Of an earlier platform, whose servers are gone; default: one of its own. */
  readonly databaseUrl?: string;
  readonly secrets?: Sealer;
  readonly providers?: ProvidersOptions;
  readonly canReadSecrets?: boolean;
}

export interface Answer {
  readonly status: number;
  readonly body: Record<string, Json>;
}

export type Platform = Awaited<ReturnType<typeof startPlatform>>;

let count = 0;

export async function startPlatform(options: PlatformOptions = {}) {
  await using stack = new AsyncDisposableStack();
  const lines: string[] = [];
  const log = createLogger({
    level: "debug",
    format: "json",
    component: "test",
    write: (line) => void lines.push(line),
  });
  const databaseUrl = options.databaseUrl ?? stack.use(await createTestDatabase()).url;
  const nats = stack.use(await startNats());
  const bus = stack.use(await connectBus({ url: nats.url, name: "test", log }));
  await bus.ensureStreams();
  const store = stack.use(connectStore(databaseUrl, { max: 4, name: "test" }));
  const registry = createRegistry({ hasProcessMetrics: false });
  const metrics = createServerMetrics(registry, "1");
  const secrets = options.secrets ?? createSealer(KEY);
  const orchestrator = createOrchestrator({
    store,
    bus,
    secrets,
    providers: createProviders({ cacheMs: 0, ...options.providers }),
    metrics,
    log,
    knownTools: KNOWN_TOOL_KINDS,
    serverVersion: "1",
    serverId: `secrets-${process.pid}-${++count}`,
    stream: "NOETL_COMMANDS",
    defaultPool: "default",
    gpuPool: "gpu",
    env: {},
    sweepIntervalMs: 100,
  });
  const reader = createReader({
    sql: store.durable,
    orchestrator,
    pingBus: async () => await bus.ping(),
    secrets,
    workerTimeoutMs: 10_000,
  });
  const http = createHttpServer({
    orchestrator,
    reader,
    metrics,
    registry,
    log,
    version: "1",
    access: { token: undefined, isLoopback: true, origins: [] },
    canReadSecrets: options.canReadSecrets ?? false,
  });
  const rpc = await createRpcServer({ worker: orchestrator, control: noControl, log });
  const port = await rpc.start("127.0.0.1", 0);
  const tools = createTools({ selfCommand: [process.execPath, "src/main.ts"], env: processPath() });
  const client = connectWorkerClient({ addresses: [`127.0.0.1:${port}`] });
  const worker = createWorker({
    workerId: `worker-${process.pid}-${count}` as WorkerId,
    name: "test",
    pool: "default",
    slots: 4,
    hostname: "localhost",
    pid: process.pid,
    version: "1",
    labels: {},
    client,
    bus,
    tools,
    log,
    metrics: createWorkerMetrics(createRegistry({ hasProcessMetrics: false }), "1"),
    env: {},
    graceMs: 100,
    onLog: (line) => void lines.push(JSON.stringify(line)),
  });
  const stopServer = new AbortController();
  const stopWorker = new AbortController();
  const serving = runServices(orchestrator.services(), stopServer.signal);
  const working = worker.run(stopWorker.signal);
  stack.defer(async () => {
    stopWorker.abort();
    await working;
    client.close();
    await tools.close();
    await rpc.stop();
    await http.stop();
    stopServer.abort();
    await serving;
  });
  const owned = stack.move();

  const call = async (method: string, path: string, body?: unknown): Promise<Answer> => {
    const text = body === undefined ? {} : { body: JSON.stringify(body) };
    const response = await http.handle(new Request(`http://localhost${path}`, { method, ...text }));
    return { status: response.status, body: JSON.parse(await response.text()) };
  };
  return {
    call,
    /** Address of the HTTP API, which listens from then on. */
    listen: async () => `http://127.0.0.1:${await http.start("127.0.0.1", 0)}`,
    databaseUrl,
    sql: store.durable,
    orchestrator,
    reader,
    metrics,
    registry,
    lines,
    /** Registers the playbook and runs it to its end. */
    run: async (content: string, payload: Record<string, Json> = {}) => {
      const registered = await call("POST", "/api/catalog/register", { content });
      if (registered.status !== 200) {
        throw new Error(JSON.stringify(registered.body));
      }
      const { path, catalog_id: catalogId } = registered.body;
      const started = await call("POST", "/api/execute", { path, payload });
      const id = String(started.body["execution_id"]);
      const ended = await waitFor(`the end of ${String(path)}`, async () => {
        const { body } = await call("GET", `/api/executions/${id}`);
        return body["status"] === "RUNNING" || body["status"] === "PENDING" ? undefined : body;
      });
      const steps = await call("GET", `/api/executions/${id}/steps`);
      return {
        id,
        catalogId: String(catalogId),
        status: ended["status"],
        /** Text, as the API shows it. */
        message: String(ended["error"] ?? ""),
        /** Of the first step that failed. */
        error: errorOf(steps.body["steps"]),
        steps: steps.body["steps"],
        warnings: registered.body["warnings"],
      };
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** The value of a step. */
export function resultOf(steps: Json | undefined, name: string): Json {
  const list = Array.isArray(steps) ? steps : [];
  return list.find((step) => step.step === name)?.result ?? null;
}

function errorOf(steps: Json | undefined): Json {
  const list = Array.isArray(steps) ? steps : [];
  return list.find((step) => step.error_details !== null)?.error_details ?? null;
}

/** A playbook of these parts. */
export function playbook(path: string, rest: string): string {
  return `apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: ${path}, path: ${path}}
${rest}`;
}

function processPath(): Readonly<Record<string, string>> {
  return { PATH: "/usr/bin:/bin:/usr/local/bin", HOME: "/tmp" };
}

const refuse = (): Promise<never> => Promise.reject(new Error("not in this test"));

const noControl: ControlHandlers = {
  registerPlaybook: refuse,
  start: refuse,
  getExecution: refuse,
  watch: () => {
    throw new Error("not in this test");
  },
  cancel: refuse,
  signal: refuse,
  retry: refuse,
  rerun: refuse,
  listExecutions: refuse,
};
