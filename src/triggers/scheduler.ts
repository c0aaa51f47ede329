/**
 * Fires schedules. Any number of servers run it on one database; the sweep tells each of them which
 * schedules are due, and the rows decide:
 *
 * 1. claim: `wake_at` moves into the future, so that one server looks at a time;
 * 2. advance: `next_run_at` moves past now, and the due times that it passed become waiting firings,
 *    in one statement that only succeeds from the position that was read;
 * 3. fire: each waiting firing whose turn it is starts an execution under a dedup key of its own, and
 *    is marked;
 * 4. release: `wake_at` becomes the next due time, or the next time to look at what still waits.
 *
 * A server that dies anywhere in between leaves rows from which another goes on when the claim's
 * lease ends. One that only slept repeats what was done: the advance fails, the start gives the
 * execution that exists.
 */
import { errorMessage } from "../core/errors.ts";
import type { Service } from "../core/service.ts";
import type { ClaimedSchedule } from "../store/schedule.ts";
import { claimSchedules, releaseSchedule } from "../store/schedule.ts";
import type { WaitingFiring } from "../store/schedule-firing.ts";
import {
  advanceSchedule,
  endFiring,
  listOpenFirings,
  listWaitingFirings,
  removeOldFirings,
} from "../store/schedule-firing.ts";
import { fire } from "./fire.ts";
import { planAdvance, planTurn } from "./firing-plan.ts";
import type { TriggerOptions } from "./options.ts";
import type { Timing } from "./timing.ts";
import { createTiming } from "./timing.ts";

const LEASE_MS = 10_000;
/** Schedules that one server acts on at a time: each takes a connection now and then. */
const CONCURRENCY = 4;
/** Firings started in one look; the rest follows in the next. */
const TURN_MAX = 200;
/** Executions started at a time, of one schedule. */
const STARTS_AT_ONCE = 32;
/** How soon a firing that waits for others to end is looked at again. */
const BLOCKED_WAIT_MS = 1000;
/** How soon one that could not be started is. */
const RETRY_WAIT_MS = 2000;
/** How long the history is kept. */
const KEEP_MS = 30 * 24 * 60 * 60_000;

export class Scheduler {
  readonly service: Service = { name: "scheduler", run: (signal) => this.#run(signal) };
  readonly #options: TriggerOptions;
  #acting: Promise<void> | undefined;

  constructor(options: TriggerOptions) {
    this.#options = options;
  }

  /** Looks at due schedules in the background. While it is at it, further calls are left to the next sweep. */
  act(ids: readonly string[]): void {
    if (ids.length > 0 && this.#acting === undefined) {
      this.#acting = this.#act(ids).finally(() => {
        this.#acting = undefined;
      });
    }
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const stop = this.#options.orchestrator.onOverdue(({ schedules }) => this.act(schedules));
    signal.addEventListener("abort", () => resolve(), { once: true });
    if (!signal.aborted) {
      await promise;
    }
    stop();
    await this.#acting;
  }

  async #act(ids: readonly string[]): Promise<void> {
    const { store, log } = this.#options;
    try {
      const claimed = [...(await claimSchedules(store.quick, ids, LEASE_MS))];
      const work = async (): Promise<void> => {
        for (let next = claimed.pop(); next !== undefined; next = claimed.pop()) {
          await this.#look(next);
        }
      };
      await Promise.all(Array.from({ length: CONCURRENCY }, work));
    } catch (error) {
      log.warn("schedules not looked at", { error: errorMessage(error) });
    }
  }

  async #look(schedule: ClaimedSchedule): Promise<void> {
    const { store, log } = this.#options;
    const { scheduleId, spec, anchorMs } = schedule;
    try {
      const timing = createTiming(spec, anchorMs);
      if (await this.#advance(schedule, timing)) {
        const waitMs = await this.#fireWaiting(schedule, timing);
        await removeOldFirings(store.quick, scheduleId, KEEP_MS);
        await releaseSchedule(store.quick, schedule, waitMs);
      }
    } catch (error) {
      log.warn("schedule not looked at", { schedule: spec.name, error: errorMessage(error) });
    }
  }

  /** False: somebody else was first. */
  async #advance(schedule: ClaimedSchedule, timing: Timing): Promise<boolean> {
    const { nextRunMs, nowMs, spec } = schedule;
    if (nextRunMs === null || nextRunMs > nowMs) {
      return true;
    }
    const plan = planAdvance(spec, timing, { nextRunMs, nowMs, random: Math.random });
    const isFirst = await advanceSchedule(this.#options.store.durable, schedule, plan);
    if (isFirst) {
      const skippedCount = plan.firings.filter(({ skipped }) => skipped !== undefined).length;
      this.#options.metrics.scheduleFirings.add(skippedCount, "scheduled", "skipped");
    }
    return isFirst;
  }

  /** @returns when to look again at what still waits. */
  async #fireWaiting(schedule: ClaimedSchedule, timing: Timing): Promise<number> {
    const { store, orchestrator, metrics } = this.#options;
    const { scheduleId, spec } = schedule;
    const waiting = await listWaitingFirings(store.durable, scheduleId, TURN_MAX);
    if (waiting.length === 0) {
      return 0;
    }
    const open = await listOpenFirings(store.durable, scheduleId);
    const turn = planTurn(spec.overlap, waiting, open);
    for (const { dueMs, reason } of turn.skip) {
      await endFiring(store.durable, scheduleId, dueMs, { status: "skipped", reason });
      metrics.scheduleFirings.inc("scheduled", "skipped");
    }
    const reason = `schedule ${spec.name} starts it anew`;
    for (const executionId of turn.cancel) {
      await orchestrator.cancel(executionId, { reason, cascade: true });
    }
    let isDone = true;
    for (let first = 0; first < turn.start.length; first += STARTS_AT_ONCE) {
      const group = turn.start.slice(first, first + STARTS_AT_ONCE);
      const ends = await Promise.all(group.map((one) => this.#fire(schedule, timing, one)));
      isDone &&= ends.every(Boolean);
    }
    if (!isDone) {
      return RETRY_WAIT_MS;
    }
    return turn.isBlocked ? BLOCKED_WAIT_MS : 0;
  }

  /** False: it could not be started now. */
  async #fire(schedule: ClaimedSchedule, timing: Timing, firing: WaitingFiring): Promise<boolean> {
    const { orchestrator, store, metrics, log } = this.#options;
    const { scheduleId, spec } = schedule;
    const end = await fire(orchestrator, { scheduleId, schedule: spec, timing, firing });
    if (end === undefined) {
      return false;
    }
    await endFiring(store.durable, scheduleId, firing.dueMs, end);
    metrics.scheduleFirings.inc(firing.kind, end.status);
    if (end.status === "failed") {
      log.warn("schedule could not start its playbook", {
        schedule: spec.name,
        reason: end.reason,
      });
    } else if (firing.kind === "scheduled") {
      metrics.scheduleLagSeconds.observe(Math.max(0, Date.now() - firing.dueMs) / 1000);
    }
    return true;
  }
}
