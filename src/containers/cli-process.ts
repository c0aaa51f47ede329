/** Calls of a runtime's command line: none may hang, and none outlives its limit. */
import { ContainerError } from "./runtime.ts";

/** What a program gets as its environment. */
export type CliEnvironment = Readonly<Record<string, string>>;

export interface CliOptions {
  readonly env: CliEnvironment;
  /** Then it is killed, with everything that it has started. */
  readonly timeoutMs: number;
  /** Kills it too. */
  readonly signal?: AbortSignal;
  /** Takes lines of both streams as they come, for progress. */
  readonly onLine?: (line: string) => void;
  readonly cwd?: string;
}

export interface CliResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Wait for output that a child of the killed program may still hold open. */
const OUTPUT_GRACE_MS = 200;

/**
 * Runs a program to its end; its exit code is for the caller to judge.
 *
 * @throws ContainerError of kind `connection` when it cannot be started or does not end in time.
 * @throws the signal's reason when that is aborted.
 */
export async function runCli(words: readonly string[], options: CliOptions): Promise<CliResult> {
  options.signal?.throwIfAborted();
  const child = spawnCli(words, options.env, options.cwd);
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    killGroup(child.pid);
  }, options.timeoutMs);
  const abort = (): void => killGroup(child.pid);
  options.signal?.addEventListener("abort", abort, { once: true });
  const outputs = [
    readText(child.stdout, options.onLine),
    readText(child.stderr, options.onLine),
  ] as const;
  const exitCode = await child.exited;
  clearTimeout(timer);
  options.signal?.removeEventListener("abort", abort);
  const isKilled = isLate || options.signal?.aborted === true;
  const [stdout, stderr] = await Promise.all(outputs.map((output) => output.end(isKilled)));
  options.signal?.throwIfAborted();
  if (isLate) {
    throw lateError(words, options.timeoutMs, stderr ?? "");
  }
  return { exitCode, stdout: stdout ?? "", stderr: stderr ?? "" };
}

/** Starts it in a process group of its own, so that no signal of a terminal reaches it. */
export function spawnCli(words: readonly string[], env: CliEnvironment, cwd?: string): CliProcess {
  try {
    return Bun.spawn([...words], {
      env: { ...env },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      detached: true,
      ...(cwd === undefined ? {} : { cwd }),
    });
  } catch (error) {
    throw startError(words[0] ?? "", error);
  }
}

export type CliProcess = Bun.Subprocess<"ignore", "pipe", "pipe">;

/** Ends a program that {@link spawnCli} has started and all that it has started. */
export function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // Nothing of it is left.
  }
}

function startError(program: string, error: unknown): ContainerError {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return code === "E2BIG"
    ? new ContainerError(
        "limit",
        "CONTAINER_ENV_TOO_LARGE",
        "Environment, command and args are larger than the system allows: pass large values as files",
        false,
      )
    : new ContainerError("connection", "RUNTIME_MISSING", `Cannot start ${program}: ${code}`, true);
}

function lateError(words: readonly string[], timeoutMs: number, stderr: string): ContainerError {
  const said = stderr.trim() === "" ? "" : `; it said: ${stderr.trim().slice(-500)}`;
  const call = words.slice(0, 2).join(" ");
  return new ContainerError(
    "connection",
    "RUNTIME_TIMEOUT",
    `\`${call}\` did not end within ${Math.round(timeoutMs / 1000)} s: is its daemon stuck?${said}`,
    true,
  );
}

interface Reading {
  /** The text; of a killed program what came until shortly after. */
  end(isKilled: boolean): Promise<string>;
}

function readText(
  stream: ReadableStream<Uint8Array>,
  onLine: ((line: string) => void) | undefined,
): Reading {
  const decoder = new TextDecoder();
  const reader = stream.getReader();
  let text = "";
  let lineStart = 0;
  const take = (more: string): void => {
    text += more;
    for (let end = text.indexOf("\n", lineStart); end >= 0; end = text.indexOf("\n", lineStart)) {
      onLine?.(text.slice(lineStart, end));
      lineStart = end + 1;
    }
  };
  const read = async (): Promise<void> => {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      take(decoder.decode(part.value, { stream: true }));
    }
    take(decoder.decode());
  };
  const done = read();
  return {
    end: async (isKilled) => {
      await (isKilled ? Promise.race([done, Bun.sleep(OUTPUT_GRACE_MS)]) : done);
      void reader.cancel().catch(() => undefined);
      return text;
    },
  };
}
