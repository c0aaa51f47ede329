/** The S3 store against a real S3 server: multipart uploads, ranges, signatures, and what goes wrong. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { ExecutionId } from "../../../src/core/ids.ts";
import { createIdGenerator } from "../../../src/core/ids.ts";
import { Secret } from "../../../src/core/secret.ts";
import { createLogger } from "../../../src/observability/log.ts";
import { createServerMetrics } from "../../../src/observability/metrics.ts";
import { createRegistry } from "../../../src/observability/registry.ts";
import { DEFAULT_RESULT_LIMITS } from "../../../src/orchestrator/result-limits.ts";
import { Results } from "../../../src/orchestrator/results.ts";
import { Housekeeper } from "../../../src/orchestrator/retention.ts";
import type { Store } from "../../../src/store/pool.ts";
import { connectStore } from "../../../src/store/pool.ts";
import type { ResultStore } from "../../../src/store/result-store.ts";
import { createPostgresResultStore } from "../../../src/store/result-store.ts";
import type { S3Options } from "../../../src/store/s3-result-store.ts";
import { createS3ResultStore, ranges } from "../../../src/store/s3-result-store.ts";
import type { TestDatabase } from "../../support/postgres.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import type { TestS3 } from "../../support/s3-server.ts";
import { startS3 } from "../../support/s3-server.ts";

const MIB = 1024 * 1024;
const metrics = createServerMetrics(createRegistry({ hasProcessMetrics: false }), "test");
const newId = createIdGenerator(9);
const log = createLogger({ level: "error", format: "json", component: "test", write: () => {} });

/** PostgreSQL may have to be started first. */
const START_MS = 60_000;

let db: TestDatabase;
let store: Store;
let s3: TestS3;

beforeAll(async () => {
  db = await createTestDatabase();
  store = connectStore(db.url, { name: "test", max: 4 });
  s3 = await startS3("s3-results");
}, START_MS);

afterAll(async () => {
  await s3[Symbol.asyncDispose]();
  await store.close();
  await db[Symbol.asyncDispose]();
});

function createResults(target: ResultStore, limits = DEFAULT_RESULT_LIMITS): Results {
  const sources = { postgres: createPostgresResultStore(store), [target.kind]: target };
  return new Results({
    store,
    target,
    sources,
    metrics,
    limits,
    newId: () => Promise.resolve(newId<string>()),
    stepValue: () => Promise.resolve(undefined),
  });
}

function storeWith(more: Partial<S3Options> = {}): ResultStore {
  return createS3ResultStore({ ...s3.options, ...more });
}

function randomBytes(count: number): Uint8Array {
  const bytes = new Uint8Array(count);
  for (let from = 0; from < count; from += 65_536) {
    crypto.getRandomValues(bytes.subarray(from, from + 65_536));
  }
  return bytes;
}

async function readAll(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of source) {
    parts.push(part);
  }
  return Buffer.concat(parts);
}

test.each([0, 5, MIB + 1, 17 * MIB + 3])(
  "a value of %p bytes comes out of the bucket as it went in",
  async (count) => {
    const results = createResults(storeWith());
    const executionId = newId<ExecutionId>();
    const bytes = randomBytes(count);
    const contentType = "application/octet-stream";
    const info = await results.put({ executionId, name: "v", contentType }, [bytes]);
    expect(info).toMatchObject({ store: "s3", size: count });
    const { read } = await results.open(info.ref.$ref);
    expect((await readAll(read())).equals(bytes)).toBe(true);
    const begin = Math.floor(count * 0.7);
    const part = await readAll(read({ begin, end: count }));
    expect(part.equals(bytes.subarray(begin))).toBe(true);
    expect(await db.sql`SELECT 1 FROM noetl.result_chunk`).toHaveLength(0);
  },
);

test("what lies in PostgreSQL stays readable, and is not stored again", async () => {
  const executionId = newId<ExecutionId>();
  const bytes = randomBytes(2 * MIB);
  const before = createResults(createPostgresResultStore(store));
  const old = await before.put({ executionId, name: "v" }, [bytes]);
  const after = createResults(storeWith());
  const { sha256 } = old;
  const again = await after.put({ executionId, name: "w", sha256, size: bytes.length }, []);
  expect(again.store).toBe("postgres");
  expect((await readAll((await after.open(again.ref.$ref)).read())).equals(bytes)).toBe(true);
});

test("deleted and broken off values leave no object behind", async () => {
  const target = storeWith({ prefix: "gone" });
  const results = createResults(target);
  const executionId = newId<ExecutionId>();
  const info = await results.put({ executionId, name: "v" }, [randomBytes(7 * MIB)]);
  const prefix = `gone/${executionId}/`;
  const objects = () => s3.keys().filter((key) => key.startsWith(prefix));
  expect(objects()).toHaveLength(1);
  expect(await results.remove(info.ref.$ref)).toBe(true);
  const broken = async function* (): AsyncGenerator<Uint8Array> {
    yield randomBytes(7 * MIB);
    throw await Promise.resolve(new Error("the worker died"));
  };
  const put = await results.put({ executionId, name: "w" }, broken()).catch((error) => error);
  expect(put).toBeInstanceOf(Error);
  const sources = { s3: target };
  await new Housekeeper({ store, sources, retention: {}, now: Date.now, metrics, log }).keep();
  expect(objects()).toHaveLength(0);
  const loose = await db.sql`
    SELECT 1 FROM noetl.result_loose WHERE execution_id = ${executionId}`;
  expect(loose).toHaveLength(0);
});

test.each([
  ["the bucket is missing", { bucket: "nowhere" }, "NOETL_S3_BUCKET"],
  ["the secret is wrong", { secretKey: new Secret("wrong") }, "NOETL_S3_SECRET_KEY"],
  ["nothing answers", { endpoint: "http://127.0.0.1:9" }, "NOETL_S3_ENDPOINT"],
] as const)(
  "when %s, storing and reading say so and may be repeated",
  async (_what, more, hint) => {
    const executionId = newId<ExecutionId>();
    const good = createResults(storeWith());
    const bad = createResults(storeWith(more));
    const expected = {
      kind: "unavailable",
      code: "RESULT_STORE_UNAVAILABLE",
      message: expect.stringContaining(hint),
    };
    const put = await bad.put({ executionId, name: "v" }, [randomBytes(100)]).catch((e) => e);
    expect(put).toMatchObject(expected);
    const info = await good.put({ executionId, name: "v" }, [randomBytes(100)]);
    const opened = await bad.open(info.ref.$ref);
    expect(await readAll(opened.read()).catch((error) => error)).toMatchObject(expected);
    expect(await readAll((await good.open(info.ref.$ref)).read())).toHaveLength(100);
  },
);

test("an object that somebody removed is said to be lost", async () => {
  const target = storeWith();
  const results = createResults(target);
  const executionId = newId<ExecutionId>();
  const info = await results.put({ executionId, name: "v" }, [randomBytes(100)]);
  const [row] = await db.sql<{ id: string }[]>`
    SELECT body_id AS id FROM noetl.result_body WHERE execution_id = ${executionId}`;
  await target.removeBodies([{ executionId, bodyId: row?.id ?? "" }]);
  const opened = await results.open(info.ref.$ref);
  expect(await readAll(opened.read()).catch((error) => error)).toMatchObject({
    kind: "not_found",
    code: "RESULT_BYTES_LOST",
  });
});

test("frames are fetched in groups of some MiB, from any of them on", () => {
  const frames = [3 * MIB, 2 * MIB, 10, 20];
  expect([...ranges(frames, 0)]).toEqual([
    { begin: 0, end: 5 * MIB, position: 0, frames: [3 * MIB, 2 * MIB] },
    { begin: 5 * MIB, end: 5 * MIB + 30, position: 2, frames: [10, 20] },
  ]);
  expect([...ranges(frames, 3)]).toEqual([
    { begin: 5 * MIB + 10, end: 5 * MIB + 30, position: 3, frames: [20] },
  ]);
  expect([...ranges(frames, 4)]).toEqual([]);
});
