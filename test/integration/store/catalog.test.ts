import { expect, test } from "bun:test";
import type { CatalogId, ExecutionId } from "../../../src/core/ids.ts";
import type { Playbook } from "../../../src/dsl/playbook.ts";
import {
  findPlaybooks,
  getCatalogEntry,
  listCatalogEntries,
  loadPlaybooks,
  savePlaybook,
} from "../../../src/store/catalog.ts";
import {
  findCredential,
  listCredentials,
  removeCredential,
  saveCredential,
} from "../../../src/store/credential.ts";
import { countEvents, listEvents, readEvents } from "../../../src/store/event.ts";
import { countExecutions, listExecutions } from "../../../src/store/execution.ts";
import { renewNode, takeNode } from "../../../src/store/node.ts";
import type { Pool } from "../../../src/store/pool.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { event, insert, newExecution, newId, starting } from "./factory.ts";

const PLAYBOOK: Playbook = {
  name: "one",
  path: "test/one",
  labels: { team: "a" },
  entryStep: "start",
  workload: { b: 1, a: 2 },
  executor: { priority: 5, isNoMatchError: false },
  keychain: [],
  steps: [],
};

async function save(pool: Pool, content: string, path = PLAYBOOK.path) {
  const catalogId = newId<CatalogId>();
  const playbook = { ...PLAYBOOK, path };
  return await savePlaybook(pool, {
    catalogId,
    content,
    contentHash: `hash of ${content}`,
    playbook,
  });
}

test("savePlaybook() numbers versions without gaps and keeps one for the same content", async () => {
  await using db = await createTestDatabase();
  const first = await save(db.sql, "one");
  expect(await save(db.sql, "one")).toEqual(first);
  const rivals = await Promise.all(["b", "c", "d", "e"].map((content) => save(db.sql, content)));
  expect(rivals.map(({ version }) => version).sort()).toEqual([2, 3, 4, 5]);
  expect((await save(db.sql, "one")).version).toBe(6);
});

test("findPlaybooks() knows versions by path and id, the last one by default", async () => {
  await using db = await createTestDatabase();
  const first = await save(db.sql, "one");
  const second = await save(db.sql, "two");
  const { path } = first;
  expect(
    await findPlaybooks(db.sql, [
      { path },
      { path, version: 1 },
      { path, version: 9 },
      { path: "none" },
      { catalogId: first.catalogId },
    ]),
  ).toEqual([second, first, undefined, undefined, first]);
  const loaded = await loadPlaybooks(db.sql, [first.catalogId]);
  expect(JSON.stringify(loaded.get(first.catalogId))).toBe(JSON.stringify(PLAYBOOK));
});

test("listCatalogEntries() filters, newest first", async () => {
  await using db = await createTestDatabase();
  await save(db.sql, "one");
  await save(db.sql, "two");
  await save(db.sql, "three", "other/100%");
  const list = async (more: object) =>
    (await listCatalogEntries(db.sql, { isLatestOnly: false, limit: 9, offset: 0, ...more })).map(
      ({ content }) => content,
    );
  expect(await list({})).toEqual(["three", "two", "one"]);
  expect(await list({ isLatestOnly: true })).toEqual(["three", "two"]);
  expect(await list({ path: "TEST/" })).toEqual(["two", "one"]);
  expect(await list({ path: "0%" })).toEqual(["three"]);
  expect(await list({ kind: "Playbook", limit: 1, offset: 1 })).toEqual(["two"]);
  expect(await list({ kind: "memory" })).toEqual([]);
  expect(await getCatalogEntry(db.sql, { path: "other/100%" })).toMatchObject({ content: "three" });
});

test("listExecutions() filters, newest first; countExecutions() counts", async () => {
  await using db = await createTestDatabase();
  const { executionId } = await insert(db.sql, starting());
  await db.sql`
    INSERT INTO noetl.catalog (catalog_id, path, version, kind, content, content_hash, document)
    SELECT catalog_id, path, version, 'playbook', '', '', '{}' FROM noetl.execution`;
  const childId = newId<ExecutionId>();
  const create = newExecution({ executionId: childId, path: "child", parentId: executionId });
  await insert(
    db.sql,
    starting({ executionId: childId, create, status: "completed", result: "1" }),
  );
  const list = async (more: object) =>
    (await listExecutions(db.sql, { limit: 9, offset: 0, ...more })).map((row) => row.executionId);
  expect(await list({})).toEqual([childId, executionId]);
  expect(await list({ status: "running" })).toEqual([executionId]);
  expect(await list({ path: "PLAYB" })).toEqual([executionId]);
  expect(await list({ parentId: executionId })).toEqual([childId]);
  expect(await list({ offset: 1 })).toEqual([executionId]);
  expect(await countExecutions(db.sql)).toEqual({ running: 1, completed: 1 });
});

test("events are read by page, type and step, and by execution after a position", async () => {
  await using db = await createTestDatabase();
  const events = [1, 2, 3, 4].map((seq) => ({
    ...event(seq, `{"n":${seq}}`),
    type: seq % 2 === 0 ? "step.entered" : "call.done",
    step: seq > 2 ? "b" : "a",
  }));
  const { executionId } = await insert(db.sql, starting({ events, newSeq: 4 }));
  const other = await insert(db.sql, starting({ events: events.slice(0, 3), newSeq: 3 }));
  const list = async (more: object) =>
    (await listEvents(db.sql, executionId, { limit: 9, ...more })).map(({ seq }) => seq);
  expect(await list({})).toEqual([1, 2, 3, 4]);
  expect(await list({ afterSeq: 1, limit: 2 })).toEqual([2, 3]);
  expect(await list({ types: ["step.entered"] })).toEqual([2, 4]);
  expect(await list({ step: "b", isNewestFirst: true })).toEqual([4, 3]);
  expect(await countEvents(db.sql, executionId, { types: ["call.done"] })).toBe(2);
  const wanted = [
    { executionId, afterSeq: 2 },
    { executionId: other.executionId, afterSeq: 0 },
  ];
  const read = await readEvents(db.sql, wanted, 2);
  expect(read.map((one) => [one.executionId, one.seq])).toEqual([
    [executionId, 3],
    [executionId, 4],
    [other.executionId, 1],
    [other.executionId, 2],
  ]);
});

test("credentials are saved by name, found by name and id, listed and removed", async () => {
  await using db = await createTestDatabase();
  const credential = {
    credentialId: newId<string>(),
    name: "pg_main",
    type: "postgres",
    sealed: "sealed",
    description: "The main one",
    tags: ["a", 'b "c"'],
    meta: { n: 1 },
  };
  const saved = await saveCredential(db.sql, credential);
  expect(saved).toMatchObject(credential);
  const changed = { ...credential, credentialId: newId<string>(), sealed: "other" };
  expect(await saveCredential(db.sql, changed)).toMatchObject({
    credentialId: credential.credentialId,
    sealed: "other",
  });
  expect((await findCredential(db.sql, credential.credentialId))?.name).toBe("pg_main");
  expect(await listCredentials(db.sql, { text: "MAIN" })).toHaveLength(1);
  expect(await listCredentials(db.sql, { text: "pg%" })).toHaveLength(0);
  expect(await listCredentials(db.sql, { type: "http" })).toHaveLength(0);
  expect(await removeCredential(db.sql, "pg_main")).toBe(true);
  expect(await removeCredential(db.sql, "pg_main")).toBe(false);
});

test("two holders never have the same node number, and a lapsed one is gone for good", async () => {
  await using db = await createTestDatabase();
  const lease = { leaseMs: 60_000, restMs: 60_000 };
  const taken: (number | undefined)[] = [];
  for (const holder of ["a", "b", "c"]) {
    taken.push(await takeNode(db.sql, { holder, ...lease }));
  }
  expect(new Set(taken).size).toBe(3);
  const node = taken[0] ?? -1;
  expect(await renewNode(db.sql, { node, holder: "a", leaseMs: 60_000 })).toBe(true);
  expect(await renewNode(db.sql, { node, holder: "b", leaseMs: 60_000 })).toBe(false);
  await db.sql`UPDATE noetl.node SET lease_until = now() WHERE node = ${node}`;
  expect(await renewNode(db.sql, { node, holder: "a", leaseMs: 60_000 })).toBe(false);
  expect(taken).not.toContain(await takeNode(db.sql, { holder: "d", ...lease }));
});
