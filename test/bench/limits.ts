/**
 * What the parts below the platform can do on this machine, measured in the run that uses the
 * figures: the database's commits, JetStream, gRPC, and a pipe to a warm Python.
 */
import { Client, credentials } from "@grpc/grpc-js";
import type { NatsConnection } from "nats";
import { AckPolicy, connect, StorageType } from "nats";
import postgres from "postgres";
import { ECHO_SERVICE } from "./echo-service.ts";
import { median, nowMs } from "./statistics.ts";

export interface Limits {
  /** One durable single-row commit after another, median. */
  readonly commitMs: number;
  /** The same from 16 connections at once. */
  readonly commitsPerSecond: number;
  /** Rows per second in durable commits of 500 rows from 4 connections. */
  readonly batchedRowsPerSecond: number;
  /** Publishes with acknowledgement, 256 in flight. */
  readonly publishesPerSecond: number;
  /** From publish to the pull consumer's hands on an idle server, median. */
  readonly deliveryMs: number;
  /** One unary call after another between two Bun processes, median. */
  readonly rpcMs: number;
  /** The same with 32 in flight. */
  readonly rpcsPerSecond: number;
  /** A line to a running interpreter and back, median. */
  readonly pythonPipeMs: number;
}

const WINDOW_MS = 2000;

export async function measureLimits(databaseUrl: string, natsUrl: string): Promise<Limits> {
  const database = await measureDatabase(databaseUrl);
  const stream = await measureStream(natsUrl);
  const rpc = await measureRpc();
  return { ...database, ...stream, ...rpc, pythonPipeMs: await measurePythonPipe() };
}

async function measureDatabase(
  url: string,
): Promise<Pick<Limits, "commitMs" | "commitsPerSecond" | "batchedRowsPerSecond">> {
  await using sql = disposable(postgres(url, { max: 16, onnotice: () => {} }));
  await sql.client.unsafe("DROP TABLE IF EXISTS bench_limit");
  await sql.client.unsafe("CREATE TABLE bench_limit (id bigint, body text)");
  const insert = async (): Promise<void> => {
    await sql.client`INSERT INTO bench_limit VALUES (1, 'one durable row')`;
  };
  const ids = Array.from({ length: 500 }, (_, id) => String(id));
  const insertMany = async (): Promise<void> => {
    await sql.client`INSERT INTO bench_limit SELECT id, 'batched' FROM unnest(${ids}::bigint[]) AS id`;
  };
  await rate(insert, 16, WINDOW_MS / 4);
  const result = {
    commitMs: median(await times(insert, 500)),
    commitsPerSecond: await rate(insert, 16, WINDOW_MS),
    batchedRowsPerSecond: ids.length * (await rate(insertMany, 4, WINDOW_MS)),
  };
  await sql.client.unsafe("DROP TABLE bench_limit");
  return result;
}

function disposable(client: postgres.Sql): AsyncDisposable & { readonly client: postgres.Sql } {
  return { client, [Symbol.asyncDispose]: () => client.end({ timeout: 1 }) };
}

async function measureStream(
  url: string,
): Promise<Pick<Limits, "publishesPerSecond" | "deliveryMs">> {
  const connection = await connect({ servers: url });
  const manager = await connection.jetstreamManager();
  const name = "BENCH_LIMIT";
  await manager.streams.add({ name, subjects: ["bench.limit.>"], storage: StorageType.File });
  await manager.consumers.add(name, { durable_name: "pull", ack_policy: AckPolicy.Explicit });
  try {
    const deliveryMs = await measureDelivery(connection, name);
    const js = connection.jetstream();
    const body = new Uint8Array(200);
    const publishesPerSecond = await rate(
      async () => {
        await js.publish("bench.limit.rate", body);
      },
      256,
      WINDOW_MS,
    );
    return { publishesPerSecond, deliveryMs };
  } finally {
    await manager.streams.delete(name);
    await connection.close();
  }
}

async function measureDelivery(connection: NatsConnection, stream: string): Promise<number> {
  const js = connection.jetstream();
  const consumer = await js.consumers.get(stream, "pull");
  const messages = await consumer.consume({ max_messages: 16 });
  const iterator = messages[Symbol.asyncIterator]();
  const body = new Uint8Array(200);
  const samples: number[] = [];
  for (let count = 0; count < 500; count++) {
    const received = iterator.next().then(({ value }) => {
      samples.push(nowMs() - start);
      value?.ack();
    });
    const start = nowMs();
    await Promise.all([js.publish("bench.limit.delivery", body), received]);
  }
  messages.stop();
  return median(samples);
}

async function measureRpc(): Promise<Pick<Limits, "rpcMs" | "rpcsPerSecond">> {
  const server = Bun.spawn([process.execPath, `${import.meta.dir}/echo-server.ts`], {
    stdout: "pipe",
    stderr: "inherit",
  });
  try {
    const port = await firstLine(server.stdout);
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
    const { path, requestSerialize, responseDeserialize } = ECHO_SERVICE.echo;
    const body = Buffer.alloc(200);
    const call = (): Promise<void> =>
      new Promise((resolve, reject) => {
        client.makeUnaryRequest(path, requestSerialize, responseDeserialize, body, (error) =>
          error ? reject(error) : resolve(),
        );
      });
    await rate(call, 32, WINDOW_MS / 4);
    const rpcMs = median(await times(call, 1000));
    const rpcsPerSecond = await rate(call, 32, WINDOW_MS);
    client.close();
    return { rpcMs, rpcsPerSecond };
  } finally {
    server.kill("SIGKILL");
    await server.exited;
  }
}

const ECHO_PYTHON =
  "import sys\nfor line in sys.stdin:\n  sys.stdout.write(line)\n  sys.stdout.flush()\n";

async function measurePythonPipe(): Promise<number> {
  const python = Bun.spawn(["python3", "-c", ECHO_PYTHON], { stdin: "pipe", stdout: "pipe" });
  try {
    const reader = python.stdout.getReader();
    const roundTrip = async (): Promise<void> => {
      python.stdin.write('{"task":"noop","input":{"n":10}}\n');
      await python.stdin.flush();
      await reader.read();
    };
    await times(roundTrip, 50);
    return median(await times(roundTrip, 1000));
  } finally {
    python.kill("SIGKILL");
    await python.exited;
  }
}

/** Duration of each of `count` calls, one after another, in milliseconds. */
async function times(call: () => Promise<void>, count: number): Promise<readonly number[]> {
  const samples: number[] = [];
  for (let done = 0; done < count; done++) {
    const start = nowMs();
    await call();
    samples.push(nowMs() - start);
  }
  return samples;
}

/** Calls per second with `width` of them in flight all the time. */
async function rate(call: () => Promise<void>, width: number, windowMs: number): Promise<number> {
  const start = nowMs();
  let count = 0;
  const lane = async (): Promise<void> => {
    while (nowMs() - start < windowMs) {
      await call();
      count++;
    }
  };
  await Promise.all(Array.from({ length: width }, lane));
  return (count * 1000) / (nowMs() - start);
}

async function firstLine(stream: ReadableStream<Uint8Array>): Promise<string> {
  let text = "";
  for await (const chunk of stream) {
    text += new TextDecoder().decode(chunk);
    if (text.includes("\n")) {
      break;
    }
  }
  return text.slice(0, text.indexOf("\n"));
}
