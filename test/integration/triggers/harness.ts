/** Servers with triggers on one test database and one nats-server, without workers. */

import { connectBus } from "../../../src/bus/bus.ts";
import type { ExecutionId } from "../../../src/core/ids.ts";
import type { Json } from "../../../src/core/json.ts";
import { runServices } from "../../../src/core/service.ts";
import { createLogger } from "../../../src/observability/log.ts";
import { createServerMetrics } from "../../../src/observability/metrics.ts";
import { createRegistry } from "../../../src/observability/registry.ts";
import { createOrchestrator } from "../../../src/orchestrator/orchestrator.ts";
import { createSealer, KEY_BYTES } from "../../../src/secrets/sealing.ts";
import { createHttpServer } from "../../../src/server/app.ts";
import { createReader } from "../../../src/server/reader.ts";
import type { Store } from "../../../src/store/pool.ts";
import { connectStore } from "../../../src/store/pool.ts";
import { createTriggers } from "../../../src/triggers/triggers.ts";
import { startNats } from "../../support/nats.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { toolsNamed } from "../../support/tools.ts";

export type World = Awaited<ReturnType<typeof createWorld>>;
export type Server = Awaited<ReturnType<typeof startServer>>;

/** What servers share. */
export async function createWorld() {
  await using stack = new AsyncDisposableStack();
  const db = stack.use(await createTestDatabase());
  const nats = stack.use(await startNats());
  const owned = stack.move();
  return { db, nats, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

const log = createLogger({
  level: "error",
  format: "text",
  component: "test",
  write: () => undefined,
});

let count = 0;

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: answers of all shapes
  readonly body: any;
}

/** One server; sweeps ten times a second. `wrap` may put something between it and the database. */
export async function startServer({ db, nats }: World, wrap = (store: Store): Store => store) {
  const serverId = `server-${++count}`;
  await using stack = new AsyncDisposableStack();
  const bus = stack.use(await connectBus({ url: nats.url, name: serverId, log }));
  const store = wrap(stack.use(connectStore(db.url, { max: 4, name: serverId })));
  const registry = createRegistry({ hasProcessMetrics: false });
  const metrics = createServerMetrics(registry, "1.0.0");
  const secrets = createSealer(new Uint8Array(KEY_BYTES).fill(5));
  const orchestrator = createOrchestrator({
    store,
    bus,
    secrets,
    metrics,
    log,
    knownTools: toolsNamed("noop", "python"),
    serverVersion: "1.0.0",
    serverId,
    stream: "NOETL_COMMANDS",
    defaultPool: "default",
    gpuPool: "gpu",
    env: {},
    sweepIntervalMs: 100,
  });
  const triggers = createTriggers({
    store,
    bus,
    orchestrator,
    metrics,
    log,
    serverId,
    leaseMs: 1000,
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
    triggers,
    metrics,
    registry,
    log,
    version: "1.0.0",
    access: { token: "secret-token", isLoopback: true, origins: [] },
  });
  const stop = new AbortController();
  const running = runServices([...orchestrator.services(), ...triggers.services()], stop.signal);
  stack.defer(async () => {
    await http.stop();
    stop.abort();
    await running;
  });
  const owned = stack.move();
  const call = async (
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = { authorization: "Bearer secret-token" },
  ): Promise<Answer> => {
    const text = typeof body === "string" ? body : JSON.stringify(body);
    const response = await http.handle(
      new Request(`http://localhost${path}`, {
        method,
        headers,
        ...(body === undefined ? {} : { body: text }),
      }),
    );
    const answer = await response.text();
    return {
      status: response.status,
      headers: response.headers,
      body: answer === "" ? undefined : JSON.parse(answer),
    };
  };
  const register = async (content: string): Promise<Answer> =>
    await call("POST", "/api/catalog/register", { content });
  return {
    serverId,
    call,
    /** Resolves with the address once it listens. */
    listen: async () => `http://127.0.0.1:${await http.start("127.0.0.1", 0)}`,
    register,
    orchestrator,
    triggers,
    bus,
    metricsText: () => registry.text(),
    /** Ends an execution that no worker would. */
    finish: async (id: string) =>
      await orchestrator.finalize(id as ExecutionId, { status: "completed", reason: "done" }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** One step that no worker ever takes, so that its executions run until they are ended. */
export function playbook(path: string): string {
  return JSON.stringify({
    apiVersion: "noetl.io/v2",
    kind: "Playbook",
    metadata: { name: path, path },
    workflow: [{ step: "start", tool: { kind: "noop" } }],
  });
}

export interface StoredExecution {
  readonly executionId: string;
  readonly path: string;
  readonly payload: Json;
  readonly pool: string | null;
  readonly priority: number | null;
}

/** Of the playbook, oldest first. */
export async function executionsOf(
  { db }: World,
  path: string,
): Promise<readonly StoredExecution[]> {
  return await db.sql<StoredExecution[]>`
    SELECT execution_id::text AS "executionId", path, payload, pool, priority
    FROM noetl.execution WHERE path = ${path} ORDER BY execution_id`;
}
