import { expect, test } from "bun:test";
import type { CatalogId, ExecutionId, WorkerId } from "../../../src/core/ids.ts";
import { createIdGenerator } from "../../../src/core/ids.ts";
import type { Playbook } from "../../../src/dsl/playbook.ts";
import { createSealer, KEY_BYTES } from "../../../src/secrets/sealing.ts";
import type { ReaderOptions } from "../../../src/server/reader.ts";
import { createReader } from "../../../src/server/reader.ts";
import { savePlaybook } from "../../../src/store/catalog.ts";
import { saveWorker } from "../../../src/store/worker.ts";
import type { TestDatabase } from "../../support/postgres.ts";
import { createTestDatabase } from "../../support/postgres.ts";

const PLAYBOOK: Playbook = {
  name: "demo",
  path: "tests/demo",
  labels: {},
  entryStep: "start",
  workload: {},
  executor: { priority: 5, isNoMatchError: false },
  keychain: [],
  steps: [],
};

/** A reader of the real database; states and logs belong to other tests. */
function readerOf(db: TestDatabase, more: Partial<ReaderOptions> = {}) {
  const newId = createIdGenerator(1);
  const absent = () => Promise.reject(new Error("not part of this test"));
  return createReader({
    sql: db.sql,
    orchestrator: {
      state: absent,
      putResult: absent,
      openResult: absent,
      openNamedResult: absent,
      listResults: absent,
      removeResult: absent,
      readLogs: absent,
      followLogs: () => {
        throw new Error("not part of this test");
      },
      newId: () => Promise.resolve(newId<string>()),
    },
    pingBus: () => Promise.resolve(1),
    secrets: createSealer(new Uint8Array(KEY_BYTES).fill(3)),
    workerTimeoutMs: 10_000,
    ...more,
  });
}

test("credentials are sealed at rest, replaced by name and found by id", async () => {
  await using db = await createTestDatabase();
  const reader = readerOf(db);
  const data = { db_password: "s3cret" };
  const first = await reader.saveCredential({ name: "pg", type: "postgres", data, tags: ["a"] });
  const again = await reader.saveCredential({ name: "pg", type: "bearer", data: { token: "t" } });
  expect(again).toMatchObject({ credentialId: first.credentialId, type: "bearer" });
  expect(await reader.openCredential("pg")).toEqual({ token: "t" });
  expect(await reader.getCredential(first.credentialId)).toMatchObject({ name: "pg" });
  expect(await reader.getCredential("pg")).not.toHaveProperty("sealed");
  const stored = await db.sql`SELECT sealed FROM noetl.credential`;
  expect(JSON.stringify(stored)).not.toContain("s3cret");
  await reader.saveCredential({ name: "other", type: "postgres", data: {} });
  const names = async (filter: { type?: string; query?: string }) =>
    (await reader.listCredentials({ ...filter, limit: 10, offset: 0 })).map((row) => row.name);
  expect(await names({})).toEqual(["other", "pg"]);
  expect(await names({ type: "bearer" })).toEqual(["pg"]);
  expect(await names({ query: "OTH" })).toEqual(["other"]);
  expect(await reader.deleteCredential("pg")).toBe(true);
  expect(await reader.getCredential("pg")).toBeUndefined();
  expect(await reader.deleteCredential("pg")).toBe(false);
});

test("the catalog gives versions newest first, and one by path, version or id", async () => {
  await using db = await createTestDatabase();
  const reader = readerOf(db);
  for (const [id, content] of [
    ["11", "one"],
    ["12", "two"],
  ] as const) {
    const catalogId = id as CatalogId;
    await savePlaybook(db.sql, { catalogId, content, contentHash: content, playbook: PLAYBOOK });
  }
  const list = await reader.listCatalog({ kind: "playbook", limit: 10, offset: 0 });
  expect(list.map((entry) => [entry.version, entry.content])).toEqual([
    [2, "two"],
    [1, "one"],
  ]);
  expect((await reader.listCatalog({ limit: 1, offset: 1 }))[0]?.version).toBe(1);
  expect((await reader.getCatalog({ path: "tests/demo" }))?.version).toBe(2);
  expect((await reader.getCatalog({ path: "tests/demo", version: 1 }))?.content).toBe("one");
  expect((await reader.getCatalog({ catalogId: "11" as CatalogId }))?.version).toBe(1);
  expect(await reader.getCatalog({ path: "none" })).toBeUndefined();
  expect((await reader.countAll()).playbooks).toBe(1);
});

test("workers and pools are those of the database", async () => {
  await using db = await createTestDatabase();
  const reader = readerOf(db);
  await saveWorker(db.sql, {
    workerId: "w1" as WorkerId,
    name: "host-1",
    pool: "cpu-01",
    slots: 8,
    hostname: "host",
    pid: 42,
    version: "1",
    tools: ["noop", "python"],
    labels: {},
  });
  expect(await reader.listWorkers()).toMatchObject([
    { workerId: "w1", pool: "cpu-01", status: "live", freeSlots: 8, tools: ["noop", "python"] },
  ]);
  expect(await reader.listPools()).toMatchObject([
    { pool: "cpu-01", workers: 1, slots: 8, freeSlots: 8, queued: 0, reason: null },
  ]);
  expect((await reader.countAll()).workers).toBe(1);
  expect(await reader.getExecution("5" as ExecutionId)).toBeUndefined();
  expect(await reader.listExecutions({ limit: 10, offset: 0 })).toEqual([]);
});

test("health tells which component does not answer", async () => {
  await using db = await createTestDatabase();
  expect(await readerOf(db).checkHealth()).toEqual({
    database: { isHealthy: true },
    nats: { isHealthy: true },
  });
  await using empty = await createTestDatabase({ isMigrated: false });
  const { database } = await readerOf(empty).checkHealth();
  expect(database.isHealthy).toBe(false);
  expect(database.reason).toContain("noetl db migrate");
});
