/**
 * An embedded nats-server with JetStream, on loopback, with its store in the data folder.
 *
 * The store holds doorbells and recent log lines only; deleting it costs nothing that lasts.
 */
import { closeSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Child, ChildLog } from "./child.ts";
import { openLog, stopStale, superviseChild, usesFolder } from "./child.ts";
import { findFreePort } from "./free-port.ts";
import { defaultCacheDir, natsServer } from "./programs.ts";

export interface EmbeddedNatsOptions {
  /** Made if needed. The caller holds its lock, see data-dir.ts. */
  readonly dataDir: string;
  /** Default: the port of the last start if it is free, otherwise any. */
  readonly port?: number | undefined;
  readonly cacheDir?: string | undefined;
  readonly log: ChildLog;
}

export interface EmbeddedNats extends Child {
  readonly url: string;
  readonly port: number;
  /** `http://…`: nats-server's own monitoring. */
  readonly monitorUrl: string;
  /** Folder of the JetStream store. */
  readonly storeDir: string;
}

const READY_MS = 30_000;
const STOP_MS = 5000;

/**
 * Starts the server, JetStream ready, and keeps it running on the same port until stopped.
 *
 * @throws AppError `EMBEDDED_START_FAILED`, `NATS_SERVER_MISSING`.
 */
export async function startEmbeddedNats(options: EmbeddedNatsOptions): Promise<EmbeddedNats> {
  const program = await natsServer(options.cacheDir ?? defaultCacheDir());
  const dir = join(options.dataDir, "nats");
  const storeDir = join(dir, "store");
  mkdirSync(storeDir, { recursive: true, mode: 0o700 });
  await stopLeftBehind(dir);
  const remembered = recallPorts(dir);
  const port = options.port ?? (await findFreePort(remembered.port));
  const monitorPort = await findFreePort(remembered.monitorPort);
  writeFileSync(join(dir, "ports.txt"), `${port} ${monitorPort}`);
  const child = await runServer(options, { program, dir, storeDir, port, monitorPort });
  return {
    get pid() {
      return child.pid;
    },
    port,
    storeDir,
    url: `nats://127.0.0.1:${port}`,
    monitorUrl: `http://127.0.0.1:${monitorPort}`,
    stop: () => child.stop(),
    [Symbol.asyncDispose]: () => child.stop(),
  };
}

interface NatsContext {
  readonly program: string;
  readonly dir: string;
  readonly storeDir: string;
  readonly port: number;
  readonly monitorPort: number;
}

async function runServer(options: EmbeddedNatsOptions, context: NatsContext): Promise<Child> {
  const { dir, storeDir, port, monitorPort } = context;
  const logFile = join(options.dataDir, "nats.log");
  const logFd = openLog(logFile);
  try {
    return await superviseChild({
      name: "nats-server",
      command: [
        ...[context.program, "-a", "127.0.0.1", "-p", String(port), "-m", String(monitorPort)],
        ...["-js", "-sd", storeDir, "-P", join(dir, "nats-server.pid")],
      ],
      cwd: dir,
      logFd,
      logFile,
      isReady: () => isServing(monitorPort),
      readyMs: READY_MS,
      stopSignals: ["SIGTERM"],
      stopMs: STOP_MS,
      deathSignal: "KILL",
      log: options.log,
    });
  } catch (error) {
    closeSync(logFd);
    throw error;
  }
}

async function isServing(monitorPort: number): Promise<boolean> {
  const answer = await fetch(`http://127.0.0.1:${monitorPort}/healthz?js-enabled-only=true`, {
    signal: AbortSignal.timeout(1000),
  });
  return answer.ok;
}

async function stopLeftBehind(dir: string): Promise<void> {
  const pid = Number(readText(join(dir, "nats-server.pid")));
  if (pid > 0) {
    await stopStale(pid, (candidate) => usesFolder(candidate, dir), "SIGTERM");
  }
}

function recallPorts(dir: string): { readonly port: number; readonly monitorPort: number } {
  const [port, monitorPort] = readText(join(dir, "ports.txt")).split(" ").map(Number);
  return { port: port || 0, monitorPort: monitorPort || 0 };
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // The first start in this folder.
    return "";
  }
}
