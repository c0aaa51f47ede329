/**
 * JavaScript runners, kept warm.
 *
 * A task takes an idle runner. When all are busy it waits: most tasks are over in microseconds, so
 * another runner is started only when none came free for a few milliseconds. A runner that was
 * idle for long is stopped unless it is the last one; one that has grown too large is replaced.
 */
import type { Environment } from "../environment.ts";
import type { Wire, WireListener } from "../wire.ts";
import { listenForWires } from "../wire.ts";
import { RunnerProcess } from "./runner-process.ts";

/** When no runner came free for so long, another is started. */
const PATIENCE_MS = 5;
/** Also when they do come free, but a task has waited for so long. */
const QUEUE_MS = 50;
const IDLE_MAX_MS = 30_000;
/** A runner larger than this is not used again: what is left of its tasks is not worth keeping. */
const REUSE_BYTES_MAX = 512 * 1024 * 1024;
/** Tasks between two looks at a runner's size. */
const SIZE_CHECK_EVERY = 200;

export interface RunnerPoolOptions {
  /** Starts a runner: `[...selfCommand, "__runner", "javascript"]`. */
  readonly command: readonly string[];
  readonly env: Environment;
  readonly runnerCountMax: number;
}

interface Waiter {
  readonly sinceMs: number;
  readonly resolve: (runner: RunnerProcess) => void;
  readonly reject: (error: Error) => void;
}

export class RunnerPool {
  readonly #options: RunnerPoolOptions;
  readonly #runners = new Set<RunnerProcess>();
  readonly #idle: RunnerProcess[] = [];
  readonly #waiters: Waiter[] = [];
  readonly #starting = new Map<number, (wire: Wire) => void>();
  #listener: WireListener | undefined;
  #lastId = 0;
  #lastFreeMs = 0;
  #patience: ReturnType<typeof setTimeout> | undefined;
  #idleTimer: ReturnType<typeof setInterval> | undefined;

  constructor(options: RunnerPoolOptions) {
    this.#options = options;
  }

  get runnerCount(): number {
    return this.#runners.size;
  }

  /** Starts the first runner, if there is none. */
  prestart(): void {
    if (this.#runners.size === 0) {
      this.#grow();
    }
  }

  /** A runner of one's own until it is released; rejects if none can be started. */
  take(): Promise<RunnerProcess> {
    const runner = this.#idle.pop();
    if (runner !== undefined) {
      return Promise.resolve(runner);
    }
    const { promise, resolve, reject } = Promise.withResolvers<RunnerProcess>();
    this.#waiters.push({ resolve, reject, sinceMs: performance.now() });
    if (this.#runners.size === 0) {
      this.#grow();
    } else {
      this.#growLater();
    }
    return promise;
  }

  /** Gives a runner back; one that is dead or too large is let go. */
  release(runner: RunnerProcess): void {
    if (runner.isGone || this.#isTooLarge(runner)) {
      this.#drop(runner);
      if (this.#waiters.length > 0) {
        this.#growLater();
      }
      return;
    }
    this.#lastFreeMs = performance.now();
    const waiter = this.#waiters.shift();
    if (waiter !== undefined) {
      waiter.resolve(runner);
      return;
    }
    runner.idleSinceMs = this.#lastFreeMs;
    this.#idle.push(runner);
  }

  /** A runner for one task with an environment or a working directory of its own. */
  async takeSpecial(
    env: Readonly<Record<string, string>>,
    cwd: string | undefined,
  ): Promise<RunnerProcess> {
    return await this.#start({ ...this.#options.env, ...env }, cwd);
  }

  /** Ends a runner of `takeSpecial`. */
  discard(runner: RunnerProcess): void {
    this.#drop(runner);
  }

  async close(): Promise<void> {
    clearTimeout(this.#patience);
    clearInterval(this.#idleTimer);
    const runners = [...this.#runners];
    for (const runner of runners) {
      this.#drop(runner);
    }
    await Promise.all(runners.map((runner) => runner.exited));
    this.#listener?.close();
    this.#listener = undefined;
  }

  #isTooLarge(runner: RunnerProcess): boolean {
    return runner.taskCount % SIZE_CHECK_EVERY === 0 && runner.memoryBytes > REUSE_BYTES_MAX;
  }

  #growLater(): void {
    this.#patience ??= setTimeout(() => {
      this.#patience = undefined;
      const oldest = this.#waiters[0];
      if (oldest !== undefined) {
        const waitedMs = performance.now() - oldest.sinceMs;
        const quietMs = Math.min(waitedMs, performance.now() - this.#lastFreeMs);
        if (quietMs >= PATIENCE_MS - 1 || waitedMs >= QUEUE_MS) {
          this.#grow();
        }
        this.#growLater();
      }
    }, PATIENCE_MS);
  }

  /** One at a time: starting many at once would slow each of them and the tasks that run. */
  #grow(): void {
    if (this.#starting.size > 0 || this.#runners.size >= this.#options.runnerCountMax) {
      return;
    }
    void this.#start().then(
      (runner) => this.release(runner),
      (error: unknown) => {
        if (this.#runners.size === 0) {
          for (const waiter of this.#waiters.splice(0)) {
            waiter.reject(new Error("cannot start a JavaScript runner", { cause: error }));
          }
        }
      },
    );
  }

  /** Resolves when the process has called back; rejects if it ends before that. */
  async #start(env = this.#options.env, cwd?: string): Promise<RunnerProcess> {
    this.#listener ??= listenForWires((wire) => this.#starting.get(wire.id)?.(wire));
    const id = ++this.#lastId;
    const called = Promise.withResolvers<Wire>();
    this.#starting.set(id, called.resolve);
    try {
      const { address, token } = this.#listener;
      const runner = new RunnerProcess({
        command: this.#options.command,
        start: { id, address, token, ...(cwd === undefined ? {} : { cwd }) },
        env,
      });
      this.#adopt(runner);
      const wire = await Promise.race([called.promise, runner.exited]);
      if (wire === undefined) {
        throw new Error(`${this.#options.command.join(" ")} ended before it was ready`);
      }
      runner.attach(wire);
      return runner;
    } finally {
      this.#starting.delete(id);
    }
  }

  #adopt(runner: RunnerProcess): void {
    this.#runners.add(runner);
    void runner.exited.then(() => this.#drop(runner));
    this.#idleTimer ??= setInterval(() => this.#stopIdle(), IDLE_MAX_MS / 3);
    this.#idleTimer.unref();
  }

  /** Stops what has been idle for long, but not the last one. */
  #stopIdle(): void {
    const idleBeforeMs = performance.now() - IDLE_MAX_MS;
    const old = this.#idle.filter((runner) => runner.idleSinceMs < idleBeforeMs);
    for (const runner of old.slice(0, this.#runners.size - 1)) {
      this.#drop(runner);
    }
    if (this.#runners.size <= 1) {
      clearInterval(this.#idleTimer);
      this.#idleTimer = undefined;
    }
  }

  #drop(runner: RunnerProcess): void {
    this.#runners.delete(runner);
    const index = this.#idle.indexOf(runner);
    if (index !== -1) {
      this.#idle.splice(index, 1);
    }
    runner.stop();
  }
}
