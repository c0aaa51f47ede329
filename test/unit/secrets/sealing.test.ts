import { expect, test } from "bun:test";
import { createSealer, KEY_BYTES } from "../../../src/secrets/sealing.ts";

const KEY = new Uint8Array(KEY_BYTES).fill(7);

test("open() gives back what seal() took, and no two seals are alike", () => {
  const sealer = createSealer(KEY);
  const secret = { password: "grüße", list: [1, null, true] };
  const sealed = sealer.seal(secret, "pg_local");
  expect(sealer.open(sealed, "pg_local")).toEqual(secret);
  expect(sealer.seal(secret, "pg_local")).not.toBe(sealed);
  expect(sealed).not.toContain("password");
  expect(JSON.parse(sealed)).toMatchObject({ v: 1, alg: "A256GCM", dek: { kid: sealer.keyId } });
});

test("open() refuses another context, another key and changed text", () => {
  const sealer = createSealer(KEY);
  const sealed = sealer.seal("secret", "a");
  expect(() => sealer.open(sealed, "b")).toThrow("its text was changed");
  const other = createSealer(new Uint8Array(KEY_BYTES).fill(8));
  expect(() => other.open(sealed, "a")).toThrow(`sealed with key ${sealer.keyId}`);
  const envelope = JSON.parse(sealed);
  const flipped = `${envelope.ct[0] === "A" ? "B" : "A"}${envelope.ct.slice(1)}`;
  expect(() => sealer.open(JSON.stringify({ ...envelope, ct: flipped }), "a")).toThrow("changed");
  for (const text of ["", "{}", "[]", '{"v":2,"ct":"","dek":{}}', '{"v":1,"ct":"","dek":{}}']) {
    expect(() => sealer.open(text, "a")).toThrow();
  }
});

test("rewrap() moves a secret to the current key without opening it", () => {
  const oldKey = new Uint8Array(KEY_BYTES).fill(8);
  const before = createSealer(oldKey).seal({ token: "t" }, "a");
  const both = createSealer(KEY, [oldKey]);
  expect(both.open(before, "a")).toEqual({ token: "t" });
  const after = both.rewrap(before);
  expect(JSON.parse(after).ct).toBe(JSON.parse(before).ct);
  expect(createSealer(KEY).open(after, "a")).toEqual({ token: "t" });
  expect(both.rewrap(after)).toBe(after);
  expect(both.keyIds).toHaveLength(2);
  const text = "has key [0-9a-f]{8}. Give it the missing key in NOETL_ENCRYPTION_OLD_KEYS";
  expect(() => createSealer(KEY).open(before, "a")).toThrow(new RegExp(text));
  expect(() => createSealer(KEY).rewrap(before)).toThrow("Cannot open a secret sealed with key");
});

test("a key must have 32 bytes", () => {
  expect(() => createSealer(new Uint8Array(16))).toThrow("16 bytes");
});
