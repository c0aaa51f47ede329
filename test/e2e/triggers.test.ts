/**
 * Schedules and subscriptions while servers are killed: three of them on one database and one
 * nats-server, one after the other ended by `kill -9` and started anew, whoever works on the trigger.
 * Each due time and each message has one execution in the end.
 */
import { expect, test } from "bun:test";
import { connect } from "nats";
import type { RunningNoetl } from "../support/binary.ts";
import { startNoetl } from "../support/binary.ts";
import { startNats } from "../support/nats.ts";
import type { TestDatabase } from "../support/postgres.ts";
import { createTestDatabase } from "../support/postgres.ts";
import { makeScratchDir } from "../support/scratch.ts";
import { waitFor } from "../support/wait.ts";

const SERVERS = 3;
const KILLS = 6;
/** Published before each kill. */
const BURST = 400;
const MESSAGES = KILLS * BURST;
const DEADLINE = { deadlineMs: 120_000 };

const PLAYBOOK = `apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: PATH, path: PATH}
workflow:
  - step: start
    tool: {kind: noop}
`;

const SCHEDULE = `apiVersion: noetl.io/v2
kind: Schedule
metadata: {name: tick}
spec:
  playbook: kills/tick
  cron: "* * * * * *"
  catchup: all
  catchup_limit: 1000
`;

const SUBSCRIPTION = `apiVersion: noetl.io/v1
kind: Subscription
metadata: {name: orders}
spec:
  source: nats
  nats: {subject: orders.>, ack_wait: 5s}
  dispatch: {playbook: kills/orders}
`;

async function post(url: string, path: string, body: unknown): Promise<unknown> {
  const response = await fetch(`${url}${path}`, { method: "POST", body: JSON.stringify(body) });
  const answer = await response.text();
  expect(answer, path).not.toContain('"error"');
  return JSON.parse(answer);
}

async function countOf({ sql }: TestDatabase, path: string): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    SELECT count(*)::int AS count FROM noetl.execution WHERE path = ${path}`;
  return row?.count ?? 0;
}

test("each due time and each message has one execution, whatever servers are killed", async () => {
  await using db = await createTestDatabase();
  await using nats = await startNats();
  const env = {
    DATABASE_URL: db.url,
    NATS_URL: nats.url,
    NOETL_ENCRYPTION_KEY: Buffer.alloc(32, 7).toString("base64"),
    NOETL_DATA_DIR: makeScratchDir("data"),
    NOETL_LOG_FORMAT: "json",
  };
  const start = async (): Promise<RunningNoetl> =>
    await startNoetl(["server", "--port", "0", "--grpc-port", "0"], { env });
  await using stack = new AsyncDisposableStack();
  const servers = await Promise.all(Array.from({ length: SERVERS }, start));
  stack.defer(async () => {
    await Promise.all(servers.map((server) => server[Symbol.asyncDispose]()));
  });
  const publisher = await connect({ servers: nats.url });
  stack.defer(async () => await publisher.close());
  const manager = await publisher.jetstreamManager();
  await manager.streams.add({ name: "ORDERS", subjects: ["orders.>"] });

  const url = servers[0]?.url ?? "";
  for (const path of ["kills/tick", "kills/orders"]) {
    await post(url, "/api/catalog/register", { content: PLAYBOOK.replaceAll("PATH", path) });
  }
  await post(url, "/api/catalog/register", { content: SCHEDULE });
  await post(url, "/api/catalog/register", { content: SUBSCRIPTION });

  const publish = async (burst: number): Promise<void> => {
    for (let n = burst * BURST; n < (burst + 1) * BURST; n++) {
      await publisher.jetstream().publish("orders.new", JSON.stringify({ n }));
    }
  };
  for (let kill = 0; kill < KILLS; kill++) {
    const ticks = await countOf(db, "kills/tick");
    await waitFor("a due time", async () => (await countOf(db, "kills/tick")) > ticks, DEADLINE);
    const orders = await countOf(db, "kills/orders");
    const publishing = publish(kill);
    await waitFor("a message", async () => (await countOf(db, "kills/orders")) > orders, DEADLINE);
    // In the middle of them: every other time whoever holds the subscription.
    const [row] = await db.sql<{ holder: string | null }[]>`SELECT holder FROM noetl.subscription`;
    const holder = servers.findIndex(({ process }) => row?.holder?.includes(`-${process.pid}-`));
    const index = kill % 2 === 0 && holder >= 0 ? holder : kill % SERVERS;
    await servers[index]?.[Symbol.asyncDispose]();
    servers[index] = await start();
    await publishing;
  }
  const isAll = async (): Promise<boolean> => (await countOf(db, "kills/orders")) >= MESSAGES;
  await waitFor("all messages", isAll, DEADLINE);
  await post(servers[0]?.url ?? "", "/api/schedules/tick/pause", {});
  await waitFor("no waiting firing", async () => {
    const [row] = await db.sql`
      SELECT count(*)::int AS n FROM noetl.schedule_firing WHERE status = 'waiting'`;
    return row?.["n"] === 0;
  });

  const firings = await db.sql<{ due: number; status: string; executionId: string }[]>`
    SELECT extract(epoch FROM due_at)::int AS due, status, execution_id::text AS "executionId"
    FROM noetl.schedule_firing ORDER BY due_at`;
  const started = firings.filter(({ status }) => status === "started");
  // What the pause found waiting is skipped, and only that.
  expect(started.length).toBeGreaterThan(KILLS);
  expect(firings.slice(0, started.length).every(({ status }) => status === "started")).toBe(true);
  const first = started[0]?.due ?? 0;
  expect(started.map(({ due }) => due - first)).toEqual(started.map((_, index) => index));
  const ticks = await db.sql<{ executionId: string }[]>`
    SELECT execution_id::text AS "executionId" FROM noetl.execution WHERE path = 'kills/tick'`;
  expect(ticks.map(({ executionId }) => executionId).sort()).toEqual(
    started.map(({ executionId }) => executionId).sort(),
  );

  const orders = await db.sql<{ n: number }[]>`
    SELECT (payload->>'n')::int AS n FROM noetl.execution WHERE path = 'kills/orders' ORDER BY 1`;
  expect(orders.map(({ n }) => n)).toEqual(Array.from({ length: MESSAGES }, (_, n) => n));
  const [dead] = await db.sql`
    SELECT count(*)::int AS n FROM noetl.subscription_dispatch WHERE status = 'dead'`;
  expect(dead?.["n"]).toBe(0);
}, 300_000);
