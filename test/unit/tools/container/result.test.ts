import { describe, expect, test } from "bun:test";
import { findJsonProblem } from "../../../../src/tools/container/json-position.ts";
import { LastJsonLine, readResult, withFacts } from "../../../../src/tools/container/result.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe("result.json", () => {
  test("is any JSON value; large numbers keep their digits", () => {
    expect(readResult(bytes('{"a": [1, 2]}\n'))).toEqual({ a: [1, 2] });
    expect(readResult(bytes("7"))).toBe(7);
    expect(readResult(bytes('{"id": 12345678901234567890}'))).toEqual({
      id: "12345678901234567890",
    });
  });

  test.each([
    ['{"a": 1,\n "b": nan}', "line 2, column 7"],
    ["{'a': 1}", "line 1, column 2"],
    ['{"a": 1', "line 1, column 8, at the end of the text"],
    ["[1, 2,]", "line 1, column 7"],
    ['{"a": 1} x', "line 1, column 10"],
    ['{"a" 1}', "line 1, column 6"],
    ['["a\tb"]', "line 1, column 4"],
    ["", "line 1, column 1, at the end of the text"],
    ['{"a": "\\x"}', "line 1, column 7"],
  ])("%p is refused with the place", (text, place) => {
    expect(() => readResult(bytes(text))).toThrow(place);
  });

  test("bytes that are no text are refused", () => {
    expect(() => readResult(new Uint8Array([0x22, 0xff, 0x22]))).toThrow("no UTF-8");
  });

  test.each(["{}", "[]", ' {"a": [{}, [], "x\\n", -1.5e3, null, true]} ', '"x"', "[[[[]]]]"])(
    "%p has no place where it is wrong",
    (text) => {
      expect(findJsonProblem(text)).toBeUndefined();
    },
  );
});

describe("the last line that is a JSON map or list", () => {
  const lastOf = (...lines: readonly string[]) => {
    const last = new LastJsonLine();
    for (const line of lines) {
      last.line(line);
    }
    return last.value();
  };

  test("counts, whatever comes after it", () => {
    expect(lastOf('{"a": 1}', '  {"a": 2} ', "done", "3")).toEqual({ a: 2 });
    expect(lastOf("[1, 2]")).toEqual([1, 2]);
  });

  test("is absent where there is none", () => {
    expect(lastOf("42", "true", "{not json}", "[INFO] done [ok]")).toBeUndefined();
  });
});

test("a map is the value itself, anything else its result", () => {
  const facts = { exit_code: 0 };
  expect(withFacts({ a: 1 }, facts)).toEqual({ a: 1, _container: facts });
  expect(withFacts([1], facts)).toEqual({ result: [1], _container: facts });
  expect(withFacts(null, facts)).toEqual({ result: null, _container: facts });
  expect(withFacts(undefined, facts)).toEqual({ _container: facts });
});
