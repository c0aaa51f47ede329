/**
 * Asks the database once a second what is overdue, and sees that somebody acts on it: the answer to
 * every crash between two commits. Each server sweeps; a row that two of them find is acted on once,
 * because the commit that does it also removes the row.
 *
 * After an outage (of the database, or of this server) leases are left alone for a while: workers
 * that live could not renew them.
 */
import { sleep } from "../core/clock.ts";
import { errorMessage } from "../core/errors.ts";
import type { Service } from "../core/service.ts";
import type { Failure } from "../engine/failure.ts";
import { failure } from "../engine/failure.ts";
import { takeOut } from "../store/queue-error.ts";
import type { Overdue, OverdueCommand } from "../store/sweep.ts";
import { sweepDue } from "../store/sweep.ts";
import type { DatabaseClock } from "./database-clock.ts";
import type { Feed } from "./feed.ts";
import type { GpuBell } from "./gpu-bell.ts";
import type { Notifier } from "./notifier.ts";
import type { OrchestratorOptions } from "./options.ts";
import type { PutOffTimers } from "./put-off-timers.ts";
import type { Relay } from "./relay.ts";
import { decodeWakeUp } from "./wake-up.ts";

const GRACE_MS = 1000;
const NOTIFY_GRACE_MS = 2000;
const LIMIT = 500;
/** After an outage of NATS all queued commands may be among them. */
const NOTIFY_LIMIT = 5000;
/** Sweeps of several servers spread out. */
const JITTER = 0.2;

export interface SweeperOptions extends Pick<OrchestratorOptions, "store" | "metrics" | "log"> {
  readonly clock: DatabaseClock;
  readonly feed: Feed;
  readonly notifier: Notifier;
  readonly relay: Relay;
  readonly bell: Pick<GpuBell, "sweep">;
  readonly putOff: PutOffTimers;
  /** Told what is due besides executions. */
  readonly onOverdue: (overdue: Overdue) => void;
  readonly intervalMs: number;
  /** A gap between sweeps that counts as an outage. */
  readonly outageMs: number;
  /** How long leases are left alone after one. */
  readonly amnestyMs: number;
}

export class Sweeper {
  readonly service: Service = { name: "sweeper", run: (signal) => this.#run(signal) };
  readonly #options: SweeperOptions;
  #lastOkMs = Number.NEGATIVE_INFINITY;
  #amnestyUntilMs = 0;

  constructor(options: SweeperOptions) {
    this.#options = options;
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { intervalMs, metrics, log } = this.#options;
    while (!signal.aborted) {
      try {
        await this.sweep();
      } catch (error) {
        metrics.sweepFailures.inc();
        log.warn("sweep failed", { error: errorMessage(error) });
      }
      await sleep(intervalMs * (1 + (Math.random() - 0.5) * JITTER), signal);
    }
  }

  /** One round. */
  async sweep(): Promise<void> {
    const { store, clock, notifier, putOff, metrics, outageMs, amnestyMs } = this.#options;
    const startMs = performance.now();
    if (startMs - this.#lastOkMs > outageMs) {
      this.#amnestyUntilMs = startMs + amnestyMs;
    }
    const sentMs = Date.now();
    const overdue = await sweepDue(store.quick, {
      graceMs: GRACE_MS,
      notifyGraceMs: NOTIFY_GRACE_MS,
      isExpiring: startMs >= this.#amnestyUntilMs,
      limit: LIMIT,
      notifyLimit: NOTIFY_LIMIT,
    });
    clock.adjust(overdue.nowMs, sentMs);
    this.#lastOkMs = performance.now();
    this.#act(overdue);
    this.#options.onOverdue(overdue);
    await this.#failOverdue(overdue.overdue);
    await notifier.writeMarks();
    await putOff.write();
    metrics.sweepSeconds.observe((performance.now() - startMs) / 1000);
    metrics.sweepLast.set(Date.now() / 1000);
  }

  /** Whoever takes the row first has it: a worker that claims it now, or the failure. */
  async #failOverdue(commands: readonly OverdueCommand[]): Promise<void> {
    const { store, feed } = this.#options;
    const failing = commands.map((command) => ({ ...command, error: queueTimeout(command) }));
    for (const taken of await takeOut(store.durable, failing)) {
      feed.failQueued(taken);
    }
  }

  #act(overdue: Overdue): void {
    const { timers, leases, pending, freedKeys, unnotified, hasGpuWaiters } = overdue;
    const { feed, relay, bell, metrics, putOff, log } = this.#options;
    for (const { executionId, timerId, input } of timers) {
      const wakeUp = decodeWakeUp(input);
      if (wakeUp === undefined) {
        if (putOff.add(executionId, timerId)) {
          log.error("timer not understood, put off", { executionId, timerId });
        }
      } else {
        feed.wakeUp(executionId, timerId, wakeUp);
      }
    }
    for (const lease of leases) {
      feed.expire(lease);
    }
    for (const executionId of pending) {
      feed.start(executionId);
    }
    relay.repeat(unnotified);
    if (hasGpuWaiters) {
      bell.sweep();
    }
    metrics.sweepRows.add(timers.length, "timer");
    metrics.sweepRows.add(leases.length, "lease");
    metrics.sweepRows.add(pending.length, "child");
    metrics.sweepRows.add(freedKeys.length, "place");
    metrics.sweepRows.add(overdue.overdue.length, "queue");
  }
}

function queueTimeout({ pool, waitsFor }: OverdueCommand): Failure {
  const why = waitsFor ?? "no worker of it has taken it";
  const message = `The command was still in the queue of pool ${pool} when its time there was over (timeouts.queue): ${why}`;
  return failure("timeout", message, { code: "QUEUE_TIMEOUT" });
}
