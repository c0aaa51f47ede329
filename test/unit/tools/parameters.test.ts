import { describe, expect, test } from "bun:test";
import { parseParameters } from "../../../src/tools/javascript/parameters.ts";

function names(source: string): readonly (string | undefined)[] {
  return parseParameters(source).map((parameter) => parameter.name);
}

describe("parseParameters()", () => {
  test("reads the forms of a function", () => {
    expect(names("function main(a, b) { return c(1, 2) }")).toEqual(["a", "b"]);
    expect(names("async function main(a) {}")).toEqual(["a"]);
    expect(names("(a, b) => a")).toEqual(["a", "b"]);
    expect(names("async (a) => a")).toEqual(["a"]);
    expect(names("a => a")).toEqual(["a"]);
    expect(names("async a => a")).toEqual(["a"]);
    expect(names("main(a) {}")).toEqual(["a"]);
    expect(names("function main() {}")).toEqual([]);
  });

  test("tells defaults, rest and destructuring", () => {
    const source = "function main(a = f(1, ')'), { b = 2, c }, [d], /* e, */ f, ...rest) {}";
    expect(parseParameters(source)).toEqual([
      { name: "a", hasDefault: true, isRest: false },
      { name: undefined, hasDefault: false, isRest: false },
      { name: undefined, hasDefault: false, isRest: false },
      { name: "f", hasDefault: false, isRest: false },
      { name: undefined, hasDefault: false, isRest: true },
    ]);
  });
});
