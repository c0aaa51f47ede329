import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { runCommand } from "../../../src/cli/program.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import { waitFor } from "../../support/wait.ts";
import { createWorld, executionsOf, playbook, startServer } from "./harness.ts";

setDefaultTimeout(60_000);

const PATH = "tests/commanded";

/** Runs commands against a server at the address. */
function terminal(url: string) {
  return async (...args: string[]) => {
    const out: string[] = [];
    const notes: string[] = [];
    const reason = await runCommand(args, {
      env: { NOETL_SERVER_URL: url, NOETL_TOKEN: "secret-token" },
      signal: new AbortController().signal,
      out: (text) => void out.push(text),
      note: (text) => void notes.push(text),
      isTerminal: false,
    });
    return { reason, text: out.join("\n"), notes: notes.join("\n") };
  };
}

test("schedules from the command line: add, list, next, run, history, backfill, pause, delete", async () => {
  await using world = await createWorld();
  await using server = await startServer(world);
  await server.register(playbook(PATH));
  const noetl = terminal(await server.listen());
  const cron = ["--cron", "0 2 * * *", "--timezone", "Europe/Berlin"];
  const added = await noetl(
    "schedule",
    "add",
    "nightly",
    "--playbook",
    PATH,
    ...cron,
    "--set",
    "a=1",
  );
  expect([added.reason, added.text]).toEqual(["ok", expect.stringContaining("next at ")]);
  expect((await noetl("schedule", "list")).text).toContain("nightly   tests/commanded  0 2 * * *");
  expect(
    (await noetl("schedule", "next", "nightly", "--count", "3")).text.split("\n"),
  ).toHaveLength(3);
  const dry = ["--from", "2026-01-01", "--to", "2026-01-04"];
  const backfill = await noetl("schedule", "backfill", "nightly", ...dry, "--dry-run");
  expect(backfill.text).toContain("2026-01-01 01:00:00Z");
  expect((await noetl("schedule", "run", "nightly", "--json")).reason).toBe("ok");
  expect((await executionsOf(world, PATH))[0]?.payload).toEqual({ a: 1 });
  expect((await noetl("schedule", "history", "nightly")).text).toContain("manual  started");
  expect((await noetl("schedule", "pause", "nightly")).text).toBe("Schedule nightly: paused");
  expect((await noetl("schedule", "resume", "nightly")).text).toContain("next at");
  const again = await noetl("schedule", "add", "nightly", "--playbook", PATH, "--interval", "5m");
  expect([again.reason, again.notes]).toEqual(["failed", expect.stringContaining("already")]);
  const replaced = await noetl(
    ...["schedule", "add", "nightly", "--playbook", PATH, "--interval", "5m", "--replace"],
  );
  expect(replaced.reason).toBe("ok");
  expect((await noetl("schedule", "get", "nightly")).text).toContain("interval_seconds  300");
  expect((await noetl("schedule", "delete", "nightly")).text).toBe("Schedule nightly deleted");
  expect((await noetl("schedule", "get", "nightly")).reason).toBe("failed");
});

test("a webhook and its subscription from the command line, dead letters included", async () => {
  await using world = await createWorld();
  await using server = await startServer(world);
  const noetl = terminal(await server.listen());
  await server.call("POST", "/api/credentials", {
    name: "hook",
    type: "secret",
    data: { secret: "s" },
  });
  const verify = ["--verify", "bearer", "--credential", "hook"];
  const added = await noetl("webhook", "add", "shop/order", "--playbook", PATH, ...verify);
  expect(added.text).toContain("/hooks/shop/order starts tests/commanded");
  expect((await noetl("subscription", "list")).text).toContain("webhooks/shop/order");
  await server.call("POST", "/hooks/shop/order", "{}", { authorization: "Bearer s" });
  const key = "webhooks/shop/order";
  expect((await noetl("subscription", "dead-letters", key)).text).toContain("no playbook");
  await server.register(playbook(PATH));
  expect((await noetl("subscription", "dead-letters", key, "--replay")).text).toContain("1 dead");
  await waitFor("the execution", async () => (await executionsOf(world, PATH)).length === 1);
  expect((await noetl("subscription", "pause", key)).text).toContain("paused");
  expect((await noetl("subscription", "drain", key)).text).toContain("draining");
  await waitFor("that it is drained", async () =>
    (await noetl("subscription", "get", key)).text.includes("inactive"),
  );
  expect((await noetl("subscription", "delete", key)).reason).toBe("ok");
});

test("noetl register takes schedules and subscriptions among playbooks, with places of faults", async () => {
  await using world = await createWorld();
  await using server = await startServer(world);
  const noetl = terminal(await server.listen());
  const dir = makeScratchDir("documents");
  await Bun.write(join(dir, "a.yaml"), playbook(PATH));
  const schedule = (cron: string) =>
    `apiVersion: noetl.io/v2\nkind: Schedule\nmetadata: {name: s}\nspec:\n  playbook: ${PATH}\n  cron: "${cron}"\n`;
  await Bun.write(join(dir, "b.yaml"), schedule("@daily"));
  const good = await noetl("register", dir);
  expect([good.reason, good.text]).toEqual([
    "ok",
    expect.stringContaining("Registered s version 1"),
  ]);
  await Bun.write(join(dir, "b.yaml"), schedule("now and then"));
  const bad = await noetl("register", dir);
  expect([bad.reason, bad.notes]).toEqual([
    "failed",
    expect.stringContaining("Cannot register the schedule: 1 error(s)\n  error at line 6, column"),
  ]);
});
