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

test("a key must have 32 bytes", () => {
  expect(() => createSealer(new Uint8Array(16))).toThrow("16 bytes");
});
