import { expect, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { lockDataDir } from "../../../src/embedded/data-dir.ts";
import { makeScratchDir } from "../../support/scratch.ts";

test("lockDataDir() refuses a folder in use and names the process that holds it", () => {
  const dir = makeScratchDir("lock");
  using first = lockDataDir(dir);
  expect(first.dir).toBe(dir);
  expect(() => lockDataDir(dir)).toThrow(`in use by noetl process ${process.pid}`);
});

test("lockDataDir() takes over from a dead process, and from a later process of the same id", () => {
  const dir = makeScratchDir("lock");
  const path = join(dir, "noetl.pid");
  for (const holder of [
    { pid: 2 ** 22 + 1, startTicks: "1" },
    { pid: process.pid, startTicks: "1" },
    "cut sho",
  ]) {
    writeFileSync(path, typeof holder === "string" ? holder : JSON.stringify(holder));
    using lock = lockDataDir(dir);
    expect(lock.dir).toBe(dir);
  }
  expect(existsSync(path)).toBe(false);
});
