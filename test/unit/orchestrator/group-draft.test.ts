import { expect, test } from "bun:test";
import type { CommandId, ExecutionId, TimerId } from "../../../src/core/ids.ts";
import { createIdGenerator } from "../../../src/core/ids.ts";
import type { CommandPayload } from "../../../src/engine/command.ts";
import type { Decision, NewCommand } from "../../../src/engine/decision.ts";
import { EventTooLargeError, GroupDraft } from "../../../src/orchestrator/group-draft.ts";

const ID = "1" as ExecutionId;
const COMMAND = "10" as CommandId;
const TIMER = "20" as TimerId;

function newDraft(): GroupDraft {
  return new GroupDraft({
    head: {
      executionId: ID,
      catalogId: null,
      path: "p",
      version: 1,
      parentId: null,
      rootId: ID,
      depth: 0,
      returnStep: null,
      isWaited: false,
      status: "running",
      seq: 0,
      payload: "{}",
      pool: null,
      priority: 7,
      concurrencyKey: null,
      place: null,
      originId: null,
      originKind: null,
    },
    seq: 4,
    status: "running",
    nowMs: 1000,
    newId: createIdGenerator(1),
    create: undefined,
  });
}

function decision(more: Partial<Decision>): Decision {
  return {
    events: [],
    issue: [],
    requeue: [],
    remove: [],
    cancel: [],
    timers: [],
    stopTimers: [],
    children: [],
    cancelChildren: [],
    isStale: false,
    ...more,
  };
}

const ISSUED: NewCommand = {
  commandId: COMMAND,
  step: "start",
  visit: 1,
  tool: "python",
  pool: "cpu-01",
  priority: 5,
  availableAtMs: 1250,
  payload: {} as CommandPayload,
};

const ISSUED_EVENT = {
  type: "command.issued",
  commandId: COMMAND,
  pool: "cpu-01",
  attempt: 1,
  step: "start",
  visit: 1,
} as const;

test("events are numbered on from the head, commands know theirs", () => {
  const draft = newDraft();
  draft.add(decision({ events: [{ type: "playbook.cancelling", reason: "r" }] }));
  draft.add(decision({ events: [ISSUED_EVENT], issue: [ISSUED] }));
  const group = draft.build();
  expect(group).toMatchObject({ expectedSeq: 4, newSeq: 6, status: "running" });
  expect(group.events.map(({ seq, type, step }) => [seq, type, step])).toEqual([
    [5, "playbook.cancelling", undefined],
    [6, "command.issued", "start"],
  ]);
  expect(group.issue).toMatchObject([{ eventSeq: 6, delayMs: 250, priority: 7, attempt: 1 }]);
});

test("a command issued and cancelled in one batch waits for its confirmation", () => {
  const draft = newDraft();
  draft.add(decision({ events: [ISSUED_EVENT], issue: [ISSUED] }));
  draft.add(decision({ cancel: [COMMAND] }));
  expect(draft.build()).toMatchObject({ issue: [{ isCancelling: true }], cancel: [] });
});

test("a command issued and removed in one batch never was", () => {
  const draft = newDraft();
  draft.add(decision({ events: [ISSUED_EVENT], issue: [ISSUED] }));
  draft.add(decision({ cancel: [COMMAND], remove: [COMMAND] }));
  expect(draft.build()).toMatchObject({ issue: [], cancel: [], remove: [] });
});

test("a command handed out again and then stopped is stopped under its new attempt", () => {
  const requeue = [{ commandId: COMMAND, attempt: 2, availableAtMs: 0 }];
  const draft = newDraft();
  draft.add(decision({ requeue }));
  draft.add(decision({ cancel: [COMMAND] }));
  expect(draft.build()).toMatchObject({
    requeue: [{ attempt: 2, isCancelling: true }],
    cancel: [],
  });
  draft.add(decision({ remove: [COMMAND] }));
  expect(draft.build()).toMatchObject({ requeue: [], cancel: [], remove: [COMMAND] });
});

test("a timer started and stopped in one batch never was", () => {
  const timers = [{ timerId: TIMER, dueMs: 3000, purpose: { kind: "execution_timeout" } as const }];
  const draft = newDraft();
  draft.add(decision({ timers }));
  expect(draft.build().timers).toMatchObject([{ executionId: ID, timerId: TIMER, delayMs: 2000 }]);
  draft.add(decision({ stopTimers: [TIMER] }));
  expect(draft.build()).toMatchObject({ timers: [], stopTimers: [] });
  expect(draft.isEmpty).toBe(true);
});

test("children inherit the root, cancelled ones are woken", () => {
  const draft = newDraft();
  const childId = "30" as ExecutionId;
  const child = { childId, path: "c", payload: { a: 1 }, depth: 1, isWaited: true };
  draft.add(decision({ children: [child], cancelChildren: [childId] }));
  const group = draft.build();
  expect(group.spawn).toMatchObject([
    { parentId: ID, rootId: ID, payload: '{"a":1}', priority: 7 },
  ]);
  expect(group.timers).toMatchObject([{ executionId: childId, delayMs: 0 }]);
  expect(draft.children).toEqual([childId]);
});

test("the row follows the events to the end", () => {
  const draft = newDraft();
  draft.add(decision({ events: [{ type: "playbook.completed", result: { a: 1 } }] }));
  expect(draft.build()).toMatchObject({ status: "completed", result: '{"a":1}', isPurged: false });
  const failed = newDraft();
  const error = { kind: "internal", code: "X", message: "m", retryable: false } as const;
  failed.endUnstarted({ type: "playbook.failed", error });
  expect(failed.build()).toMatchObject({ status: "failed", isPurged: true });
  expect(JSON.parse(failed.build().error ?? "")).toEqual(error);
});

test("an event over the limit is refused by name", () => {
  const result = "x".repeat(17 * 1024 * 1024);
  const events = [{ type: "playbook.completed", result } as const];
  expect(() => newDraft().add(decision({ events }))).toThrow(EventTooLargeError);
});
