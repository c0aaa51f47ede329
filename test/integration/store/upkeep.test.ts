/** Upkeep and lists look at what there is to do or to show, not at all that ever was. */
import { expect, test } from "bun:test";
import type { CatalogId, ExecutionId } from "../../../src/core/ids.ts";
import type { ExecutionStatus } from "../../../src/engine/decision.ts";
import { claimCommands } from "../../../src/store/claim.ts";
import { countListed, listExecutions } from "../../../src/store/execution.ts";
import type { Sql } from "../../../src/store/pool.ts";
import { connectStore } from "../../../src/store/pool.ts";
import { listEventHolders, listResultHolders } from "../../../src/store/retention.ts";
import { listFirings } from "../../../src/store/schedule-firing.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { insertCommands, newId, WORKER } from "./factory.ts";

const HOUR = 3_600_000;

interface Added {
  readonly status?: ExecutionStatus;
  readonly endedAgoMs?: number;
  readonly catalogId?: CatalogId;
  readonly path?: string;
  readonly originId?: ExecutionId;
}

async function add(sql: Sql, more: Added = {}): Promise<ExecutionId> {
  const id = newId<ExecutionId>();
  const { status = "completed", endedAgoMs = 2 * HOUR, path = "test/a", originId = null } = more;
  const ended = status === "running" || status === "pending" ? null : endedAgoMs;
  await sql`
    INSERT INTO noetl.execution (
      execution_id, catalog_id, path, root_id, status, seq, payload, ended_at, origin_id, origin_kind
    ) VALUES (
      ${id}, ${more.catalogId ?? null}, ${path}, ${id}, ${status}, 1, '{}',
      now() - ${ended}::float8 * interval '1 millisecond', ${originId},
      ${originId === null ? null : "retry"}
    )`;
  return id;
}

async function addEvent(sql: Sql, id: ExecutionId): Promise<void> {
  await sql`
    INSERT INTO noetl.event (execution_id, seq, type, occurred_at, payload)
    SELECT ${id}, n, 'playbook.started', now(), '{}' FROM generate_series(1, 3) AS n`;
}

async function addResult(sql: Sql, id: ExecutionId, scope: string): Promise<void> {
  await sql`
    INSERT INTO noetl.result_body
      (execution_id, sha256, body_id, type, size, stored_size, store, frames)
    VALUES (${id}, ${scope}, ${newId()}, 'null', 4, 4, 'postgres', '4')`;
  await sql`
    INSERT INTO noetl.result (execution_id, sha256, name, scope, content_type)
    VALUES (${id}, ${scope}, 'a', ${scope}, 'application/json')`;
}

async function addVersion(sql: Sql, path: string): Promise<CatalogId> {
  const id = newId<CatalogId>();
  await sql`
    INSERT INTO noetl.catalog (catalog_id, path, version, kind, content, content_hash, document)
    VALUES (${id}, ${path}, 1, 'playbook', '', '', '{}')`;
  return id;
}

const page = (sinceId = "0") => ({
  ageMs: HOUR,
  afterId: sinceId,
  beforeId: newId(),
  limit: 10,
});

test("executions without events are not looked at for their events", async () => {
  await using db = await createTestDatabase();
  const { sql } = db;
  const old = await add(sql);
  const fresh = await add(sql, { endedAgoMs: 0 });
  const running = await add(sql, { status: "running" });
  const clean = await add(sql);
  for (const id of [old, fresh, running]) {
    await addEvent(sql, id);
  }
  expect([...(await listEventHolders(sql, page()))]).toEqual([
    { executionId: old, isDue: true },
    { executionId: fresh, isDue: false },
    { executionId: running, isDue: false },
  ]);
  expect([...(await listEventHolders(sql, page(old)))].map((one) => one.executionId)).toEqual([
    fresh,
    running,
  ]);
  expect(await listEventHolders(sql, { ...page(), limit: 1 })).toHaveLength(1);
  expect(await listEventHolders(sql, { ...page(), beforeId: old })).toHaveLength(0);
  expect(await listEventHolders(sql, page(clean))).toHaveLength(0);
});

test("executions with permanent values only are not looked at for their values", async () => {
  await using db = await createTestDatabase();
  const { sql } = db;
  const [old, permanent, shared] = [await add(sql), await add(sql), await add(sql)];
  await add(sql, { status: "running", originId: shared });
  await addResult(sql, old, "execution");
  await addResult(sql, old, "permanent");
  await addResult(sql, permanent, "permanent");
  await addResult(sql, shared, "execution");
  expect([...(await listResultHolders(sql, page()))]).toEqual([
    { executionId: old, isDue: true },
    { executionId: shared, isDue: false },
  ]);
});

test("executions are listed by a part of the path, those that have no version yet as well", async () => {
  await using db = await createTestDatabase();
  const { sql } = db;
  const [one, other] = [await addVersion(sql, "test/one"), await addVersion(sql, "test/other")];
  const first = await add(sql, { catalogId: one, path: "test/one" });
  await add(sql, { catalogId: other, path: "test/other" });
  const failed = await add(sql, { catalogId: one, path: "test/one", status: "failed" });
  const pending = await add(sql, { path: "test/one", status: "pending" });
  const list = async (filter: Partial<Parameters<typeof listExecutions>[1]>) =>
    (await listExecutions(sql, { limit: 10, offset: 0, ...filter })).map((row) => row.executionId);
  expect(await list({ path: "T/ONE" })).toEqual([pending, failed, first]);
  expect(await list({ path: "one", limit: 1, offset: 1 })).toEqual([failed]);
  expect(await list({ path: "one", status: "failed" })).toEqual([failed]);
  expect(await list({ path: "one", catalogId: other })).toEqual([]);
  expect(await list({ path: "nowhere" })).toEqual([]);
  expect(await list({ catalogId: one })).toEqual([failed, first]);
  expect(await list({ path: "test" })).toHaveLength(4);
  expect(await countListed(sql, { path: "one" }, 2)).toBe(2);
  expect(await countListed(sql, { path: "one" }, 10)).toBe(3);
});

test("firings are listed by status, newest first", async () => {
  await using db = await createTestDatabase();
  const { sql } = db;
  const scheduleId = newId();
  await sql`ALTER TABLE noetl.schedule_firing DROP CONSTRAINT schedule_firing_schedule_id_fkey`;
  await sql`
    INSERT INTO noetl.schedule_firing
      (schedule_id, due_at, kind, status, not_before, execution_id)
    SELECT ${scheduleId}, now() - n * interval '1 minute', 'scheduled',
      (ARRAY['started', 'skipped', 'failed', 'waiting'])[1 + n % 4], now(),
      CASE WHEN n % 4 = 0 THEN n END
    FROM generate_series(0, 7) AS n`;
  for (const status of ["started", "skipped", "failed", "waiting"] as const) {
    const rows = await listFirings(sql, scheduleId, { limit: 10, offset: 0, status });
    expect(rows.map((row) => row.status)).toEqual([status, status]);
    expect(rows[0]?.dueMs ?? 0).toBeGreaterThan(rows[1]?.dueMs ?? 0);
  }
  expect(await listFirings(sql, scheduleId, { limit: 10, offset: 0 })).toHaveLength(8);
});

test("what is urgent in one pool makes no other pool's claims ask twice", async () => {
  await using db = await createTestDatabase();
  await using store = connectStore(db.url, { name: "test", max: 1 });
  const sql = store.durable;
  const claim = async () => {
    const { executionId, commandIds } = await insertCommands(sql, [{}]);
    const asked = { executionId, commandId: commandIds[0] ?? newId(), attempt: 1 };
    return await claimCommands(sql, [{ ...asked, workerId: WORKER }], 1000);
  };
  const searches = async (): Promise<number> =>
    (await sql`SELECT 1 FROM pg_prepared_statements WHERE statement ~ 'urgent AS [(]'`).length;
  await insertCommands(sql, [{ pool: "nobody", priority: 9 }]);
  expect(await claim()).toMatchObject([{ status: "claimed", pool: "cpu-01" }]);
  expect(await searches()).toBe(0);
  await insertCommands(sql, [{ priority: 9 }]);
  expect(await claim()).toMatchObject([{ status: "claimed", pool: "cpu-01" }]);
  expect(await searches()).toBe(1);
});
