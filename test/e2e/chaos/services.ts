/** PostgreSQL and nats-server as an operator would run them: outside the platform, on fixed ports. */
import { chownSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import postgres from "postgres";
import { findFreePort } from "../../../src/embedded/free-port.ts";
import { defaultCacheDir, natsServer, postgresHome } from "../../../src/embedded/programs.ts";
import { Component } from "./component.ts";

/** Nobody: PostgreSQL refuses to run as root. */
const UNPRIVILEGED = { uid: 65_534, gid: 65_534 };

const POSTGRES_SETTINGS = `
listen_addresses = '127.0.0.1'
max_connections = 100
synchronous_commit = on
fsync = on
shared_buffers = 128MB
max_wal_size = 1GB
`;

export interface PostgresService {
  readonly component: Component;
  /** Of the database `noetl`. */
  readonly url: string;
}

/** Makes a cluster under `dir` with an empty database `noetl` and starts it. */
export async function startPostgres(dir: string): Promise<PostgresService> {
  const programs = join(await postgresHome(defaultCacheDir()), "bin");
  const port = await findFreePort();
  const data = join(dir, "postgres");
  const runAs = process.getuid?.() === 0 ? UNPRIVILEGED : undefined;
  await initDatabase(join(programs, "initdb"), data, runAs);
  const url = (database: string): string => `postgres://postgres@127.0.0.1:${port}/${database}`;
  const component = new Component({
    name: "postgres",
    command: [join(programs, "postgres"), "-D", data, "-p", String(port), "-k", data],
    logFile: join(dir, "postgres.log"),
    ...(runAs === undefined ? {} : { runAs }),
    isReady: () => canQuery(url("postgres")),
  });
  await component.start();
  await query(url("postgres"), "CREATE DATABASE noetl");
  return { component, url: url("noetl") };
}

export interface NatsService {
  readonly component: Component;
  readonly url: string;
  /** Deletes everything JetStream has stored; only while the server is down. */
  wipe(): void;
}

/** @param name also of its folder and log below `dir`. */
export async function startNats(dir: string, name: string): Promise<NatsService> {
  const store = join(dir, name);
  const [port, monitor] = [await findFreePort(), await findFreePort()];
  const component = new Component({
    name,
    command: [
      await natsServer(defaultCacheDir()),
      "-a",
      "127.0.0.1",
      "-p",
      String(port),
      "-m",
      String(monitor),
      "-js",
      "-sd",
      store,
    ],
    logFile: join(dir, `${name}.log`),
    isReady: async () =>
      (await fetch(`http://127.0.0.1:${monitor}/healthz?js-enabled-only=true`)).status === 200,
  });
  await component.start();
  return {
    component,
    url: `nats://127.0.0.1:${port}`,
    wipe: () => rmSync(store, { recursive: true, force: true }),
  };
}

async function initDatabase(
  program: string,
  data: string,
  runAs: typeof UNPRIVILEGED | undefined,
): Promise<void> {
  mkdirSync(data, { recursive: true, mode: 0o700 });
  if (runAs !== undefined) {
    chownSync(data, runAs.uid, runAs.gid);
  }
  const init = Bun.spawn(
    [program, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"],
    { cwd: "/", env: { LC_ALL: "C.UTF-8", TZ: "UTC" }, stdout: "ignore", stderr: "pipe", ...runAs },
  );
  if ((await init.exited) !== 0) {
    throw new Error(`initdb failed: ${await new Response(init.stderr).text()}`);
  }
  writeFileSync(join(data, "postgresql.auto.conf"), POSTGRES_SETTINGS);
}

async function canQuery(url: string): Promise<boolean> {
  await query(url, "SELECT 1");
  return true;
}

async function query(url: string, text: string): Promise<void> {
  const sql = postgres(url, { max: 1, connect_timeout: 1, onnotice: () => {} });
  try {
    await sql.unsafe(text);
  } finally {
    await sql.end({ timeout: 1 });
  }
}
