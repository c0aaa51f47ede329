import { describe, expect, test } from "bun:test";
import { createFrameReader, encodeFrame } from "../../../src/tools/frame.ts";
import { createLineSplitter } from "../../../src/tools/lines.ts";

function split(chunks: readonly Uint8Array[]): readonly string[] {
  const lines: string[] = [];
  const splitter = createLineSplitter((line) => lines.push(line));
  for (const chunk of chunks) {
    splitter.push(chunk);
  }
  splitter.end();
  return lines;
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe("createLineSplitter()", () => {
  test("puts lines together that arrive byte by byte", () => {
    const all = bytes("größe\r\n\nlast");
    expect(split([...all].map((byte) => Uint8Array.of(byte)))).toEqual(["größe", "", "last"]);
  });

  test("cuts a line that never ends", () => {
    const lines = split([bytes("x".repeat(150_000))]);
    expect(lines.length).toBe(3);
    expect(lines.join("").length).toBe(150_000);
  });
});

describe("createFrameReader()", () => {
  test("gives back what was sent, however it is cut", () => {
    const texts = ["", "a", "é".repeat(1000), '{"x":1}'];
    const all = Buffer.concat(texts.map(encodeFrame));
    for (const size of [1, 3, 7, all.length]) {
      const got: string[] = [];
      const read = createFrameReader((text) => got.push(text));
      for (let start = 0; start < all.length; start += size) {
        read(all.subarray(start, start + size));
      }
      expect(got).toEqual(texts);
    }
  });
});
