/**
 * Cursor loops on real sources, with a worker killed while it runs rows: each row is processed, none
 * is lost. A work queue in PostgreSQL, claimed with SKIP LOCKED, and a stream of a NATS server.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { NatsConnection } from "nats";
import { connect } from "nats";
import type { Api } from "../bench/api.ts";
import { waitFor } from "../support/wait.ts";
import type { Cluster } from "./chaos/cluster.ts";
import { startCluster } from "./chaos/cluster.ts";

const LIMIT_MS = 120_000;
const ROW_COUNT = 40;
/** Its own rows come again when a claim is handed out twice, which is what `__claim_id` is for. */
const CLAIM = `UPDATE work SET status = 'claimed', claim_id = '{{ __claim_id }}'
  WHERE queue = '{{ queue }}' AND id IN (
    SELECT id FROM work
    WHERE queue = '{{ queue }}'
      AND (status = 'claimed' AND claim_id = '{{ __claim_id }}' OR status = 'pending' AND NOT EXISTS (
        SELECT 1 FROM work WHERE queue = '{{ queue }}' AND claim_id = '{{ __claim_id }}'))
    ORDER BY id LIMIT {{ __frame_max_rows }} FOR UPDATE SKIP LOCKED)
  RETURNING id`;

let cluster: Cluster;
let api: Api;
let nats: NatsConnection;
const dir = mkdtempSync(join(tmpdir(), "noetl-cursor-"));

beforeAll(async () => {
  chmodSync(dir, 0o755);
  cluster = await startCluster({ dir, serverCount: 1, workerCount: 3, slots: 4 });
  const [first] = cluster.apis;
  if (first === undefined) {
    throw new Error("no server");
  }
  api = first;
  nats = await connect({ servers: cluster.nats.url.replace("nats://", "") });
  await cluster.sql`CREATE TABLE work (
    queue text, id int, status text NOT NULL DEFAULT 'pending', claim_id text,
    PRIMARY KEY (queue, id))`;
  await cluster.sql`CREATE TABLE processed (queue text, id int)`;
}, LIMIT_MS);

afterAll(async () => {
  await nats.close();
  await cluster[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true, force: true });
}, LIMIT_MS);

describe("a cursor on a table", () => {
  test(
    "processes each row once when nothing dies",
    async () => {
      await fill("calm");
      const id = await drain("calm", { frame: { max_rows: 7, row_concurrency: 3 } });
      await api.completed(id, 50);
      expect(await processed("calm")).toEqual({ ids: ROW_COUNT, times: ROW_COUNT });
      expect(await stats(id)).toMatchObject({ total: ROW_COUNT, succeeded: ROW_COUNT, frames: 6 });
    },
    LIMIT_MS,
  );

  test(
    "loses no row with a worker that is killed",
    async () => {
      await fill("stormy");
      const id = await drain("stormy", {
        seconds: 0.2,
        pullers: 3,
        frame: { max_rows: 5, row_concurrency: 2 },
      });
      await waitFor("some rows", async () => (await processed("stormy")).ids > 5);
      await killHolder(id);
      await api.completed(id, 100);
      expect((await processed("stormy")).ids).toBe(ROW_COUNT);
      expect(await stats(id)).toEqual({
        total: ROW_COUNT,
        succeeded: ROW_COUNT,
        failed: 0,
        frames: expect.any(Number),
      });
      const left =
        await cluster.sql`SELECT id FROM work WHERE queue = 'stormy' AND status <> 'done'`;
      expect(left).toHaveLength(0);
    },
    LIMIT_MS,
  );

  test(
    "hands whole frames to one task",
    async () => {
      await fill("whole");
      const id = await execute("whole", {
        loop: sqlLoop({ frame: { max_rows: 15, process: "frame" } }),
        tool: { kind: "javascript", input: { rows: "{{ iter.row }}" }, code: "return rows.length" },
        workload: { queue: "whole" },
      });
      await api.completed(id, 50);
      expect(await result(id)).toMatchObject({
        results: [15, 15, 10],
        stats: { total: 3, succeeded: 3, frames: 3 },
      });
    },
    LIMIT_MS,
  );

  test(
    "takes rows that are too large to be inline",
    async () => {
      const id = await execute("large", {
        loop: sqlLoop({
          frame: { max_rows: 2 },
          claim: `UPDATE work SET status = 'claimed' WHERE queue = 'large' AND status = 'pending'
            RETURNING id, repeat('x', 100000 + id) AS text`,
        }),
        tool: {
          kind: "javascript",
          input: { text: "{{ iter.row.text }}" },
          code: "return text.length",
        },
        workload: {},
        before: () => fill("large", 3),
      });
      await api.completed(id, 50);
      expect(await result(id)).toMatchObject({ results: [100_001, 100_002, 100_003] });
    },
    LIMIT_MS,
  );
});

describe("a cursor on a stream", () => {
  test(
    "acknowledges what is done, also with a worker that is killed",
    async () => {
      await publish("ORDERS");
      const id = await drainStream("ORDERS", { seconds: 0.2, pullers: 2, concurrency: 2 });
      await waitFor("some messages", async () => (await processed("ORDERS")).ids > 5);
      await killHolder(id);
      await api.completed(id, 100);
      expect((await processed("ORDERS")).ids).toBe(ROW_COUNT);
      expect(await pending("ORDERS")).toEqual({ unacknowledged: 0, undelivered: 0 });
    },
    LIMIT_MS,
  );

  test(
    "gives messages back that a cancelled execution had taken",
    async () => {
      await publish("PARTS");
      const first = await drainStream("PARTS", { seconds: 0.3 });
      await waitFor("some messages", async () => (await processed("PARTS")).ids > 2);
      await api.call("POST", `/api/executions/${first}/cancel`, { reason: "test" });
      await api.ended(first, 50);
      expect((await processed("PARTS")).ids).toBeLessThan(ROW_COUNT);
      await waitFor("all messages", async () => {
        await api.completed(await drainStream("PARTS", { concurrency: 4 }), 50);
        return (await processed("PARTS")).ids === ROW_COUNT;
      });
      expect(await pending("PARTS")).toEqual({ unacknowledged: 0, undelivered: 0 });
    },
    LIMIT_MS,
  );

  test(
    "keeps messages of a slow frame beyond their lease",
    async () => {
      await publish("SLOW", 6);
      const id = await drainStream("SLOW", { seconds: 0.8, frame: { lease_seconds: 3 } });
      await api.completed(id, 50);
      expect(await processed("SLOW")).toEqual({ ids: 6, times: 6 });
    },
    LIMIT_MS,
  );
});

async function fill(queue: string, count = ROW_COUNT): Promise<void> {
  await cluster.sql`INSERT INTO work (queue, id) SELECT ${queue}, n FROM generate_series(1, ${count}::int) n`;
}

async function publish(stream: string, count = ROW_COUNT): Promise<void> {
  const manager = await nats.jetstreamManager();
  await manager.streams.add({ name: stream, subjects: [`${stream}.>`] });
  for (let id = 1; id <= count; id++) {
    await nats.jetstream().publish(`${stream}.item`, JSON.stringify({ id }));
  }
}

async function pending(stream: string): Promise<object> {
  const info = await (await nats.jetstreamManager()).consumers.info(stream, "work");
  return { unacknowledged: info.num_ack_pending, undelivered: info.num_pending };
}

interface Draining {
  /** For each row. */
  readonly seconds?: number;
  readonly pullers?: number;
  readonly frame?: object;
}

/** Starts the processing of a queue: each row is noted and marked as done. */
function drain(queue: string, { seconds = 0, ...draining }: Draining): Promise<string> {
  const command = `INSERT INTO processed VALUES ('{{ queue }}', {{ iter.row.id }});
    SELECT pg_sleep(${seconds});
    UPDATE work SET status = 'done' WHERE queue = '{{ queue }}' AND id = {{ iter.row.id }}`;
  return execute(queue, {
    loop: sqlLoop(draining),
    tool: { kind: "postgres", connection_string: cluster.databaseUrl, command },
    workload: { queue },
  });
}

function drainStream(
  stream: string,
  { seconds = 0, pullers = 1, concurrency = 1, frame = {} }: Draining & { concurrency?: number },
): Promise<string> {
  const options = { url: cluster.nats.url, stream, consumer: "work" };
  const command = `SELECT pg_sleep(${seconds});
    INSERT INTO processed VALUES ('${stream}', {{ iter.row.data.id }})`;
  return execute(stream, {
    loop: {
      iterator: "row",
      cursor: { kind: "nats", options },
      spec: {
        mode: "cursor",
        max_in_flight: pullers,
        frame: {
          max_rows: 10,
          row_concurrency: concurrency,
          lease_seconds: 4,
          heartbeat_seconds: 1,
          ...frame,
        },
      },
    },
    tool: { kind: "postgres", connection_string: cluster.databaseUrl, command },
    workload: {},
  });
}

function sqlLoop({
  pullers = 1,
  frame = {},
  claim = CLAIM,
}: Omit<Draining, "seconds"> & { readonly claim?: string }): object {
  return {
    iterator: "row",
    cursor: { kind: "postgres", options: { connection_string: cluster.databaseUrl }, claim },
    spec: { mode: "cursor", max_in_flight: pullers, frame },
  };
}

async function execute(
  name: string,
  {
    workload,
    before,
    ...step
  }: {
    readonly loop: object;
    readonly tool: object;
    readonly workload: object;
    readonly before?: () => Promise<void>;
  },
): Promise<string> {
  await before?.();
  const metadata = { name, path: `cursor/${name}` };
  const workflow = [{ step: "only", ...step }];
  await api.register(
    JSON.stringify({ apiVersion: "noetl.io/v2", kind: "Playbook", metadata, workload, workflow }),
  );
  return await api.execute(`cursor/${name}`);
}

/** Kills a worker that runs something of the execution, for good until the end of the test. */
async function killHolder(executionId: string): Promise<void> {
  const worker = await waitFor("a worker with a command", async () => {
    const holders = await cluster.sql<{ pid: number }[]>`
      SELECT w.pid FROM noetl.command c JOIN noetl.worker w USING (worker_id)
      WHERE c.execution_id = ${executionId}`;
    return cluster.workers.find(({ pid }) => holders.some((holder) => holder.pid === pid));
  });
  await worker.restart();
}

async function processed(queue: string): Promise<{ readonly ids: number; readonly times: number }> {
  const [row] = await cluster.sql<{ ids: number; times: number }[]>`
    SELECT count(DISTINCT id)::int AS ids, count(*)::int AS times
    FROM processed WHERE queue = ${queue}`;
  return row ?? { ids: 0, times: 0 };
}

async function result(executionId: string): Promise<unknown> {
  return (await api.steps(executionId))[0]?.result;
}

async function stats(executionId: string): Promise<unknown> {
  return Object(await result(executionId)).stats;
}
