import { describe, expect, test } from "bun:test";
import type { Schedule } from "../../../src/dsl/schedule.ts";
import { checkCron, createTiming, dueBetween } from "../../../src/triggers/timing.ts";

const SCHEDULE: Schedule = {
  name: "s",
  path: "s",
  labels: {},
  playbook: "p",
  timezone: "UTC",
  payload: {},
  jitterMs: 0,
  catchup: "last",
  catchupLimit: 100,
  overlap: "allow",
};

const FIVE = { count: 5, sinceMs: 0 };

function dueTimes(schedule: Partial<Schedule>, from: string, count: number): readonly string[] {
  const timing = createTiming({ ...SCHEDULE, ...schedule }, 0);
  const range = { fromMs: Date.parse(from), toMs: Number.POSITIVE_INFINITY, limit: count };
  return dueBetween(timing, range).map((ms) => new Date(ms).toISOString());
}

describe("due times", () => {
  const berlin = { timezone: "Europe/Berlin" };

  test("follow the zone's clock when it goes forward", () => {
    // 2:30 does not exist on the 29th: the first moment after the gap.
    expect(dueTimes({ cron: "30 2 * * *", ...berlin }, "2026-03-28T00:00:00Z", 3)).toEqual([
      "2026-03-28T01:30:00.000Z",
      "2026-03-29T01:00:00.000Z",
      "2026-03-30T00:30:00.000Z",
    ]);
  });

  test("come once a day when it goes back, and each half hour when they are by the half hour", () => {
    expect(dueTimes({ cron: "30 2 * * *", ...berlin }, "2026-10-25T00:00:00Z", 2)).toEqual([
      "2026-10-25T00:30:00.000Z",
      "2026-10-26T01:30:00.000Z",
    ]);
    expect(dueTimes({ cron: "*/30 * * * *", ...berlin }, "2026-10-25T00:00:00Z", 4)).toEqual([
      "2026-10-25T00:00:00.000Z",
      "2026-10-25T00:30:00.000Z",
      "2026-10-25T01:00:00.000Z",
      "2026-10-25T01:30:00.000Z",
    ]);
  });

  test("of an interval are counted from its start, those before it are none", () => {
    const schedule = { intervalMs: 90_000, startMs: Date.parse("2026-01-01T00:00:10Z") };
    expect(dueTimes(schedule, "2020-01-01T00:00:00Z", 2)).toEqual([
      "2026-01-01T00:00:10.000Z",
      "2026-01-01T00:01:40.000Z",
    ]);
    const timing = createTiming({ ...SCHEDULE, ...schedule }, 0);
    expect(timing.last(Date.parse("2026-01-01T00:02:00Z"), FIVE)).toHaveLength(2);
    expect(timing.last(Date.parse("2026-01-01T00:00:00Z"), FIVE)).toEqual([]);
  });

  test("end with the schedule", () => {
    const schedule = { cron: "@daily", endMs: Date.parse("2026-01-03T00:00:00Z") };
    expect(dueTimes(schedule, "2026-01-01T00:00:00Z", 9)).toHaveLength(2);
    const timing = createTiming({ ...SCHEDULE, ...schedule }, 0);
    expect(timing.next(Date.parse("2026-01-02T00:00:00Z"))).toBeUndefined();
    expect(timing.last(Date.parse("2026-06-01T00:00:00Z"), { count: 1, sinceMs: 0 })).toEqual([
      Date.parse("2026-01-02T00:00:00Z"),
    ]);
  });

  test("are the same forward and backward", () => {
    for (const cron of [
      "*/7 * * * *",
      "0 0 L * *",
      "0 9 * * MON#1",
      "15 30 4 * * SUN",
      "@weekly",
    ]) {
      const timing = createTiming({ ...SCHEDULE, cron, ...berlin }, 0);
      const range = { fromMs: Date.parse("2026-03-01T00:00:00Z"), limit: 20 };
      const forward = dueBetween(timing, { ...range, toMs: Number.POSITIVE_INFINITY });
      const backward = timing.last(forward.at(-1) ?? 0, { count: 20, sinceMs: forward[0] ?? 0 });
      expect([cron, ...backward.toReversed()]).toEqual([cron, ...forward]);
    }
  });
});

test.each([
  ["0 2 * * *", "Europe/Berlin", undefined],
  ["*/5 * * * * *", "UTC", undefined],
  ["@daily", "America/New_York", undefined],
  ["every day", "UTC", "no cron expression"],
  ["0 25 * * *", "UTC", "no cron expression"],
  ["0 0 31 2 *", "UTC", "never due"],
  ["2026-01-01T00:00:00Z", "UTC", "no cron expression"],
  ["0 2 * * *", "Mars/Base", "no time zone"],
])("checkCron(%p, %p)", (cron, timezone, problem) => {
  const found = checkCron(cron, timezone);
  if (problem === undefined) {
    expect(found).toBeUndefined();
  } else {
    expect(found).toContain(problem);
  }
});
