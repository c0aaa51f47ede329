import { describe, expect, test } from "bun:test";
import type { Json } from "../../../src/core/json.ts";
import type { CommandOutcome, FrameShape } from "../../../src/engine/command.ts";
import { limitClaim } from "../../../src/worker/claim-frame.ts";
import type { LimitContext } from "../../../src/worker/result-limit.ts";

/** Nothing here is large enough to be stored apart; test/e2e/cursor.test.ts has what is. */
const context = { limits: { inlineBytes: 1000, resultBytes: 1000 } } as unknown as LimitContext;

async function claim(value: Json, shape: Partial<FrameShape> = {}): Promise<CommandOutcome> {
  return await limitClaim(
    context,
    { process: "row", maxBytes: 1_000_000, ...shape },
    { status: "ok", value: { claim: value }, ctx: {} },
  );
}

const frame = (value: object): object => ({ status: "ok", value });

describe("the rows of a claim", () => {
  const rows = [{ id: 1 }, { id: 2 }];
  const returning = { rows, columns: ["id"], row_count: 2, command: "UPDATE" };
  const commit = { rows: [], columns: [], row_count: 0, command: "COMMIT" };

  test.each<[string, Json]>([
    ["a statement", { ...returning, command_0: returning }],
    [
      "the last statement that returns any",
      { ...commit, affected_rows: 0, command_0: commit, command_1: returning, command_2: commit },
    ],
    ["a bare list", rows],
  ])("come from %s", async (_name, value) => {
    expect(await claim(value)).toMatchObject(frame({ items: rows, rowCount: 2 }));
  });

  test("may be none", async () => {
    const none = { rows: [], columns: ["id"], row_count: 0 };
    expect(await claim({ ...none, command_0: none })).toMatchObject(
      frame({ items: [], rowCount: 0 }),
    );
  });

  test("are messages without what acknowledges them", async () => {
    const messages = [
      { seq: 1, data: "a", ack_id: "A" },
      { seq: 2, data: "b", ack_id: "B" },
    ];
    expect(await claim({ messages, count: 2 })).toEqual({
      status: "ok",
      ctx: {},
      value: {
        items: [
          { seq: 1, data: "a" },
          { seq: 2, data: "b" },
        ],
        rowCount: 2,
        acks: ["A", "B"],
      },
    });
    expect(await claim({ messages }, { process: "frame" })).toMatchObject(
      frame({ items: [[{ data: "a" }, { data: "b" }]], acks: [["A", "B"]], rowCount: 2 }),
    );
  });

  test.each<[string, Json]>([
    ["changed rows and returned none", { rows: [], columns: [], row_count: 3, affected_rows: 3 }],
    ["gave a text", "no rows"],
    ["gave nothing", null],
  ])("are missed when the claim %s", async (_name, value) => {
    expect(await claim(value)).toMatchObject({
      status: "error",
      error: { code: "CLAIM_INVALID", message: expect.stringContaining("returns those it takes") },
    });
  });
});

describe("a frame", () => {
  const row = { text: "x".repeat(90) };
  const table = (list: Json[]): Json => ({ rows: list, columns: ["text"], row_count: list.length });

  test("that is one item is cut where max_bytes says", async () => {
    const whole = await claim(table([row, row, row]), { process: "frame" });
    expect(whole).toMatchObject(frame({ items: [[row, row, row]], rowCount: 3 }));
    const cut = await claim(table([row, row, row]), { process: "frame", maxBytes: 250 });
    expect(cut).toMatchObject(frame({ items: [[row, row], [row]], rowCount: 3 }));
    const tiny = await claim(table([row, row]), { process: "frame", maxBytes: 1 });
    expect(tiny).toMatchObject(frame({ items: [[row], [row]] }));
  });

  test("of many small rows stays as it is", async () => {
    const outcome = await claim(table(Array.from({ length: 5000 }, () => row)));
    expect(outcome).toMatchObject({ value: { rowCount: 5000 } });
  });
});

test("a failed claim keeps nothing of its statements", async () => {
  const error = { kind: "db_error", code: "42P01", message: "no table", retryable: false } as const;
  const outcome = await limitClaim(
    context,
    { process: "row", maxBytes: 1 },
    { status: "error", error, value: { rows: [1, 2, 3] }, ctx: {} },
  );
  expect(outcome).toEqual({ status: "error", error, value: null, ctx: {} });
});
