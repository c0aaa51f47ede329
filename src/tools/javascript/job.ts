/** One task on its way through the pool: it waits, is sent to a runner, may be taken back, ends. */
import type { Failure } from "../../engine/failure.ts";
import { failure } from "../../engine/failure.ts";
import { stoppedFailure } from "../stopped.ts";
import type { ToolContext, ToolOutcome } from "../tool.ts";
import type { RunnerEnd, RunnerTask } from "./protocol.ts";

export class Job {
  readonly task: RunnerTask;
  readonly context: ToolContext;
  readonly ended: Promise<ToolOutcome>;
  /** `performance.now()` when it came. */
  readonly sinceMs: number;
  /** Runners that died before they had started it, with no other task to blame. */
  lostCount = 0;
  readonly #resolve: (outcome: ToolOutcome) => void;
  readonly #onAbort: () => void;

  /** @param onAbort is called once if the task has to stop before it has ended. */
  constructor(task: RunnerTask, context: ToolContext, onAbort: (job: Job) => void) {
    const { promise, resolve } = Promise.withResolvers<ToolOutcome>();
    this.task = task;
    this.context = context;
    this.ended = promise;
    this.sinceMs = performance.now();
    this.#resolve = resolve;
    this.#onAbort = () => onAbort(this);
    context.signal.addEventListener("abort", this.#onAbort, { once: true });
  }

  /** A stopped task ends as stopped, whatever it gave. */
  end(outcome: ToolOutcome): void {
    const { signal } = this.context;
    signal.removeEventListener("abort", this.#onAbort);
    this.#resolve(signal.aborted ? { ok: false, failure: stoppedFailure(signal) } : outcome);
  }

  fail(reason: Failure): void {
    this.end({ ok: false, failure: reason });
  }

  /** Ends it with what the runner sent. */
  answer(end: RunnerEnd): void {
    if (end.ok) {
      this.end({ ok: true, value: end.value });
      return;
    }
    const { kind, code, message, stderr } = end;
    this.fail(failure(kind, message, stderr === undefined ? { code } : { code, stderr }));
  }
}
