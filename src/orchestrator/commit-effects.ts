/** What follows a commit at once, in this process. All of it would also be found by a sweep. */
import type { ExecutionId } from "../core/ids.ts";
import { isTerminal } from "../engine/state.ts";
import type { AppendResult, IssuedCommand } from "../store/append.ts";
import type { QueuedCommand } from "../store/command.ts";
import type { Admission } from "./admission.ts";
import type { DecidedGroup } from "./decider.ts";
import type { ExecutionMetrics } from "./execution-metrics.ts";
import type { ExecutionTracing } from "./execution-trace.ts";
import type { Feed } from "./feed.ts";
import type { GpuBell } from "./gpu-bell.ts";
import type { Notifier } from "./notifier.ts";
import type { StateCache } from "./state-cache.ts";
import { grow } from "./state-cache.ts";
import type { TimerWheel } from "./timer-wheel.ts";
import type { WatchHub } from "./watch-hub.ts";
import type { WorkerLeases } from "./worker-leases.ts";

export interface CommitEffectsOptions {
  readonly cache: StateCache;
  readonly feed: Feed;
  readonly notifier: Notifier;
  readonly wheel: TimerWheel;
  readonly watch: WatchHub;
  readonly workers: WorkerLeases;
  readonly bell: Pick<GpuBell, "ring">;
  readonly admission: Pick<Admission, "release">;
  readonly metrics: Pick<ExecutionMetrics, "count">;
  readonly tracing: Pick<ExecutionTracing, "record">;
}

export class CommitEffects {
  readonly #options: CommitEffectsOptions;

  constructor(options: CommitEffectsOptions) {
    this.#options = options;
  }

  apply(groups: readonly DecidedGroup[], result: AppendResult): void {
    const { feed, workers, metrics, tracing } = this.#options;
    for (const group of groups) {
      this.#keep(group);
      metrics.count(group);
      tracing.record(group);
      this.#ring(group);
      this.#announce(group, result);
      this.#wake(group);
    }
    workers.tellToStop(result.cancelling);
    for (const command of result.cancelling) {
      if (command.workerId === undefined) {
        feed.confirmCancelled(command);
      }
    }
  }

  /** What is over leaves the cache, nobody decides on it again, and passes its place on. */
  #keep({ id, entry, draft }: DecidedGroup): void {
    const { cache, admission } = this.#options;
    if (isTerminal(draft)) {
      cache.drop(id);
      if (entry.head.concurrencyKey !== null) {
        admission.release(entry.head.concurrencyKey);
      }
      return;
    }
    entry.isFresh = false;
    grow(entry, draft.chars);
    cache.put(entry);
  }

  /** GPUs have become free. */
  #ring({ draft }: DecidedGroup): void {
    if (draft.recorded.some(({ event }) => "lease" in event)) {
      this.#options.bell.ring();
    }
  }

  #announce({ id, draft }: DecidedGroup, result: AppendResult): void {
    const { notifier, feed, watch } = this.#options;
    watch.publish(id, draft.recorded);
    for (const command of draft.issued.values()) {
      const { isCancelling, delayMs, grant } = command;
      if (grant !== undefined) {
        continue;
      }
      const queued = toQueued(id, command);
      if (isCancelling) {
        feed.confirmCancelled({ ...queued, workerId: undefined });
      } else {
        notifier.notify(queued, delayMs);
      }
    }
    if (draft.requeued.size === 0) {
      return;
    }
    for (const command of result.requeued) {
      const row = command.executionId === id ? draft.requeued.get(command.commandId) : undefined;
      if (row?.isCancelling === true) {
        feed.confirmCancelled({ ...command, workerId: undefined });
      } else if (row !== undefined) {
        notifier.notify(command, row.delayMs);
      }
    }
  }

  #wake({ draft }: DecidedGroup): void {
    const { feed, wheel } = this.#options;
    for (const timerId of draft.stoppedTimers) {
      wheel.disarm(timerId);
    }
    for (const { executionId, timerId, wakeUp, delayMs } of draft.wakeUps.values()) {
      if (wakeUp.kind === "timer") {
        wheel.arm({ executionId, timerId, wakeUp, delayMs });
      } else {
        feed.wakeUp(executionId, timerId, wakeUp);
      }
    }
    for (const childId of draft.children) {
      feed.start(childId);
    }
  }
}

/** Field by field: what waits to be announced need not keep the payload. */
function toQueued(
  executionId: ExecutionId,
  { commandId, attempt, eventSeq, step, pool, trace }: IssuedCommand,
): QueuedCommand {
  return { executionId, commandId, attempt, eventSeq, step, pool, trace };
}
