/** Real PostgreSQL and NATS take the configuration of `deploy/`, and the platform works with it. */
import { expect, test } from "bun:test";
import { connect } from "nats";
import postgres from "postgres";
import { connectBus } from "../../../src/bus/bus.ts";
import type { CommandId, ExecutionId } from "../../../src/core/ids.ts";
import { migrate } from "../../../src/store/migrate.ts";
import { readEnv, startDeployedNats, startDeployedPostgres } from "../../support/deploy.ts";
import { quiet } from "../../support/kubernetes-job.ts";
import { waitFor } from "../../support/wait.ts";

test("PostgreSQL takes every setting, and gives the platform a database of its own", async () => {
  await using cluster = await startDeployedPostgres();
  const rejected = await cluster.sql`
    SELECT name, setting, error FROM pg_file_settings WHERE error IS NOT NULL`;
  // The one that this test gives as an argument.
  expect(rejected.map(({ name }) => name)).toEqual(["listen_addresses"]);
  const { NOETL_PASSWORD = "", MONITOR_PASSWORD = "" } = readEnv(
    "overlays/local/secrets/postgres.env",
  );
  const options = { host: "127.0.0.1", port: cluster.port, onnotice: () => undefined };
  const open = (user: string, password: string) =>
    postgres({ ...options, user, password, database: "noetl", max: 2 });
  const platform = open("noetl", NOETL_PASSWORD);
  const monitor = open("monitor", MONITOR_PASSWORD);
  try {
    expect((await migrate(platform)).length).toBeGreaterThan(0);
    const [who] = await platform`SELECT rolsuper FROM pg_roles WHERE rolname = current_user`;
    expect(who?.["rolsuper"]).toBe(false);
    const [seen] = await monitor`
      SELECT count(*) FILTER (WHERE query = '<insufficient privilege>')::int AS hidden
      FROM pg_stat_activity`;
    expect(seen?.["hidden"]).toBe(0);
    const reading = monitor`SELECT count(*) FROM noetl.execution`;
    expect(reading).rejects.toThrow("permission denied");
  } finally {
    await Promise.all([platform.end(), monitor.end()]);
  }
}, 60_000);

test("NATS asks for its user, and keeps streams for the platform", async () => {
  await using nats = await startDeployedNats();
  expect(connect({ servers: nats.url })).rejects.toThrow("Authorization");
  await using bus = await openBus(nats, 1);
  await bus.ensureStreams();
  expect(await bus.streamIdentity()).not.toBe("");
}, 60_000);

test("three servers of NATS keep each stream thrice, and go on with two", async () => {
  await using nats = await startDeployedNats(3);
  await using bus = await openBus(nats, 3);
  await waitFor("a cluster", async () => {
    await bus.ensureStreams();
    return true;
  });
  const { url, user, password: pass } = nats;
  const connection = await connect({ servers: url.split(","), user, pass });
  const manager = await connection.jetstreamManager();
  for (const name of ["NOETL_COMMANDS", "NOETL_LOGS"]) {
    const { config, cluster } = await manager.streams.info(name);
    expect([name, config.num_replicas, cluster?.replicas?.length]).toEqual([name, 3, 2]);
  }
  await connection.close();
  const [first] = nats.servers;
  first?.kill("SIGKILL");
  await first?.exited;
  const notification = {
    executionId: "321321321321321321" as ExecutionId,
    commandId: "1" as CommandId,
    eventId: "1",
    step: "s",
    attempt: 1,
  };
  await waitFor("a stored message", async () => {
    await bus.publishCommand("cpu-01", notification, { messageId: "1:1" });
    return true;
  });
  const identity = await waitFor("a leader", () => bus.streamIdentity());
  expect(identity).not.toBe("");
  expect(first?.signalCode).toBe("SIGKILL");
}, 90_000);

async function openBus(
  { url, user, password }: { url: string; user: string; password: string },
  replicas: number,
) {
  const bus = await connectBus({ url, user, password, name: "test", log: quiet(), replicas });
  return Object.assign(bus, { [Symbol.asyncDispose]: () => bus.close() });
}
