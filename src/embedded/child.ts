/**
 * A supervised child process of an embedded platform.
 *
 * States: starting → ready → (died → waiting → starting …) | stopping → stopped. The first start
 * must succeed, or `superviseChild` throws; after that a death is answered by a new start with
 * back-off, for as long as the platform runs. Children live in a session of their own, so that
 * Ctrl-C reaches only the platform, which then stops them in order. If the platform itself is
 * killed they die with it (PR_SET_PDEATHSIG by setpriv); where setpriv is missing they stay behind
 * and the next start on the same data folder stops them, see {@link stopStale}.
 */
import { existsSync, openSync, readFileSync, readlinkSync, statSync } from "node:fs";
import type { Subprocess } from "bun";
import { backoffMs } from "../core/backoff.ts";
import { sleep } from "../core/clock.ts";
import { AppError, errorMessage } from "../core/errors.ts";

/** The part of a logger that this folder needs. */
export interface ChildLog {
  debug(message: string, fields?: Readonly<Record<string, unknown>>): void;
  info(message: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  error(message: string, fields?: Readonly<Record<string, unknown>>): void;
}

/** Unprivileged user of a child; undefined when the platform itself has no privileges. */
export interface RunAs {
  readonly uid: number;
  readonly gid: number;
}

export interface ChildOptions {
  readonly name: string;
  /** Program and arguments; the program by absolute path. */
  readonly command: readonly string[];
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly runAs?: RunAs | undefined;
  /** Takes stdout and stderr; opened for append. */
  readonly logFd: number;
  readonly logFile: string;
  /** True as soon as the child serves; asked every 20 ms, and errors count as false. */
  readonly isReady: (pid: number) => boolean | Promise<boolean>;
  /** Time from start to ready after which the child is killed and started anew. */
  readonly readyMs: number;
  /** Signals to stop it with, politest first; each gets `stopMs` before the next, then SIGKILL. */
  readonly stopSignals: readonly NodeJS.Signals[];
  readonly stopMs: number;
  /** What the kernel sends to the child when the platform dies. */
  readonly deathSignal: "INT" | "TERM" | "KILL";
  readonly log: ChildLog;
}

export interface Child extends AsyncDisposable {
  /** Of the latest start. */
  readonly pid: number;
  /** Resolves once the child is gone; may be called more than once. */
  stop(): Promise<void>;
}

const RESTART_BACKOFF = { minMs: 100, maxMs: 5000 };
const READY_POLL_MS = 20;
/** A child that lived this long starts its back-off from the beginning. */
const HEALTHY_MS = 30_000;
const LOG_TAIL_BYTES = 2000;
const LOG_BYTES_MAX = 16 * 1024 * 1024;

/**
 * Starts the child, waits until it is ready and keeps it running.
 *
 * @throws AppError `EMBEDDED_START_FAILED` with the end of the child's log.
 */
export async function superviseChild(options: ChildOptions): Promise<Child> {
  const stop = new AbortController();
  let current = await startOnce(options, stop.signal);
  let stopping: Promise<void> | undefined;
  const keeping = keepRunning();
  const child = {
    get pid() {
      return current.pid;
    },
    stop: () => {
      stop.abort();
      stopping ??= stopProcess(current, options).then(() => keeping);
      return stopping;
    },
    [Symbol.asyncDispose]: () => child.stop(),
  };
  return child;

  async function keepRunning(): Promise<void> {
    let attempt = 0;
    let startedAtMs = performance.now();
    for (;;) {
      await current.exited;
      if (stop.signal.aborted) {
        return;
      }
      attempt = performance.now() - startedAtMs > HEALTHY_MS ? 1 : attempt + 1;
      const delayMs = backoffMs(attempt, RESTART_BACKOFF);
      options.log.warn("embedded service died, starting it again", {
        service: options.name,
        exit: current.signalCode ?? current.exitCode,
        attempt,
      });
      await sleep(delayMs, stop.signal);
      if (stop.signal.aborted) {
        return;
      }
      startedAtMs = performance.now();
      try {
        current = await startOnce(options, stop.signal, (started) => {
          current = started;
        });
        options.log.info("embedded service is back", { service: options.name, pid: current.pid });
      } catch (error) {
        options.log.error("embedded service does not start", {
          service: options.name,
          error: errorMessage(error),
        });
      }
    }
  }
}

/** One start up to readiness. A child that is not ready in time is killed. */
async function startOnce(
  options: ChildOptions,
  signal: AbortSignal,
  onStart?: (child: Subprocess) => void,
): Promise<Subprocess> {
  const child = spawnChild(options);
  onStart?.(child);
  const deadline = performance.now() + options.readyMs;
  while (child.exitCode === null && child.signalCode === null && !signal.aborted) {
    if (await isReadyNow(options, child.pid)) {
      return child;
    }
    if (performance.now() > deadline) {
      child.kill("SIGKILL");
      break;
    }
    await sleep(READY_POLL_MS, signal);
  }
  if (signal.aborted) {
    await stopProcess(child, options);
    return child;
  }
  await child.exited;
  throw new AppError(
    "unavailable",
    "EMBEDDED_START_FAILED",
    `Cannot start the embedded ${options.name} (${child.signalCode ?? `exit ${child.exitCode}`}); its log ${options.logFile} ends with:\n${logTail(options.logFile)}`,
  );
}

async function isReadyNow(options: ChildOptions, pid: number): Promise<boolean> {
  try {
    return await options.isReady(pid);
  } catch {
    // Not listening yet.
    return false;
  }
}

function spawnChild(options: ChildOptions): Subprocess {
  const { runAs } = options;
  const setpriv = Bun.which("setpriv");
  const wrapped = setpriv !== null && process.platform === "linux";
  const ids = runAs === undefined ? [] : setprivIds(runAs);
  const command = wrapped
    ? [setpriv, `--pdeathsig=${options.deathSignal}`, ...ids, "--", ...options.command]
    : [...options.command];
  return Bun.spawn(command, {
    cwd: options.cwd,
    env: { PATH: "/usr/local/bin:/usr/bin:/bin", LC_ALL: "C.UTF-8", TZ: "UTC", ...options.env },
    stdin: "ignore",
    stdout: options.logFd,
    stderr: options.logFd,
    detached: true,
    ...(runAs === undefined || wrapped ? {} : { uid: runAs.uid, gid: runAs.gid }),
  });
}

/** Arguments of setpriv that give up root for good. */
export function setprivIds({ uid, gid }: RunAs): readonly string[] {
  return [`--reuid=${uid}`, `--regid=${gid}`, "--clear-groups"];
}

async function stopProcess(child: Subprocess, options: ChildOptions): Promise<void> {
  for (const stopSignal of options.stopSignals) {
    child.kill(stopSignal);
    if (await exitsWithin(child.exited, options.stopMs)) {
      return;
    }
    options.log.warn("embedded service ignores a signal", { service: options.name, stopSignal });
  }
  child.kill("SIGKILL");
  await child.exited;
}

async function exitsWithin(exited: Promise<unknown>, ms: number): Promise<boolean> {
  const timeout = new AbortController();
  const isGone = await Promise.race([
    exited.then(() => true),
    sleep(ms, timeout.signal).then(() => false),
  ]);
  timeout.abort();
  return isGone;
}

/**
 * Ends a child that an earlier, killed platform left behind on the same data folder. The caller
 * holds the lock of the folder, so nobody alive owns it.
 *
 * @param isOurs tells the child from a stranger that has got its process id since.
 */
export async function stopStale(
  pid: number,
  isOurs: (pid: number) => boolean,
  stopSignal: NodeJS.Signals,
): Promise<void> {
  for (let waitedMs = 0; isOurs(pid); waitedMs += 50) {
    trySignal(pid, waitedMs < 20_000 ? stopSignal : "SIGKILL");
    await sleep(50);
  }
}

function trySignal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // Gone in between.
  }
}

/** True if `pid` runs with `folder` as its working directory or names it on its command line. */
export function usesFolder(pid: number, folder: string): boolean {
  try {
    if (readlinkSync(`/proc/${pid}/cwd`) === folder) {
      return true;
    }
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(folder);
  } catch {
    // No such process.
    return false;
  }
}

/** Appends; starts afresh when the log has grown large. */
export function openLog(path: string): number {
  const isLarge = existsSync(path) && statSync(path).size > LOG_BYTES_MAX;
  return openSync(path, isLarge ? "w" : "a", 0o600);
}

function logTail(file: string): string {
  try {
    return readFileSync(file, "utf8").slice(-LOG_TAIL_BYTES).trimEnd();
  } catch {
    return "(no log)";
  }
}
