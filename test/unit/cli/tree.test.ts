import { expect, test } from "bun:test";
import { ExecutionTree } from "../../../src/cli/tree.ts";
import type { JsonObject } from "../../../src/core/json.ts";

const START_MS = Date.UTC(2026, 0, 1);

test("lines() shows steps in order of entry with times, items, retries and errors", () => {
  const tree = new ExecutionTree();
  const events: readonly JsonObject[] = [
    event(0, "playbook.started", "playbook", { context: { path: "etl", version: 3 } }),
    event(1, "step.enter", "load", { meta: { visit: 1 } }),
    event(2, "loop.started", "load", { context: { iterations_expected: 2 } }),
    event(3, "command.retried", "load", { context: { reason: "worker lost" } }),
    event(400, "command.yielded", "load", { context: { rate_limit: "api" } }),
    event(450, "command.yielded", "load", { context: { rate_limit: "api" } }),
    event(460, "command.yielded", "load", { context: { rate_limit: null } }),
    event(500, "call.done", "load"),
    event(600, "call.error", "load", { error: "load[1]: HTTP 503 (HTTP_503)\nmore" }),
    event(1200, "step.exit", "load", { status: "FAILED", context: { is_handled: true } }),
    event(1200, "step.enter", "report", { meta: { visit: 1 } }),
    event(1300, "step.exit", "report", { status: "COMPLETED" }),
    event(1300, "step.enter", "report", { meta: { visit: 2 } }),
  ];
  const ended = events.map((each) => tree.apply(each)?.step);
  expect(ended.filter((step) => step !== undefined)).toEqual(["load", "report"]);
  expect(tree.lines({ hasColor: false, nowMs: START_MS + 2000 })).toEqual([
    "etl v3  2.0 s",
    `├─ ! ${"load".padEnd(28)}    1.2 s 1/2 items, 1 failed load[1]: HTTP 503 (HTTP_503)`,
    "│    handed out again: worker lost",
    "│    waits for rate limit api",
    `├─ ✓ ${"report".padEnd(28)}   100 ms`,
    `└─ ● ${"report #2".padEnd(28)}   700 ms`,
  ]);
});

test("a cursor's items grow with its frames; its claims are none", () => {
  const tree = new ExecutionTree();
  const events: readonly JsonObject[] = [
    event(0, "step.enter", "drain", { meta: { visit: 1 } }),
    event(1, "loop.started", "drain", { context: { iterations_expected: 0, cursor: "nats" } }),
    event(2, "loop.frame", "drain", { context: { items: 2, rows: 2 } }),
    event(3, "call.done", "drain", { meta: { visit: 1, iteration_index: 0 } }),
    event(4, "call.error", "drain", { meta: { visit: 1, puller: 0 }, error: "drain: away" }),
    event(5, "loop.frame", "drain", { context: { items: 3, rows: 3 } }),
  ];
  for (const each of events) {
    tree.apply(each);
  }
  expect(tree.lines({ hasColor: false, nowMs: START_MS + 10 })[1]).toContain("1/5 items");
});

test("a digest counts the items of a loop, its frames, failures and retries", () => {
  const tree = new ExecutionTree();
  const sum = { done: 900, failed: 2, items: 1000, frames: 4, handed_out: 1, rate_limit: "api" };
  const events: readonly JsonObject[] = [
    event(0, "step.enter", "drain", { meta: { visit: 1 } }),
    event(1, "loop.started", "drain", { context: { iterations_expected: 0, cursor: "nats" } }),
    event(2, "loop.progress", "drain", { context: { ...sum, retried: { "7": 2 } } }),
    event(3, "loop.progress", "drain", { context: { done: 98, retried: { "7": 3, "9": 1 } } }),
  ];
  for (const each of events) {
    tree.apply(each);
  }
  expect(tree.lines({ hasColor: false, nowMs: START_MS + 10 }).slice(1)).toEqual([
    `└─ ● ${"drain".padEnd(28)}    10 ms 998/1000 items, 4 frames, 2 failed`,
    "     waits for rate limit api",
    "     items handed out again once",
    "     2 items tried again 4 times",
  ]);
});

test("lines() gives the newest visits where not all are wanted", () => {
  const tree = new ExecutionTree();
  for (let visit = 1; visit <= 5000; visit++) {
    tree.apply(event(visit, "step.enter", "again", { meta: { visit } }));
  }
  const lines = tree.lines({ hasColor: false, nowMs: START_MS + 5000 }, 2);
  expect(lines.slice(1).map((line) => line.slice(0, 17))).toEqual([
    "├─ ● again #4999 ",
    "└─ ● again #5000 ",
  ]);
});

test("a waiting step says what for, a cut one that it was, a retried one that it is", () => {
  const tree = new ExecutionTree();
  const style = { hasColor: false, nowMs: START_MS + 2000 };
  const item = (index: number): JsonObject => ({ meta: { visit: 1, iteration_index: index } });
  const wait = { context: { signal: "go", until: null, deadline: "2026-01-02T00:00:00.000Z" } };
  const events: readonly JsonObject[] = [
    event(0, "playbook.started", "playbook", { context: { path: "etl", version: 3 } }),
    event(1, "step.enter", "approve", { meta: { visit: 1 } }),
    event(2, "loop.started", "approve", { context: { iterations_expected: 3 } }),
    event(3, "wait.started", "approve", { ...wait, ...item(0) }),
    event(4, "wait.started", "approve", { ...wait, ...item(1) }),
    event(5, "wait.done", "approve", item(0)),
  ];
  for (const each of events) {
    tree.apply(each);
  }
  expect(tree.lines(style)[2]).toBe(
    "     waits for signal go, at most until 2026-01-02T00:00:00.000Z (23 h 59 min left)",
  );
  tree.apply(event(1000, "playbook.failed", "playbook"));
  expect(tree.lines(style)).toEqual([
    "etl v3  1.0 s",
    `└─ ○ ${"approve".padEnd(28)}   999 ms 1/3 items cut off`,
  ]);
  tree.apply(event(1500, "playbook.resumed", "playbook"));
  const context = { resumes: 1 };
  tree.apply(event(1500, "step.enter", "approve", { meta: { visit: 2 }, context }));
  expect(tree.lines(style).slice(2)).toEqual([
    `└─ ● ${"approve #2".padEnd(28)}   500 ms 1/3 items`,
    "     retried",
  ]);
});

test("tries that failed first are noted below their step, the sum of all items", () => {
  const tree = new ExecutionTree();
  const retries = (count: number, message?: string, index?: number): JsonObject => ({
    meta: {
      visit: 1,
      retries: { count, ...(message === undefined ? {} : { last: { message } }) },
      ...(index === undefined ? {} : { iteration_index: index }),
    },
  });
  const events: readonly JsonObject[] = [
    event(0, "step.enter", "read", { meta: { visit: 1 } }),
    event(1, "command.yielded", "read", retries(1, "no table")),
    event(2, "call.done", "read", retries(3, "no rows\nin it")),
    event(3, "step.exit", "read"),
    event(4, "step.enter", "poll", { meta: { visit: 1 } }),
    event(5, "call.done", "poll", retries(1)),
    event(6, "step.exit", "poll"),
    event(7, "step.enter", "load", { meta: { visit: 1 } }),
    event(8, "loop.started", "load", { context: { iterations_expected: 3 } }),
    event(9, "call.done", "load", retries(2, "HTTP 503", 0)),
    event(10, "call.done", "load", retries(1, "HTTP 502", 2)),
  ];
  events.forEach((each) => {
    tree.apply(each);
  });
  const lines = tree.lines({ hasColor: false, nowMs: START_MS + 100 });
  expect(lines.filter((line) => line.includes("again"))).toEqual([
    "│    tried again 3 times: no rows",
    "│    tried again once",
    "     2 items tried again 3 times: HTTP 502",
  ]);
});

test("an error is shown once, without what its line says anyway", () => {
  const tree = new ExecutionTree();
  const retries = { count: 3, last: { message: "HTTP 503" } };
  tree.apply(event(0, "step.enter", "get", { meta: { visit: 1 } }));
  const error = "get, attempt 4: HTTP 503 (HTTP_503)";
  tree.apply(event(1, "call.error", "get", { error, meta: { visit: 1, retries } }));
  tree.apply(event(2, "step.exit", "get", { status: "FAILED", error }));
  expect(tree.lines({ hasColor: false, nowMs: START_MS + 2 }).slice(1)).toEqual([
    `└─ ✗ ${"get".padEnd(28)}     2 ms HTTP 503 (HTTP_503)`,
    "     tried again 3 times",
  ]);
});

test("the title keeps its time once the execution has ended", () => {
  const tree = new ExecutionTree();
  tree.apply(event(0, "playbook.started", "playbook", { context: { path: "p", version: 1 } }));
  tree.apply(event(65_000, "playbook.failed", "playbook"));
  expect(tree.title({ hasColor: false, nowMs: START_MS + 99_000 })).toBe("p v1  1 min 5 s");
});

test("events of steps that were never entered are ignored", () => {
  const tree = new ExecutionTree();
  expect(tree.apply(event(0, "call.done", "ghost"))).toBeUndefined();
  expect(tree.visits).toEqual([]);
});

function event(ms: number, type: string, node: string, more: JsonObject = {}): JsonObject {
  return {
    event_type: type,
    node_name: node,
    created_at: new Date(START_MS + ms).toISOString(),
    ...more,
  };
}
