/**
 * A whole platform of processes that can be killed one by one: PostgreSQL, nats-server, one or two
 * servers on one database, several workers, and a nats-server that only playbooks use, each on ports
 * that stay the same over restarts.
 */
import postgres from "postgres";
import { findFreePort } from "../../../src/embedded/free-port.ts";
import { Api } from "../../bench/api.ts";
import { serverComponent, workerComponent } from "../../bench/platform.ts";
import { processTree } from "../../bench/process-tree.ts";
import type { Component } from "./component.ts";
import type { NatsService } from "./services.ts";
import { startNats, startPostgres } from "./services.ts";

export interface ClusterOptions {
  /** Empty folder that every user may enter. */
  readonly dir: string;
  readonly serverCount: number;
  readonly workerCount: number;
  /** Of each worker. */
  readonly slots: number;
  readonly workerEnv?: Readonly<Record<string, string>>;
}

export interface Cluster extends AsyncDisposable {
  /** With the logs of all of them. */
  readonly dir: string;
  readonly postgres: Component;
  readonly nats: NatsService;
  /** Of the playbooks; the platform has nothing in it. */
  readonly outerNats: NatsService;
  readonly servers: readonly Component[];
  readonly workers: readonly Component[];
  /** One for each server. */
  readonly apis: readonly Api[];
  /** Of the servers, as `host:port`. */
  readonly grpcAddresses: readonly string[];
  readonly databaseUrl: string;
  /** Reconnects by itself; its queries fail while the database is down. */
  readonly sql: postgres.Sql;
  /** Tool processes of all workers. */
  runners(): readonly number[];
}

export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  const { dir, serverCount, workerCount, slots, workerEnv } = options;
  await using stack = new AsyncDisposableStack();
  const database = await startPostgres(dir);
  stack.use(database.component);
  const nats = await startNats(dir, "nats-server");
  stack.use(nats.component);
  const outerNats = await startNats(dir, "outer-nats");
  stack.use(outerNats.component);
  const ports = await Promise.all(
    Array.from({ length: serverCount }, async () => ({
      port: await findFreePort(),
      grpcPort: await findFreePort(),
    })),
  );
  const env = {
    DATABASE_URL: database.url,
    NATS_URL: nats.url,
    // Servers of one database share the key of its secrets.
    NOETL_ENCRYPTION_KEY: Buffer.alloc(32, 7).toString("base64"),
  };
  const servers = ports.map(({ port, grpcPort }, index) =>
    serverComponent({
      dir,
      name: `server-${index + 1}`,
      port,
      grpcPort,
      env: { ...env, NOETL_DATA_DIR: `${dir}/server-${index + 1}` },
    }),
  );
  const apis = ports.map(({ port }) => new Api(`http://127.0.0.1:${port}`));
  for (const server of servers) {
    await stack.use(server).start();
  }
  const sql = postgres(database.url, { max: 4, onnotice: () => undefined });
  stack.defer(() => sql.end({ timeout: 1 }));
  const workers = Array.from({ length: workerCount }, (_, index) =>
    workerComponent({
      dir,
      name: `worker-${index + 1}`,
      grpcPorts: ports.map(({ grpcPort }) => grpcPort),
      slots,
      natsUrl: nats.url,
      filesDir: `${dir}/files`,
      env: { NOETL_GRACE_TIME: "4s", ...workerEnv },
      sql,
    }),
  );
  await Promise.all(workers.map((worker) => stack.use(worker).start()));
  const owned = stack.move();
  return {
    dir,
    postgres: database.component,
    nats,
    outerNats,
    servers,
    workers,
    apis,
    grpcAddresses: ports.map(({ grpcPort }) => `127.0.0.1:${grpcPort}`),
    databaseUrl: database.url,
    sql,
    runners: () => workers.flatMap((worker) => processTree(worker.pid).slice(1)),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
