/**
 * Stored values on a real database: what is put comes out again byte by byte, what is refused or broken
 * off leaves nothing, and what is old goes.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { ExecutionId } from "../../../src/core/ids.ts";
import { createIdGenerator } from "../../../src/core/ids.ts";
import type { Json } from "../../../src/core/json.ts";
import type { NewResult, ResultInfo } from "../../../src/engine/result.ts";
import { contentRef, placeUri } from "../../../src/engine/result.ts";
import { createLogger } from "../../../src/observability/log.ts";
import { createServerMetrics } from "../../../src/observability/metrics.ts";
import { createRegistry } from "../../../src/observability/registry.ts";
import type { ResultLimits } from "../../../src/orchestrator/result-limits.ts";
import { DEFAULT_RESULT_LIMITS } from "../../../src/orchestrator/result-limits.ts";
import type { OpenResult } from "../../../src/orchestrator/results.ts";
import { Results } from "../../../src/orchestrator/results.ts";
import type { Retention } from "../../../src/orchestrator/retention.ts";
import { Housekeeper } from "../../../src/orchestrator/retention.ts";
import type { Store } from "../../../src/store/pool.ts";
import { connectStore } from "../../../src/store/pool.ts";
import { createPostgresResultStore } from "../../../src/store/result-store.ts";
import type { TestDatabase } from "../../support/postgres.ts";
import { createTestDatabase } from "../../support/postgres.ts";

const MIB = 1024 * 1024;
const metrics = createServerMetrics(createRegistry({ hasProcessMetrics: false }), "test");
const newId = createIdGenerator(7);
const log = createLogger({ level: "error", format: "json", component: "test", write: () => {} });
const stepValues = new Map<string, Json>();

/** Of the last generator of ids: two that begin in the same millisecond give the same ids. */
let nodeId = 7;

/** PostgreSQL may have to be started first. */
const START_MS = 60_000;

let db: TestDatabase;
let store: Store;
let results: Results;

beforeAll(async () => {
  db = await createTestDatabase();
  store = connectStore(db.url, { name: "test", max: 4 });
  results = createResults();
}, START_MS);

afterAll(async () => {
  await store.close();
  await db[Symbol.asyncDispose]();
});

function createResults(limits: Partial<ResultLimits> = {}): Results {
  const postgres = createPostgresResultStore(store);
  return new Results({
    store,
    target: postgres,
    sources: { postgres },
    metrics,
    limits: { ...DEFAULT_RESULT_LIMITS, ...limits },
    newId: () => Promise.resolve(newId<string>()),
    stepValue: (id, step, row) => Promise.resolve(stepValues.get(`${id}/${step}/${row ?? ""}`)),
  });
}

function housekeeper(retention: Retention = {}): Housekeeper {
  const sources = { postgres: createPostgresResultStore(store) };
  return new Housekeeper({ store, sources, retention, now: Date.now, metrics, log });
}

/** An execution's row; ended that long ago, or still running. */
async function addExecution(endedAgoMs?: number, rootId?: ExecutionId): Promise<ExecutionId> {
  const id = createIdGenerator(
    ++nodeId,
    () => Date.now() - (endedAgoMs ?? 0) - 1000,
  )<ExecutionId>();
  await db.sql`
    INSERT INTO noetl.execution
      (execution_id, path, root_id, status, seq, payload, created_at, ended_at)
    VALUES (
      ${id}, 'test', ${rootId ?? id}, ${endedAgoMs === undefined ? "running" : "completed"}, 2, '{}',
      now() - ${endedAgoMs ?? 0} * interval '1 millisecond',
      ${endedAgoMs === undefined ? null : new Date(Date.now() - endedAgoMs)}
    )`;
  await db.sql`
    INSERT INTO noetl.event (execution_id, seq, type, occurred_at, payload)
    VALUES (${id}, 1, 'playbook.started', now(), '{}'), (${id}, 2, 'playbook.completed', now(), '{}')`;
  return id;
}

function randomBytes(count: number): Uint8Array {
  const bytes = new Uint8Array(count);
  for (let from = 0; from < count; from += 65_536) {
    crypto.getRandomValues(bytes.subarray(from, from + 65_536));
  }
  return bytes;
}

async function* inPieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let from = 0; from < bytes.length; from += size) {
    yield await Promise.resolve(bytes.subarray(from, from + size));
  }
}

async function readAll({ read }: OpenResult, range?: { begin: number; end: number }) {
  const parts: Uint8Array[] = [];
  for await (const part of read(range)) {
    parts.push(part);
  }
  return Buffer.concat(parts);
}

const TABLES = { body: "result_body", loose: "result_loose", name: "result" } as const;

async function countRows(what: keyof typeof TABLES, executionId: string): Promise<number> {
  const table = db.sql(`noetl.${TABLES[what]}`);
  const rows = await db.sql`SELECT 1 FROM ${table} WHERE execution_id = ${executionId}`;
  return rows.length;
}

async function countChunks(): Promise<number> {
  return (await db.sql`SELECT 1 FROM noetl.result_chunk`).length;
}

async function put(
  executionId: ExecutionId,
  bytes: Uint8Array,
  more: Partial<Parameters<Results["put"]>[0]> = {},
): Promise<ResultInfo> {
  return await results.put({ executionId, name: "value", ...more }, inPieces(bytes, 100_000));
}

test.each([0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB + 17])(
  "a value of %p bytes comes out as it went in, as a whole and in ranges",
  async (count) => {
    const executionId = newId<ExecutionId>();
    const bytes = randomBytes(count);
    const contentType = "application/octet-stream";
    const info = await put(executionId, bytes, { contentType });
    expect(info).toMatchObject({ size: count, store: "postgres", ref: { type: "binary" } });
    const opened = await results.open(info.ref.$ref);
    expect((await readAll(opened)).equals(bytes)).toBe(true);
    for (const [begin, end] of [
      [0, 1],
      [count - 1, count],
      [MIB - 2, MIB + 2],
    ] as const) {
      if (begin >= 0 && end <= count) {
        const part = await readAll(opened, { begin, end });
        expect(part.equals(bytes.subarray(begin, end))).toBe(true);
      }
    }
  },
);

test("the same content is stored once, whatever it is called and however often it comes", async () => {
  const executionId = newId<ExecutionId>();
  const bytes = randomBytes(2 * MIB);
  const [first] = await Promise.all([put(executionId, bytes), put(executionId, bytes)]);
  const second = await put(executionId, bytes, { name: "other" });
  expect(second.sha256).toBe(first.sha256);
  expect(await countRows("body", executionId)).toBe(1);
  expect(await countRows("name", executionId)).toBe(2);
  await housekeeper().keep();
  expect(await countRows("loose", executionId)).toBe(0);
  expect((await readAll(await results.open(first.ref.$ref))).equals(bytes)).toBe(true);
});

test("content that is known is not read again", async () => {
  const executionId = newId<ExecutionId>();
  const bytes = new TextEncoder().encode(JSON.stringify({ a: 1 }));
  const { sha256 } = await put(executionId, bytes);
  const unread = async function* (): AsyncGenerator<Uint8Array> {
    yield await Promise.reject(new Error("must not be read"));
  };
  const info = await results.put({ executionId, name: "again", sha256, size: 7 }, unread());
  expect(info).toMatchObject({ name: "again", sha256, ref: { type: "object", size: 7 } });
});

test("bytes that are not what was announced are refused and leave nothing", async () => {
  const executionId = newId<ExecutionId>();
  const sha256 = "0".repeat(64);
  for (const count of [10, 3 * MIB]) {
    const refused = put(executionId, randomBytes(count), { sha256, size: count });
    await expect(refused).rejects.toMatchObject({ code: "RESULT_CORRUPT" });
  }
  await housekeeper().keep();
  expect(await countRows("body", executionId)).toBe(0);
  expect(await countRows("loose", executionId)).toBe(0);
});

test("an upload that breaks off leaves nothing", async () => {
  const executionId = newId<ExecutionId>();
  const chunks = await countChunks();
  const broken = async function* (): AsyncGenerator<Uint8Array> {
    yield randomBytes(3 * MIB);
    throw await Promise.resolve(new Error("the worker died"));
  };
  await expect(results.put({ executionId, name: "value" }, broken())).rejects.toThrow();
  await housekeeper().keep();
  expect(await countRows("loose", executionId)).toBe(0);
  expect(await countChunks()).toBe(chunks);
  const gone = results.openNamed(executionId, "value");
  await expect(gone).rejects.toMatchObject({ code: "RESULT_NOT_FOUND" });
});

test("an upload that stalls is swept, and cannot become readable after that", async () => {
  const executionId = newId<ExecutionId>();
  const gate = Promise.withResolvers<void>();
  const isHeld = Promise.withResolvers<void>();
  const stalling = async function* (): AsyncGenerator<Uint8Array> {
    yield randomBytes(2 * MIB);
    isHeld.resolve();
    await gate.promise;
    yield randomBytes(10);
  };
  const upload = results.put({ executionId, name: "value" }, stalling());
  await isHeld.promise;
  await db.sql`
    UPDATE noetl.result_loose SET due_at = now() - interval '1 second'
    WHERE execution_id = ${executionId}`;
  await housekeeper().keep();
  gate.resolve();
  await expect(upload).rejects.toMatchObject({
    kind: "unavailable",
    code: "RESULT_UPLOAD_LAPSED",
  });
});

test("limits refuse with the figures and the setting to raise", async () => {
  const executionId = newId<ExecutionId>();
  const tight = createResults({ resultBytes: 1000, executionBytes: 1500, templateBytes: 500 });
  const announced = tight.put({ executionId, name: "a", size: 1001 }, []);
  await expect(announced).rejects.toMatchObject({
    code: "RESULT_TOO_LARGE",
    message: expect.stringMatching(/1001 bytes.*1000 \(NOETL_RESULT_BYTES\)/),
  });
  const streamed = tight.put({ executionId, name: "a" }, inPieces(randomBytes(3000), 100));
  await expect(streamed).rejects.toMatchObject({ code: "RESULT_TOO_LARGE" });
  const json = (size: number) => new TextEncoder().encode(JSON.stringify("x".repeat(size)));
  const first = await tight.put({ executionId, name: "a", size: 902 }, [json(900)]);
  const second = tight.put({ executionId, name: "b", size: 802 }, [json(800)]);
  await expect(second).rejects.toMatchObject({
    code: "RESULT_QUOTA",
    message: expect.stringMatching(/902 bytes.*802 more.*1500 \(NOETL_EXECUTION_RESULT_BYTES\)/),
  });
  await expect(tight.load(first.ref.$ref)).rejects.toMatchObject({
    code: "RESULT_TOO_LARGE_HERE",
    message: expect.stringContaining("500 (NOETL_TEMPLATE_BYTES)"),
  });
});

test("a value is found by reference, name, canonical URI and URN; a part by its pointer", async () => {
  const executionId = newId<ExecutionId>();
  const value = { rows: [{ id: 1 }, { "a/b": "ü" }] };
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  const info = await put(executionId, bytes, { name: "fetch", step: "fetch" });
  const uri = placeUri(executionId, "fetch");
  const urn = `urn:noetl:default:default:results:${executionId}:fetch:0:0:1`;
  for (const address of [info.ref.$ref, uri, urn]) {
    expect((await readAll(await results.open(address))).equals(bytes)).toBe(true);
  }
  expect((await results.openNamed(executionId, "fetch")).info).toEqual(info);
  expect((await results.load(`${info.ref.$ref}#/rows/0/id`)).value).toBe(1);
  expect((await results.load(`${info.ref.$ref}#/rows/1/a~1b`)).value).toBe("ü");
  expect((await results.load(`${info.ref.$ref}#/rows/7`)).value).toBeNull();
  await expect(results.open("noetl://nothing")).rejects.toMatchObject({ code: "REF_INVALID" });
});

test("the canonical URI of a step leads to its value in the log, stored apart or not", async () => {
  const executionId = newId<ExecutionId>();
  const { ref } = await put(executionId, new TextEncoder().encode("[1,2]"), { name: "big" });
  stepValues.set(`${executionId}/small/0`, { x: 1 });
  stepValues.set(`${executionId}/loop/3`, ref);
  const small = await results.open(placeUri(executionId, "small"));
  expect(small.info).toMatchObject({ store: "inline", size: 7 });
  expect((await readAll(small)).toString()).toBe('{"x":1}');
  const item = await results.open(placeUri(executionId, "loop", 3));
  expect(item.info.ref.$ref).toBe(ref.$ref);
});

test("a newer value of a name hides the older one, which its reference still finds", async () => {
  const executionId = newId<ExecutionId>();
  const first = await put(executionId, new TextEncoder().encode("1"));
  const second = await put(executionId, new TextEncoder().encode("2"));
  expect((await results.openNamed(executionId, "value")).info.sha256).toBe(second.sha256);
  expect((await results.load(first.ref.$ref)).value).toBe(1);
  const listed = await results.list(executionId, { limit: 10, offset: 0 });
  expect(listed.map(({ sha256 }) => sha256)).toEqual([first.sha256, second.sha256]);
});

test("values of scope workflow belong to the outermost execution, whose others find them by name", async () => {
  const root = await addExecution();
  const child = await addExecution(undefined, root);
  const info = await put(child, new TextEncoder().encode("1"), { name: "w", scope: "workflow" });
  expect(info.executionId).toBe(root);
  expect((await results.openNamed(child, "w")).info).toEqual(info);
});

test("a reference that was found in data leads to values of the family and permanent ones only", async () => {
  const [root, other, first] = [await addExecution(), await addExecution(), await addExecution(1)];
  const [child, sister] = [
    await addExecution(undefined, root),
    await addExecution(undefined, root),
  ];
  const again = await addExecution();
  await change(first, "failed");
  await change(again, "running", first);
  const bytes = new TextEncoder().encode("[1]");
  const open = async (owner: ExecutionId, reader: ExecutionId, more: Partial<NewResult> = {}) => {
    const { ref } = await put(owner, bytes, more);
    const { value } = await results.load(`${ref.$ref}#/0`, reader);
    return [(await results.open(ref.$ref, reader)).info.executionId, value];
  };
  for (const [owner, reader] of [
    [root, child],
    [child, root],
    [sister, child],
    [first, again],
  ] as const) {
    expect(await open(owner, reader)).toEqual([owner, 1]);
  }
  for (const [owner, reader] of [
    [root, other],
    [child, other],
    [other, child],
    [again, first],
    [other, "1" as ExecutionId],
  ] as const) {
    await expect(open(owner, reader)).rejects.toMatchObject({ code: "RESULT_FOREIGN" });
  }
  expect(await open(other, child, { name: "all", scope: "permanent" })).toEqual([other, 1]);
  for (const text of [placeUri(child, "value"), "noetl://execution/nothing"]) {
    await expect(results.open(text, child)).rejects.toMatchObject({ code: "RESULT_FOREIGN" });
  }
});

test("what is gone counts as the family's only if it is no older", async () => {
  const old = await addExecution(10_000);
  const reader = await addExecution();
  const young = newId<ExecutionId>();
  for (const [owner, code] of [
    [old, "RESULT_FOREIGN"],
    [young, "RESULT_NOT_FOUND"],
  ] as const) {
    await db.sql`DELETE FROM noetl.execution WHERE execution_id = ${owner}`;
    const ref = contentRef(owner, "value", "a".repeat(64));
    await expect(results.open(ref, reader)).rejects.toMatchObject({ code });
  }
});

test("the canonical URI of a step whose value looks like another's reference gives that data", async () => {
  const [owner, executionId] = [await addExecution(), await addExecution()];
  const { ref } = await put(owner, new TextEncoder().encode('"secret"'));
  stepValues.set(`${executionId}/forged/0`, ref);
  const opened = await results.open(placeUri(executionId, "forged"));
  expect(JSON.parse((await readAll(opened)).toString())).toEqual(ref);
});

test("a value is gone when its time is over, and its bytes after the sweep", async () => {
  const executionId = newId<ExecutionId>();
  const info = await put(executionId, randomBytes(2 * MIB), { ttlMs: 3_600_000 });
  expect(info.expiresAtMs).toBeGreaterThan(Date.now() + 3_000_000);
  await db.sql`
    UPDATE noetl.result SET expires_at = now() - interval '1 second'
    WHERE execution_id = ${executionId}`;
  await expect(results.open(info.ref.$ref)).rejects.toMatchObject({ kind: "not_found" });
  await housekeeper().keep();
  expect(await countRows("body", executionId)).toBe(0);
  expect(await countRows("loose", executionId)).toBe(0);
});

test("deleting a name keeps the bytes for the other, deleting both removes them", async () => {
  const executionId = newId<ExecutionId>();
  const bytes = randomBytes(2 * MIB);
  const first = await put(executionId, bytes, { name: "a" });
  const second = await put(executionId, bytes, { name: "b" });
  expect(await results.remove(first.ref.$ref)).toBe(true);
  await housekeeper().keep();
  expect((await readAll(await results.open(second.ref.$ref))).equals(bytes)).toBe(true);
  expect(await results.remove(second.ref.$ref)).toBe(true);
  expect(await results.remove(second.ref.$ref)).toBe(false);
  await housekeeper().keep();
  expect(await countRows("body", executionId)).toBe(0);
  expect(await countRows("loose", executionId)).toBe(0);
});

test("scope step ends with the execution, the others stay", async () => {
  const running = await addExecution();
  const ended = await addExecution(1000);
  for (const id of [running, ended]) {
    await put(id, new TextEncoder().encode("1"), { name: "s", scope: "step" });
    await put(id, new TextEncoder().encode("2"), { name: "e" });
  }
  await housekeeper().keep();
  expect(await countRows("name", running)).toBe(2);
  const left = await results.list(ended, { limit: 10, offset: 0 });
  expect(left.map(({ name }) => name)).toEqual(["e"]);
});

/** Makes it one that failed, or that continues another one. */
async function change(id: ExecutionId, status: string, originId?: ExecutionId): Promise<void> {
  await db.sql`
    UPDATE noetl.execution
    SET status = ${status}, origin_id = ${originId ?? null},
        origin_kind = ${originId === undefined ? null : "retry"}
    WHERE execution_id = ${id}`;
}

test("scope step outlives a failure, for the retry, and goes when that has completed", async () => {
  const id = await addExecution(1000);
  await change(id, "failed");
  await put(id, new TextEncoder().encode("1"), { name: "s", scope: "step" });
  await housekeeper().keep();
  expect(await countRows("name", id)).toBe(1);
  await change(id, "completed");
  await housekeeper().keep();
  expect(await countRows("name", id)).toBe(0);
});

test("values stay as long as a newer execution goes on with them", async () => {
  const DAY = 86_400_000;
  const first = await addExecution(5 * DAY);
  const second = await addExecution(3 * DAY);
  const third = await addExecution();
  const info = await put(first, randomBytes(2 * MIB));
  await change(first, "failed");
  await change(second, "failed", first);
  await change(third, "running", second);
  const keeper = housekeeper({ resultsMs: DAY, executionsMs: DAY });
  const keepAll = async (): Promise<void> => {
    while (await keeper.keep()) {
      // Until nothing is left to do.
    }
  };
  const areThere = async (): Promise<number> =>
    (
      await db.sql`SELECT 1 FROM noetl.execution WHERE execution_id IN ${db.sql([first, second, third])}`
    ).length;
  await keepAll();
  expect((await results.open(info.ref.$ref)).info.sha256).toBe(info.sha256);
  expect(await areThere()).toBe(3);
  await db.sql`
    UPDATE noetl.execution SET status = 'completed', ended_at = now() - interval '2 days'
    WHERE execution_id = ${third}`;
  await keepAll();
  expect(await countRows("name", first)).toBe(0);
  // The youngest row was made a moment ago: it is looked at when its time has come.
  expect(await areThere()).toBe(1);
});

test("retention removes values, events and executions that ended long enough ago, no others", async () => {
  const DAY = 86_400_000;
  const old = await addExecution(3 * DAY);
  const fresh = await addExecution(DAY / 2);
  const running = await addExecution();
  for (const id of [old, fresh, running]) {
    await put(id, randomBytes(2 * MIB));
    await put(id, new TextEncoder().encode("1"), { name: "keep", scope: "permanent" });
  }
  const keepAll = async (keeper: Housekeeper): Promise<void> => {
    while (await keeper.keep()) {
      // Until nothing is left to do.
    }
  };
  const countEvents = async (id: string): Promise<number> =>
    (await db.sql`SELECT 1 FROM noetl.event WHERE execution_id = ${id}`).length;
  await keepAll(housekeeper());
  expect(await countRows("name", old)).toBe(2);

  await keepAll(housekeeper({ resultsMs: DAY }));
  expect([await countRows("name", old), await countRows("name", fresh)]).toEqual([1, 2]);
  expect(await countEvents(old)).toBe(2);

  await keepAll(housekeeper({ eventsMs: DAY }));
  expect([await countEvents(old), await countEvents(fresh)]).toEqual([0, 2]);
  expect(await db.sql`SELECT 1 FROM noetl.execution WHERE execution_id = ${old}`).toHaveLength(1);

  await keepAll(housekeeper({ executionsMs: DAY }));
  const left = await db.sql<{ id: string }[]>`
    SELECT execution_id AS id FROM noetl.execution
    WHERE execution_id IN ${db.sql([old, fresh, running])} ORDER BY 1`;
  expect(left.map(({ id }) => id).sort()).toEqual([fresh, running].sort());
  expect((await results.openNamed(old, "keep")).info.scope).toBe("permanent");
});
