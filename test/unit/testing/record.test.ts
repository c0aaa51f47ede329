import { expect, test } from "bun:test";
import type { JsonObject } from "../../../src/core/json.ts";
import { makeTest } from "../../../src/testing/record.ts";
import { playbookOf } from "./document.ts";

const PLAYBOOK = playbookOf(`
  - {step: start, tool: {kind: http, url: x}, next: {arcs: [{step: both}]}}
  - step: both
    tool:
      - {name: first, kind: python, code: x}
      - {name: nothing, kind: noop}
      - {name: second, kind: postgres, query: SELECT 1}
  - step: rows
    loop: {iterator: row, spec: {mode: cursor}, cursor: {kind: postgres, auth: db, claim: x}}
    tool: {kind: python, code: x}`);

const BEGIN_MS = Date.UTC(2026, 0, 1);

function event(type: string, node: string, more: JsonObject = {}, afterMs = 0): JsonObject {
  const created = new Date(BEGIN_MS + afterMs).toISOString();
  return { event_type: type, node_name: node, created_at: created, error: null, meta: {}, ...more };
}

function dataOf(data: JsonObject): JsonObject {
  return { context: { data } };
}

test("each answer becomes a stub, tries that failed before it too; the outcome is expected", () => {
  const error = {
    kind: "db_error",
    code: "42P01",
    message: "no table",
    step: "both",
    task: "second",
  };
  const busy = { kind: "server_error", code: "HTTP_503", message: "busy", retryable: true };
  const { test: made, remarks } = makeTest("it", PLAYBOOK, {
    status: "FAILED",
    workload: { a: 1 },
    result: null,
    error,
    events: [
      event("step.enter", "start"),
      event("call.done", "start", {
        result: dataOf({ status_code: 200 }),
        meta: { visit: 1, retries: { count: 2, last: busy } },
      }),
      event("signal.received", "playbook", { context: { signal: "go", payload: 7 } }, 90_000),
      event("step.enter", "both"),
      event("call.error", "both", {
        result: dataOf({
          first: { n: 1 },
          nothing: { status: "ok" },
          second: { status: "error" },
        }),
        error: "no table",
        meta: { visit: 2, error, retries: { count: 1 } },
      }),
      event("loop.frame", "rows"),
      event("call.done", "rows", { meta: { puller: 0 } }),
    ],
  });
  expect(made).toEqual({
    name: "it",
    payload: { a: 1 },
    stubs: [
      { step: "start", times: 2, error: busy },
      { step: "start", result: { status_code: 200 } },
      { step: "both", visit: 2, task: "first", result: { n: 1 } },
      {
        step: "both",
        visit: 2,
        task: "second",
        error: { kind: "db_error", code: "42P01", message: "no table" },
      },
    ],
    signals: [{ name: "go", payload: 7, after: 90 }],
    expect: {
      status: "FAILED",
      visited: ["start", "both"],
      error: { code: "42P01", step: "both" },
    },
  });
  expect(remarks).toEqual([
    "both was tried again 1 times: its first tries are not recorded",
    "the rows that the cursor of rows claimed are not recorded",
  ]);
});
