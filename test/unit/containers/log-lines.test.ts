import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { createStampReader } from "../../../src/containers/log-cli.ts";
import { createPieceReader } from "../../../src/containers/log-file.ts";
import type { LogPiece } from "../../../src/containers/log-lines.ts";
import { createLineJoiner, createSeam, parseStamp } from "../../../src/containers/log-lines.ts";

const STAMP = "2026-11-23T06:04:18.293611770Z";

/** Lines of a text, which is handed over in parts of that size. */
function read(
  make: (onPiece: (piece: LogPiece) => void) => { push(bytes: Uint8Array): void; end?(): void },
  text: string,
  size: number,
): readonly string[] {
  const lines: string[] = [];
  const joiner = createLineJoiner((stream, line) => lines.push(`${stream} ${line}`));
  const reader = make(joiner.push);
  const bytes = Buffer.from(text);
  for (let start = 0; start < bytes.length; start += size) {
    reader.push(bytes.subarray(start, start + size));
  }
  reader.end?.();
  joiner.end();
  return lines;
}

test("times are read as Go writes them", () => {
  expect(parseStamp(STAMP)).toBeCloseTo(Date.parse("2026-11-23T06:04:18.293Z") + 0.611_77, 3);
  expect(parseStamp("2026-11-23T08:04:18.5+02:00")).toBe(Date.parse("2026-11-23T06:04:18.500Z"));
  expect(parseStamp("2026-11-23T06:04:18Z")).toBe(Date.parse("2026-11-23T06:04:18Z"));
  expect(parseStamp("yesterday")).toBeUndefined();
});

describe("podman's file", () => {
  const text = [
    `${STAMP} stdout P ab`,
    `${STAMP} stderr F other`,
    `${STAMP} stdout F cé`,
    `${STAMP} stdout F `,
    `${STAMP} stdout P rest`,
    "",
  ].join("\n");

  test.each([1, 7, 10_000])("is read in parts of %d bytes", (size) => {
    expect(read(createPieceReader, text, size)).toEqual([
      "stderr other",
      "stdout abcé",
      "stdout ",
      "stdout rest",
    ]);
  });
});

describe("docker's output", () => {
  const make = (onPiece: (piece: LogPiece) => void): ReturnType<typeof createStampReader> =>
    createStampReader("stdout", onPiece, () => undefined);

  test("gives any lines back, in whatever parts it comes", () => {
    const line = fc
      .string({ unit: "grapheme", maxLength: 50 })
      .map((value) => value.replaceAll(/[\r\n]/g, " "));
    fc.assert(
      fc.property(fc.array(line), fc.integer({ min: 1, max: 100 }), (lines, size) => {
        const text = lines.map((value) => `${STAMP} ${value}\n`).join("");
        expect(read(make, text, size)).toEqual(lines.map((value) => `stdout ${value}`));
      }),
    );
  });

  test("joins lines that docker has cut, even when they look like times", () => {
    const cut = 16 * 1024;
    const long = `${STAMP} `.repeat(2000).slice(0, 40_000);
    const text = [long.slice(0, cut), long.slice(cut, 2 * cut), long.slice(2 * cut)]
      .map((piece) => `${STAMP} ${piece}`)
      .join("");
    expect(read(make, `${text}\n${STAMP} next\n`, 1000)).toEqual([`stdout ${long}`, "stdout next"]);
  });
});

describe("lines that rewrite themselves", () => {
  function linesOf(...pieces: readonly (readonly [number, string, boolean])[]): readonly string[] {
    const lines: string[] = [];
    const joiner = createLineJoiner((_, line, timeMs) => lines.push(`${timeMs} ${line}`));
    for (const [timeMs, text, isPartial] of pieces) {
      joiner.push({ stream: "stderr", timeMs, bytes: Buffer.from(text), isPartial });
    }
    joiner.end();
    return lines;
  }

  test("are their last state", () => {
    expect(linesOf([1, "10%\r20%\r30%", false])).toEqual(["1 30%"]);
    expect(linesOf([1, "10%\r100%\r", false])).toEqual(["1 100%"]);
    expect(linesOf([1, "text\r", false])).toEqual(["1 text"]);
  });

  test("are shown every two seconds while they last", () => {
    const pieces = [0, 1, 2, 3, 4, 5].map((n) => [n * 1000, `\rstep ${n}`, true] as const);
    expect(linesOf(...pieces, [6000, "\rdone", false])).toEqual([
      "2000 step 1",
      "4000 step 3",
      "6000 done",
    ]);
  });
});

test("a seam gives each line once, wherever it is", () => {
  const times = fc.array(fc.integer({ min: 1, max: 4 })).map((all) => all.sort((a, b) => a - b));
  fc.assert(
    fc.property(times, fc.nat(), (stamps, at) => {
      const lines = stamps.map((timeMs, index) => [timeMs + index / 1000, String(index)] as const);
      const seen: string[] = [];
      const first = createSeam(undefined, (_, line) => seen.push(line));
      for (const [timeMs, line] of lines.slice(0, at % (lines.length + 1))) {
        first.onLine("stdout", line, timeMs);
      }
      const second = createSeam(first.position(), (_, line) => seen.push(line));
      for (const [timeMs, line] of lines) {
        second.onLine("stdout", line, timeMs);
      }
      expect(seen).toEqual(lines.map(([, line]) => line));
    }),
  );
});
