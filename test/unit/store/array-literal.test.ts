import { expect, test } from "bun:test";
import { plainArray, textArray } from "../../../src/store/array-literal.ts";
import { jsonArray } from "../../../src/store/json-array.ts";

test("arrays of numbers and ids need no quotes", () => {
  expect(plainArray([1, "9007199254740993", null, 1.5])).toBe("{1,9007199254740993,NULL,1.5}");
  expect(plainArray([])).toBe("{}");
});

test("texts are quoted, whatever they hold", () => {
  expect(textArray(['a"b', "c\\d", "{e},", "NULL", "", null])).toBe(
    '{"a\\"b","c\\\\d","{e},","NULL","",NULL}',
  );
});

test("jsonArray() joins texts and fills gaps with null", () => {
  expect(jsonArray(['{"a":1}', undefined, "2"])).toBe('[{"a":1},null,2]');
  expect(jsonArray([])).toBe("[]");
});
