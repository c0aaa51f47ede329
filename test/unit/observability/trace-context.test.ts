import { describe, expect, test } from "bun:test";
import {
  executionSpanId,
  formatTraceparent,
  isChosen,
  parseTraceparent,
  stepSpanId,
  taskSpanId,
  traceIdOf,
} from "../../../src/observability/trace-context.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const SPAN = "b7ad6b7169203331";

describe("traceparent", () => {
  test("what was written is read again", () => {
    for (const isSampled of [true, false]) {
      const context = { traceId: TRACE, spanId: SPAN, isSampled };
      expect(parseTraceparent(formatTraceparent(context))).toEqual(context);
    }
  });

  test("later versions are read as far as they are known", () => {
    expect(parseTraceparent(`cc-${TRACE}-${SPAN}-03-more`)).toEqual({
      traceId: TRACE,
      spanId: SPAN,
      isSampled: true,
    });
  });

  test.each([
    undefined,
    null,
    "",
    "x",
    `00-${TRACE}-${SPAN}`,
    `00-${TRACE}-${SPAN}-01-more`,
    `ff-${TRACE}-${SPAN}-01`,
    `00-${"0".repeat(32)}-${SPAN}-01`,
    `00-${TRACE}-${"0".repeat(16)}-01`,
    `00-${TRACE.toUpperCase()}-${SPAN}-01`,
    `00-${TRACE}-${SPAN}-1`,
  ])("%p is none", (text) => {
    expect(parseTraceparent(text)).toBeUndefined();
  });
});

describe("ids", () => {
  test("are the same everywhere and differ for what differs", () => {
    // Servers of two versions write into one trace: the digests must never change.
    expect([traceIdOf("1"), stepSpanId("1", "a", 1)]).toEqual([
      "1130eb989c70f06380f82fcacfc97d55",
      "02b70f0084ee267e",
    ]);
    const ids = [
      executionSpanId("1"),
      executionSpanId("2"),
      stepSpanId("1", "a", 1),
      stepSpanId("1", "a", 2),
      stepSpanId("1", "b", 1),
      taskSpanId("1", 1, 1),
      taskSpanId("1", 1, 2),
      taskSpanId("1", 2, 1),
      taskSpanId("2", 1, 1),
    ];
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.every((id) => /^[0-9a-f]{16}$/.test(id))).toBe(true);
    expect(traceIdOf("1")).toMatch(/^[0-9a-f]{32}$/);
  });

  test("a share of the traces is chosen, all or none at the ends", () => {
    const chosen = (ratio: number): number =>
      Array.from({ length: 2000 }, (_, index) => isChosen(traceIdOf(String(index)), ratio)).filter(
        Boolean,
      ).length;
    expect([chosen(0), chosen(1)]).toEqual([0, 2000]);
    expect(Math.abs(chosen(0.25) - 500)).toBeLessThan(100);
  });
});
