/** Workers as child processes of `noetl up`: this same program with the command `worker`. */
import { mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import type { Values } from "../config/option.ts";
import type { Environment } from "../config/read.ts";
import type { upOptions } from "../config/tables.ts";
import type { Child } from "../embedded/child.ts";
import { superviseChild } from "../embedded/child.ts";
import type { Logger } from "../observability/log.ts";
import type { Infrastructure } from "./infrastructure.ts";
import { definedOnly } from "./task-environment.ts";
import { selfCommand } from "./version.ts";

export interface WorkerProcess {
  readonly pool: string;
  readonly grpcPort: number;
}

export interface WorkerProcessContext {
  readonly values: Pick<
    Values<typeof upOptions>,
    | "slots"
    | "graceTime"
    | "python"
    | "filesDir"
    | "containerDir"
    | "cacheDir"
    | "logLevel"
    | "logFormat"
  >;
  readonly infrastructure: Pick<Infrastructure, "natsUrl" | "dataDir">;
  readonly env: Environment;
  /** False: the worker's log goes to a file in the data folder. */
  readonly hasSharedOutput: boolean;
  readonly log: Logger;
}

const STDOUT = 1;
/**
 * Beyond the worker's own grace, for stopping tools, handing back their commands, and goodbye. Containers may
 * have a grace of their own.
 */
const STOP_MARGIN_MS = 45_000;

/** It calls the server of this process, which has no TLS; empty is not given. */
const NO_TLS = { NOETL_GRPC_CA_FILE: "", NOETL_TLS_CERT: "", NOETL_TLS_KEY: "" };

/** Starts the worker and keeps it running. It dies with this process, whatever ends that. */
export async function startWorkerProcess(
  { pool, grpcPort }: WorkerProcess,
  { values, infrastructure, env, hasSharedOutput, log }: WorkerProcessContext,
): Promise<Child> {
  const { natsUrl, dataDir } = infrastructure;
  const logFile = join(dataDir, `worker-${pool}.log`);
  mkdirSync(dataDir, { recursive: true });
  const command = [
    ...[...selfCommand(), "worker", "--pool", pool, "--name", `${pool}-${process.pid}`],
    ...["--server", `127.0.0.1:${grpcPort}`, "--slots", String(values.slots)],
    ...["--grace-time", `${values.graceTime}ms`, "--python", values.python],
    ...["--files-dir", values.filesDir ?? join(dataDir, "files")],
    ...["--container-dir", values.containerDir ?? join(dataDir, "containers")],
    ...(values.cacheDir === undefined ? [] : ["--cache-dir", values.cacheDir]),
    ...["--metrics-port", "0", "--metrics-host", "127.0.0.1"],
    ...["--log-level", values.logLevel, "--log-format", values.logFormat],
  ];
  return await superviseChild({
    name: `worker ${pool}`,
    command,
    cwd: process.cwd(),
    env: { ...definedOnly(env), NATS_URL: natsUrl.reveal(), ...NO_TLS },
    logFd: hasSharedOutput ? STDOUT : openSync(logFile, "a", 0o600),
    logFile,
    // It registers by itself as soon as it can; commands wait for it.
    isReady: () => true,
    readyMs: 1000,
    stopSignals: ["SIGTERM"],
    stopMs: values.graceTime + STOP_MARGIN_MS,
    deathSignal: "KILL",
    log,
  });
}
