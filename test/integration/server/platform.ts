/** A server on a real database and a real bus, without workers: tests end commands from outside. */

import { connectBus } from "../../../src/bus/bus.ts";
import { createOperator } from "../../../src/cli/operator.ts";
import { Secret } from "../../../src/core/secret.ts";
import { runServices } from "../../../src/core/service.ts";
import { createLogger } from "../../../src/observability/log.ts";
import { createServerMetrics } from "../../../src/observability/metrics.ts";
import { createRegistry } from "../../../src/observability/registry.ts";
import { createOrchestrator } from "../../../src/orchestrator/orchestrator.ts";
import { createSealer, KEY_BYTES } from "../../../src/secrets/sealing.ts";
import { createHttpServer } from "../../../src/server/app.ts";
import { createReader } from "../../../src/server/reader.ts";
import { connectStore } from "../../../src/store/pool.ts";
import { createTriggers } from "../../../src/triggers/triggers.ts";
import { startNats } from "../../support/nats.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { toolsNamed } from "../../support/tools.ts";

export type Platform = Awaited<ReturnType<typeof startPlatform>>;

export const OPERATOR_TOKEN = "operator-secret";

/** Metrics and pages are no JSON. */
function readAnswer(text: string) {
  return /^[[{"\dtfn]/.test(text) ? JSON.parse(text) : text;
}

const log = createLogger({
  level: "error",
  format: "text",
  component: "test",
  write: () => undefined,
});

export async function startPlatform() {
  await using stack = new AsyncDisposableStack();
  const db = stack.use(await createTestDatabase());
  const nats = stack.use(await startNats());
  const bus = stack.use(await connectBus({ url: nats.url, name: "test", log }));
  const store = stack.use(
    connectStore(db.url, { max: 4, name: "test", statementTimeoutMs: 10_000 }),
  );
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
    serverId: "server-1",
    stream: "NOETL_COMMANDS",
    defaultPool: "default",
    gpuPool: "gpu",
    env: {},
  });
  const reader = createReader({
    sql: store.durable,
    orchestrator,
    pingBus: async () => await bus.ping(),
    secrets,
    workerTimeoutMs: 10_000,
  });
  const triggers = createTriggers({
    store,
    bus,
    orchestrator,
    metrics,
    log,
    serverId: "server-1",
  });
  const { query } = createOperator({
    token: undefined,
    databaseUrl: new Secret(db.url),
    orchestrator,
  });
  const server = createHttpServer({
    orchestrator,
    reader,
    triggers,
    knownTools: toolsNamed("noop", "python"),
    connectionCountMax: 4,
    operatorQuery: query,
    metrics,
    registry,
    log,
    version: "1.0.0",
    access: { token: undefined, operatorToken: OPERATOR_TOKEN, isLoopback: true, origins: [] },
  });
  const stop = new AbortController();
  const running = runServices(orchestrator.services(), stop.signal);
  stack.defer(async () => {
    await server.stop();
    stop.abort();
    await running;
  });
  const owned = stack.move();
  const call = async (
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ) => {
    const text =
      body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) };
    const response = await server.handle(
      new Request(`http://localhost${path}`, { method, headers, ...text }),
    );
    const answer = await response.text();
    return { status: response.status, headers: response.headers, body: readAnswer(answer) };
  };
  const stream = async (path: string, headers: Record<string, string> = {}) =>
    await (await server.handle(new Request(`http://localhost${path}`, { headers }))).text();
  return {
    call,
    handle: (request: Request) => server.handle(request),
    stream,
    /** Listens; gives the address. */
    listen: async () => `http://127.0.0.1:${await server.start("127.0.0.1", 0)}`,
    orchestrator,
    db,
    bus,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
