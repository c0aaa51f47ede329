/** A platform of processes as they run in production, whose metrics, logs and traces tests look at. */
import { join } from "node:path";
import type { Subprocess } from "bun";
import { findFreePort } from "../../../src/embedded/free-port.ts";
import { startNats } from "../../support/nats.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import { waitFor } from "../../support/wait.ts";

const MAIN = join(import.meta.dir, "../../../src/main.ts");
const ENDED = new Set(["COMPLETED", "FAILED", "CANCELLED"]);

export interface PlatformOptions {
  /** Of the server and of all workers. */
  readonly env?: Readonly<Record<string, string>>;
}

/** A server or worker, and what it has written. */
export interface PlatformProcess {
  readonly child: Subprocess;
  /** Lines of its log so far. */
  readonly lines: readonly string[];
}

export interface ObservedPlatform extends AsyncDisposable {
  readonly url: string;
  readonly server: PlatformProcess;
  /** Resolves once it pulls work. */
  startWorker(pool: string, metricsPort?: number): Promise<PlatformProcess>;
  register(document: string): Promise<void>;
  /** Gives the execution's id. */
  start(path: string, headers?: Readonly<Record<string, string>>): Promise<string>;
  status(id: string): Promise<string>;
  /** Gives its final status. */
  ended(id: string): Promise<string>;
}

export async function startObserved({ env = {} }: PlatformOptions = {}): Promise<ObservedPlatform> {
  await using stack = new AsyncDisposableStack();
  const database = stack.use(await createTestDatabase({ isMigrated: false }));
  const nats = stack.use(await startNats());
  const dataDir = makeScratchDir("observed");
  const [port, grpcPort] = [await findFreePort(), await findFreePort()];
  const common = { NATS_URL: nats.url, NOETL_LOG_FORMAT: "json", NOETL_DATA_DIR: dataDir, ...env };
  const spawn = (args: readonly string[], own: Readonly<Record<string, string>>) => {
    const started = startProcess(args, { ...common, ...own });
    stack.defer(() => end(started));
    return started;
  };
  const server = spawn(["server", "--port", String(port), "--grpc-port", String(grpcPort)], {
    DATABASE_URL: database.url,
  });
  const url = `http://127.0.0.1:${port}`;
  await waitFor("the server", async () => (await fetch(`${url}/livez`)).ok);
  const owned = stack.move();
  return {
    url,
    server,
    startWorker: async (pool, metricsPort) => {
      const metrics = metricsPort ?? (await findFreePort());
      const worker = startProcess(
        [
          "worker",
          "--pool",
          pool,
          "--server",
          `127.0.0.1:${grpcPort}`,
          "--metrics-port",
          `${metrics}`,
        ],
        common,
      );
      owned.defer(() => end(worker));
      await waitFor(
        "the worker",
        async () => (await fetch(`http://127.0.0.1:${metrics}/readyz`)).ok,
      );
      return worker;
    },
    register: async (document) => {
      const answer = await post(`${url}/api/catalog/register`, { content: document });
      if (!answer.ok) {
        throw new Error(`Not registered: ${await answer.text()}`);
      }
    },
    start: async (path, headers = {}) => {
      const answer = await post(`${url}/api/execute`, { path }, headers);
      const { execution_id: id } = (await answer.json()) as { execution_id: string };
      return id;
    },
    status: async (id) => await statusOf(url, id),
    ended: async (id) =>
      await waitFor(`the end of ${id}`, async () => {
        const status = await statusOf(url, id);
        return ENDED.has(status) ? status : undefined;
      }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function statusOf(url: string, id: string): Promise<string> {
  const answer = await fetch(`${url}/api/executions/${id}/status`);
  const { status } = (await answer.json()) as { status: string };
  return status.toUpperCase();
}

function post(
  url: string,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<Response> {
  return fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
}

function startProcess(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): PlatformProcess {
  const child = Bun.spawn([process.execPath, MAIN, ...args], {
    env: { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "/", ...env },
    stdout: "pipe",
    stderr: "pipe",
  });
  const lines: string[] = [];
  void collect(child.stdout, lines);
  void collect(child.stderr, lines);
  return { child, lines };
}

async function collect(stream: ReadableStream<Uint8Array>, lines: string[]): Promise<void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const part of stream) {
    const parts = (rest + decoder.decode(part, { stream: true })).split("\n");
    rest = parts.pop() ?? "";
    lines.push(...parts);
  }
}

async function end({ child }: PlatformProcess): Promise<void> {
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), 10_000);
  await child.exited;
  clearTimeout(timer);
}

/** The metrics at an address, in Prometheus' text format. */
export async function scrape(url: string): Promise<string> {
  return await (await fetch(url)).text();
}
