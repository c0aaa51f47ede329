import { expect, test } from "bun:test";
import { LogGate } from "../../../src/worker/log-gate.ts";

const LIMITS = { logLinesPerSecond: 10, logBurstLines: 2, logChars: 100, logLineChars: 20 };

function texts(lines: readonly { readonly text: string }[]): readonly string[] {
  return lines.map(({ text }) => text);
}

test("a burst passes, then so many lines a second, and what is dropped is said", () => {
  const gate = new LogGate(LIMITS, 0);
  expect(texts(gate.pass("stdout", "1", 0))).toEqual(["1"]);
  expect(texts(gate.pass("stdout", "2", 0))).toEqual(["2"]);
  expect(texts(gate.pass("stdout", "3", 0))).toEqual([]);
  expect(texts(gate.pass("stdout", "4", 50))).toEqual([]);
  expect(texts(gate.pass("stdout", "5", 100))).toEqual([
    "2 lines dropped: the task writes more than its log may hold",
    "5",
  ]);
  expect(gate.flush()).toEqual([]);
});

test("a long line is cut and says so", () => {
  const gate = new LogGate(LIMITS, 0);
  expect(texts(gate.pass("stderr", "x".repeat(25), 0))).toEqual([
    `${"x".repeat(20)}… [5 characters cut]`,
  ]);
});

test("all lines together are limited", () => {
  const gate = new LogGate({ ...LIMITS, logChars: 10, logBurstLines: 100 }, 0);
  expect(texts(gate.pass("stdout", "x".repeat(8), 0))).toHaveLength(1);
  expect(texts(gate.pass("stdout", "x".repeat(8), 0))).toHaveLength(0);
  expect(texts(gate.flush())).toEqual([
    "1 lines dropped: the task writes more than its log may hold",
  ]);
});
