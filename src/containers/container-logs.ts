/** Output of containers: from podman's file, or from a command line that is called again when it breaks off. */
import { sleep } from "../core/clock.ts";
import type { Cli } from "./cli.ts";
import { readLogCall } from "./log-cli.ts";
import { followLogFile } from "./log-file.ts";
import type { LogPosition, LogSeam, OnLogLine } from "./log-lines.ts";
import { createLineJoiner, createSeam } from "./log-lines.ts";
import type { ContainerHandle } from "./runtime.ts";

/** A call that follows a container's output ends with it; this long after it. */
const LOG_TAIL_MS = 150;
/** Between calls that follow a container whose end is not known yet. */
const LOG_PAUSE_MS = 100;
const FAILURE_COUNT_MAX = 20;
const LAST_LINE_COUNT = 5;

export interface ContainerLogsParts {
  readonly cli: Cli;
  /** False: by the command line. */
  readonly hasLogFile: boolean;
  /** By the container's name. */
  readonly logFileOf: (name: string) => string;
  /** Told when a call broke off. */
  readonly onOutage: (id: string) => void;
}

export interface FollowLogsOptions {
  readonly sinceMs?: number;
  readonly seenCount?: number;
  /** Aborted when the container has ended. */
  readonly ended: AbortSignal;
  readonly signal: AbortSignal;
}

export class ContainerLogs {
  readonly #parts: ContainerLogsParts;

  constructor(parts: ContainerLogsParts) {
    this.#parts = parts;
  }

  /** Resolves when all output of an ended container was handed on, or the signal is aborted. */
  async follow(
    handle: ContainerHandle,
    { sinceMs, seenCount, ended, signal }: FollowLogsOptions,
    onLine: OnLogLine,
  ): Promise<void> {
    const count = seenCount ?? Number.POSITIVE_INFINITY;
    const since = sinceMs === undefined ? undefined : { timeMs: sinceMs, count };
    await (this.#parts.hasLogFile
      ? this.#followFile(handle, createSeam(since, onLine), { ended, signal })
      : this.#followCalls(handle, since, { ended, signal, onLine }));
  }

  /** Of one that has ended. */
  async lastLines(handle: ContainerHandle): Promise<readonly string[]> {
    if (!this.#parts.hasLogFile) {
      const { stdout, stderr } = await this.#parts.cli.call(["logs", "--tail=5", handle.id]);
      return [stdout, stderr];
    }
    const lines: string[] = [];
    const seam = createSeam(undefined, (_, line) => {
      lines.push(line);
      lines.splice(0, lines.length - LAST_LINE_COUNT);
    });
    const ended = AbortSignal.abort();
    await this.#followFile(handle, seam, { ended, signal: new AbortController().signal });
    return lines;
  }

  async #followFile(
    { name }: ContainerHandle,
    seam: LogSeam,
    signals: { readonly ended: AbortSignal; readonly signal: AbortSignal },
  ): Promise<void> {
    const joiner = createLineJoiner(seam.onLine);
    await followLogFile(this.#parts.logFileOf(name), signals, joiner.push);
    if (!signals.signal.aborted) {
      joiner.end();
    }
  }

  /** Follows; what a call did not give when the container ended, another one does. */
  async #followCalls(
    { id }: ContainerHandle,
    since: LogPosition | undefined,
    {
      ended,
      signal,
      onLine,
    }: {
      readonly ended: AbortSignal;
      readonly signal: AbortSignal;
      readonly onLine: OnLogLine;
    },
  ): Promise<void> {
    let position = since;
    // A call that begins behind the end of one that followed to the end has all that there is.
    for (let wholeCount = 0, failureCount = 0; !signal.aborted; ) {
      const isLast = ended.aborted;
      const seam = createSeam(position, onLine);
      const isWhole = await this.#readLogs(id, seam, { isLast, ended, signal });
      position = seam.position();
      wholeCount = isWhole ? wholeCount + 1 : 0;
      failureCount += isWhole ? 0 : 1;
      if (
        ended.aborted &&
        (wholeCount > 1 || (isLast && (isWhole || failureCount > FAILURE_COUNT_MAX)))
      ) {
        return;
      }
      if (!isWhole && !ended.aborted && !signal.aborted) {
        this.#parts.onOutage(id);
      }
      if (!isWhole || wholeCount > 1) {
        await sleep(LOG_PAUSE_MS, AbortSignal.any([ended, signal]));
      }
    }
  }

  /** True: the call ended well. */
  async #readLogs(
    id: string,
    seam: LogSeam,
    {
      isLast,
      ended,
      signal,
    }: { readonly isLast: boolean; readonly ended: AbortSignal; readonly signal: AbortSignal },
  ): Promise<boolean> {
    const { timeMs } = seam.position();
    const words = [
      this.#parts.cli.access.program,
      "logs",
      "--timestamps",
      ...(isLast ? [] : ["--follow"]),
      ...(timeMs === 0 ? [] : [`--since=${new Date(timeMs).toISOString()}`]),
      id,
    ];
    const late = new AbortController();
    const onEnd = (): void => void setTimeout(() => late.abort(), LOG_TAIL_MS);
    if (!isLast) {
      ended.addEventListener("abort", onEnd, { once: true });
    }
    const joiner = createLineJoiner(seam.onLine);
    const { env } = this.#parts.cli.access;
    const calls = { words, env, signal: AbortSignal.any([signal, late.signal]) };
    const { exitCode } = await readLogCall(calls, joiner.push);
    ended.removeEventListener("abort", onEnd);
    if (exitCode === 0 || isLast) {
      joiner.end();
    }
    return exitCode === 0;
  }
}
