import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import type { JsonObject } from "../../../src/core/json.ts";
import { createSftpTool } from "../../../src/tools/sftp.ts";
import { parseListing } from "../../../src/tools/ssh/batch.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import { hasSshd, KEY_PASSPHRASE, NO_SSHD, startSshd } from "../../support/sshd.ts";
import { failureFrom, problemsOf, run, valueFrom } from "./call.ts";

// Each call is a login of its own.
setDefaultTimeout(30_000);

const sshd = hasSshd ? await startSshd() : undefined;
const tool = createSftpTool({ env: process.env, maxOutputBytes: 100_000 });
afterAll(() => sshd?.[Symbol.asyncDispose]());

const { place, keys, hostKey } = sshd ?? NO_SSHD;
const credentials = {
  box: {
    type: "ssh",
    data: { ...place, private_key: keys.locked, passphrase: KEY_PASSPHRASE, host_key: hostKey },
  },
};
/** What the server shows: it is this machine. */
const remote = makeScratchDir("sftp");

async function perform(operation: string, config: JsonObject): Promise<JsonObject> {
  const value = await valueFrom(tool, {
    config: { auth: "box", operation, ...config },
    credentials,
  });
  return value as JsonObject;
}

async function problem(operation: string, config: JsonObject) {
  return await failureFrom(tool, { config: { auth: "box", operation, ...config }, credentials });
}

describe.skipIf(!hasSshd)("files", () => {
  test("puts and gets text, bytes and JSON", async () => {
    const path = join(remote, "a.txt");
    expect(await perform("put", { path, content: "größe\n" })).toEqual({
      status: "success",
      path,
      size: 8,
    });
    expect(readFileSync(path, "utf8")).toBe("größe\n");
    expect(await perform("get", { path })).toMatchObject({ content: "größe\n", size: 8 });
    await perform("put", { path, content: "AP8=", encoding: "base64" });
    expect(await perform("get", { path })).toMatchObject({ content: "AP8=", encoding: "base64" });
    await perform("put", { path, content: { a: [1] }, atomic: false });
    expect(await perform("get", { path, encoding: "json" })).toMatchObject({ content: { a: [1] } });
    expect(readdirSync(remote)).toEqual(["a.txt"]);
  });

  test("moves files of the worker", async () => {
    const local = makeScratchDir("local");
    writeFileSync(join(local, "in"), "x".repeat(200_000));
    const path = join(remote, "large");
    const put = await perform("put", { path, local_path: join(local, "in") });
    expect(put).toMatchObject({ size: 200_000 });
    const got = await perform("get", { path, local_path: join(local, "out") });
    expect(got).toMatchObject({ size: 200_000, local_path: join(local, "out") });
    expect(readdirSync(local).sort()).toEqual(["in", "out"]);
    expect(await problem("get", { path })).toMatchObject({ kind: "limit" });
    expect(await problem("put", { path, local_path: "/no/such" })).toMatchObject({
      kind: "not_found",
      code: "LOCAL_FILE_MISSING",
    });
  });

  test("lists, makes folders, renames and deletes", async () => {
    const folder = join(remote, "one/two");
    await perform("mkdir", { path: folder, parents: true });
    await perform("mkdir", { path: folder, parents: true });
    expect(await problem("mkdir", { path: folder })).toMatchObject({ kind: "client_error" });
    writeFileSync(join(folder, "b"), "bytes");
    writeFileSync(join(folder, ".a"), "");
    mkdirSync(join(folder, "c"));
    const { entries } = await perform("list", { path: folder });
    expect(entries).toMatchObject([
      { name: ".a", type: "file", size: 0 },
      { name: "b", type: "file", size: 5 },
      { name: "c", type: "directory" },
    ]);
    await perform("rename", { path: join(folder, "b"), to: join(folder, "d") });
    await perform("delete", { path: join(folder, "d") });
    await perform("rmdir", { path: join(folder, "c") });
    expect(readdirSync(folder)).toEqual([".a"]);
  });

  test("names mean themselves, whatever is in them", async () => {
    const names = ["a b*?[c]", 'it\'s "q"', "back\\slash", "\\*", "-f", "#x"];
    const folder = join(remote, "names");
    const copy = join(makeScratchDir("names"), "[copy] *");
    mkdirSync(folder);
    writeFileSync(join(folder, "back"), "untouched");
    for (const name of names) {
      await perform("put", { path: join(folder, name), content: name });
      await perform("get", { path: join(folder, name), local_path: copy });
      expect(readFileSync(copy, "utf8")).toBe(name);
    }
    expect(readdirSync(folder).sort()).toEqual([...names, "back"].sort());
    for (const name of names) {
      await perform("delete", { path: join(folder, name) });
    }
    expect(readdirSync(folder)).toEqual(["back"]);
  });
});

describe.skipIf(!hasSshd)("failures", () => {
  test("says what is missing", () => {
    expect(problemsOf(tool, {})[0]).toContain("sftp needs an operation: get, put, ");
    expect(problemsOf(tool, { operation: "get" })).toEqual(["get needs `path`"]);
    expect(problemsOf(tool, { operation: "put", path: "x" })).toEqual([
      "put needs `content` or `local_path`",
    ]);
    expect(problemsOf(tool, { operation: "rename", path: "x" })).toEqual(["rename needs `to`"]);
    expect(problemsOf(tool, { operation: "list", remote_path: "x" })).toEqual([]);
  });

  test("what is not there is not found, in every operation", async () => {
    const path = join(remote, "nothing");
    for (const operation of ["get", "list", "delete", "rmdir"]) {
      expect(await problem(operation, { path })).toMatchObject({
        kind: "not_found",
        code: "SFTP_NOT_FOUND",
      });
    }
    expect(await problem("rename", { path, to: `${path}2` })).toMatchObject({ kind: "not_found" });
    expect(await problem("put", { path: `${path}/x`, content: "x" })).toMatchObject({
      kind: "not_found",
    });
    expect(await problem("get", { path: remote })).toMatchObject({ code: "SFTP_NO_FILE" });
    expect(await problem("get", { path: "a\nrm b" })).toMatchObject({ kind: "schema" });
  });

  test("a host that is away, or that knows no such key, is told apart", async () => {
    const away = { path: "/", port: 1 };
    expect(await problem("list", away)).toMatchObject({ kind: "connection", retryable: true });
    const stranger = { path: "/", private_key: keys.bad };
    expect(await problem("list", stranger)).toMatchObject({ kind: "auth", code: "SSH_AUTH" });
  });

  test("a stopped transfer leaves no half file on the worker", async () => {
    const local = makeScratchDir("stopped");
    const pipe = join(remote, "pipe");
    Bun.spawnSync(["mkfifo", pipe]);
    const stop = new AbortController();
    const ran = run(tool, {
      config: { auth: "box", operation: "get", path: pipe, local_path: join(local, "x") },
      credentials,
      signal: stop.signal,
    });
    // Opened by the server for reading: the transfer is under way.
    const writer = Bun.spawn(["sh", "-c", 'exec 3>"$0"; echo open; sleep 60', pipe], {
      stdout: "pipe",
    });
    await Promise.race([writer.stdout.getReader().read(), ran]);
    stop.abort();
    const { outcome } = await ran;
    writer.kill();
    expect(outcome).toMatchObject({ ok: false });
    expect(existsSync(join(local, "x"))).toBe(false);
    expect(readdirSync(local)).toEqual([]);
  });
});

describe("parseListing()", () => {
  test("reads what a server prints and passes over the rest", () => {
    const text = [
      "drwxr-xr-x    ? 0        0            4096 Nov 23 02:29 /srv/.",
      "-rw-r--r--    1 0        0              12 Nov  3  2025 /srv/a  b",
      "lrwxrwxrwx    1 0        0               4 Jan 23 02:29 link",
      "noise",
    ].join("\n");
    expect(parseListing(text)).toEqual([
      { name: "a  b", type: "file", size: 12, permissions: "-rw-r--r--", modified: "Nov 3 2025" },
      { name: "link", type: "link", size: 4, permissions: "lrwxrwxrwx", modified: "Jan 23 02:29" },
    ]);
  });

  test("never throws", () => {
    fc.assert(fc.property(fc.string(), (text) => Array.isArray(parseListing(text))));
    expect(parseListing("")).toEqual([]);
  });
});
