/**
 * Timers that this server cannot act on: rows that a newer version wrote, inputs that the engine refuses
 * each time. They stay, for a server that can, but a sweep takes the oldest rows first: so many of them
 * would hold up all behind them. So they are put off, each time for longer, and logged once.
 */
import type { ExecutionId, TimerId } from "../core/ids.ts";
import type { Sql } from "../store/pool.ts";
import type { PutOffTimer } from "../store/timer.ts";
import { putOffTimers } from "../store/timer.ts";

const MIN_MS = 10_000;
const MAX_MS = 3_600_000;
/** Timers whose tries are remembered; what is forgotten starts over. */
const KNOWN_MAX = 10_000;

export class PutOffTimers {
  readonly #sql: Sql;
  /** Number of times, by timer; oldest first. */
  readonly #tries = new Map<TimerId, number>();
  readonly #waiting = new Map<TimerId, PutOffTimer>();

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  /** With the next {@link write}. True for the first time: then it is worth a line in the log. */
  add(executionId: ExecutionId, timerId: TimerId): boolean {
    const tries = this.#tries.get(timerId) ?? 0;
    if (!this.#waiting.has(timerId)) {
      this.#remember(timerId, tries + 1);
      const delayMs = Math.min(MIN_MS * 2 ** tries, MAX_MS);
      this.#waiting.set(timerId, { executionId, timerId, delayMs });
    }
    return tries === 0;
  }

  /** Nothing to do costs nothing. What the database refuses is found again by the next sweep. */
  async write(): Promise<void> {
    const timers = [...this.#waiting.values()];
    this.#waiting.clear();
    if (timers.length > 0) {
      await putOffTimers(this.#sql, timers);
    }
  }

  #remember(timerId: TimerId, tries: number): void {
    this.#tries.delete(timerId);
    this.#tries.set(timerId, tries);
    const [oldest] = this.#tries.keys();
    if (this.#tries.size > KNOWN_MAX && oldest !== undefined) {
      this.#tries.delete(oldest);
    }
  }
}
