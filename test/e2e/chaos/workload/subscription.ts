/**
 * Messages of a stream and calls of a hook that start executions: one each, however often they are
 * delivered, whoever takes them in.
 */
import { retry } from "../../../../src/core/backoff.ts";
import { sleep } from "../../../../src/core/clock.ts";
import type { Accepted, Problems, Turn, Workload, World } from "../workload.ts";

const STREAM = "MESSAGES";
const MESSAGES = 8;
const NATS_CREDENTIAL = "chaos_nats";
const HOOK_CREDENTIAL = "chaos_hook";
const HOOK_TOKEN = "h00k-token-of-chaos";
const PATH = "chaos/subscription";
/** What was published is soon taken in, once everything runs. */
const PATIENCE_MS = 60_000;

export function subscription(): Workload {
  /** Of all messages and calls. */
  const names: string[] = [];
  return {
    name: "subscription",
    weight: 2,
    playbooks: [{ path: PATH, workflow: [{ step: "only", tool: { kind: "noop" } }] }],
    ends: ["COMPLETED"],
    prepare,
    turn: async (turn) => {
      const own = Array.from({ length: MESSAGES }, (_, n) => `${turn.name}-${n}`);
      await (turn.random.chance(0.5) ? publishAll(turn, own) : callAll(turn, own));
      names.push(...own);
    },
    settle: (world) => waitForAll(world, names),
    check: (world, _: readonly Accepted[]) => findWrongCounts(world, names),
  };
}

async function prepare({ client, stream }: World): Promise<void> {
  const credentials = [
    { name: NATS_CREDENTIAL, type: "nats", data: { url: stream.url } },
    { name: HOOK_CREDENTIAL, type: "bearer", data: { token: HOOK_TOKEN } },
  ];
  for (const credential of credentials) {
    await client.call("POST", "/api/credentials", credential);
  }
  const manager = await stream.connection.jetstreamManager();
  await manager.streams.add({ name: STREAM, subjects: ["messages.>"] });
  const nats = {
    stream: STREAM,
    subject: "messages.>",
    credential: NATS_CREDENTIAL,
    ack_wait: "5s",
  };
  const ingress = {
    gateway_path: "chaos",
    verify: { type: "bearer", credential: HOOK_CREDENTIAL },
  };
  const dispatch = { playbook: PATH, payload_from: "data" };
  await register(client, "messages", { source: "nats", nats, dispatch });
  await register(client, "calls", {
    source: "webhook",
    ingress,
    dispatch,
    dedup: { enabled: true },
  });
}

async function register(client: World["client"], name: string, spec: object): Promise<void> {
  const metadata = { name, path: `${PATH}/${name}` };
  const document = { apiVersion: "noetl.io/v1", kind: "Subscription", metadata, spec };
  await client.ask((api) => api.register(JSON.stringify(document)));
}

async function publishAll({ world }: Turn, names: readonly string[]): Promise<void> {
  const { connection } = world.stream;
  for (const name of names) {
    const publish = () =>
      connection.jetstream().publish("messages.new", JSON.stringify({ name }), { msgID: name });
    await retry(publish, {
      minMs: 100,
      maxMs: 500,
      signal: AbortSignal.timeout(PATIENCE_MS),
      isRetryable: () => true,
    });
  }
}

async function callAll({ world: { client } }: Turn, names: readonly string[]): Promise<void> {
  for (const name of names) {
    const headers = { authorization: `Bearer ${HOOK_TOKEN}`, "idempotency-key": name };
    await client.ask((api) => api.call("POST", "/hooks/chaos", { name }, headers));
  }
}

async function countByName({ sql }: World): Promise<ReadonlyMap<string, number>> {
  const rows = await sql<{ name: string; count: number }>(
    (db) => db`
      SELECT payload->>'name' AS name, count(*)::int AS count
      FROM noetl.execution WHERE path = ${PATH} GROUP BY 1`,
  );
  return new Map(rows.map(({ name, count }) => [name, count]));
}

async function waitForAll(world: World, names: readonly string[]): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while ((await countByName(world)).size < names.length && performance.now() < deadline) {
    await sleep(200);
  }
}

async function findWrongCounts(world: World, names: readonly string[]): Promise<Problems> {
  const counts = await countByName(world);
  return names
    .filter((name) => counts.get(name) !== 1)
    .map((name) => `message ${name} has ${counts.get(name) ?? 0} executions`);
}
