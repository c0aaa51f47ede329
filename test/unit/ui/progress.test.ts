import { expect, test } from "bun:test";
import { loadPage } from "./page.ts";

interface Step {
  readonly pool: string | undefined;
  readonly retried: string | undefined;
  readonly arcs: ReadonlyMap<number, number>;
  readonly childCount: number;
  readonly children: readonly string[];
  readonly visits: readonly { readonly runs: readonly object[] }[];
  starved: string | undefined;
}

interface ProgressModule {
  readonly Progress: new () => {
    readonly steps: ReadonlyMap<string, Step>;
    readonly status: string;
    apply(event: unknown): void;
  };
  readonly stepNote: (step: Step | undefined) => string;
  readonly stepStatus: (step: Step | undefined) => string;
  readonly waitNote: (step: Step | undefined) => string;
}

const { Progress, stepNote, stepStatus, waitNote } = await loadPage<ProgressModule>("progress.js");

interface More {
  readonly meta?: object;
  readonly context?: object;
  readonly status?: string;
  readonly error?: string;
  readonly atMs?: number;
}

function event(type: string, { meta, context, atMs = 0, ...more }: More = {}) {
  return {
    event_type: type,
    node_name: "load",
    created_at: new Date(Date.UTC(2026, 0, 1) + atMs).toISOString(),
    status: "COMPLETED",
    error: null,
    context: context ?? {},
    ...more,
    meta: { visit: 1, ...meta },
  };
}

function sum(context: object) {
  const none = { issued: 0, done: 0, failed: 0, items: 0, rows: 0, frames: 0, handed_out: 0 };
  const rest = { cancelled: 0, retried: {}, retried_after: null, rate_limit: null };
  const nobody = { pool: null, worker: null, children: [] };
  return event("loop.progress", { context: { ...none, ...rest, ...nobody, ...context } });
}

function progressOf(events: readonly object[]) {
  const progress = new Progress();
  for (const each of events) {
    progress.apply(each);
  }
  return progress;
}

test("the page counts the items of a loop, its retries and what was handed out again", () => {
  const retries = (count: number, message: string) => ({ count, last: { message } });
  const progress = progressOf([
    event("step.enter"),
    event("loop.started", { context: { iterations_expected: 3 } }),
    event("command.issued", { context: { pool: "cpu-01" }, meta: { iteration_index: 0 } }),
    event("command.yielded", { meta: { iteration_index: 0, retries: retries(1, "down") } }),
    event("command.retried", { meta: { iteration_index: 0 } }),
    event("call.done", { meta: { iteration_index: 0, retries: retries(3, "slow") } }),
    event("call.done", { meta: { iteration_index: 2, retries: retries(1, "late") } }),
  ]);
  const load = progress.steps.get("load");
  expect(stepNote(load)).toBe("2/3 items · tried again 4 times · handed out again once");
  expect([load?.pool, load?.retried]).toEqual(["cpu-01", "late"]);
  expect(stepStatus(load)).toBe("running");
  progress.apply(event("step.exit"));
  expect(stepStatus(load)).toBe("completed");
});

test("a digest says of 100,000 items what the events would have said", () => {
  const progress = progressOf([
    event("step.enter"),
    event("loop.started", { context: { iterations_expected: 100_000 } }),
    sum({ issued: 2000, done: 1500, failed: 2, retried: { "7": 1 }, pool: "cpu-01" }),
    sum({ issued: 98_000, done: 98_498, retried: { "7": 2 }, handed_out: 1 }),
  ]);
  const load = progress.steps.get("load");
  expect(stepNote(load)).toBe(
    "100,000/100,000 items · 2 failed · tried again 2 times · handed out again once",
  );
  expect(load?.visits[0]?.runs).toEqual([]);
});

test("the page counts the rows and frames of a cursor, not what its pullers do", () => {
  const progress = progressOf([
    event("step.enter"),
    event("loop.started", { context: { iterations_expected: 0, cursor: "postgres" } }),
    event("loop.frame", { context: { items: 4, rows: 4 }, meta: { puller: 0 } }),
    event("call.done", { meta: { iteration_index: 0 } }),
    event("call.done", { meta: { puller: 0 } }),
    sum({ items: 6, rows: 6, frames: 2, done: 1 }),
  ]);
  expect(stepNote(progress.steps.get("load"))).toBe("2/10 items · 3 frames");
});

test("a step that waits for a signal or for a worker is waiting, and says for what", () => {
  const progress = progressOf([
    event("step.enter"),
    event("wait.started", { context: { signal: "go", until: null, deadline: null } }),
  ]);
  const load = progress.steps.get("load");
  expect([stepStatus(load), waitNote(load)]).toEqual(["waiting", "waits for signal go"]);
  progress.apply(event("wait.done"));
  expect([stepStatus(load), waitNote(load)]).toEqual(["running", ""]);
  if (load !== undefined) {
    load.starved = "pool gpu has no live worker";
  }
  expect([stepStatus(load), waitNote(load)]).toEqual(["waiting", "pool gpu has no live worker"]);
});

test("visits and attempts are kept for the time line, but no more than can be seen", () => {
  const visits = Array.from({ length: 5000 }, (_, index) => [
    event("step.enter", { meta: { visit: index + 1 } }),
    event("command.issued", { context: { pool: "p" }, meta: { visit: index + 1 } }),
    event("call.error", { meta: { visit: index + 1 }, error: "no" }),
    event("step.exit", { meta: { visit: index + 1 }, context: { arcs: [1] }, status: "FAILED" }),
  ]);
  const load = progressOf(visits.flat()).steps.get("load");
  expect(load?.visits.length).toBeLessThan(100);
  expect(stepNote(load)).toBe("5,000 visits");
  expect(stepStatus(load)).toBe("failed");
  expect(load?.arcs.get(1)).toBe(5000);
});

test("children are counted, the newest are named; the end cuts off what runs", () => {
  const children = Array.from({ length: 50 }, (_, index) =>
    event("child.started", { context: { execution_id: `${index}` } }),
  );
  const progress = progressOf([event("step.enter"), ...children]);
  const load = progress.steps.get("load");
  expect([load?.childCount, load?.children.at(-1)]).toEqual([50, "49"]);
  expect(load?.children.length).toBeLessThan(50);
  progress.apply({ ...event("playbook.cancelled"), node_name: "playbook" });
  expect([progress.status, stepStatus(load)]).toEqual(["CANCELLED", "cancelled"]);
});
