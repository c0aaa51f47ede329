import { describe, expect, test } from "bun:test";
import {
  decodeValue,
  encodeJson,
  encodePlain,
  toParameter,
} from "../../../src/tools/postgres/values.ts";

describe("decodeValue()", () => {
  const cases: readonly (readonly [string, number, string, unknown])[] = [
    ["int8 that fits", 20, "9007199254740991", 9_007_199_254_740_991],
    ["int8 that does not", 20, "9007199254740993", "9007199254740993"],
    ["negative int2", 21, "-5", -5],
    ["numeric", 1700, "99.99", 99.99],
    ["numeric with zeros at the end", 1700, "10.0000000000000000", 10],
    ["numeric below one", 1700, "-0.00120", -0.0012],
    ["numeric with too many digits", 1700, "0.12345678901234567", "0.12345678901234567"],
    ["huge numeric", 1700, "123456789012345678901234567890", "123456789012345678901234567890"],
    ["numeric NaN", 1700, "NaN", "NaN"],
    ["float", 701, "1e-7", 1e-7],
    ["float infinity", 701, "Infinity", "Infinity"],
    ["bool", 16, "t", true],
    ["bytea", 17, "\\x00ff", "AP8="],
    ["json with a big number", 114, '{"id":9007199254740993}', { id: "9007199254740993" }],
    ["date", 1082, "2024-02-29", "2024-02-29"],
    ["timestamp", 1114, "2024-01-02 03:04:05.123456", "2024-01-02T03:04:05.123456"],
    ["timestamptz", 1184, "2024-01-02 01:04:05.5+05:30", "2024-01-01T19:34:05.5Z"],
    ["timestamptz in UTC", 1184, "2024-01-02 03:04:05+00", "2024-01-02T03:04:05Z"],
    ["timestamptz infinity", 1184, "infinity", "infinity"],
    ["interval", 1186, "1 day 02:00:00", "1 day 02:00:00"],
    ["int array", 1007, "{1,NULL,3}", [1, null, 3]],
    ["array with bounds", 1007, "[0:1]={1,2}", [1, 2]],
    [
      "nested array",
      1007,
      "{{1,2},{3,4}}",
      [
        [1, 2],
        [3, 4],
      ],
    ],
    ["text array", 1009, '{a,"b,\\"c\\"",NULL,"NULL",""}', ["a", 'b,"c"', null, "NULL", ""]],
    ["jsonb array", 3807, '{"{\\"a\\": [1]}"}', [{ a: [1] }]],
    ["empty array", 1009, "{}", []],
    ["unknown type", 99_999, "x", "x"],
  ];
  for (const [name, oid, text, expected] of cases) {
    test(`decodes ${name}`, () => {
      expect(decodeValue(oid, text)).toEqual(expected as never);
    });
  }
});

describe("parameters", () => {
  test("text and numbers pass as text, null as null", () => {
    expect([toParameter("a"), toParameter(5), toParameter(null)]).toEqual(["a", "5", null]);
  });

  test("a list becomes an array literal, or JSON where JSON is wanted", () => {
    const list = toParameter(["a", 'b"c', null, [1]]);
    expect(encodePlain(list)).toBe('{"a","b\\"c",NULL,{"1"}}');
    expect(encodeJson(list)).toBe('["a","b\\"c",null,[1]]');
  });

  test("JSON text is not encoded twice", () => {
    expect(encodeJson('{"a":1}')).toBe('{"a":1}');
    expect(encodeJson("plain")).toBe('"plain"');
  });
});
