import { expect, setDefaultTimeout, test } from "bun:test";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { runCommand } from "../../../src/cli/program.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import { startPlatform } from "./platform.ts";

setDefaultTimeout(30_000);

/** Runs a client command; gives what it printed, what it noted, and how it ended. */
async function noetl(url: string, ...args: readonly string[]) {
  const out: string[] = [];
  const notes: string[] = [];
  const reason = await runCommand(args, {
    env: { NOETL_SERVER_URL: url },
    signal: new AbortController().signal,
    out: (text) => void out.push(text),
    note: (text) => void notes.push(text),
    isTerminal: false,
  });
  return { reason, out: out.join("\n"), notes: notes.join("\n") };
}

test("credentials are registered from JSON and YAML, listed, shown without secrets and deleted", async () => {
  await using platform = await startPlatform();
  const url = await platform.listen();
  const dir = makeScratchDir("credentials");
  await writeFile(
    join(dir, "db.json"),
    JSON.stringify({
      name: "db",
      type: "postgres",
      data: { db_host: "h", db_password: "s3cret-pw" },
    }),
  );
  await writeFile(
    join(dir, "more.yaml"),
    "- {name: api, type: bearer, data: {token: {provider: env, name: API_TOKEN}}}\n- {name: odd, type: strange, data: {x: y}}\n",
  );
  const one = await noetl(url, "register", "credential", "-f", join(dir, "db.json"));
  expect(one).toMatchObject({ reason: "ok", out: "Saved credential db (postgres)" });
  const both = await noetl(url, "register", "credentials", "-d", dir);
  expect(both.out.split("\n")).toHaveLength(3);
  expect(both.notes).toContain('more.yaml: warning: type "strange" is not known');

  expect((await noetl(url, "list", "credentials")).out).toContain("db    postgres");
  expect((await noetl(url, "credentials", "list", "--json")).out).toContain('"name": "odd"');
  const shown = await noetl(url, "get", "credential", "db");
  expect(shown.out).toContain("type     postgres");
  expect(shown.out).not.toContain("s3cret-pw");
  const refused = await noetl(url, "get", "credential", "db", "--include-data");
  expect(refused).toMatchObject({ reason: "failed", out: "" });
  expect(refused.notes).toContain("NOETL_SECRET_READING=true");

  expect(await noetl(url, "credentials", "delete", "odd")).toMatchObject({ reason: "ok" });
  expect((await noetl(url, "credentials", "delete", "odd")).notes).toContain("No credential odd");
  const rotated = await noetl(url, "credentials", "rotate");
  expect(rotated.out).toContain("0 secrets were wrapped anew");
  expect(rotated.out).toContain("No secret needs an older key any more");
});

test("a credential whose type needs more is refused with all that is missing", async () => {
  await using platform = await startPlatform({ canReadSecrets: true });
  const url = await platform.listen();
  const file = join(makeScratchDir("bad"), "sf.json");
  await writeFile(file, JSON.stringify({ name: "sf", type: "snowflake", data: { sf_role: "r" } }));
  const refused = await noetl(url, "register", "credential", "-f", file);
  expect(refused.reason).toBe("failed");
  expect(refused.notes).toContain("needs account (or sf_account)");
  expect(refused.notes).toContain("needs user (or sf_user, username)");
  expect(await noetl(url, "register", "credential")).toMatchObject({ reason: "usage" });
  await writeFile(
    file,
    JSON.stringify({ name: "b", type: "bearer", data: { token: "t0ken-t0ken" } }),
  );
  await noetl(url, "register", "credential", "-f", file);
  const shown = await noetl(url, "get", "credential", "b", "--include-data");
  expect(shown.out).toContain("data.token");
  expect(shown.out).toContain("t0ken-t0ken");
  expect(platform.lines.some((line) => line.includes("credential shown with its secrets"))).toBe(
    true,
  );
});
