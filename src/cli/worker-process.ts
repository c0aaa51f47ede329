/** Workers as child processes of `noetl up`: this same program with the command `worker`. */
import { mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import type { Environment } from "../config/read.ts";
import type { Child } from "../embedded/child.ts";
import { superviseChild } from "../embedded/child.ts";
import type { Logger } from "../observability/log.ts";
import { selfCommand } from "./version.ts";

export interface WorkerProcessOptions {
  readonly pool: string;
  readonly slots: number;
  readonly graceMs: number;
  readonly grpcPort: number;
  readonly natsUrl: string;
  readonly python: string;
  readonly env: Environment;
  readonly dataDir: string;
  /** False: the worker's log goes to a file in the data folder. */
  readonly hasSharedOutput: boolean;
  readonly log: Logger;
}

const STDOUT = 1;
/** Beyond the worker's own grace, for saying goodbye. */
const STOP_MARGIN_MS = 5000;

/** Starts the worker and keeps it running. It dies with this process, whatever ends that. */
export async function startWorkerProcess(options: WorkerProcessOptions): Promise<Child> {
  const logFile = join(options.dataDir, `worker-${options.pool}.log`);
  mkdirSync(options.dataDir, { recursive: true });
  const command = [
    ...[...selfCommand(), "worker", "--pool", options.pool, "--slots", String(options.slots)],
    ...["--name", `${options.pool}-${process.pid}`, "--server", `127.0.0.1:${options.grpcPort}`],
    ...["--grace-time", `${options.graceMs}ms`, "--python", options.python],
  ];
  return await superviseChild({
    name: `worker ${options.pool}`,
    command,
    cwd: process.cwd(),
    env: { ...definedOnly(options.env), NATS_URL: options.natsUrl },
    logFd: options.hasSharedOutput ? STDOUT : openSync(logFile, "a", 0o600),
    logFile,
    // It registers by itself as soon as it can; commands wait for it.
    isReady: () => true,
    readyMs: 1000,
    stopSignals: ["SIGTERM"],
    stopMs: options.graceMs + STOP_MARGIN_MS,
    deathSignal: "KILL",
    log: options.log,
  });
}

function definedOnly(env: Environment): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
}
