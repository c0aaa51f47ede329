/** The statements of the runbooks, run on the platform's database. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { Glob } from "bun";
import { ROOT } from "../../support/manifests.ts";
import { createTestDatabase } from "../../support/postgres.ts";

setDefaultTimeout(60_000);

const DOCS = join(ROOT, "deploy/docs");

/** With the page that each is from. Names to fill in become such as are nowhere. */
async function statements(pattern: RegExp): Promise<readonly (readonly [string, string])[]> {
  const found: (readonly [string, string])[] = [];
  for (const path of [...new Glob("**/*.md").scanSync({ cwd: DOCS })].toSorted()) {
    const text = await Bun.file(join(DOCS, path)).text();
    for (const [, statement = ""] of text.matchAll(pattern)) {
      found.push([path, statement.replaceAll("(PID)", "(-1)")]);
    }
  }
  return found;
}

test("statements for a look around run", async () => {
  await using database = await createTestDatabase();
  const asked = (await statements(/\bpg "([^"]+)"/g)).filter(
    ([, text]) => !text.includes("'NAME'"),
  );
  expect(asked.length).toBeGreaterThan(25);
  for (const [path, statement] of asked) {
    const outcome = await database.sql.unsafe(statement).then(
      () => "runs",
      (error: unknown) => String(error),
    );
    expect([path, statement, outcome]).toEqual([path, statement, "runs"]);
  }
});

test("the drill's statements stop what would act by itself", async () => {
  await using database = await createTestDatabase();
  const { sql } = database;
  await sql`
    INSERT INTO noetl.schedule (schedule_id, name, spec, is_enabled, anchor_at, next_run_at, wake_at)
    VALUES (1, 'every', '{}', true, now(), now(), now())`;
  await sql`
    INSERT INTO noetl.subscription (subscription_id, path, catalog_id, source, spec, state, last_event_type)
    VALUES (1, 'orders', 1, 'nats', '{}', 'active', 'x')`;
  const said = (await statements(/ -c "(UPDATE [^"]+)"/g)).map(([, statement]) => statement);
  expect(said.length).toBe(3);
  for (const statement of said) {
    await sql.unsafe(statement);
  }
  expect([...(await sql`SELECT is_enabled, next_run_at, wake_at FROM noetl.schedule`)]).toEqual([
    { is_enabled: false, next_run_at: null, wake_at: null },
  ]);
  expect([...(await sql`SELECT state FROM noetl.subscription`)]).toEqual([{ state: "paused" }]);
});
