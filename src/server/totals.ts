/**
 * Counts that would read whole tables. Whoever asks gets the last ones, and new ones are made when these
 * are old: the longer counting takes the rarer it is done, so that it never takes more than a hundredth
 * of one connection's time, however many pages ask.
 */
import type { Totals } from "./backend.ts";

export interface DatedTotals extends Totals {
  readonly countedAtMs: number;
}

/** Of the time that counting took. */
const AGE_FACTOR = 100;
const AGE_MS_MIN = 500;

/** @param now milliseconds since 1970. */
export function createTotals(
  count: () => Promise<Totals>,
  now: () => number = Date.now,
): () => Promise<DatedTotals> {
  let known: DatedTotals | undefined;
  let goodUntilMs = 0;
  let counting: Promise<DatedTotals> | undefined;
  const recount = async (): Promise<DatedTotals> => {
    const beginMs = now();
    try {
      known = { ...(await count()), countedAtMs: beginMs };
      goodUntilMs = now() + Math.max(AGE_MS_MIN, AGE_FACTOR * (now() - beginMs));
      return known;
    } finally {
      counting = undefined;
    }
  };
  return async () => {
    if (known !== undefined && now() < goodUntilMs) {
      return known;
    }
    counting ??= recount();
    return await counting;
  };
}
