/** The matrix of tools and what is tested of them cannot rot: kinds, tests and text are what is there. */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { KNOWN_TOOL_KINDS } from "../../../src/tools/registry.ts";
import { ASPECTS, MATRIX } from "../../integration/tools/matrix.ts";
import { withMatrix } from "./matrix-table.ts";

const TESTS = join(import.meta.dir, "../..");

test("every kind is in it, but workbook, which is gone when a document has been read", () => {
  const kinds = [...KNOWN_TOOL_KINDS.keys()].filter((kind) => kind !== "workbook");
  expect(Object.keys(MATRIX).sort()).toEqual(kinds.sort());
});

describe.each(Object.entries(MATRIX))("%s", (_kind, evidence) => {
  test.each(ASPECTS)("%s names a test that there is, or why there is none", async (aspect) => {
    const [path = "", title] = evidence[aspect].split(" › ");
    if (title === undefined) {
      expect(path).toMatch(/^\(.+\)$/);
      return;
    }
    const text = await Bun.file(join(TESTS, path)).text();
    const literals = ['"', "'", "`"].map((quote) => `${quote}${title}${quote}`);
    expect(literals.some((literal) => text.includes(literal))).toBe(true);
  });
});

test("test/README.md is current: else run `bun run docs`", async () => {
  const text = await Bun.file(join(TESTS, "README.md")).text();
  expect(withMatrix(text)).toBe(text);
});
