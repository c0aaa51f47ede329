/** Runs one task on a child of the Python host and turns its end into an outcome. */
import { sleep } from "../../core/clock.ts";
import type { Json } from "../../core/json.ts";
import { parseJson } from "../../core/json.ts";
import type { Failure } from "../../engine/failure.ts";
import { failure } from "../../engine/failure.ts";
import { createFrameReader, encodeFrame } from "../frame.ts";
import { createLineSplitter } from "../lines.ts";
import type { MemoryGuard } from "../memory-guard.ts";
import { killGroup } from "../process-group.ts";
import { stoppedFailure } from "../stopped.ts";
import type { ToolContext, ToolOutcome } from "../tool.ts";
import type { Wire } from "../wire.ts";
import type { PythonChild } from "./host.ts";

/** Wait for output of a child that is gone; only its escaped grandchildren could still write. */
const OUTPUT_GRACE_MS = 200;
/** From the end of its connection to the end of a child; then it is killed. */
const UNREACHABLE_MS = 2000;
const STDERR_LINES_MAX = 20;

/** What the child gets: see `attempt` and `evaluate` in task.py. */
export interface PythonTask {
  readonly code: string;
  readonly file: string;
  readonly libs: Json;
  readonly input: Json;
  readonly context: Json;
  readonly names: Json;
  readonly execution_id: string;
  readonly step: string;
  readonly env: Json;
  readonly cwd: string | null;
  /** Limit of the address space. */
  readonly memory_bytes: number | null;
  readonly max_output_bytes: number;
}

type Answer = { readonly imported?: readonly string[] } & (
  | { readonly ok: true; readonly value: Json }
  | {
      readonly ok: false;
      readonly kind: Failure["kind"];
      readonly code: string;
      readonly message: string;
      readonly stderr: string | null;
    }
);

export interface PythonOutcome {
  readonly outcome: ToolOutcome;
  /** Modules that the task had to import and that the next one could find there. */
  readonly imported: readonly string[];
}

/** Resolves when the child has answered, or is dead after `context.signal` was aborted. */
export async function runPythonTask(
  child: PythonChild,
  task: PythonTask,
  guard: MemoryGuard,
  context: ToolContext,
): Promise<PythonOutcome> {
  const marker = `noetl-end-${crypto.randomUUID()}`;
  const stderrTail: string[] = [];
  const stdoutDone = followOutput(child.stdout, marker, (line) => context.log("stdout", line));
  const stderrDone = followOutput(child.stderr, marker, (line) => {
    stderrTail.push(line);
    stderrTail.splice(0, stderrTail.length - STDERR_LINES_MAX);
    context.log("stderr", line);
  });
  const over = new AbortController();
  const answered = Promise.withResolvers<Answer>();
  child.control.onData = createFrameReader((text) => answered.resolve(parseJson(text) as Answer));
  const kill = (): void => killGroup(child.pid, "SIGKILL");
  let excess: Failure | undefined;
  const unwatch = guard.watch(child.pid, (reason) => {
    excess = reason;
    kill();
  });
  context.signal.addEventListener("abort", kill, { once: true });
  child.control.write(encodeFrame(JSON.stringify({ ...task, marker })));
  if (context.signal.aborted) {
    kill();
  }
  try {
    const gone = goneWithoutAnswer(child, over.signal);
    const answer = await Promise.race([answered.promise, gone]);
    await within(OUTPUT_GRACE_MS, Promise.all([stdoutDone, stderrDone]), child.exited);
    const stopped = context.signal.aborted ? stoppedFailure(context.signal) : excess;
    const outcome: ToolOutcome =
      stopped === undefined ? outcomeOf(answer, stderrTail) : { ok: false, failure: stopped };
    return { outcome, imported: (typeof answer === "object" && answer.imported) || [] };
  } finally {
    over.abort();
    unwatch();
    context.signal.removeEventListener("abort", kill);
    closeAll(child);
  }
}

/** Resolves at the marker, which the task writes last, or when the connection is closed. */
function followOutput(wire: Wire, marker: string, onLine: (line: string) => void): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const splitter = createLineSplitter((line) => {
    if (!line.endsWith(marker)) {
      onLine(line);
      return;
    }
    if (line.length > marker.length) {
      onLine(line.slice(0, -marker.length));
    }
    wire.onData = () => undefined;
    wire.onClose = () => undefined;
    resolve();
  });
  wire.onData = splitter.push;
  wire.onClose = () => {
    splitter.end();
    resolve();
  };
  if (wire.isClosed) {
    resolve();
  }
  return promise;
}

/** The exit code, once the control connection has nothing more to say: an answer may be on it. */
async function goneWithoutAnswer(
  child: PythonChild,
  over: AbortSignal,
): Promise<number | undefined> {
  const closed = Promise.withResolvers<void>();
  child.control.onClose = closed.resolve;
  if (child.control.isClosed) {
    closed.resolve();
  }
  const code = await Promise.race([
    child.exited,
    closed.promise.then(() => endOutOfReach(child, over)),
  ]);
  await within(OUTPUT_GRACE_MS, closed.promise, child.exited);
  return code;
}

/** A task that has closed its connection and lives on can never answer. */
async function endOutOfReach(child: PythonChild, over: AbortSignal): Promise<number | undefined> {
  await sleep(UNREACHABLE_MS, over);
  if (!over.aborted) {
    killGroup(child.pid, "SIGKILL");
  }
  await sleep(UNREACHABLE_MS, over);
  return undefined;
}

/** Waits for `done`, but after `start` no longer than `ms`. */
async function within(ms: number, done: Promise<unknown>, start: Promise<unknown>): Promise<void> {
  const over = Promise.withResolvers<void>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isDone = false;
  void start.then(() => {
    if (!isDone) {
      timer = setTimeout(over.resolve, ms);
    }
  });
  await Promise.race([done, over.promise]);
  isDone = true;
  clearTimeout(timer);
}

function outcomeOf(
  answer: Answer | number | undefined,
  stderrTail: readonly string[],
): ToolOutcome {
  if (typeof answer !== "object") {
    return { ok: false, failure: exitFailure(answer, stderrTail.join("\n")) };
  }
  if (answer.ok) {
    return { ok: true, value: answer.value };
  }
  const { kind, code, message, stderr } = answer;
  return {
    ok: false,
    failure: failure(kind, message, stderr === null ? { code } : { code, stderr }),
  };
}

/** The child ended before it had an answer. */
function exitFailure(code: number | undefined, stderr: string): Failure {
  if (code === undefined) {
    return failure("internal", "the Python host ended while the task ran", {
      code: "TOOL_HOST_LOST",
      retryable: true,
    });
  }
  if (code >= 0) {
    return failure("exit_code", `the task's process exited with code ${code}`, {
      code: `EXIT_${code}`,
      stderr,
    });
  }
  const hint = code === -9 ? "; the system may have run out of memory" : "";
  return failure("exit_code", `the task's process was killed by signal ${-code}${hint}`, {
    code: `SIGNAL_${-code}`,
    stderr,
  });
}

function closeAll(child: PythonChild): void {
  child.stdout.close();
  child.stderr.close();
  child.control.close();
}
