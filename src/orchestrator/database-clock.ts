/**
 * The database's clock without a question to the database: the local one plus the difference that
 * the sweeps measure, so that all servers agree on times and a wrong local clock harms nobody.
 *
 * The database looked at its clock between the question and the answer, nothing more is known. So the
 * difference is changed only when it lies outside of these bounds, and no further than to them:
 * a slow answer, from a database that has just come back, says little and changes nothing.
 */
import type { TimeMs } from "../core/clock.ts";

export interface DatabaseClock {
  now(): TimeMs;
  /** To be called when the answer is there. @param sentMs local time when the question was sent. */
  adjust(databaseMs: TimeMs, sentMs: TimeMs): void;
}

/** @param localNow the local clock, milliseconds since 1970. */
export function createDatabaseClock(localNow: () => TimeMs = Date.now): DatabaseClock {
  let offsetMs = 0;
  return {
    now: () => Math.round(localNow() + offsetMs),
    adjust: (databaseMs, sentMs) => {
      const leastMs = databaseMs - localNow();
      const mostMs = databaseMs - sentMs;
      offsetMs = Math.min(Math.max(offsetMs, leastMs), mostMs);
    },
  };
}
