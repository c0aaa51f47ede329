/**
 * Messages of a stream that cursors drain. A message whose acknowledgement was lost comes again, so
 * each is processed at least once; executions follow one another until none is left.
 */
import type { ConsumerInfo, NatsConnection } from "nats";
import { AckPolicy } from "nats";
import { retry } from "../../../../src/core/backoff.ts";
import { sleep } from "../../../../src/core/clock.ts";
import { RETRY, SQL_CREDENTIAL } from "../playbook.ts";
import type { Accepted, Problems, Turn, Workload, World } from "../workload.ts";
import { makeTables } from "./cursor-postgres.ts";

const STREAM = "CHAOS";
const MESSAGES = 15;
const ROUNDS_MAX = 30;
const ACK_WAIT_SECONDS = 4;

export function cursorNats({ url }: Pick<World["stream"], "url">): Workload {
  const loop = {
    iterator: "row",
    cursor: { kind: "nats", options: { url, stream: STREAM, consumer: "{{ consumer }}" } },
    spec: {
      mode: "cursor",
      max_in_flight: 2,
      frame: {
        max_rows: 4,
        row_concurrency: 2,
        max_attempts: 10,
        lease_seconds: ACK_WAIT_SECONDS,
        heartbeat_seconds: 1,
      },
    },
  };
  const command = `INSERT INTO chaos_processed VALUES ('{{ consumer }}', {{ iter.row.data.id }});
    SELECT pg_sleep(0.05)`;
  const tool = { kind: "postgres", auth: SQL_CREDENTIAL, command, spec: RETRY };
  const workflow = [{ step: "rows", loop, tool }];
  return {
    name: "cursor-nats",
    weight: 2,
    playbooks: [{ path: "chaos/cursor-nats", workload: { consumer: "" }, workflow }],
    ends: ["COMPLETED"],
    prepare: async (world) => {
      await makeTables(world);
      await makeStream(world.stream.connection);
    },
    turn: drainConsumer,
    check: findUnprocessed,
  };
}

async function makeStream(connection: NatsConnection): Promise<void> {
  const manager = await connection.jetstreamManager();
  await manager.streams.add({ name: STREAM, subjects: ["chaos.>"] });
}

async function drainConsumer({ world, name, start }: Turn): Promise<void> {
  const { connection } = world.stream;
  await publish(connection, name);
  for (let round = 0; round < ROUNDS_MAX; round++) {
    await world.client.ended(await start({ payload: { consumer: name } }));
    const { num_pending, num_ack_pending } = await infoOf(connection, name);
    if (num_pending + num_ack_pending === 0) {
      return;
    }
    await sleep(1000);
  }
}

/** With a consumer that gives them again as often as it takes. */
async function publish(connection: NatsConnection, name: string): Promise<void> {
  const subject = `chaos.${name}`;
  for (let id = 1; id <= MESSAGES; id++) {
    await untilDone(() =>
      connection.jetstream().publish(subject, JSON.stringify({ id }), { msgID: `${name}-${id}` }),
    );
  }
  await untilDone(async () => {
    const manager = await connection.jetstreamManager();
    await manager.consumers.add(STREAM, {
      durable_name: name,
      filter_subject: subject,
      ack_policy: AckPolicy.Explicit,
      ack_wait: ACK_WAIT_SECONDS * 1_000_000_000,
      max_deliver: -1,
    });
  });
}

async function infoOf(connection: NatsConnection, consumer: string): Promise<ConsumerInfo> {
  return await untilDone(async () => {
    const manager = await connection.jetstreamManager();
    return await manager.consumers.info(STREAM, consumer);
  });
}

/** While the server is away. */
async function untilDone<T>(act: () => Promise<T>): Promise<T> {
  const signal = AbortSignal.timeout(60_000);
  return await retry(act, { minMs: 100, maxMs: 500, signal, isRetryable: () => true });
}

async function findUnprocessed(world: World, accepted: readonly Accepted[]): Promise<Problems> {
  const names = [...new Set(accepted.map(({ payload }) => String(payload["consumer"])))];
  const rows = await world.sql<{ queue: string; count: number }>(
    (db) => db`
      SELECT queue, count(DISTINCT id)::int AS count FROM chaos_processed
      WHERE queue = ANY(${names}) GROUP BY queue`,
  );
  const counts = new Map(rows.map(({ queue, count }) => [queue, count]));
  return names
    .filter((name) => counts.get(name) !== MESSAGES)
    .map((name) => `${name}: ${counts.get(name) ?? 0} of ${MESSAGES} messages were processed`);
}
