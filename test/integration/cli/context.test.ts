import { expect, test } from "bun:test";
import { statSync } from "node:fs";
import { join } from "node:path";
import { createCli } from "./context.ts";

interface Seen {
  readonly path: string;
  readonly token: string | null;
}

/** A stand-in of a remote server that notes who asks. */
function serve(seen: Seen[]) {
  return Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: (request) => {
      const { pathname } = new URL(request.url);
      seen.push({ path: pathname, token: request.headers.get("authorization") });
      return Response.json([]);
    },
  });
}

test("commands go to the server of the context in use, of the flag or of the environment", async () => {
  const home: Seen[] = [];
  const work: Seen[] = [];
  using first = serve(home);
  using second = serve(work);
  const { run, configDir } = createCli({ WORK_TOKEN: "work-secret", NOETL_TOKEN: "other" });
  expect((await run("context", "list")).out).toContain("No contexts");
  await run("context", "add", "home", "--server-url", first.url.href);
  const added = await run(
    "context",
    "add",
    "work",
    "--server-url",
    second.url.href,
    "--token-env",
    "WORK_TOKEN",
  );
  expect(added.out).toBe(`Context work is ${second.url.href.replace(/\/$/, "")}/`.trim());
  expect(statSync(join(configDir, "contexts.json")).mode & 0o777).toBe(0o600);

  await run("list");
  await run("list", "--context", "work");
  await run("list", "--server-url", second.url.href);
  await run("context", "use", "work");
  await run("list");
  const other = createCli({ NOETL_CONFIG_DIR: configDir, NOETL_CONTEXT: "home" });
  await other.run("list");
  expect(home.map(({ token }) => token)).toEqual(["Bearer other", null]);
  expect(work.map(({ token }) => token)).toEqual([
    "Bearer work-secret",
    "Bearer other",
    "Bearer work-secret",
  ]);
});

test("contexts are listed, shown without their token, and deleted", async () => {
  const { run } = createCli({ T: "secret-token" });
  await run("context", "add", "a", "--server-url", "http://127.0.0.1:1", "--token-env", "T");
  await run("context", "add", "b", "--server-url", "http://127.0.0.1:2", "--use");
  const listed = JSON.parse((await run("context", "list", "--json")).out);
  expect(listed).toEqual([
    { name: "a", server_url: "http://127.0.0.1:1", has_token: true, is_current: false },
    { name: "b", server_url: "http://127.0.0.1:2", has_token: false, is_current: true },
  ]);
  const shown = await run("context", "show", "a");
  expect(shown.out).toContain("with a token");
  expect(`${shown.out}${listed}`).not.toContain("secret-token");
  expect((await run("context", "current")).out).toContain("b  http://127.0.0.1:2");
  await run("context", "delete", "b");
  expect((await run("context", "show")).notes).toContain("No context is in use");
  const unknown = await run("list", "--context", "aa");
  expect([unknown.reason, unknown.notes]).toEqual([
    "usage",
    "noetl: No context is named aa: there are a",
  ]);
});

test.each([
  [["context", "add", "a b", "--server-url", "http://x"], "A name has letters"],
  [["context", "add", "a", "--server-url", "nowhere"], "--server-url: must be a URL"],
  [
    ["context", "add", "a", "--server-url", "http://x", "--token-env", "NONE"],
    "no environment variable NONE",
  ],
  [["context", "use", "none"], "No context is named none: there is none yet"],
  [["query", "SELECT 1", "-f", "xml"], "--format must be table or json"],
  [["query", "SELECT 1", "--limit", "0"], "--limit must be"],
  [["cleanup", "--older-than-minutes", "0"], "--older-than-minutes must be"],
  [["exec", "a", "-r", "local"], "noetl run FILE"],
  [["k8s", "deploy", "--no-cache"], '"noetl k8s" is not a command here'],
  [["server", "start", "--init-db"], "noetl up"],
  [["worker", "stop", "-n", "a"], "Ctrl-C"],
  [["db", "init"], "noetl db migrate"],
  [["auth", "login", "--pkce"], "noetl context add"],
])("%p says what is wrong, or what to type", async (args, message) => {
  const { reason, notes } = await createCli().run(...args);
  expect([reason, notes]).toEqual(["usage", expect.stringContaining(message)]);
});
