/** PostgreSQL and NATS as `deploy/` configures them, as processes of this machine. */
import { chmodSync, chownSync, cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { connect } from "nats";
import postgres from "postgres";
import { findFreePort } from "../../src/embedded/free-port.ts";
import { defaultCacheDir, natsServer, postgresHome } from "../../src/embedded/programs.ts";
import { ROOT } from "./manifests.ts";
import { makeScratchDir } from "./scratch.ts";
import { waitFor } from "./wait.ts";

const NOBODY = 65_534;
const NAME = /^([A-Z_]+)=(.*)$/gm;

/** A file of settings, as kustomize reads it. */
export function readEnv(path: string): Record<string, string> {
  const text = readFileSync(join(ROOT, "deploy", path), "utf8");
  return Object.fromEntries(
    [...text.matchAll(NAME)].map(([, name = "", value = ""]) => [name, value]),
  );
}

export interface DeployedPostgres extends AsyncDisposable {
  readonly port: number;
  /** Of the superuser. */
  readonly sql: postgres.Sql;
}

/** With postgresql.conf, made ready by init.sh. */
export async function startDeployedPostgres(): Promise<DeployedPostgres> {
  const home = await postgresHome(defaultCacheDir());
  const dir = makeScratchDir("deployed-postgres");
  const isRoot = process.getuid?.() === 0;
  const user = isRoot ? { uid: NOBODY, gid: NOBODY } : {};
  if (isRoot) {
    chownSync(dir, NOBODY, NOBODY);
  }
  const data = join(dir, "data");
  const config = join(dir, "postgresql.conf");
  cpSync(join(ROOT, "deploy/base/postgres/postgresql.conf"), config);
  chmodSync(config, 0o644);
  const init = ["initdb", "-D", data, "-U", "postgres", "--auth=trust", "--data-checksums"];
  const made = Bun.spawnSync([join(home, "bin/initdb"), ...init.slice(1)], { ...user, cwd: dir });
  if (made.exitCode !== 0) {
    throw new Error(`initdb: ${made.stderr}`);
  }
  const port = await findFreePort();
  const here = { listen_addresses: "127.0.0.1", unix_socket_directories: "", fsync: "off" };
  const settings = Object.entries({ config_file: config, port, ...here }).flatMap(
    ([name, value]) => ["-c", `${name}=${value}`],
  );
  const log = Bun.file(join(dir, "log"));
  const child = Bun.spawn([join(home, "bin/postgres"), "-D", data, ...settings], {
    ...user,
    cwd: dir,
    stdout: log,
    stderr: log,
  });
  const sql = postgres({
    ...{ host: "127.0.0.1", port, user: "postgres", database: "postgres", max: 2 },
    onnotice: () => undefined,
  });
  await waitFor("PostgreSQL", async () => {
    if (child.exitCode !== null) {
      throw new Error(readFileSync(join(dir, "log"), "utf8"));
    }
    return (await sql`SELECT 1`).length === 1;
  });
  await runInit(sql);
  return {
    port,
    sql,
    [Symbol.asyncDispose]: async () => {
      await sql.end();
      child.kill("SIGINT");
      await child.exited;
    },
  };
}

/** What init.sh sends to psql, whose variables are put in as it would. */
async function runInit(sql: postgres.Sql): Promise<void> {
  const dir = makeScratchDir("psql");
  const said = `#!/bin/sh\nprintf '%s\\n' "$@"; echo; cat\n`;
  writeFileSync(join(dir, "psql"), said, { mode: 0o755 });
  const secrets = readEnv("overlays/local/secrets/postgres.env");
  const run = Bun.spawnSync(["sh", join(ROOT, "deploy/base/postgres/init.sh")], {
    env: { PATH: `${dir}:/usr/bin:/bin`, POSTGRES_USER: "postgres", ...secrets },
  });
  const [words = "", ...rest] = run.stdout.toString().split("\n\n");
  const values = new Map([...words.matchAll(/^(\w+)=(.*)$/gm)].map(([, k = "", v = ""]) => [k, v]));
  const script = rest.join("\n\n").replaceAll(/:'(\w+)'/g, (_all, name) => {
    const value = values.get(name);
    if (value === undefined) {
      throw new Error(`init.sh gives psql no ${name}`);
    }
    return `'${value}'`;
  });
  for (const statement of script.split(";").filter((text) => text.trim() !== "")) {
    await sql.unsafe(statement);
  }
}

export interface DeployedNats extends AsyncDisposable {
  /** Of all servers, with commas. */
  readonly url: string;
  readonly servers: readonly Subprocess[];
  readonly user: string;
  readonly password: string;
}

/** With nats.conf; more than one as the production overlay joins them. */
export async function startDeployedNats(count: 1 | 3 = 1): Promise<DeployedNats> {
  const program = await natsServer(defaultCacheDir());
  const secrets = readEnv("overlays/local/secrets/nats.env");
  const ports: number[][] = [];
  for (let number = 0; number < count; number++) {
    ports.push([await findFreePort(), await findFreePort(), await findFreePort()]);
  }
  const servers = ports.map(([client = 0, monitor = 0], number) => {
    const dir = makeScratchDir("deployed-nats");
    const place = (text: string): string =>
      text
        .replaceAll("/data", join(dir, "data"))
        .replaceAll("/var/run/nats", dir)
        .replaceAll("0.0.0.0:4222", `127.0.0.1:${client}`)
        .replaceAll("0.0.0.0:8222", `127.0.0.1:${monitor}`)
        .replaceAll("0.0.0.0:6222", `127.0.0.1:${ports[number]?.[2]}`)
        .replaceAll(/nats-(\d)\.nats-headless:6222/g, (_all, n) => `127.0.0.1:${ports[n]?.[2]}`);
    const folder = count === 1 ? "base/nats/cluster.conf" : "overlays/production/nats-cluster.conf";
    mkdirSync(join(dir, "data"));
    for (const [name, source] of [
      ["nats.conf", "base/nats/nats.conf"],
      ["cluster.conf", folder],
    ] as const) {
      const text = readFileSync(join(ROOT, "deploy", source), "utf8");
      writeFileSync(join(dir, name), place(text));
    }
    return Bun.spawn([program, "--config", join(dir, "nats.conf")], {
      env: { ...secrets, SERVER_NAME: `nats-${number}` },
      stdout: "ignore",
      stderr: Bun.file(join(dir, "log")),
    });
  });
  const urls = ports.map(([client]) => `nats://127.0.0.1:${client}`);
  const { NATS_USER: user = "", NATS_PASSWORD: password = "" } = secrets;
  await waitFor("JetStream", async () => {
    const connection = await connect({ servers: urls, user, pass: password });
    await connection.jetstreamManager().finally(() => connection.close());
    return true;
  });
  return {
    url: urls.join(","),
    servers,
    user,
    password,
    [Symbol.asyncDispose]: async () => {
      for (const server of servers) {
        server.kill("SIGKILL");
      }
      await Promise.all(servers.map((server) => server.exited));
    },
  };
}
