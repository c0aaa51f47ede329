/** Follows a process that a tool has started, until it and everything that it started is gone. */
import type { Subprocess } from "bun";
import { createLineSplitter } from "./lines.ts";
import { killGroup } from "./process-group.ts";
import type { ToolContext } from "./tool.ts";

/** Text of a stream kept for the result; of more, the end is kept. Characters. */
const OUTPUT_LENGTH_MAX = 1024 * 1024;
const TERM_GRACE_MS = 2000;
/** Wait for output once the process has ended and its group was killed. */
const OUTPUT_GRACE_MS = 200;

export interface CommandResult {
  readonly exit_code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Ends with the process, which must lead its own group. On abort the group gets SIGTERM, and SIGKILL
 * two seconds later.
 */
export async function followChild(
  child: Subprocess<"ignore" | Blob, "pipe", "pipe">,
  { signal, log }: Pick<ToolContext, "signal" | "log">,
): Promise<CommandResult> {
  const stdout = createTail();
  const stderr = createTail();
  const outputs = [
    readLines(child.stdout, (line) => {
      stdout.push(line);
      log("stdout", line);
    }),
    readLines(child.stderr, (line) => {
      stderr.push(line);
      log("stderr", line);
    }),
  ];
  let killTimer: ReturnType<typeof setTimeout> | undefined;
  const stop = (): void => {
    killGroup(child.pid, "SIGTERM");
    killTimer = setTimeout(() => killGroup(child.pid, "SIGKILL"), TERM_GRACE_MS);
  };
  signal.addEventListener("abort", stop, { once: true });
  if (signal.aborted) {
    stop();
  }
  await child.exited;
  clearTimeout(killTimer);
  signal.removeEventListener("abort", stop);
  killGroup(child.pid, "SIGKILL");
  await within(OUTPUT_GRACE_MS, Promise.all(outputs.map((output) => output.done)));
  for (const output of outputs) {
    output.cancel();
  }
  const exitCode = child.exitCode ?? 128 + signalNumber(child.signalCode);
  return { exit_code: exitCode, stdout: stdout.text(), stderr: stderr.text() };
}

function readLines(
  stream: ReadableStream<Uint8Array>,
  onLine: (line: string) => void,
): { readonly done: Promise<void>; cancel(): void } {
  const reader = stream.getReader();
  const splitter = createLineSplitter(onLine);
  const read = async (): Promise<void> => {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      splitter.push(part.value);
    }
    splitter.end();
  };
  const done = read();
  return { done, cancel: () => void reader.cancel().catch(() => undefined) };
}

async function within(ms: number, done: Promise<unknown>): Promise<void> {
  const timeout = Promise.withResolvers<void>();
  const timer = setTimeout(timeout.resolve, ms);
  await Promise.race([done, timeout.promise]);
  clearTimeout(timer);
}

/** Keeps the last lines of a stream, and says so when there were more. */
function createTail(): { push(line: string): void; text(): string } {
  let lines: string[] = [];
  let length = 0;
  let droppedCount = 0;
  return {
    push: (line) => {
      lines.push(line);
      length += line.length + 1;
      if (length > 2 * OUTPUT_LENGTH_MAX) {
        const kept = lastLines(lines);
        droppedCount += lines.length - kept.length;
        lines = kept;
        length = lines.reduce((sum, text) => sum + text.length + 1, 0);
      }
    },
    text: () => {
      const kept = lastLines(lines);
      const missing = droppedCount + lines.length - kept.length;
      const note = missing > 0 ? `[${missing} earlier lines are in the log only]\n` : "";
      return note + kept.map((line) => `${line}\n`).join("");
    },
  };
}

function lastLines(lines: readonly string[]): string[] {
  let length = 0;
  let start = lines.length;
  while (start > 0 && length + (lines[start - 1]?.length ?? 0) < OUTPUT_LENGTH_MAX) {
    start--;
    length += (lines[start]?.length ?? 0) + 1;
  }
  return lines.slice(start);
}

function signalNumber(name: string | number | null): number {
  return name === "SIGTERM" ? 15 : 9;
}
