/** The worker's handle on one JavaScript runner: starts it, gives it a task, kills it. */
import type { Subprocess } from "bun";
import type { Json } from "../../core/json.ts";
import { parseJson } from "../../core/json.ts";
import type { Failure } from "../../engine/failure.ts";
import { failure } from "../../engine/failure.ts";
import type { Environment } from "../environment.ts";
import { createFrameReader, encodeFrame } from "../frame.ts";
import { createLineSplitter } from "../lines.ts";
import { killGroup, preferAsOomVictim, residentBytes } from "../process-group.ts";
import { stoppedFailure } from "../stopped.ts";
import type { ToolContext, ToolOutcome } from "../tool.ts";
import type { Wire } from "../wire.ts";
import type { RunnerMessage, RunnerStart, RunnerTask } from "./protocol.ts";

export interface RunnerProcessOptions {
  readonly command: readonly string[];
  readonly start: RunnerStart;
  readonly env: Environment;
}

interface Running {
  readonly context: ToolContext;
  readonly done: (outcome: ToolOutcome) => void;
}

/** Lives until it is stopped, killed or dies by itself; runs one task at a time. */
export class RunnerProcess {
  /** Resolves when the process is gone. */
  readonly exited: Promise<void>;
  taskCount = 0;
  idleSinceMs = 0;
  readonly #process: Subprocess<"pipe", "pipe", "pipe">;
  #wire: Wire | undefined;
  #running: Running | undefined;
  #killReason: Failure | undefined;
  #isGone = false;

  constructor({ command, start, env }: RunnerProcessOptions) {
    this.#process = Bun.spawn([...command], {
      stdio: ["pipe", "pipe", "pipe"],
      detached: true,
      env,
    });
    preferAsOomVictim(this.#process.pid);
    this.#process.stdin.write(JSON.stringify(start));
    void this.#process.stdin.end();
    void this.#follow("stdout");
    void this.#follow("stderr");
    this.exited = this.#process.exited.then(() => this.#handleExit());
  }

  get isGone(): boolean {
    return this.#isGone;
  }

  get isBusy(): boolean {
    return this.#running !== undefined;
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Resident memory, bytes. */
  get memoryBytes(): number {
    return residentBytes(this.#process.pid);
  }

  /** Takes the connection on which the process called back. */
  attach(wire: Wire): void {
    this.#wire = wire;
    wire.onData = createFrameReader((text) =>
      this.#handleMessage(parseJson(text) as unknown as RunnerMessage),
    );
  }

  /** Resolves when the task has ended, or, once `context.signal` is aborted, the process is dead. */
  run(task: RunnerTask, context: ToolContext): Promise<ToolOutcome> {
    const { promise, resolve } = Promise.withResolvers<ToolOutcome>();
    const stop = (): void => this.kill(stoppedFailure(context.signal));
    this.taskCount++;
    this.#running = {
      context,
      done: (outcome) => {
        this.#running = undefined;
        context.signal.removeEventListener("abort", stop);
        resolve(outcome);
      },
    };
    context.signal.addEventListener("abort", stop, { once: true });
    this.#wire?.write(encodeFrame(JSON.stringify(task)));
    if (this.#isGone) {
      this.#handleExit();
    } else if (context.signal.aborted) {
      stop();
    }
    return promise;
  }

  /** Ends the process and what it has started; its task fails with `reason`. */
  kill(reason: Failure): void {
    this.#killReason ??= reason;
    killGroup(this.#process.pid, "SIGKILL");
  }

  /** Ends an idle process. */
  stop(): void {
    this.#wire?.close();
    killGroup(this.#process.pid, "SIGKILL");
  }

  #handleMessage(message: RunnerMessage): void {
    if (this.#running === undefined) {
      return;
    }
    if (message.type === "log") {
      for (const line of message.text.split("\n")) {
        this.#running.context.log(message.stream, line);
      }
    } else if (!this.#running.context.signal.aborted) {
      this.#running.done(outcomeOf(message));
    }
  }

  #handleExit(): void {
    this.#isGone = true;
    killGroup(this.#process.pid, "SIGKILL");
    this.#running?.done({
      ok: false,
      failure: this.#killReason ?? exitFailure(this.#process.exitCode, this.#process.signalCode),
    });
  }

  /** Output that does not come from `console`: of grandchildren, or of the engine itself. */
  async #follow(stream: "stdout" | "stderr"): Promise<void> {
    const splitter = createLineSplitter((line) => this.#running?.context.log(stream, line));
    for await (const chunk of this.#process[stream]) {
      splitter.push(chunk);
    }
    splitter.end();
  }
}

function outcomeOf(end: Exclude<RunnerMessage, { type: "log" }>): ToolOutcome {
  if (end.ok) {
    const value: Json = end.value;
    return { ok: true, value };
  }
  const { kind, code, message, stderr } = end;
  return {
    ok: false,
    failure: failure(kind, message, stderr === undefined ? { code } : { code, stderr }),
  };
}

/** The process ended by itself while a task ran in it. */
function exitFailure(exitCode: number | null, signal: string | number | null): Failure {
  if (signal !== null) {
    const hint = signal === "SIGKILL" ? "; the system may have run out of memory" : "";
    return failure("exit_code", `the task's process was killed by ${signal}${hint}`, {
      code: String(signal),
    });
  }
  return failure("exit_code", `the task's process exited with code ${exitCode ?? "unknown"}`, {
    code: `EXIT_${exitCode ?? "UNKNOWN"}`,
  });
}
