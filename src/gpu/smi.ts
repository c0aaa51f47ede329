/**
 * Calls of `nvidia-smi`: one at a time, each with a deadline.
 *
 * A process each time, not one that loops: it holds the devices open only for a moment, so they can be reset, and
 * what hangs is one answer, not all to come. A driver that hangs keeps its caller where no signal reaches it: then
 * no further call is made until that one is gone, and nobody waits for it.
 */
import type { Subprocess } from "bun";
import { sleep } from "../core/clock.ts";
import { errorMessage } from "../core/errors.ts";

export type SmiAnswer =
  | { readonly isOk: true; readonly text: string }
  | {
      readonly isOk: false;
      /** All that it printed, or why it did not. */
      readonly text: string;
      readonly hasHung: boolean;
    };

export interface Smi {
  /** Never rejects. */
  ask(args: readonly string[]): Promise<SmiAnswer>;
  /** Kills what runs. */
  close(): void;
}

/** After SIGKILL: a process that is still there waits for the driver. */
const KILL_MS = 1000;
/** More than any machine's answer; a program that prints without end is none of NVIDIA's. */
const OUTPUT_BYTES = 16 * 1024 * 1024;
const STOPPED: SmiAnswer = { isOk: false, text: "The worker stops.", hasHung: false };

export function createSmi(options: { readonly path: string; readonly timeoutMs: number }): Smi {
  let last: Promise<unknown> = Promise.resolve();
  let current: Child | undefined;
  let stuckSinceMs: number | undefined;
  const closed = Promise.withResolvers<void>();
  let isClosed = false;

  const call = async (args: readonly string[]): Promise<SmiAnswer> => {
    if (isClosed) {
      return STOPPED;
    }
    if (stuckSinceMs !== undefined) {
      return hung(performance.now() - stuckSinceMs);
    }
    const startedAtMs = performance.now();
    try {
      current = spawn(options.path, args);
    } catch (error) {
      return { isOk: false, text: errorMessage(error), hasHung: false };
    }
    const child = current;
    const answer = answerOf(child);
    const inTime = await Promise.race([within(answer, options.timeoutMs), closed.promise]);
    if (inTime !== undefined || isClosed) {
      return inTime ?? STOPPED;
    }
    kill(child);
    if ((await within(answer, KILL_MS)) === undefined) {
      stuckSinceMs = startedAtMs;
      child.unref();
      void answer.then(() => {
        stuckSinceMs = undefined;
      });
    }
    return hung(options.timeoutMs);
  };

  return {
    ask: (args) => {
      const answer = last.then(() => call(args));
      last = answer;
      return answer;
    },
    close: () => {
      isClosed = true;
      closed.resolve();
      if (current !== undefined) {
        kill(current);
      }
    },
  };
}

type Child = Subprocess<"ignore", "pipe", "pipe">;

/** In a session of its own, so that all it has started goes with it; and it dies with the worker. */
function spawn(path: string, args: readonly string[]): Child {
  const setpriv = Bun.which("setpriv");
  const wrapper = setpriv === null ? [] : [setpriv, "--pdeathsig=KILL", "--"];
  return Bun.spawn([...wrapper, path, ...args], {
    env: { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    detached: true,
    maxBuffer: OUTPUT_BYTES,
  });
}

function kill(child: Child): void {
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch {
    // Gone in between.
  }
}

async function answerOf(child: Child): Promise<SmiAnswer> {
  const [stdout, stderr, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return exitCode === 0
    ? { isOk: true, text: stdout }
    : { isOk: false, text: `${stdout}\n${stderr}`.trim(), hasHung: false };
}

function hung(ms: number): SmiAnswer {
  const seconds = Math.round(ms / 1000);
  const text = `nvidia-smi has not answered for ${seconds} s: the driver hangs. See the kernel's log (dmesg); often only a reboot helps.`;
  return { isOk: false, text, hasHung: true };
}

/** What it gives, or undefined when that takes longer. */
async function within<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
  const timeout = new AbortController();
  const first = await Promise.race([promise, sleep(ms, timeout.signal).then(() => undefined)]);
  timeout.abort();
  return first;
}
