/**
 * JavaScript runners, kept warm.
 *
 * Most tasks are over in microseconds, so what costs is waking a process. Therefore waiting tasks
 * go together to one runner, the one that was used last. A task behind a slow one does not wait for
 * it: what a runner has not started after a few milliseconds is taken back (ledger.ts) and goes to
 * another. Further runners are started only when tasks have really waited and a processor is free
 * or nothing gets done. A runner that was idle for long is stopped unless it is the last one; one
 * that has grown too large is replaced.
 */
import { availableParallelism } from "node:os";
import { failure } from "../../engine/failure.ts";
import type { Environment } from "../environment.ts";
import type { MemoryGuard } from "../memory-guard.ts";
import { isComputing } from "../process-group.ts";
import { stoppedFailure } from "../stopped.ts";
import type { ToolContext, ToolOutcome } from "../tool.ts";
import type { Wire, WireListener } from "../wire.ts";
import { listenForWires } from "../wire.ts";
import { Job } from "./job.ts";
import { SLOT_COUNT } from "./ledger.ts";
import type { RunnerTask } from "./protocol.ts";
import { RunnerProcess } from "./runner-process.ts";

/** What a runner is sent should be over in so long; the rest is taken back. */
const PROMPT_MS = 5;
/** Another runner is worth its start when a task has waited for so long. */
const WAIT_MS = 20;
/** Nothing gets done: no task has ended for so long. */
const QUIET_MS = 50;
/** A runner that does not answer for so long, with no task to blame, is ended. */
const STUCK_MS = 5000;
const IDLE_MAX_MS = 30_000;
/** A runner larger than this is not used again: what is left of its tasks is not worth keeping. */
const REUSE_BYTES_MAX = 512 * 1024 * 1024;
/** Tasks between two looks at a runner's size. */
const SIZE_CHECK_EVERY = 200;
/** Long before a runner's numbers are used up. */
const REUSE_COUNT_MAX = 1e9;
/** Runners that may die before they start a task. */
const LOST_MAX = 3;

export interface RunnerPoolOptions {
  /** Starts a runner: `[...selfCommand, "__runner", "javascript"]`. */
  readonly command: readonly string[];
  readonly env: Environment;
  readonly runnerCountMax: number;
}

export class RunnerPool {
  readonly #options: RunnerPoolOptions;
  readonly #guard: MemoryGuard;
  readonly #runners = new Set<RunnerProcess>();
  /** Of {@link #runners}; the last one was used last. */
  readonly #idle: RunnerProcess[] = [];
  /** Runners of tasks with an environment of their own. */
  readonly #special = new Set<RunnerProcess>();
  readonly #waiting: Job[] = [];
  readonly #starting = new Map<number, (wire: Wire) => void>();
  #listener: WireListener | undefined;
  #lastId = 0;
  /** Tasks that a runner is sent at once: as many as were over in time. */
  #batchMax = 1;
  #lastIdleMs = 0;
  readonly #sizeCheckedCounts = new WeakMap<RunnerProcess, number>();
  #isDispatching = false;
  #look: ReturnType<typeof setTimeout> | undefined;
  #lookDueMs = 0;
  #idleTimer: ReturnType<typeof setInterval> | undefined;
  #isClosed = false;

  constructor(options: RunnerPoolOptions, guard: MemoryGuard) {
    this.#options = options;
    this.#guard = guard;
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

  /** Resolves when the task has ended, or, once it was stopped, does not run any more. */
  run(task: RunnerTask, context: ToolContext): Promise<ToolOutcome> {
    const job = new Job(task, context, (stopped) => this.#stop(stopped));
    this.#waiting.push(job);
    this.prestart();
    this.#dispatchSoon();
    return job.ended;
  }

  /** The same in a runner of its own, with an environment and a working directory of its own. */
  async runSpecial(
    task: RunnerTask,
    context: ToolContext,
    { env, cwd }: { readonly env: Environment; readonly cwd: string | undefined },
  ): Promise<ToolOutcome> {
    const started = Promise.withResolvers<RunnerProcess | undefined>();
    const runner = this.#start({ ...this.#options.env, ...env }, cwd, started.resolve);
    this.#special.add(runner);
    void runner.exited.then(() => started.resolve(undefined));
    try {
      await started.promise;
      if (context.signal.aborted || !runner.isIdle) {
        const reason = context.signal.aborted ? stoppedFailure(context.signal) : RUNNER_MISSING;
        return { ok: false, failure: reason };
      }
      const job = new Job(task, context, (stopped) => {
        for (const back of runner.stopJob(stopped)) {
          back.fail(RUNNER_MISSING);
        }
      });
      runner.send([job]);
      return await job.ended;
    } finally {
      this.#special.delete(runner);
      runner.stop();
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#look);
    clearInterval(this.#idleTimer);
    const runners = [...this.#runners, ...this.#special];
    for (const runner of runners) {
      this.#drop(runner);
    }
    await Promise.all(runners.map((runner) => runner.exited));
    for (const job of this.#waiting.splice(0)) {
      job.fail(RUNNER_MISSING);
    }
    this.#listener?.close();
    this.#listener = undefined;
  }

  #stop(job: Job): void {
    const index = this.#waiting.indexOf(job);
    if (index !== -1) {
      this.#waiting.splice(index, 1);
      job.fail(stoppedFailure(job.context.signal));
      return;
    }
    for (const runner of this.#runners) {
      if (runner.holds(job)) {
        this.#requeue(runner.stopJob(job));
      }
    }
  }

  /** Puts tasks that were not started back to the front. */
  #requeue(jobs: readonly Job[]): void {
    const [stopped, going] = [true, false].map((isStopped) =>
      jobs.filter((job) => job.context.signal.aborted === isStopped),
    );
    for (const job of stopped ?? []) {
      job.fail(stoppedFailure(job.context.signal));
    }
    this.#waiting.unshift(...(going ?? []));
    if (this.#waiting.length > 0) {
      this.#dispatchSoon();
    }
  }

  /** At the end of this turn, so that the tasks that come together go together. */
  #dispatchSoon(): void {
    if (!this.#isDispatching) {
      this.#isDispatching = true;
      setImmediate(() => this.#dispatch(performance.now()));
    }
  }

  #dispatch(nowMs: number): void {
    this.#isDispatching = false;
    while (this.#idle.length > 0 && this.#waiting.length > 0 && !this.#shouldHold(nowMs)) {
      this.#idle.pop()?.send(this.#waiting.splice(0, this.#batchMax));
    }
    if (!this.#isClosed) {
      this.#lookLater(nowMs);
    }
  }

  /** While tasks are short, the runner that is at work will be free before another is awake. */
  #shouldHold(nowMs: number): boolean {
    const oldestMs = this.#waiting[0]?.sinceMs ?? nowMs;
    if (this.#batchMax === 1 || nowMs - oldestMs >= PROMPT_MS) {
      return false;
    }
    for (const runner of this.#runners) {
      if (runner.heldCount > 0 && nowMs - runner.sinceMs < PROMPT_MS) {
        return true;
      }
    }
    return false;
  }

  /** Looks again when something may be late: soon, or now and then while slow tasks run. */
  #lookLater(nowMs: number): void {
    let delayMs = this.#waiting.length > 0 ? PROMPT_MS : Number.POSITIVE_INFINITY;
    for (const runner of this.#runners) {
      if (runner.isStarted && !runner.isIdle) {
        delayMs = Math.min(delayMs, runner.isSlow ? STUCK_MS : PROMPT_MS);
      }
    }
    if (this.#look !== undefined && this.#lookDueMs <= nowMs + delayMs) {
      return;
    }
    clearTimeout(this.#look);
    this.#look = undefined;
    if (delayMs < Number.POSITIVE_INFINITY) {
      this.#lookDueMs = nowMs + delayMs;
      this.#look = setTimeout(() => this.#handleLook(), delayMs);
    }
  }

  #handleLook(): void {
    this.#look = undefined;
    const nowMs = performance.now();
    for (const runner of this.#runners) {
      this.#check(runner, nowMs);
    }
    // A timer that comes late says that this process was busy, not that the runners were.
    const isOnTime = nowMs - this.#lookDueMs < PROMPT_MS;
    if (isOnTime && this.#needsRunner(nowMs)) {
      this.#grow();
    }
    this.#dispatch(nowMs);
  }

  #check(runner: RunnerProcess, nowMs: number): void {
    const tookMs = nowMs - runner.sinceMs;
    if (!runner.isStarted || runner.isIdle || tookMs < PROMPT_MS) {
      return;
    }
    const sentCount = runner.batchCount;
    runner.collect();
    if (runner.heldCount > 0 && !runner.isSlow) {
      runner.isSlow = true;
      const endedCount = sentCount - runner.heldCount;
      this.#batchMax = Math.max(1, Math.min(this.#batchMax, endedCount));
      this.#requeue(runner.takeBack());
    }
    if (runner.heldCount === 0 && tookMs > STUCK_MS) {
      runner.kill(RUNNER_MISSING);
    }
  }

  #needsRunner(nowMs: number): boolean {
    const oldest = this.#waiting[0];
    const isWaiting = oldest !== undefined && nowMs - oldest.sinceMs >= WAIT_MS;
    if (!isWaiting || this.#idle.length > 0 || !this.#mayGrow()) {
      return false;
    }
    const computing = [...this.#runners].filter((runner) => isComputing(runner.pid));
    return computing.length < availableParallelism() || nowMs - this.#lastIdleMs >= QUIET_MS;
  }

  /** One at a time: starting many at once would slow each of them and the tasks that run. */
  #mayGrow(): boolean {
    return this.#starting.size === 0 && this.#runners.size < this.#options.runnerCountMax;
  }

  #grow(): void {
    if (this.#isClosed || !this.#mayGrow()) {
      return;
    }
    try {
      this.#runners.add(this.#start(this.#options.env, undefined, (idle) => this.#take(idle)));
    } catch {
      this.#handleNoStart();
    }
    this.#idleTimer ??= setInterval(() => this.#stopIdle(), IDLE_MAX_MS / 3);
    this.#idleTimer.unref();
  }

  /** A runner has nothing to do. */
  #take(runner: RunnerProcess): void {
    this.#lastIdleMs = runner.sinceMs;
    if (this.#isTooLarge(runner)) {
      this.#drop(runner);
    } else {
      this.#batchMax = runner.isSlow ? this.#batchMax : Math.min(SLOT_COUNT, 2 * this.#batchMax);
      this.#idle.push(runner);
    }
    if (this.#waiting.length > 0) {
      this.prestart();
      this.#dispatchSoon();
    }
  }

  #isTooLarge(runner: RunnerProcess): boolean {
    const checked = this.#sizeCheckedCounts.get(runner) ?? 0;
    if (runner.sentCount - checked < SIZE_CHECK_EVERY) {
      return false;
    }
    this.#sizeCheckedCounts.set(runner, runner.sentCount);
    return runner.memoryBytes > REUSE_BYTES_MAX || runner.sentCount > REUSE_COUNT_MAX;
  }

  /** Starts a process; `onIdle` is told when it has called back and after each batch. */
  #start(
    env: Environment,
    cwd: string | undefined,
    onIdle: (runner: RunnerProcess) => void,
  ): RunnerProcess {
    this.#listener ??= listenForWires((wire) => this.#starting.get(wire.id)?.(wire));
    const id = ++this.#lastId;
    const { address, token } = this.#listener;
    const runner = new RunnerProcess({
      command: this.#options.command,
      start: { id, address, token, ...(cwd === undefined ? {} : { cwd }) },
      env,
      guard: this.#guard,
      onIdle,
      onGone: (gone, jobs) => {
        this.#starting.delete(id);
        this.#handleGone(gone, jobs);
      },
    });
    this.#starting.set(id, (wire) => {
      this.#starting.delete(id);
      runner.attach(wire);
    });
    return runner;
  }

  #handleGone(runner: RunnerProcess, jobs: readonly Job[]): void {
    this.#drop(runner);
    for (const job of jobs.filter(({ lostCount }) => lostCount >= LOST_MAX)) {
      job.fail(RUNNER_MISSING);
    }
    this.#requeue(jobs.filter(({ lostCount }) => lostCount < LOST_MAX));
    if (!runner.isStarted) {
      this.#handleNoStart();
    } else if (this.#waiting.length > 0) {
      this.prestart();
    }
  }

  /** Nothing can be done for tasks that wait for the first runner. */
  #handleNoStart(): void {
    if (this.#runners.size === 0) {
      for (const job of this.#waiting.splice(0)) {
        job.fail(RUNNER_MISSING);
      }
    }
  }

  /** Stops what has been idle for long, but not the last one. */
  #stopIdle(): void {
    const idleBeforeMs = performance.now() - IDLE_MAX_MS;
    const old = this.#idle.filter((runner) => runner.sinceMs < idleBeforeMs);
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

const RUNNER_MISSING = failure("internal", "the JavaScript runner does not start", {
  code: "RUNNER_MISSING",
});
