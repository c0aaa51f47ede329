import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Json } from "../../../src/core/json.ts";
import { parseJson } from "../../../src/core/json.ts";
import { TaskError } from "../../../src/tools/task-error.ts";
import { JsonItems } from "../../../src/tools/transfer/json-items.ts";

function read(text: string, path: readonly string[] = [], size = text.length): readonly Json[] {
  const items = new JsonItems(path);
  const found: Json[] = [];
  for (let start = 0; start < text.length; start += size) {
    found.push(...items.push(text.slice(start, start + size)));
  }
  items.end();
  return found;
}

function parsed(values: readonly unknown[]): readonly Json[] {
  return values.map((value) => parseJson(JSON.stringify(value)));
}

function codeOf(work: () => unknown): string {
  try {
    work();
    return "none";
  } catch (error) {
    return error instanceof TaskError ? error.failure.code : String(error);
  }
}

describe("JsonItems", () => {
  test("gives what parsing the whole gives, whatever the pieces", () => {
    const rows = fc.array(fc.jsonValue());
    const size = fc.integer({ min: 1, max: 20 });
    const spaces = fc.constantFrom(0, 1, 3);
    fc.assert(
      fc.property(rows, size, spaces, (value, pieceSize, indent) => {
        const text = JSON.stringify(value, null, indent);
        expect(read(text, [], pieceSize)).toEqual(parsed(value));
      }),
    );
  });

  test("finds the list at its path among everything else", () => {
    const other = fc.dictionary(fc.string(), fc.jsonValue());
    const size = fc.integer({ min: 1, max: 20 });
    fc.assert(
      fc.property(
        other,
        other,
        fc.array(fc.jsonValue()),
        size,
        (before, inside, rows, pieceSize) => {
          const value = { ...before, a: [{ ...inside, "b c": rows, z: 1 }], rest: before };
          const text = JSON.stringify(value);
          expect(read(text, ["a", "0", "b c"], pieceSize)).toEqual(parsed(rows));
        },
      ),
    );
  });

  test("takes a map at the path for the only element", () => {
    expect(read('{"a": {"b": [1, "}"]}, "c": 2}', ["a"], 3)).toEqual([{ b: [1, "}"] }]);
    expect(read('  {"a": 1}', [], 1)).toEqual([{ a: 1 }]);
  });

  test("keeps the digits of long integers", () => {
    expect(read('[{"id": 12345678901234567890}]')).toEqual([{ id: "12345678901234567890" }]);
  });

  test("does not hold what it has given", () => {
    const items = new JsonItems([]);
    items.push("[");
    const piece = `{"a": "${"x".repeat(1000)}"},`;
    let count = 0;
    for (let index = 0; index < 100_000; index++) {
      count += items.push(piece).length;
    }
    expect(count).toBe(100_000);
  });

  test("refuses what is no list of rows", () => {
    expect(codeOf(() => read("<html>"))).toBe("JSON_INVALID");
    expect(codeOf(() => read("12"))).toBe("JSON_INVALID");
    expect(codeOf(() => read("[1}"))).toBe("JSON_INVALID");
    expect(codeOf(() => read("[tru]"))).toBe("JSON_INVALID");
    expect(codeOf(() => read("[1, 2"))).toBe("JSON_CUT");
    expect(codeOf(() => read(""))).toBe("LIST_MISSING");
    expect(codeOf(() => read('{"b": 1}', ["a"]))).toBe("LIST_MISSING");
    expect(codeOf(() => read('{"a": 1}', ["a"]))).toBe("LIST_MISSING");
  });
});
