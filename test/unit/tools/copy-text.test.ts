import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { decodeCopy, encodeCopy } from "../../../src/tools/copy-text.ts";

describe("encodeCopy()", () => {
  test("writes what PostgreSQL reads", () => {
    expect(
      encodeCopy([
        ["a\tb", null, ""],
        ["\\N", "1\r\n2", "ü"],
      ]),
    ).toBe("a\\tb\t\\N\t\n\\\\N\t1\\r\\n2\tü\n");
    expect(encodeCopy([])).toBe("");
  });

  test("keeps any rows through decodeCopy()", () => {
    const value = fc.option(fc.oneof(fc.string(), fc.constantFrom("\\N", "\t", "\n", "\r", "\\")));
    const rows = fc
      .integer({ min: 1, max: 4 })
      .chain((width) => fc.array(fc.array(value, { minLength: width, maxLength: width })));
    fc.assert(
      fc.property(rows, (given) => {
        expect(decodeCopy(encodeCopy(given))).toEqual(given);
      }),
    );
  });
});
