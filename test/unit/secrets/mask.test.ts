import { expect, test } from "bun:test";
import { createMask, secretValues } from "../../../src/secrets/mask.ts";
import { maskBytes } from "../../../src/secrets/mask-bytes.ts";

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
  const values = secretValues(data);
  expect(values).toEqual(["demo-pw", "t0ken", "demo:demo-pw", "demo:t0ken"]);
});

test("a password that is also the user's name is no secret", () => {
  expect(secretValues({ user: "noetl", password: "noetl", token: "other" })).toEqual([
    "other",
    "noetl:other",
  ]);
});

test("secretValues() takes the password out of an address, and leaves bare addresses alone", () => {
  const dsn = "postgres://joe:s%40cret99@db/x";
  expect(secretValues({ dsn })).toEqual([dsn, "s@cret99"]);
  expect(secretValues({ url: "nats://127.0.0.1:4222" })).toEqual([]);
  expect(secretValues({ url: "https://hooks.example/T0/xyz" })).toEqual([
    "https://hooks.example/T0/xyz",
  ]);
});

test("json() hides a short secret only as a word of its own; text() hides it anywhere", () => {
  const mask = createMask(["demo"]);
  const shown = { a: "democracy", b: "a demo!", c: "demo" };
  expect(mask.json(shown)).toEqual({ a: "democracy", b: "a ***!", c: "***" });
  expect(mask.text("democracy")).toBe("***cracy");
});

test("no encoding of a secret gets through", () => {
  const secret = "Xy9/+q(w) 'é\"\\7";
  const mask = createMask(secretValues({ username: "joe", password: secret }));
  const base64 = (text: string): string => Buffer.from(text).toString("base64");
  const form = new URLSearchParams({ p: secret }).toString();
  const encoded = [
    secret,
    JSON.stringify({ p: secret }),
    form,
    encodeURIComponent(secret),
    base64(secret),
    base64(`joe:${secret}`),
    base64(`somebody else:${secret}, and more`),
    base64(`1${secret}2`),
    Buffer.from(secret).toString("hex"),
  ];
  const shown = encoded.map((text) => mask.text(text));
  expect(shown.filter((text) => !text.includes("***"))).toEqual([]);
  expect(mask.text(`Basic ${base64(`joe:${secret}`)}`)).toBe("Basic ***");
  expect(mask.json({ [secret]: 1 })).toEqual({ "***": 1 });
});

test("bytes lose their secrets wherever the pieces are cut", async () => {
  const secret = "grüne-Tür#77";
  const text = `a ${secret} b ${Buffer.from(secret).toString("base64")} c gr${secret}`;
  const bytes = new TextEncoder().encode(text);
  for (let size = 1; size <= bytes.length; size++) {
    const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, n) =>
      bytes.slice(n * size, (n + 1) * size),
    );
    const masked = await Array.fromAsync(maskBytes([secret], pieces));
    expect(Buffer.concat(masked).toString(), String(size)).toBe("a *** b *** c gr***");
  }
});

test("bytes stay as they are when the only secrets are too short to be hidden", async () => {
  const bytes = new TextEncoder().encode("a text that passes");
  const passed = await Array.fromAsync(maskBytes(["abc"], [bytes]));
  expect(Buffer.concat(passed).toString()).toBe("a text that passes");
});

test("half a surrogate pair in a secret is hidden, too", () => {
  expect(createMask(["pass\ud83dword"]).text("pass\ud83dword!")).toBe("***!");
});

test("each line of a key is hidden, in whatever way it is printed", () => {
  const key = "-----BEGIN KEY-----\nMIIabcdefgh12345678\nsecondline87654321\n-----END KEY-----\n";
  const mask = createMask(secretValues({ private_key: key }));
  expect(mask.text("line: secondline87654321")).toBe("line: ***");
  expect(mask.text(JSON.stringify({ k: key }))).toBe('{"k":"***"}');
  expect(mask.text("-----BEGIN KEY-----")).toBe("-----BEGIN KEY-----");
});
