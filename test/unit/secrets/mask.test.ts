import { expect, test } from "bun:test";
import { createMask, secretValues } from "../../../src/secrets/mask.ts";

test("text() hides secrets in every form, the longer one first", () => {
  const mask = createMask(["p@ss word", "p@ss word and more"]);
  expect(mask.text("x p@ss word and more y p@ss word z")).toBe("x *** y *** z");
  expect(mask.text("http://u:p%40ss%20word@h")).toBe("http://u:***@h");
  expect(mask.text(`Basic ${Buffer.from("p@ss word").toString("base64")}`)).toBe("Basic ***");
});

test("json() hides inside objects and lists, and returns untouched values as they are", () => {
  const mask = createMask(["hunter22"]);
  const clean = { a: [1, "x", null] };
  expect(mask.json(clean)).toBe(clean);
  expect(mask.json({ a: ["say hunter22"], n: 1 })).toEqual({ a: ["say ***"], n: 1 });
});

test("very short values and an empty set hide nothing", () => {
  expect(createMask(["a", ""]).text("banana")).toBe("banana");
  expect(createMask([]).json({ a: "b" })).toEqual({ a: "b" });
});

test("secretValues() leaves out where and who", () => {
  const data = {
    db_host: "10.0.0.1",
    db_user: "demo",
    db_password: "demo-pw",
    extra: { token: "t0ken" },
  };
  expect(secretValues(data)).toEqual(["demo-pw", "t0ken"]);
});
