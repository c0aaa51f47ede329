/**
 * The database's clock without a question to the database: the local one plus the difference that
 * the sweeps measure, so that all servers agree on times and a wrong local clock harms nobody.
 */
import type { TimeMs } from "../core/clock.ts";

/** Differences below this are the noise of measuring. */
const TOLERANCE_MS = 25;

export interface DatabaseClock {
  now(): TimeMs;
  /** @param sentMs local time when the question was sent. */
  adjust(databaseMs: TimeMs, sentMs: TimeMs): void;
}

export function createDatabaseClock(): DatabaseClock {
  let offsetMs = 0;
  return {
    now: () => Math.round(Date.now() + offsetMs),
    adjust: (databaseMs, sentMs) => {
      const measuredMs = databaseMs - (sentMs + Date.now()) / 2;
      if (Math.abs(measuredMs - offsetMs) > TOLERANCE_MS) {
        offsetMs = measuredMs;
      }
    },
  };
}
