import { expect, test } from "bun:test";
import type { CommandId, ExecutionId, WorkerId } from "../../../src/core/ids.ts";
import type { ExecutionEvent, RecordedEvent } from "../../../src/engine/event.ts";
import { failure } from "../../../src/engine/failure.ts";
import { inBatches } from "../../../src/server/batches.ts";
import { digestEvents } from "../../../src/server/event-digest.ts";
import { createBackend, createTestServer, sampleEvents } from "./backend.ts";

const ID = "12" as ExecutionId;

function record(events: readonly ExecutionEvent[]): readonly RecordedEvent[] {
  return events.map((event, index) => ({ seq: index + 1, timeMs: 1000 + index, event }));
}

function item(index: number, isGood = true): readonly ExecutionEvent[] {
  const place = { step: "many", visit: 1, index };
  const end = { commandId: `${index}` as CommandId, attempt: 1, workerId: "w1" as WorkerId };
  return [
    { type: "command.issued", commandId: end.commandId, pool: "cpu", attempt: 1, ...place },
    isGood
      ? { type: "call.done", value: { big: "x" }, ...end, ...place }
      : {
          type: "call.error",
          value: null,
          error: failure("timeout", "too slow"),
          retries: { count: 2, last: failure("timeout", "slow") },
          ...end,
          ...place,
        },
  ];
}

test("digestEvents() leaves one message of a loop's items, in front of the step's end", () => {
  const items = [item(0), item(1, false), item(2)].flat();
  const digest = digestEvents(
    ID,
    record([
      { type: "step.entered", tokenCount: 1, step: "many", visit: 1 },
      { type: "loop.started", items: [1, 2, 3], maxInFlight: 2, step: "many", visit: 1 },
      ...items,
      { type: "step.exited", status: "ok", arcs: [], step: "many", visit: 1 },
    ]),
  );
  expect(digest.map((event) => event.event_type)).toEqual([
    "step.enter",
    "loop.started",
    "loop.progress",
    "step.exit",
  ]);
  expect(digest[2]).toMatchObject({ node_name: "many", seq: 8, meta: { visit: 1 } });
  expect(digest[2]?.context).toMatchObject({
    ...{ issued: 3, done: 2, failed: 1, pool: "cpu", worker: "w1" },
    ...{ retried: { "1": 2 }, retried_after: "slow" },
  });
  expect(digest[2]?.error).toContain("too slow");
});

test("digestEvents() counts a cursor's rows and frames, not what its pullers do", () => {
  const end = { commandId: "9" as CommandId, attempt: 1 };
  const puller = { step: "drain", visit: 1, puller: 0 };
  const digest = digestEvents(
    ID,
    record([
      { type: "command.issued", pool: "cpu", phase: "claim", ...end, attempt: 1, ...puller },
      { type: "loop.frame", items: [1, 2], rowCount: 2, ...end, ...puller },
      { type: "call.done", value: null, ...end, ...puller },
    ]),
  );
  expect(digest).toHaveLength(1);
  expect(digest[0]?.context).toMatchObject({ issued: 0, done: 0, items: 2, rows: 2, frames: 1 });
});

test("a digest of other events has no values, and says when commands began", () => {
  const digest = digestEvents(ID, record(sampleEvents()));
  expect(digest.every((event) => event.result === null)).toBe(true);
  expect(digest.find((event) => event.event_type === "call.done")?.meta["started_at"]).toBe(
    "2026-01-01T00:00:03.500Z",
  );
});

test("inBatches() gives all in order, full batches at once and the rest when time is up", async () => {
  async function* source() {
    yield* [1, 2, 3, 4, 5];
    await Promise.resolve();
  }
  const batches = await Array.fromAsync(inBatches(source(), { sizeMax: 2, waitMs: 5 }));
  expect(batches).toEqual([[1, 2], [3, 4], [5]]);
});

test("inBatches() gives what came before an error, then throws it", async () => {
  async function* source() {
    yield 1;
    await Promise.resolve();
    throw new Error("gone");
  }
  const seen: number[] = [];
  const read = async () => {
    for await (const batch of inBatches(source(), { sizeMax: 1, waitMs: 5 })) {
      seen.push(...batch);
    }
  };
  expect(read()).rejects.toThrow("gone");
  await read().catch(() => undefined);
  expect(seen).toContain(1);
});

test("the stream with digest sends batches with the position of their last event, then the end", async () => {
  const backend = createBackend();
  backend.add("12");
  backend.record("12", ...sampleEvents());
  const { call } = createTestServer(backend);
  const path = "/api/executions/12/events/stream?digest=true";
  const { text } = await call("GET", path);
  const blocks = text.split("\n\n").filter((block) => block.includes("data: "));
  expect(blocks).toHaveLength(2);
  expect(blocks[0]).toStartWith("id: 6\n");
  expect(blocks[0]).toContain('"event_type":"step.exit"');
  expect(blocks[0]).not.toContain('"rows"');
  expect(blocks[1]).toStartWith("event: end\n");
  expect((await call("GET", path, undefined, { "last-event-id": "6" })).text).not.toContain("id:");
});
