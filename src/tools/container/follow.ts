/** A container from its start to its end, with its output; ended when its time is over or somebody says so. */
import type {
  ContainerEnd,
  ContainerHandle,
  ContainerRuntime,
  StartedContainer,
} from "../../containers/runtime.ts";
import { sleep } from "../../core/clock.ts";
import { errorMessage } from "../../core/errors.ts";
import type { Failure } from "../../engine/failure.ts";
import { failure } from "../../engine/failure.ts";
import { stoppedFailure } from "../stopped.ts";
import { taskError } from "../task-error.ts";
import type { ToolContext } from "../tool.ts";
import { LEAVE } from "../tool.ts";
import { seconds } from "./pull.ts";
import type { TaskTimeouts } from "./resources.ts";

/** The end of a container, and why it was stopped, if it was. */
export interface Followed {
  /** Undefined: it runs on, or nobody knows. */
  readonly end: ContainerEnd | undefined;
  readonly stopped: Failure | undefined;
}

export interface FollowOptions {
  readonly runtime: ContainerRuntime;
  readonly handle: StartedContainer;
  readonly context: Pick<ToolContext, "command" | "log" | "signal">;
  readonly timeouts: TaskTimeouts;
  readonly say: (text: string) => void;
  /** Each line, also those that are in the log already. */
  readonly onLine: (stream: "stdout" | "stderr", line: string) => void;
  /** After the end, for what a runtime has not handed over yet: since the last line. Default 10 s. */
  readonly drainMs?: number;
}

const DRAIN_MS = 10_000;

/** Until it has ended, by itself or because it was stopped. */
export async function followContainer(options: FollowOptions): Promise<Followed> {
  const { runtime, handle, timeouts, say, drainMs = DRAIN_MS } = options;
  const { signal } = options.context;
  const limit = runLimit(handle, timeouts);
  const logStop = new AbortController();
  const output = followLogs(options, logStop.signal);
  try {
    const end = await runtime.wait(handle, {
      signal: AbortSignal.any([signal, limit.signal]),
      onPhase: say,
    });
    const isRead = await drain(output, say, (enough) => silence(output, drainMs, [signal, enough]));
    return { end, stopped: isRead || !signal.aborted ? undefined : stoppedFailure(signal) };
  } catch (error) {
    if (!signal.aborted && !limit.signal.aborted) {
      // Nobody can follow it any more: what is reported as failed must not run on.
      await runtime.stop(handle, timeouts.stopGraceMs);
      throw error;
    }
    if (isLeft(signal)) {
      return { end: undefined, stopped: stoppedFailure(signal) };
    }
    const stopped = signal.aborted ? stoppedFailure(signal) : overdue(timeouts);
    const why = stopped.kind === "timeout" ? "out of time" : "told to stop";
    const { stopGraceMs } = timeouts;
    const end = await stopContainer(runtime, handle, { stopGraceMs, why, say });
    await drain(output, say, (enough) => sleep(drainMs, enough));
    return { end, stopped };
  } finally {
    limit.end();
    logStop.abort();
    await output.done;
  }
}

/** Of the run alone; the task's own limit is in the context's signal. */
function runLimit({ startedAtMs = Date.now() }: StartedContainer, { runMs }: TaskTimeouts) {
  const limit = new AbortController();
  const leftMs = runMs === undefined ? undefined : startedAtMs + runMs - Date.now();
  const timer =
    leftMs === undefined ? undefined : setTimeout(() => limit.abort(), Math.max(0, leftMs));
  return { signal: limit.signal, end: () => clearTimeout(timer) };
}

function overdue({ runMs = 0 }: TaskTimeouts): Failure {
  const message = `the container ran longer than timeouts.run, ${seconds(runMs)} s, and was stopped`;
  return failure("timeout", message, { code: "RUN_TIMEOUT" });
}

/** The output on its way into the log. */
interface Output {
  /** Never rejects. */
  readonly done: Promise<void>;
  /** When the last line came, or the beginning; as `performance` has it. */
  heardAtMs(): number;
}

function followLogs(options: FollowOptions, signal: AbortSignal): Output {
  const { runtime, handle, context, say, onLine } = options;
  const { loggedUntilMs = 0 } = context.command.adopted ?? {};
  let heardAtMs = performance.now();
  // All of it also when it was adopted: what was written before may explain the end, or be the result.
  const reading = runtime.logs(handle, { signal }, (stream, line, timeMs) => {
    heardAtMs = performance.now();
    onLine(stream, line);
    if (timeMs >= loggedUntilMs) {
      context.log(stream, line, timeMs);
    }
  });
  const done = reading.catch((error: unknown) =>
    say(`its output cannot be followed any more: ${errorMessage(error)}`),
  );
  return { done, heardAtMs: () => heardAtMs };
}

/** True: all of it was read, before `patience` was over. */
async function drain(
  output: Output,
  say: FollowOptions["say"],
  patience: (enough: AbortSignal) => Promise<void>,
): Promise<boolean> {
  const enough = new AbortController();
  const isDone = await Promise.race([
    output.done.then(() => true),
    patience(enough.signal).then(() => false),
  ]);
  enough.abort();
  if (!isDone) {
    say("the end of its output did not come in time and is left out");
  }
  return isDone;
}

/** Resolves when no line has come for a while: the last one may be the result. Or upon one of the signals. */
async function silence(
  output: Output,
  drainMs: number,
  signals: readonly AbortSignal[],
): Promise<void> {
  const signal = AbortSignal.any([...signals]);
  let untilMs = performance.now() + drainMs;
  while (!signal.aborted && performance.now() < untilMs) {
    await sleep(untilMs - performance.now(), signal);
    untilMs = Math.max(untilMs, output.heardAtMs() + drainMs);
  }
}

export interface StopOptions {
  readonly stopGraceMs: number;
  /** For the log. */
  readonly why: string;
  readonly say: (text: string) => void;
}

/** Resolves when nothing of it runs any more. @throws TaskError when that cannot be had. */
export async function stopContainer(
  runtime: ContainerRuntime,
  handle: ContainerHandle,
  { stopGraceMs, why, say }: StopOptions,
): Promise<ContainerEnd | undefined> {
  say(`${why}: SIGTERM, and SIGKILL after ${seconds(stopGraceMs)} s`);
  try {
    await runtime.stop(handle, stopGraceMs);
  } catch (error) {
    const message = `The container ${handle.name} cannot be stopped: ${errorMessage(error)}`;
    say(message);
    throw taskError("internal", "CONTAINER_NOT_STOPPED", message);
  }
  say("nothing of it runs any more");
  const end = runtime.wait(handle, { signal: AbortSignal.timeout(DRAIN_MS) });
  return await end.catch(() => undefined);
}

/** What the worker leaves for the next one; of a lost command nobody here knows whose it is now. */
export function isLeft({ reason }: AbortSignal): boolean {
  return reason === LEAVE || reason === "lost";
}

/** Aborted with `signal`, but not when what runs is to be left: what has begun to start goes on to do so. */
export function unlessLeft(signal: AbortSignal): AbortSignal {
  const start = new AbortController();
  const pass = (): void => {
    if (!isLeft(signal)) {
      start.abort(signal.reason);
    }
  };
  signal.addEventListener("abort", pass, { once: true });
  if (signal.aborted) {
    start.abort(signal.reason);
  }
  return start.signal;
}
