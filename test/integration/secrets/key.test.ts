import { expect, test } from "bun:test";
import { chmod, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadOrCreateKeys, parseKey, parseKeys } from "../../../src/secrets/key.ts";

async function tempDir() {
  const path = await mkdtemp(join(tmpdir(), "noetl-key-"));
  return { path, [Symbol.asyncDispose]: async () => await rm(path, { recursive: true }) };
}

test("loadOrCreateKeys() makes a key once, for the owner only", async () => {
  await using dir = await tempDir();
  const path = join(dir.path, "key");
  const keys = (await Promise.all([1, 2, 3].map(async () => await loadOrCreateKeys(path)))).flat();
  expect(new Set(keys.map((key) => Buffer.from(key).toString("hex"))).size).toBe(1);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect(await loadOrCreateKeys(path)).toEqual([keys[0] ?? new Uint8Array()]);
});

test("loadOrCreateKeys() refuses a file that others can read, and one that holds no key", async () => {
  await using dir = await tempDir();
  const path = join(dir.path, "key");
  await loadOrCreateKeys(path);
  await chmod(path, 0o640);
  expect(loadOrCreateKeys(path)).rejects.toThrow("chmod 600");
  const bad = join(dir.path, "bad");
  await writeFile(bad, "short", { mode: 0o600 });
  expect(loadOrCreateKeys(bad)).rejects.toThrow("base64 of 32 bytes");
});

test("a key file may hold older keys below the current one", async () => {
  await using dir = await tempDir();
  const path = join(dir.path, "key");
  const lines = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)].map((key) => key.toString("base64"));
  await writeFile(path, `${lines.join("\n")}\n`, { mode: 0o600 });
  const keys = (await loadOrCreateKeys(path)).map((key) => key[0]);
  expect(keys).toEqual([1, 2]);
  expect(parseKeys(lines.join(", "))).toHaveLength(2);
  expect(parseKeys("")).toEqual([]);
});

test("parseKey() takes base64 of 32 bytes", () => {
  const key = Buffer.alloc(32, 5);
  expect(parseKey(`${key.toString("base64")}\n`)).toEqual(key);
});
