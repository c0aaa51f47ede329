/** The worker's handle on one JavaScript runner: starts it, sends it tasks, kills it. */
import type { Subprocess } from "bun";
import { parseJson } from "../../core/json.ts";
import type { Failure } from "../../engine/failure.ts";
import { failure } from "../../engine/failure.ts";
import type { Environment } from "../environment.ts";
import { createFrameReader, encodeFrame } from "../frame.ts";
import { createLineSplitter } from "../lines.ts";
import type { MemoryGuard } from "../memory-guard.ts";
import { killGroup, preferAsOomVictim, residentBytes } from "../process-group.ts";
import { stoppedFailure } from "../stopped.ts";
import type { Wire } from "../wire.ts";
import type { Job } from "./job.ts";
import { Ledger } from "./ledger.ts";
import type { RunnerEnd, RunnerMessage, RunnerStart } from "./protocol.ts";

/** Wait for the last words of a process that is gone. */
const LAST_WORDS_MS = 500;

export interface RunnerProcessOptions {
  readonly command: readonly string[];
  readonly start: Omit<RunnerStart, "ledger">;
  readonly env: Environment;
  readonly guard: MemoryGuard;
  /** Called when the process can take tasks: at first, and each time that it has none left. */
  readonly onIdle: (runner: RunnerProcess) => void;
  /** Called once the process is gone, with the tasks that it had not started. */
  readonly onGone: (runner: RunnerProcess, jobs: readonly Job[]) => void;
}

/** Lives until it is stopped, killed or dies by itself. It runs its tasks one after another. */
export class RunnerProcess {
  /** Resolves when the process is gone and its tasks have ended or were handed back. */
  readonly exited: Promise<void>;
  /** `performance.now()` when it was last sent tasks or became idle. */
  sinceMs = 0;
  /** True when what it was last sent takes longer than tasks should have to wait for. */
  isSlow = false;
  readonly #options: RunnerProcessOptions;
  readonly #process: Subprocess<"pipe", "pipe", "pipe">;
  readonly #ledger = Ledger.create();
  readonly #wireClosed = Promise.withResolvers<void>();
  /** Tasks that were sent and have neither ended nor been taken back, by number. */
  readonly #held = new Map<number, Job>();
  #sentCount = 0;
  #batchCount = 0;
  /** The ledger's number after the last take-back, and before it. */
  #tookBackTo = 0;
  #startedBefore = 0;
  #wire: Wire | undefined;
  #isIdle = false;
  #killReason: Failure | undefined;
  #unwatch: () => void = () => undefined;

  constructor(options: RunnerProcessOptions) {
    this.#options = options;
    try {
      this.#process = Bun.spawn([...options.command], {
        stdio: ["pipe", "pipe", "pipe"],
        detached: true,
        env: options.env,
      });
    } catch (error) {
      this.#ledger.release();
      throw error;
    }
    preferAsOomVictim(this.#process.pid);
    const start: RunnerStart = { ...options.start, ledger: this.#ledger.path };
    this.#process.stdin.write(JSON.stringify(start));
    void this.#process.stdin.end();
    void this.#follow("stdout");
    void this.#follow("stderr");
    this.exited = this.#waitForEnd();
  }

  get isIdle(): boolean {
    return this.#isIdle;
  }

  get isStarted(): boolean {
    return this.#wire !== undefined;
  }

  /** Tasks that it holds. */
  get heldCount(): number {
    return this.#held.size;
  }

  /** Tasks that it was sent the last time. */
  get batchCount(): number {
    return this.#batchCount;
  }

  holds(job: Job): boolean {
    return [...this.#held.values()].includes(job);
  }

  /** Tasks that it was ever sent. */
  get sentCount(): number {
    return this.#sentCount;
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
    this.#ledger.release();
    this.#wire = wire;
    wire.onData = createFrameReader((text) => this.#handleFrame(text));
    wire.onClose = this.#wireClosed.resolve;
    this.#becomeIdle();
  }

  /** Sends tasks to an idle runner, at most `SLOT_COUNT`. */
  send(jobs: readonly Job[]): void {
    this.#isIdle = false;
    this.isSlow = false;
    this.#batchCount = jobs.length;
    this.sinceMs = performance.now();
    const reason = (excess: Failure): void => this.kill(excess);
    this.#unwatch = this.#options.guard.watch(this.pid, reason);
    const frames = jobs.map((job) => {
      this.#held.set(++this.#sentCount, job);
      return encodeFrame(JSON.stringify(job.task));
    });
    const [only] = frames;
    this.#wire?.write(frames.length === 1 && only !== undefined ? only : Buffer.concat(frames));
  }

  /** Ends the tasks whose results are in the ledger. */
  collect(): void {
    const { last } = this.#ledger;
    for (const [number, job] of this.#held) {
      if (number > last) {
        return;
      }
      const text = this.#ledger.take(number);
      if (text !== undefined) {
        this.#held.delete(number);
        job.answer(parseJson(text) as unknown as RunnerEnd);
      }
    }
  }

  /** The tasks that the runner has not started; it will not start them any more. */
  takeBack(): readonly Job[] {
    const last = this.#ledger.takeBack(this.#sentCount);
    this.#startedBefore = last === this.#tookBackTo ? this.#startedBefore : last;
    this.#tookBackTo = this.#sentCount;
    const back: Job[] = [];
    for (const [number, job] of this.#held) {
      if (number > this.#startedBefore) {
        this.#held.delete(number);
        back.push(job);
      }
    }
    return back;
  }

  /** Stops a task that was sent; gives the tasks that were not started, itself perhaps included. */
  stopJob(job: Job): readonly Job[] {
    const back = this.takeBack();
    this.collect();
    for (const [number, held] of this.#held) {
      if (held === job && number === this.#lastStarted) {
        this.kill(stoppedFailure(job.context.signal));
      } else if (held === job) {
        // It has ended: its answer is on the way.
        this.#held.delete(number);
        job.fail(stoppedFailure(job.context.signal));
      }
    }
    return back;
  }

  /** Ends the process and what it has started; the task that runs fails with `reason`. */
  kill(reason: Failure): void {
    this.#killReason ??= reason;
    killGroup(this.#process.pid, "SIGKILL");
  }

  /** Ends an idle process. */
  stop(): void {
    this.#ledger.release();
    this.#wire?.close();
    killGroup(this.#process.pid, "SIGKILL");
  }

  #handleFrame(text: string): void {
    const message = text === "" ? undefined : (parseJson(text) as unknown as RunnerMessage);
    if (message?.type === "log") {
      this.#log(message.number, message.stream, message.text);
      return;
    }
    this.collect();
    if (message !== undefined) {
      const job = this.#held.get(message.number);
      this.#held.delete(message.number);
      job?.answer(message);
    }
    if (this.#held.size === 0 && !this.#isIdle && this.#killReason === undefined) {
      this.#becomeIdle();
    }
  }

  /** Number of the task that runs, or of the one that ran last. */
  get #lastStarted(): number {
    const { last } = this.#ledger;
    return last === this.#tookBackTo ? this.#startedBefore : last;
  }

  #becomeIdle(): void {
    this.#isIdle = true;
    this.#unwatch();
    this.sinceMs = performance.now();
    this.#options.onIdle(this);
  }

  #log(number: number, stream: "stdout" | "stderr", text: string): void {
    const job = this.#held.get(number);
    for (const line of job === undefined ? [] : text.split("\n")) {
      job?.context.log(stream, line);
    }
  }

  async #waitForEnd(): Promise<void> {
    await this.#process.exited;
    this.#unwatch();
    this.#ledger.release();
    killGroup(this.#process.pid, "SIGKILL");
    if (this.#held.size > 0) {
      const timer = setTimeout(this.#wireClosed.resolve, LAST_WORDS_MS);
      await this.#wireClosed.promise;
      clearTimeout(timer);
    }
    this.#isIdle = false;
    this.collect();
    const back = this.takeBack();
    for (const job of this.#held.size === 0 ? back : []) {
      job.lostCount++;
    }
    this.#options.onGone(this, back);
    const { exitCode, signalCode } = this.#process;
    for (const job of this.#held.values()) {
      job.fail(this.#killReason ?? exitFailure(exitCode, signalCode));
    }
    this.#held.clear();
  }

  /** Output that does not come from `console`: of grandchildren, or of the engine itself. */
  async #follow(stream: "stdout" | "stderr"): Promise<void> {
    const splitter = createLineSplitter((line) => this.#log(this.#lastStarted, stream, line));
    for await (const chunk of this.#process[stream]) {
      splitter.push(chunk);
    }
    splitter.end();
  }
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
