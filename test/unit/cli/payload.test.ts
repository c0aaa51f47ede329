import { expect, test } from "bun:test";
import { join } from "node:path";
import { readPayload } from "../../../src/cli/payload.ts";
import { makeScratchDir } from "../../support/scratch.ts";

test("readPayload() lays --set over --payload over --input", async () => {
  const input = join(makeScratchDir("payload"), "in.json");
  await Bun.write(input, '{"a": 1, "b": 1, "c": 1}');
  const payload = await readPayload({ input, payload: '{"b": 2, "c": 2}', set: ["c=3"] });
  expect(payload).toEqual({ a: 1, b: 2, c: 3 });
});

test("--set takes JSON where it is JSON, text elsewhere, and dots for what lies inside", async () => {
  const payload = await readPayload({
    set: [
      "n=1",
      "list=[1,2]",
      "name=Ada Lovelace",
      "db.host=h",
      "db.port=5432",
      "empty=",
      "eq=a=b",
    ],
  });
  expect(payload).toEqual({
    n: 1,
    list: [1, 2],
    name: "Ada Lovelace",
    db: { host: "h", port: 5432 },
    empty: "",
    eq: "a=b",
  });
});

test("ids beyond 2^53 keep their digits", async () => {
  const payload = await readPayload({ payload: '{"id": 531442233210601473}' });
  expect(payload).toEqual({ id: "531442233210601473" });
});

test.each([
  [{ payload: "{" }, "--payload must be JSON"],
  [{ payload: "[1]" }, "--payload must be a JSON object"],
  [{ set: ["novalue"] }, "--set must be key=value"],
  [{ input: "/no/such/file" }, "Cannot read /no/such/file"],
])("readPayload(%p) says what is wrong", async (flags, message) => {
  const refusal = await readPayload(flags).catch((error: unknown) => String(error));
  expect(refusal).toContain(message);
});
