import { expect, setDefaultTimeout, test } from "bun:test";
import { waitFor } from "../../support/wait.ts";
import type { Server, World } from "./harness.ts";
import { createWorld, executionsOf, playbook, startServer } from "./harness.ts";

setDefaultTimeout(60_000);

const PATH = "tests/tick";

/** Makes a schedule whose last due times lie in the past, as if no server had been there. */
async function missDueTimes({ db }: World, name: string, seconds: number): Promise<void> {
  await db.sql`
    UPDATE noetl.schedule
    SET next_run_at = date_trunc('second', now()) - ${seconds} * interval '1 second', wake_at = now()
    WHERE name = ${name}`;
}

async function firingsOf({ call }: Server, name: string) {
  const { body } = await call("GET", `/api/schedules/${name}/firings?limit=1000`);
  return body.firings as {
    due: string;
    kind: string;
    status: string;
    execution_id: string | null;
    reason: string | null;
  }[];
}

test("several servers fire each due time once", async () => {
  await using world = await createWorld();
  await using first = await startServer(world);
  await using _second = await startServer(world);
  await using _third = await startServer(world);
  await first.register(playbook(PATH));
  const created = await first.call("POST", "/api/schedules", {
    name: "tick",
    playbook: PATH,
    cron: "* * * * * *",
    payload: { due: "{{ schedule.due }}", n: 1 },
  });
  expect([created.status, created.body.enabled]).toEqual([200, true]);
  await waitFor("five firings", async () => (await executionsOf(world, PATH)).length >= 5);
  await first.call("POST", "/api/schedules/tick/pause");
  const firings = (await firingsOf(first, "tick")).filter(({ status }) => status === "started");
  const executions = await executionsOf(world, PATH);
  expect(firings.map((one) => one.execution_id).sort()).toEqual(
    executions.map((one) => one.executionId).sort(),
  );
  const due = firings.map((one) => Date.parse(one.due)).sort();
  expect(new Set(due).size).toBe(due.length);
  // None is missing in between.
  expect((due.at(-1) ?? 0) - (due[0] ?? 0)).toBe((due.length - 1) * 1000);
  expect(executions.map(({ payload }) => payload).at(0)).toEqual({
    due: firings.at(-1)?.due ?? "",
    n: 1,
  });
});

test("a firing whose server died between start and mark keeps its one execution", async () => {
  await using world = await createWorld();
  await using server = await startServer(world);
  await server.register(playbook(PATH));
  await server.call("POST", "/api/schedules", { name: "once", playbook: PATH, cron: "@yearly" });
  const run = await server.call("POST", "/api/schedules/once/run");
  // As a kill before the mark would leave it.
  await world.db.sql`
    UPDATE noetl.schedule_firing
    SET status = 'waiting', execution_id = NULL, is_open = false, not_before = now()`;
  await world.db.sql`UPDATE noetl.schedule SET wake_at = now()`;
  const [firing] = await waitFor("the mark", async () => {
    const firings = await firingsOf(server, "once");
    return firings[0]?.status === "started" ? firings : undefined;
  });
  expect(firing?.execution_id).toBe(run.body.execution_id);
  expect(await executionsOf(world, PATH)).toHaveLength(1);
});

test("catchup decides which missed due times are met, and the rest is on record", async () => {
  await using world = await createWorld();
  await using server = await startServer(world);
  await server.register(playbook(PATH));
  const met: Record<string, { started: number; skipped: string[] }> = {};
  for (const catchup of ["none", "last", "all"]) {
    await server.call("POST", "/api/schedules", {
      name: catchup,
      playbook: PATH,
      interval: "10m",
      catchup,
      catchup_limit: 3,
      start_at: new Date(Date.now() - 24 * 3_600_000).toISOString(),
    });
    // Six due times, the last one minutes ago.
    await world.db.sql`
      UPDATE noetl.schedule
      SET next_run_at = next_run_at - interval '65 minutes' + interval '5 minutes', wake_at = now()
      WHERE name = ${catchup}`;
    const firings = await waitFor("what became of them", async () => {
      const found = await firingsOf(server, catchup);
      return found.length > 0 && found.every(({ status }) => status !== "waiting") && found;
    });
    met[catchup] = {
      started: firings.filter(({ status }) => status === "started").length,
      skipped: firings.flatMap(({ reason }) => reason ?? []),
    };
  }
  const isRecent = met["none"]?.started === 1;
  expect(met["none"]?.started).toBe(isRecent ? 1 : 0);
  expect(met["none"]?.skipped).toEqual([expect.stringContaining("catchup: none")]);
  expect(met["last"]?.started).toBe(1);
  expect(met["last"]?.skipped).toEqual([expect.stringContaining("catchup: last")]);
  expect(met["all"]?.started).toBe(3);
});

test("overlap skip, queue and cancel_previous do what they say while an execution runs", async () => {
  await using world = await createWorld();
  await using server = await startServer(world);
  await server.register(playbook(PATH));
  const create = async (overlap: string) => {
    const path = `${PATH}/${overlap}`;
    await server.register(playbook(path));
    const timing = { cron: "* * * * * *", overlap };
    await server.call("POST", "/api/schedules", { name: overlap, playbook: path, ...timing });
    return path;
  };

  const skipping = await create("skip");
  await waitFor("a skipped firing", async () =>
    (await firingsOf(server, "skip")).some(({ status }) => status === "skipped"),
  );
  expect(await executionsOf(world, skipping)).toHaveLength(1);
  await server.call("DELETE", "/api/schedules/skip");

  const queueing = await create("queue");
  await waitFor("a firing that waits for the first", async () => {
    const statuses = new Set((await firingsOf(server, "queue")).map(({ status }) => status));
    return statuses.has("started") && statuses.has("waiting");
  });
  const [running] = await executionsOf(world, queueing);
  await server.finish(running?.executionId ?? "");
  await waitFor(
    "the next in the queue",
    async () => (await executionsOf(world, queueing)).length === 2,
  );
  await server.call("DELETE", "/api/schedules/queue");

  const cancelling = await create("cancel_previous");
  const [previous] = await waitFor("a second execution", async () => {
    const found = await executionsOf(world, cancelling);
    return found.length >= 2 && found;
  });
  const { body } = await server.call("GET", `/api/executions/${previous?.executionId}/status`);
  expect(body.status).toBe("CANCELLED");
});

test("a backfill meets due times of the past once, in the order of time", async () => {
  await using world = await createWorld();
  await using server = await startServer(world);
  await server.register(playbook(PATH));
  await server.call("POST", "/api/schedules", {
    name: "daily",
    playbook: PATH,
    cron: "0 2 * * *",
    timezone: "Europe/Berlin",
    payload: { day: "{{ schedule.due }}" },
  });
  const range = { from: "2026-03-28", to: "2026-03-31" };
  const dry = await server.call("POST", "/api/schedules/daily/backfill", {
    ...range,
    dry_run: true,
  });
  // The clocks go forward at 2:00 on the 29th.
  const due = ["2026-03-28T01:00:00.000Z", "2026-03-29T01:00:00.000Z", "2026-03-30T00:00:00.000Z"];
  expect(dry.body).toEqual({ due, added: [] });
  expect((await server.call("POST", "/api/schedules/daily/backfill", range)).body.added).toEqual(
    due,
  );
  expect((await server.call("POST", "/api/schedules/daily/backfill", range)).body.added).toEqual(
    [],
  );
  const executions = await waitFor("all of them", async () => {
    const found = await executionsOf(world, PATH);
    return found.length === 3 && found;
  });
  expect(executions.map(({ payload }) => payload).sort()).toEqual(due.map((day) => ({ day })));
});

test("pause, resume, replace, next and delete", async () => {
  await using world = await createWorld();
  await using server = await startServer(world);
  await server.register(playbook(PATH));
  const definition = { name: "s", playbook: PATH, cron: "0 2 * * *", pool: "cpu-07", priority: 8 };
  await server.call("POST", "/api/schedules", definition);
  expect((await server.call("POST", "/api/schedules", definition)).status).toBe(409);
  const paused = await server.call("POST", "/api/schedules/s/pause");
  expect([paused.body.enabled, paused.body.next_run_at]).toEqual([false, null]);
  const next = await server.call("GET", "/api/schedules/s/next?count=3");
  expect(next.body.next).toHaveLength(3);
  const resumed = await server.call("POST", "/api/schedules/s/resume");
  expect(resumed.body.next_run_at).toBe(next.body.next[0]);
  const replaced = await server.call("PUT", "/api/schedules/s", {
    ...definition,
    cron: "30 3 * * *",
  });
  expect(replaced.body).toMatchObject({ cron: "30 3 * * *", enabled: true });
  expect(replaced.body.next_run_at).toContain("T03:30:00");
  const run = await server.call("POST", "/api/schedules/s/run", { payload: { by: "hand" } });
  expect(run.status).toBe(200);
  expect(await executionsOf(world, PATH)).toMatchObject([
    { executionId: run.body.execution_id, payload: { by: "hand" }, pool: "cpu-07", priority: 8 },
  ]);
  expect((await server.call("DELETE", "/api/schedules/s")).status).toBe(200);
  expect((await server.call("GET", "/api/schedules/s")).status).toBe(404);
});

test("a definition with faults is refused with all of them", async () => {
  await using world = await createWorld();
  await using server = await startServer(world);
  const { status, body } = await server.call("POST", "/api/schedules", {
    name: "bad",
    cron: "every day",
    timezone: "Mars/Base",
    overlaps: "skip",
    catchup: "some",
  });
  expect([status, body.code]).toEqual([422, "SCHEDULE_INVALID"]);
  for (const part of ["playbook", "every day", "catchup", "overlaps"]) {
    expect(body.error).toContain(part);
  }
});

test("a schedule whose playbook is missing says so in its history", async () => {
  await using world = await createWorld();
  await using server = await startServer(world);
  await server.call("POST", "/api/schedules", {
    name: "lost",
    playbook: "no/such",
    cron: "@hourly",
  });
  await missDueTimes(world, "lost", 0);
  const run = await server.call("POST", "/api/schedules/lost/run");
  expect([run.status, run.body.code]).toEqual([422, "SCHEDULE_RUN_FAILED"]);
  const firings = await firingsOf(server, "lost");
  expect(firings.find(({ kind }) => kind === "manual")).toMatchObject({
    status: "failed",
    reason: expect.stringContaining("no/such"),
  });
  const { schedules } = (await server.call("GET", "/api/schedules")).body;
  expect(schedules).toMatchObject([
    { name: "lost", last_firing: { kind: "manual", status: "failed", execution_id: null } },
  ]);
});

test("a document of kind Schedule is registered, versioned and put to work", async () => {
  await using world = await createWorld();
  await using server = await startServer(world);
  await server.register(playbook(PATH));
  const document = (cron: string) => `apiVersion: noetl.io/v2
kind: Schedule
metadata: {name: nightly, path: schedules/nightly, description: every night}
spec:
  playbook: ${PATH}
  cron: "${cron}"
  timezone: Europe/Berlin
`;
  const first = await server.register(document("0 2 * * *"));
  expect(first.body).toMatchObject({ kind: "schedule", path: "schedules/nightly", version: 1 });
  await server.call("POST", "/api/schedules/nightly/pause");
  expect((await server.register(document("0 3 * * *"))).body.version).toBe(2);
  const { body } = await server.call("GET", "/api/schedules/nightly");
  expect(body).toMatchObject({ cron: "0 3 * * *", enabled: false, description: "every night" });
  const broken = await server.register(document("0 3 * *"));
  expect([broken.status, broken.body.code]).toEqual([422, "SCHEDULE_INVALID"]);
  expect(broken.body.details.diagnostics[0]).toMatchObject({ line: 6, path: "spec.cron" });
  const execute = await server.call("POST", "/api/execute", { path: "schedules/nightly" });
  expect([execute.status, execute.body.code]).toEqual([404, "PLAYBOOK_NOT_FOUND"]);
  const taken = await server.register(playbook("schedules/nightly"));
  expect([taken.status, taken.body.code]).toEqual([409, "CATALOG_KIND_CONFLICT"]);
});
