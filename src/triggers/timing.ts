/** Due times of a schedule: the seam to croner, which knows time zones and their changes. */
import { Cron } from "croner";
import { errorMessage } from "../core/errors.ts";
import type { Schedule } from "../dsl/schedule.ts";

export interface Timing {
  /** The first due time after `ms`; undefined: there is none any more. */
  next(ms: number): number | undefined;
  /** The last so many due times up to and with `ms`, newest first, none before `sinceMs`. */
  last(ms: number, range: LastRange): readonly number[];
}

export interface LastRange {
  readonly count: number;
  /** Looking further back costs: a due time takes some 0.2 ms to find. */
  readonly sinceMs: number;
}

/** Due times that {@link dueBetween} gives at most. */
export const DUE_TIMES_MAX = 1000;

const SHAPE = /^(@\w+|\S+( +\S+){4,5})$/;

/** What is wrong with the expression or the zone, in a sentence; undefined: nothing. */
export function checkCron(cron: string, timezone: string): string | undefined {
  if (!SHAPE.test(cron.trim())) {
    return `"${cron}" is no cron expression: five fields (six with seconds) or @hourly, @daily, …`;
  }
  try {
    new Intl.DateTimeFormat("en", { timeZone: timezone });
  } catch {
    return `there is no time zone "${timezone}"; name one such as Europe/Berlin or UTC`;
  }
  try {
    const isEver = createCron(cron, timezone).nextRun(new Date(0)) !== null;
    return isEver ? undefined : `"${cron}" is never due`;
  } catch (error) {
    return `"${cron}" is no cron expression: ${errorMessage(error).replace(/^CronPattern: /, "")}`;
  }
}

/** @param anchorMs intervals count from here, unless the schedule names its start. */
export function createTiming(schedule: Schedule, anchorMs: number): Timing {
  const { cron, intervalMs, timezone, startMs, endMs } = schedule;
  const timing =
    intervalMs === undefined
      ? cronTiming(cron ?? "", timezone)
      : intervalTiming(intervalMs, startMs ?? anchorMs);
  const isWithin = (ms: number): boolean =>
    (startMs === undefined || ms >= startMs) && (endMs === undefined || ms < endMs);
  return {
    next: (ms) => {
      const from = startMs === undefined ? ms : Math.max(ms, startMs - 1);
      const due = timing.next(from);
      return due !== undefined && isWithin(due) ? due : undefined;
    },
    last: (ms, range) =>
      timing.last(endMs === undefined ? ms : Math.min(ms, endMs - 1), range).filter(isWithin),
  };
}

/** From `fromMs` on and before `toMs`, oldest first, at most `limit`. */
export function dueBetween(
  timing: Timing,
  {
    fromMs,
    toMs,
    limit,
  }: { readonly fromMs: number; readonly toMs: number; readonly limit: number },
): readonly number[] {
  const found: number[] = [];
  let due = timing.next(fromMs - 1);
  while (due !== undefined && due < toMs && found.length < limit) {
    found.push(due);
    due = timing.next(due);
  }
  return found;
}

function createCron(cron: string, timezone: string): Cron {
  return new Cron(cron.trim(), { timezone, mode: "5-or-6-parts" });
}

/** croner counts whole seconds. */
function cronTiming(text: string, timezone: string): Timing {
  const cron = createCron(text, timezone);
  return {
    next: (ms) => cron.nextRun(new Date(Math.floor(ms / 1000) * 1000))?.getTime(),
    last: (ms, { count, sinceMs }) => {
      const found: number[] = [];
      let before = new Date((Math.floor(ms / 1000) + 1) * 1000);
      while (found.length < count) {
        const [previous] = cron.previousRuns(1, before);
        if (previous === undefined || previous.getTime() < sinceMs) {
          break;
        }
        found.push(previous.getTime());
        before = previous;
      }
      return found;
    },
  };
}

/** `anchor + k × interval`, k from 1; from 0 when the schedule names its start. */
function intervalTiming(intervalMs: number, anchorMs: number): Timing {
  return {
    next: (ms) => anchorMs + Math.max(0, Math.floor((ms - anchorMs) / intervalMs) + 1) * intervalMs,
    last: (ms, { count, sinceMs }) => {
      const newest = Math.floor((ms - anchorMs) / intervalMs);
      const some = Math.max(0, Math.min(count, newest + 1));
      const times = Array.from({ length: some }, (_, n) => anchorMs + (newest - n) * intervalMs);
      return times.filter((dueMs) => dueMs >= sinceMs);
    },
  };
}
