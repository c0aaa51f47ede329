import { expect, test } from "bun:test";
import { answersOf } from "../../../src/orchestrator/permits.ts";

const GROUP = { key: "k", stepMs: 100, burst: 2, promised: 3, fresh: 4 };

test("permits go to promised ones first, then to the others, in the order of their asking", () => {
  const span = { key: "k", nowMs: 1000, baseMs: 1000, promised: 3, fresh: 2, lineMs: 9000 };
  const asking = { group: GROUP, promised: [5, 1, 2], fresh: [0, 3, 4, 6] };
  expect(answersOf(asking, span)).toEqual([
    [5, { isGranted: true, waitMs: 0 }],
    [1, { isGranted: true, waitMs: 0 }],
    [2, { isGranted: true, waitMs: 100 }],
    [0, { isGranted: true, waitMs: 200 }],
    [3, { isGranted: true, waitMs: 300 }],
    [4, { isGranted: false, waitMs: 7000 }],
    [6, { isGranted: false, waitMs: 7100 }],
  ]);
});

test("promises come a second early, not before a second, and not later than five minutes", () => {
  const span = { key: "k", nowMs: 0, baseMs: 0, promised: 0, fresh: 0, lineMs: 1_000_000 };
  const asking = { group: GROUP, promised: [0], fresh: [1] };
  expect(answersOf(asking, span)).toEqual([
    [0, { isGranted: false, waitMs: 1000 }],
    [1, { isGranted: false, waitMs: 300_000 }],
  ]);
});
