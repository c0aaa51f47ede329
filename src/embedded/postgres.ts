/**
 * An embedded PostgreSQL: real server binaries, one cluster in the data folder, TCP on loopback.
 *
 * The first start runs initdb aside and renames the finished cluster into place, so a start that
 * was cut short is simply repeated. PostgreSQL refuses to run as root; then it runs as `nobody`, and
 * if that user cannot reach the data folder (below /root, say), the cluster lies in
 * /var/lib/noetl/<random>, which `postgres.json` in the data folder names.
 *
 * Two databases: `noetl` belongs to the platform; `playbooks` to a role of its own that cannot even
 * connect to the other one. Both roles have random passwords, kept in `postgres.json` (mode 0600).
 */
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { AppError } from "../core/errors.ts";
import { isJsonObject } from "../core/json.ts";
import type { Child, ChildLog, RunAs } from "./child.ts";
import { openLog, setprivIds, stopStale, superviseChild, usesFolder } from "./child.ts";
import { findFreePort } from "./free-port.ts";
import { defaultCacheDir, postgresHome } from "./programs.ts";

export interface EmbeddedPostgresOptions {
  /** Made if needed. The caller holds its lock, see data-dir.ts. */
  readonly dataDir: string;
  /** Default: the port of the last start if it is free, otherwise any. */
  readonly port?: number | undefined;
  /** Where the binaries are unpacked to. Default {@link defaultCacheDir}. */
  readonly cacheDir?: string | undefined;
  /** Server settings over the defaults below. */
  readonly settings?: Readonly<Record<string, string>>;
  readonly log: ChildLog;
}

export interface EmbeddedPostgres extends Child {
  /** Database `noetl`, as its owner and superuser. Holds the password. */
  readonly url: string;
  /** Database `playbooks`, as its owner, without rights elsewhere. Holds the password. */
  readonly playbooksUrl: string;
  readonly port: number;
}

const USER = "noetl";
const PLAYBOOK_USER = "playbook";
/** `nobody` of every Linux distribution. */
const NOBODY: RunAs = { uid: 65_534, gid: 65_534 };
const ROOT_CLUSTERS = "/var/lib/noetl";
const READY_MS = 60_000;
const STOP_MS = 20_000;

const SETTINGS: Readonly<Record<string, string>> = {
  listen_addresses: "127.0.0.1",
  unix_socket_directories: "",
  max_connections: "100",
  shared_buffers: "128MB",
  // A user's start and a step's outcome are durable before anybody hears of them.
  synchronous_commit: "on",
  // One machine, no replicas: the least log per commit.
  wal_level: "minimal",
  max_wal_senders: "0",
  wal_buffers: "16MB",
  max_wal_size: "2GB",
  checkpoint_timeout: "15min",
  // Workers for asynchronous reads cost more than they give with everything in memory.
  io_method: "sync",
  jit: "off",
  max_parallel_workers_per_gather: "0",
  // The command and timer tables are small and hot: vacuum them early and often.
  autovacuum_naptime: "10s",
  autovacuum_vacuum_scale_factor: "0.05",
  autovacuum_vacuum_insert_scale_factor: "0.2",
  autovacuum_analyze_scale_factor: "0.05",
  log_checkpoints: "off",
  log_line_prefix: "%m [%p] ",
  timezone: "UTC",
  log_timezone: "UTC",
};

/** What is remembered between starts. */
interface Memory {
  /** Folder that holds the cluster as `data`. */
  readonly home: string;
  readonly port: number;
  readonly password: string;
  readonly playbookPassword: string;
}

/**
 * Starts the server, ready for connections, and keeps it running on the same port until stopped.
 *
 * @throws AppError `EMBEDDED_START_FAILED`, `POSTGRES_MISSING`.
 */
export async function startEmbeddedPostgres(
  options: EmbeddedPostgresOptions,
): Promise<EmbeddedPostgres> {
  const binaries = await postgresHome(options.cacheDir ?? defaultCacheDir());
  const runAs = process.getuid?.() === 0 ? NOBODY : undefined;
  mkdirSync(options.dataDir, { recursive: true });
  const remembered = recall(options.dataDir, runAs);
  const cluster = join(remembered.home, "data");
  await stopLeftBehind(cluster);
  if (!existsSync(join(cluster, "PG_VERSION"))) {
    await createCluster({ binaries, runAs, memory: remembered, log: options.log });
  }
  const memory = {
    ...remembered,
    port: options.port ?? (await findFreePort(remembered.port)),
  };
  remember(options.dataDir, memory);
  const child = await runServer(options, { binaries, runAs, memory, cluster });
  return {
    get pid() {
      return child.pid;
    },
    port: memory.port,
    url: url(USER, memory.password, memory.port, "noetl"),
    playbooksUrl: url(PLAYBOOK_USER, memory.playbookPassword, memory.port, "playbooks"),
    stop: () => child.stop(),
    [Symbol.asyncDispose]: () => child.stop(),
  };
}

function url(user: string, password: string, port: number, database: string): string {
  return `postgres://${user}:${password}@127.0.0.1:${port}/${database}`;
}

interface ClusterContext {
  readonly binaries: string;
  readonly runAs: RunAs | undefined;
  readonly memory: Memory;
}

async function runServer(
  options: EmbeddedPostgresOptions,
  context: ClusterContext & { readonly cluster: string },
): Promise<Child> {
  const { cluster, memory } = context;
  const settings = { ...SETTINGS, ...options.settings, port: String(memory.port) };
  const logFile = join(options.dataDir, "postgres.log");
  const logFd = openLog(logFile);
  try {
    return await superviseChild({
      name: "PostgreSQL",
      command: [
        join(context.binaries, "bin", "postgres"),
        "-D",
        cluster,
        ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
      ],
      cwd: cluster,
      env: { LD_LIBRARY_PATH: join(context.binaries, "lib") },
      runAs: context.runAs,
      logFd,
      logFile,
      isReady: (pid) => isServing(cluster, pid),
      readyMs: READY_MS,
      // Fast shutdown, then immediate.
      stopSignals: ["SIGINT", "SIGQUIT"],
      stopMs: STOP_MS,
      deathSignal: "INT",
      log: options.log,
    });
  } catch (error) {
    closeSync(logFd);
    throw error;
  }
}

/**
 * The server writes its state into line 8 of postmaster.pid. See "postmaster.pid" in PostgreSQL's
 * src/include/utils/pidfile.h.
 */
function isServing(cluster: string, pid: number): boolean {
  const lines = readPidFile(cluster);
  return lines[0] === String(pid) && lines[7]?.trim() === "ready";
}

function readPidFile(cluster: string): readonly string[] {
  try {
    return readFileSync(join(cluster, "postmaster.pid"), "utf8").split("\n");
  } catch {
    // No server.
    return [];
  }
}

async function stopLeftBehind(cluster: string): Promise<void> {
  const pid = Number(readPidFile(cluster)[0]);
  if (pid > 0) {
    await stopStale(pid, (candidate) => usesFolder(candidate, cluster), "SIGINT");
  }
}

function recall(dataDir: string, runAs: RunAs | undefined): Memory {
  try {
    const stored: unknown = JSON.parse(readFileSync(join(dataDir, "postgres.json"), "utf8"));
    if (isJsonObject(stored)) {
      return {
        home: String(stored["home"]),
        port: Number(stored["port"]),
        password: String(stored["password"]),
        playbookPassword: String(stored["playbookPassword"]),
      };
    }
  } catch {
    // The first start in this folder.
  }
  return {
    home: chooseHome(dataDir, runAs),
    port: 0,
    password: randomPassword(),
    playbookPassword: randomPassword(),
  };
}

function remember(dataDir: string, memory: Memory): void {
  const path = join(dataDir, "postgres.json");
  writeFileSync(`${path}.new`, `${JSON.stringify(memory, null, 2)}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

function randomPassword(): string {
  return crypto.getRandomValues(new Uint8Array(24)).toHex();
}

function chooseHome(dataDir: string, runAs: RunAs | undefined): string {
  if (runAs === undefined) {
    return join(dataDir, "postgres");
  }
  // Ours, and no secret: everything inside has a mode of its own.
  chmodSync(dataDir, statSync(dataDir).mode | 0o011);
  return canBeReached(dataDir)
    ? join(dataDir, "postgres")
    : join(ROOT_CLUSTERS, randomPassword().slice(0, 16));
}

/** True if every folder from the root down lets others through. */
function canBeReached(dir: string): boolean {
  const isOpen = (statSync(dir).mode & 0o001) !== 0;
  return isOpen && (dirname(dir) === dir || canBeReached(dirname(dir)));
}

async function createCluster(context: ClusterContext & { readonly log: ChildLog }): Promise<void> {
  const { binaries, runAs, memory } = context;
  const startedAtMs = performance.now();
  const aside = join(memory.home, "new");
  const passwordFile = join(memory.home, "password");
  mkdirSync(memory.home, { recursive: true, mode: runAs === undefined ? 0o700 : 0o711 });
  if (runAs !== undefined) {
    chownSync(memory.home, runAs.uid, runAs.gid);
  }
  rmSync(aside, { recursive: true, force: true });
  writeFileSync(passwordFile, memory.password, { mode: 0o600 });
  if (runAs !== undefined) {
    chownSync(passwordFile, runAs.uid, runAs.gid);
  }
  const program = (name: string): string => join(binaries, "bin", name);
  await runProgram(context, [
    ...[program("initdb"), "-D", aside, "-U", USER, "--pwfile", passwordFile],
    ...["--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale", "--no-instructions"],
    ...["--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"],
  ]);
  rmSync(passwordFile);
  await runProgram(
    context,
    [program("postgres"), "--single", "-D", aside, "-c", "unix_socket_directories=", "postgres"],
    firstStatements(memory),
  );
  renameSync(aside, join(memory.home, "data"));
  context.log.debug("made a PostgreSQL cluster", {
    folder: memory.home,
    durationMs: Math.round(performance.now() - startedAtMs),
  });
}

/** One statement a line, as the single-user mode reads them. */
function firstStatements(memory: Memory): string {
  return [
    `CREATE ROLE ${PLAYBOOK_USER} LOGIN PASSWORD '${memory.playbookPassword}'`,
    `CREATE DATABASE ${USER} OWNER ${USER}`,
    `CREATE DATABASE playbooks OWNER ${PLAYBOOK_USER}`,
    `REVOKE CONNECT ON DATABASE ${USER}, postgres FROM PUBLIC`,
    "",
  ].join(";\n");
}

async function runProgram(
  { binaries, runAs, memory }: ClusterContext,
  command: readonly string[],
  input = "",
): Promise<void> {
  const setpriv = Bun.which("setpriv");
  const isWrapped = runAs !== undefined && setpriv !== null;
  const child = Bun.spawn(
    isWrapped ? [setpriv, ...setprivIds(runAs), "--", ...command] : [...command],
    {
      cwd: memory.home,
      env: {
        PATH: "/usr/local/bin:/usr/bin:/bin",
        LC_ALL: "C.UTF-8",
        TZ: "UTC",
        LD_LIBRARY_PATH: join(binaries, "lib"),
      },
      stdin: new Blob([input]),
      stdout: "pipe",
      stderr: "pipe",
      ...(runAs !== undefined && !isWrapped ? { uid: runAs.uid, gid: runAs.gid } : {}),
    },
  );
  const [stdout, stderr, exit] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  // The single-user mode goes on after a failed statement.
  if (exit !== 0 || /^\S.*\b(ERROR|FATAL|PANIC):/m.test(stderr)) {
    throw new AppError(
      "unavailable",
      "EMBEDDED_START_FAILED",
      `Cannot make a PostgreSQL cluster in ${memory.home}: ${command[0]} ended with ${exit}\n${stdout}${stderr}`,
    );
  }
}
