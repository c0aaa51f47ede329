import { expect, test } from "bun:test";
import { chmod, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadOrCreateKey, parseKey } from "../../../src/secrets/key.ts";

async function tempDir() {
  const path = await mkdtemp(join(tmpdir(), "noetl-key-"));
  return { path, [Symbol.asyncDispose]: async () => await rm(path, { recursive: true }) };
}

test("loadOrCreateKey() makes a key once, for the owner only", async () => {
  await using dir = await tempDir();
  const path = join(dir.path, "key");
  const keys = await Promise.all([1, 2, 3].map(async () => await loadOrCreateKey(path)));
  expect(new Set(keys.map((key) => Buffer.from(key).toString("hex"))).size).toBe(1);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect(await loadOrCreateKey(path)).toEqual(keys[0] ?? new Uint8Array());
});

test("loadOrCreateKey() refuses a file that others can read, and one that holds no key", async () => {
  await using dir = await tempDir();
  const path = join(dir.path, "key");
  await loadOrCreateKey(path);
  await chmod(path, 0o640);
  expect(loadOrCreateKey(path)).rejects.toThrow("chmod 600");
  const bad = join(dir.path, "bad");
  await writeFile(bad, "short", { mode: 0o600 });
  expect(loadOrCreateKey(bad)).rejects.toThrow("base64 of 32 bytes");
});

test("parseKey() takes base64 of 32 bytes", () => {
  const key = Buffer.alloc(32, 5);
  expect(parseKey(`${key.toString("base64")}\n`)).toEqual(key);
});
