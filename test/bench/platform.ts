/**
 * The platform under test: one server and one worker as processes of their own, on an embedded
 * PostgreSQL and nats-server with the settings that the platform itself gives them. Started from
 * the compiled binary when it is newer than the sources, otherwise from the sources.
 */
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { Glob } from "bun";
import postgres from "postgres";
import { findFreePort } from "../../src/embedded/free-port.ts";
import { startEmbeddedNats } from "../../src/embedded/nats.ts";
import { startEmbeddedPostgres } from "../../src/embedded/postgres.ts";
import { Component } from "../e2e/chaos/component.ts";
import { SILENT_LOG } from "../support/log.ts";
import { Api } from "./api.ts";

export interface Platform extends AsyncDisposable {
  readonly api: Api;
  readonly databaseUrl: string;
  readonly natsUrl: string;
  /** What was started, for the report. */
  readonly command: string;
  /** The setting that decides whether commits are durable. */
  readonly synchronousCommit: string;
  /** Roots of the process trees whose cost counts. */
  rootPids(): readonly { readonly name: string; readonly pid: number }[];
  endedExecutions(): Promise<number>;
  /** Another one, until the end of the scope. */
  startWorker(
    options: Pick<WorkerOptions, "env" | "name" | "pool" | "slots">,
  ): Promise<AsyncDisposable>;
  /** Committed in the platform's database so far. */
  transactions(): Promise<number>;
}

const ROOT = join(import.meta.dir, "../..");
const BINARY = join(ROOT, "dist/noetl");

/**
 * Program and first arguments that run `noetl`: the one of `NOETL_BINARY`, or that of this checkout. With `BENCH_PROFILE=DIR` from the sources, and each
 * process leaves a .cpuprofile there.
 */
export function noetlCommand(): readonly string[] {
  const profileDir = process.env["BENCH_PROFILE"];
  const main = join(ROOT, "src/main.ts");
  if (profileDir !== undefined) {
    return [process.execPath, "--cpu-prof", `--cpu-prof-dir=${profileDir}`, main];
  }
  const given = process.env["NOETL_BINARY"];
  if (given !== undefined) {
    return [given];
  }
  return isBinaryCurrent() ? [BINARY] : [process.execPath, main];
}

function isBinaryCurrent(): boolean {
  if (!existsSync(BINARY)) {
    return false;
  }
  const builtAt = statSync(BINARY).mtimeMs;
  const sources = [...new Glob("src/**/*").scanSync({ cwd: ROOT })];
  return sources.every((path) => statSync(join(ROOT, path)).mtimeMs < builtAt);
}

export interface PlatformOptions {
  /** Empty folder that every user may enter. */
  readonly dir: string;
  readonly slots: number;
}

export async function startPlatform({ dir, slots }: PlatformOptions): Promise<Platform> {
  await using stack = new AsyncDisposableStack();
  const database = stack.use(await startEmbeddedPostgres({ dataDir: dir, log: SILENT_LOG }));
  const nats = stack.use(await startEmbeddedNats({ dataDir: dir, log: SILENT_LOG }));
  const [port, grpcPort] = [await findFreePort(), await findFreePort()];
  const env = {
    DATABASE_URL: database.url,
    NATS_URL: nats.url,
    NOETL_DATA_DIR: join(dir, "server"),
  };
  const api = new Api(`http://127.0.0.1:${port}`);
  const server = stack.use(serverComponent({ dir, name: "server", port, grpcPort, env }));
  await server.start();
  const sql = postgres(database.url, { max: 1 });
  stack.defer(() => sql.end({ timeout: 1 }));
  const common = {
    ...{ dir, sql, grpcPorts: [grpcPort], natsUrl: nats.url },
    filesDir: join(dir, "files"),
  };
  const worker = stack.use(workerComponent({ ...common, name: "worker", slots }));
  await worker.start();
  const statistics = postgres(database.url, { max: 1, database: "postgres" });
  stack.defer(() => statistics.end({ timeout: 1 }));
  const [setting] = await sql<{ value: string }[]>`
    SELECT current_setting('synchronous_commit') AS value`;
  const owned = stack.move();
  return {
    api,
    databaseUrl: database.url,
    natsUrl: nats.url,
    command: noetlCommand().join(" "),
    synchronousCommit: setting?.value ?? "",
    rootPids: () => [
      { name: "server", pid: server.pid },
      { name: "worker", pid: worker.pid },
      { name: "PostgreSQL", pid: database.pid },
      { name: "NATS", pid: nats.pid },
    ],
    endedExecutions: () => countEnded(sql),
    startWorker: async (more) => {
      const another = workerComponent({ ...common, ...more });
      await another.start();
      return another;
    },
    transactions: () => countTransactions(statistics),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

export interface ServerOptions {
  readonly dir: string;
  readonly name: string;
  readonly port: number;
  readonly grpcPort: number;
  readonly env: Readonly<Record<string, string>>;
}

/** `noetl server`, not started. */
export function serverComponent({ dir, name, port, grpcPort, env }: ServerOptions): Component {
  const address = ["--host", "127.0.0.1", "--port", String(port), "--grpc-port", String(grpcPort)];
  return new Component({
    name,
    command: [...noetlCommand(), "server", ...address, "--default-pool", POOL],
    env,
    logFile: join(dir, `${name}.log`),
    isReady: async () => (await fetch(`http://127.0.0.1:${port}/api/health`)).ok,
  });
}

export interface WorkerOptions {
  readonly dir: string;
  /** Also its name in the platform. */
  readonly name: string;
  readonly grpcPorts: readonly number[];
  readonly slots: number;
  /** Default {@link POOL}. */
  readonly pool?: string;
  readonly natsUrl: string;
  /** Of the files that tasks name; workers on one machine may share it. */
  readonly filesDir: string;
  /** Further settings. */
  readonly env?: Readonly<Record<string, string>>;
  /** Asked whether the worker has registered. */
  readonly sql: postgres.Sql;
}

export const POOL = "cpu-01";

/** `noetl worker`, not started. */
export function workerComponent(options: WorkerOptions): Component {
  const { dir, name, grpcPorts, slots, natsUrl, filesDir, env, sql, pool = POOL } = options;
  const servers = grpcPorts.map((port) => `127.0.0.1:${port}`).join(",");
  const component: Component = new Component({
    name,
    command: [
      ...[...noetlCommand(), "worker", "--pool", pool, "--slots", String(slots)],
      ...["--name", name, "--server", servers],
    ],
    env: { NATS_URL: natsUrl, NOETL_FILES_DIR: filesDir, ...env },
    logFile: join(dir, `${name}.log`),
    isReady: () => isRegistered(sql, component.pid),
  });
  return component;
}

async function isRegistered(sql: postgres.Sql, pid: number): Promise<boolean> {
  const rows = await sql`SELECT 1 FROM noetl.worker WHERE pid = ${pid}`;
  return rows.length > 0;
}

async function countEnded(sql: postgres.Sql): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    SELECT count(*)::int AS count FROM noetl.execution WHERE status IN ('completed', 'failed', 'cancelled')`;
  return row?.count ?? 0;
}

async function countTransactions(sql: postgres.Sql): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    SELECT (xact_commit + xact_rollback)::int AS count FROM pg_stat_database WHERE datname = 'noetl'`;
  return row?.count ?? 0;
}
