/**
 * Runs shell commands in a process group of their own.
 *
 * When the shell ends the task ends: whatever it left running in the background is ended too and
 * cannot keep the task open. On abort the group gets SIGTERM, and SIGKILL two seconds later.
 */
import type { Subprocess } from "bun";
import type { Json, JsonObject } from "../core/json.ts";
import type { Failure } from "../engine/failure.ts";
import { failure } from "../engine/failure.ts";
import type { Environment } from "./environment.ts";
import { taskEnvironment } from "./environment.ts";
import { createLineSplitter } from "./lines.ts";
import { killGroup, preferAsOomVictim } from "./process-group.ts";
import { stoppedFailure } from "./stopped.ts";
import type { Tool, ToolCall, ToolContext, ToolOutcome } from "./tool.ts";

/** Text of a stream kept for the result; of more, the end is kept. Characters. */
const OUTPUT_LENGTH_MAX = 1024 * 1024;
const STDERR_LENGTH_MAX = 8192;
const TERM_GRACE_MS = 2000;
/** Wait for output once the shell has ended and its group was killed. */
const OUTPUT_GRACE_MS = 200;

export interface ShellToolOptions {
  readonly env: Environment;
}

interface CommandResult {
  readonly exit_code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export function createShellTool(options: ShellToolOptions): Tool {
  return {
    kind: "shell",
    summary: "runs `command`, or `cmds` in order; gives exit_code, stdout and stderr",
    check: ({ command, cmds }) =>
      commandsOf(command ?? cmds).length === 0 ? ["`command` (or `cmds`) is missing"] : [],
    run: (call, context) => runCommands(options, call, context),
  };
}

/** One after another; the first that fails ends the task. The result holds all output. */
async function runCommands(
  options: ShellToolOptions,
  call: ToolCall,
  context: ToolContext,
): Promise<ToolOutcome> {
  let result: CommandResult = { exit_code: 0, stdout: "", stderr: "" };
  for (const command of commandsOf(call.config["command"] ?? call.config["cmds"])) {
    if (context.signal.aborted) {
      break;
    }
    const next = await runCommand(command, options, call, context);
    if ("kind" in next) {
      return { ok: false, failure: next };
    }
    result = {
      exit_code: next.exit_code,
      stdout: result.stdout + next.stdout,
      stderr: result.stderr + next.stderr,
    };
    if (next.exit_code !== 0) {
      break;
    }
  }
  return outcomeOf(result, context.signal);
}

function commandsOf(command: Json | undefined): readonly string[] {
  const list: readonly Json[] = Array.isArray(command) ? command : [command ?? ""];
  return list.map(String).filter((text) => text.trim() !== "");
}

async function runCommand(
  command: string,
  options: ShellToolOptions,
  { config, input }: ToolCall,
  context: ToolContext,
): Promise<CommandResult | Failure> {
  const shell = typeof config["shell"] === "string" ? config["shell"] : "sh";
  let child: Subprocess<"ignore", "pipe", "pipe">;
  try {
    child = Bun.spawn([shell, "-c", command], {
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
      ...(typeof config["cwd"] === "string" ? { cwd: config["cwd"] } : {}),
      env: {
        ...options.env,
        NOETL_INPUT: JSON.stringify(input),
        ...taskEnvironment(config["env"]),
      },
    });
  } catch (error) {
    return startFailure(error, shell, config);
  }
  preferAsOomVictim(child.pid);
  return await follow(child, context);
}

async function follow(
  child: Subprocess<"ignore", "pipe", "pipe">,
  { signal, log }: ToolContext,
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

function outcomeOf(result: CommandResult, signal: AbortSignal): ToolOutcome {
  if (signal.aborted) {
    return { ok: false, failure: stoppedFailure(signal), value: { ...result } };
  }
  if (result.exit_code === 0) {
    return { ok: true, value: { ...result } };
  }
  const last = result.stderr.trimEnd().split("\n").at(-1) ?? "";
  const message = `the command exited with code ${result.exit_code}${last === "" ? "" : `: ${last}`}`;
  return {
    ok: false,
    value: { ...result },
    failure: failure("exit_code", message, {
      code: `EXIT_${result.exit_code}`,
      stderr: result.stderr.slice(-STDERR_LENGTH_MAX),
    }),
  };
}

function startFailure(error: unknown, shell: string, config: JsonObject): Failure {
  const where = typeof config["cwd"] === "string" ? ` in "${config["cwd"]}"` : "";
  const reason = error instanceof Error ? error.message : String(error);
  return failure("internal", `cannot start "${shell}"${where}: ${reason}`, {
    code: "SHELL_MISSING",
  });
}

function signalNumber(name: string | number | null): number {
  return name === "SIGTERM" ? 15 : 9;
}
