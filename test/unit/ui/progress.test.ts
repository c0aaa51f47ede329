import { expect, test } from "bun:test";

interface Step {
  readonly pool: string | undefined;
  readonly retried: string | undefined;
}

interface ProgressModule {
  readonly Progress: new () => {
    readonly steps: ReadonlyMap<string, Step>;
    apply(event: unknown): void;
  };
  readonly stepNote: (step: Step | undefined) => string;
  readonly stepStatus: (step: Step | undefined) => string;
}

// The page's files have no types of their own: TypeScript knows them as texts for the server.
const path = new URL("../../../src/ui/progress.js", import.meta.url).pathname;
const { Progress, stepNote, stepStatus } = (await import(path)) as ProgressModule;

function event(type: string, more: { readonly meta?: object; readonly context?: object } = {}) {
  return {
    event_type: type,
    node_name: "load",
    created_at: "2026-01-01T00:00:00Z",
    status: "COMPLETED",
    error: null,
    context: {},
    ...more,
    meta: { visit: 1, ...more.meta },
  };
}

test("the page counts the items of a loop, its retries and what was handed out again", () => {
  const progress = new Progress();
  const retries = (count: number, message: string) => ({ count, last: { message } });
  const events = [
    event("step.enter"),
    event("loop.started", { context: { iterations_expected: 3 } }),
    event("command.issued", { context: { pool: "cpu-01" } }),
    event("command.yielded", { meta: { iteration_index: 0, retries: retries(1, "down") } }),
    event("command.retried"),
    event("call.done", { meta: { iteration_index: 0, retries: retries(3, "slow") } }),
    event("call.done", { meta: { iteration_index: 2, retries: retries(1, "late") } }),
  ];
  for (const each of events) {
    progress.apply(each);
  }
  const load = progress.steps.get("load");
  expect(stepNote(load)).toBe("2/3 items · tried again 4 times · handed out again once");
  expect([load?.pool, load?.retried]).toEqual(["cpu-01", "late"]);
  expect(stepStatus(load)).toBe("running");
  progress.apply(event("step.exit"));
  expect(stepStatus(load)).toBe("completed");
});

test("the page counts the rows of a cursor, not what its pullers do", () => {
  const progress = new Progress();
  const events = [
    event("step.enter"),
    event("loop.started", { context: { iterations_expected: 0, cursor: "postgres" } }),
    event("loop.frame", { context: { items: 4, rows: 4 }, meta: { puller: 0 } }),
    event("call.done", { meta: { iteration_index: 0 } }),
    event("call.done", { meta: { puller: 0 } }),
  ];
  for (const each of events) {
    progress.apply(each);
  }
  expect(stepNote(progress.steps.get("load"))).toBe("1/4 items");
});
