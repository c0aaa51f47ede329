import { describe, expect, test } from "bun:test";
import type { ExecutionId } from "../../../src/core/ids.ts";
import type { Schedule } from "../../../src/dsl/schedule.ts";
import type { WaitingFiring } from "../../../src/store/schedule-firing.ts";
import { planAdvance, planTurn } from "../../../src/triggers/firing-plan.ts";
import { createTiming } from "../../../src/triggers/timing.ts";

const MINUTE_MS = 60_000;
const BEGIN_MS = Date.parse("2026-01-01T00:00:00Z");

function advance(change: Partial<Schedule>, minutes: number, lateMs = 0) {
  const schedule: Schedule = {
    name: "s",
    path: "s",
    labels: {},
    playbook: "p",
    cron: "* * * * *",
    timezone: "UTC",
    payload: {},
    jitterMs: 0,
    catchup: "last",
    catchupLimit: 3,
    overlap: "allow",
    ...change,
  };
  const nowMs = BEGIN_MS + minutes * MINUTE_MS + lateMs;
  const plan = planAdvance(schedule, createTiming(schedule, BEGIN_MS), {
    nextRunMs: BEGIN_MS,
    nowMs,
    random: () => 0.5,
  });
  const minuteOf = (ms: number | undefined) => ((ms ?? 0) - BEGIN_MS) / MINUTE_MS;
  return {
    next: minuteOf(plan.nextRunMs),
    met: plan.firings.filter((one) => one.skipped === undefined).map((one) => minuteOf(one.dueMs)),
    skipped: plan.firings
      .filter((one) => one.skipped !== undefined)
      .map((one) => minuteOf(one.dueMs)),
    firings: plan.firings,
  };
}

describe("planAdvance()", () => {
  test.each([
    ["none", 0, 1000, { next: 1, met: [0], skipped: [] }],
    ["none", 5, 1000, { next: 6, met: [5], skipped: [0] }],
    ["none", 5, 45_000, { next: 6, met: [], skipped: [0] }],
    ["last", 5, 45_000, { next: 6, met: [5], skipped: [0] }],
    ["all", 2, 45_000, { next: 3, met: [0, 1, 2], skipped: [] }],
    ["all", 9, 45_000, { next: 10, met: [7, 8, 9], skipped: [0] }],
  ] as const)(
    "with catchup %p, %p minutes and %p ms late",
    (catchup, minutes, lateMs, expected) => {
      expect(advance({ catchup }, minutes, lateMs)).toMatchObject(expected);
    },
  );

  test("meets all due times of a slow sweep", () => {
    const { met, skipped } = advance({ cron: "* * * * * *", catchup: "none" }, 0, 5000);
    expect([met.length, skipped.length]).toEqual([6, 0]);
  });

  test("adds the jitter to when a firing starts, not to its due time", () => {
    const [firing] = advance({ jitterMs: 10_000 }, 0).firings;
    expect(firing).toMatchObject({ dueMs: BEGIN_MS, notBeforeMs: BEGIN_MS + 5000 });
  });
});

describe("planTurn()", () => {
  const firing = (dueMs: number, kind: WaitingFiring["kind"] = "scheduled"): WaitingFiring => ({
    dueMs,
    kind,
    payload: undefined,
  });
  const open = ["7" as ExecutionId];
  const due = (waiting: readonly { readonly dueMs: number }[]) => waiting.map(({ dueMs }) => dueMs);

  test("allow starts all", () => {
    expect(due(planTurn("allow", [firing(1), firing(2)], open).start)).toEqual([1, 2]);
  });

  test("skip starts one when nothing runs, and none otherwise", () => {
    const free = planTurn("skip", [firing(1), firing(2)], []);
    expect([due(free.start), due(free.skip)]).toEqual([[1], [2]]);
    const busy = planTurn("skip", [firing(1)], open);
    expect([due(busy.start), busy.skip[0]?.reason]).toEqual([[], "execution 7 still ran"]);
  });

  test("queue starts the oldest when nothing runs, and lets a bounded number wait", () => {
    const waiting = Array.from({ length: 150 }, (_, n) => firing(n));
    const turn = planTurn("queue", waiting, []);
    expect([due(turn.start), turn.skip.length, turn.isBlocked]).toEqual([[0], 49, true]);
    expect(planTurn("queue", [firing(1)], open)).toMatchObject({ start: [], isBlocked: true });
  });

  test("cancel_previous cancels what runs, and starts the newest once it is gone", () => {
    const turn = planTurn("cancel_previous", [firing(1), firing(2)], open);
    expect(turn).toMatchObject({ start: [], cancel: open, isBlocked: true });
    expect(due(turn.skip)).toEqual([1]);
    expect(due(planTurn("cancel_previous", [firing(2)], []).start)).toEqual([2]);
  });

  test("what is asked for by hand never waits, and a backfill only does", () => {
    const waiting = [firing(1, "backfill"), firing(2, "backfill"), firing(3), firing(4, "manual")];
    const busy = planTurn("skip", waiting, open);
    expect([due(busy.start), due(busy.skip), busy.isBlocked]).toEqual([[4], [3], true]);
    const free = planTurn("skip", waiting.slice(0, 2), []);
    expect([due(free.start), free.skip, free.isBlocked]).toEqual([[1], [], true]);
  });
});
