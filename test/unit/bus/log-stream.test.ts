import { describe, expect, test } from "bun:test";
import { decodeLogs, encodeLogs } from "../../../src/bus/log-stream.ts";
import type { CommandId, ExecutionId } from "../../../src/core/ids.ts";
import type { LogLine } from "../../../src/engine/command.ts";

function line(step: string, text: string): LogLine {
  return {
    executionId: "1" as ExecutionId,
    commandId: "2" as CommandId,
    attempt: 1,
    step,
    index: 3,
    task: "t",
    stream: "stderr",
    timeMs: 5,
    text,
  };
}

describe("log batches", () => {
  test("hold the lines of one step each, in order", () => {
    const lines = [line("a", "1"), line("b", "2"), line("a", "3")];
    const batches = encodeLogs("noetl.logs", lines);
    expect(batches.map(({ subject }) => subject)).toEqual(["noetl.logs.1.a", "noetl.logs.1.b"]);
    expect(batches.flatMap(({ text }) => decodeLogs(text))).toEqual([
      line("a", "1"),
      line("a", "3"),
      line("b", "2"),
    ]);
  });

  test("stay below half a megabyte unless one line alone is longer", () => {
    const lines = [..."abcdef"].map((letter) => line("s", letter.repeat(200_000)));
    const batches = encodeLogs("noetl.logs", lines);
    expect(batches.map(({ text }) => decodeLogs(text).length)).toEqual([2, 2, 2]);
  });

  test("give nothing for a foreign message", () => {
    expect(decodeLogs("hello")).toEqual([]);
    expect(decodeLogs('{"a":1}')).toEqual([]);
  });
});
