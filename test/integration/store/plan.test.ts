/**
 * Plans of the hot statements on young tables, where a planner that knows no better reads all rows
 * of a table to find a few: the plan would stay when the table has grown.
 */
import { expect, test } from "bun:test";
import type { CatalogId, CommandId, ExecutionId } from "../../../src/core/ids.ts";
import { failure } from "../../../src/engine/failure.ts";
import { enterQueues, passPlacesOn } from "../../../src/store/admission.ts";
import { appendBatch } from "../../../src/store/append.ts";
import { claimCommands } from "../../../src/store/claim.ts";
import { markNotified, readHeldPayload, readHeldStep } from "../../../src/store/command.ts";
import { listExecutions, readPositions } from "../../../src/store/execution.ts";
import { claimGpus } from "../../../src/store/gpu-claim.ts";
import { listGpuHolders, listGpuWaiters } from "../../../src/store/gpu-list.ts";
import { listGpuPools, readLeases } from "../../../src/store/gpu-scene.ts";
import type { Pool, Sql } from "../../../src/store/pool.ts";
import { connectStore } from "../../../src/store/pool.ts";
import { takeOut } from "../../../src/store/queue-error.ts";
import { readPositionsInQueue } from "../../../src/store/queue-position.ts";
import { listEventHolders, listResultHolders } from "../../../src/store/retention.ts";
import { listFirings } from "../../../src/store/schedule-firing.ts";
import {
  listDispatches,
  markFailed,
  markStarted,
  removeOldDispatches,
} from "../../../src/store/subscription-dispatch.ts";
import { sweepDue } from "../../../src/store/sweep.ts";
import { renewLeases, saveWorker } from "../../../src/store/worker.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import {
  applicant,
  command,
  event,
  gpuCommand,
  gpuWorker,
  group,
  insert,
  insertCommands,
  newId,
  starting,
  WORKER,
} from "./factory.ts";

/** Tables that grow with the number of executions. */
const GROWING: ReadonlySet<unknown> = new Set([
  "command",
  "event",
  "execution",
  "result",
  "schedule_firing",
  "subscription_dispatch",
  "timer",
]);

interface PlanNode {
  readonly "Node Type": string;
  readonly "Relation Name"?: string;
  readonly "Index Name"?: string;
  readonly "Index Cond"?: string;
  readonly Plans?: readonly PlanNode[];
}

interface Explained {
  readonly "QUERY PLAN": readonly [{ readonly Plan: PlanNode }];
}

/** How, and by which columns, rows of the growing tables are found by the statements that `run` prepares. */
async function accessPaths(run: (sql: Sql) => Promise<unknown>): Promise<readonly string[]> {
  await using db = await createTestDatabase();
  await using store = connectStore(db.url, { name: "plan-test", max: 1 });
  await run(store.durable);
  const statements = await store.durable<{ statement: string }[]>`
    SELECT statement FROM pg_prepared_statements WHERE statement LIKE '%noetl.%'`;
  const paths: string[] = [];
  for (const { statement } of statements) {
    if (statement.includes("pg_prepared_statements")) {
      continue;
    }
    const [explained] = await store.durable.unsafe<[Explained]>(
      `EXPLAIN (GENERIC_PLAN, FORMAT JSON) ${statement}`,
    );
    const [{ Plan: plan }] = explained["QUERY PLAN"];
    paths.push(...walk(plan).filter(isScan).map(describe));
  }
  return [...new Set(paths)].sort();
}

function walk(node: PlanNode): readonly PlanNode[] {
  return [node, ...(node.Plans ?? []).flatMap(walk)];
}

function isScan(node: PlanNode): boolean {
  return GROWING.has(node["Relation Name"]) && node["Node Type"].includes("Scan");
}

function describe(node: PlanNode): string {
  const condition = node["Index Cond"] ?? "";
  const columns = [...condition.matchAll(/\((\w+) [<=>]/g)].map(([, column]) => column);
  const how = columns.length === 0 ? "all of" : `by ${columns.join(", ")} in`;
  return `${node["Node Type"]} ${how} ${node["Index Name"] ?? node["Relation Name"]}`;
}

test("appendBatch() finds heads and commands by key", async () => {
  const paths = await accessPaths(async (sql) => {
    await appendBatch(sql, [starting({ events: [event(1)], issue: [command()] })]);
    const { executionId, commandIds } = await insertCommands(sql, [{}, {}]);
    const second = { executionId, expectedSeq: 1, newSeq: 2, events: [event(2)] };
    await appendBatch(sql, [group({ ...second, remove: commandIds.slice(0, 1) })]);
    const third = { executionId, expectedSeq: 2, newSeq: 3, events: [event(3)] };
    await appendBatch(sql, [group({ ...third, cancel: commandIds.slice(1) })]);
    await appendBatch(sql, [group({ executionId, expectedSeq: 3, newSeq: 3, isPurged: true })]);
  });
  expect(paths).toEqual([
    // What an execution that ends leaves open goes as a whole.
    "Index Scan by execution_id in command_pkey",
    "Index Scan by execution_id in execution_pkey",
    "Index Scan by execution_id in timer_pkey",
    "Index Scan by execution_id, command_id in command_pkey",
  ]);
});

test("claims, marks and renewals find commands by key", async () => {
  const paths = await accessPaths(async (sql) => {
    const { executionId, commandIds } = await insertCommands(sql, [{}]);
    const held = commandIds.map((commandId) => ({ executionId, commandId, attempt: 1 }));
    await sql`DEALLOCATE ALL`.simple();
    await claimCommands(
      sql,
      held.map((one) => ({ ...one, workerId: WORKER })),
      1000,
    );
    await markNotified(sql, held);
    const load = { rssBytes: 1, cpuPercent: 1, eventLoopLagMs: 1 };
    const beat = { ...load, workerId: WORKER, held, freeSlots: 1, pullAgeMs: 0, isDraining: false };
    await renewLeases(sql, beat, 1000);
  });
  expect(paths).toEqual([
    "Index Only Scan by pool, available_at in command_urgent",
    "Index Scan by execution_id, command_id in command_pkey",
  ]);
});

test("a sweep reads only indexes of what may be overdue", async () => {
  const limits = { graceMs: 0, notifyGraceMs: 0, isExpiring: true, limit: 1, notifyLimit: 1 };
  const paths = await accessPaths((sql) => sweepDue(sql, limits));
  expect(paths).toEqual([
    // Whether there is one at all: the first entry.
    "Index Only Scan all of command_gpu_queue",
    // Of all that is held, which is bounded by the workers' slots.
    "Index Scan all of command_held",
    // Of all that was not passed on, or not started, which is mostly none.
    "Index Scan all of execution_freed",
    "Index Scan all of execution_unstarted",
    "Index Scan by available_at in command_unnotified",
    "Index Scan by due_at in timer_due",
    "Index Scan by queue_until in command_queue_until",
  ]);
});

test("claims of GPUs read what holds some, the head of the queue, and commands by key", async () => {
  const paths = await accessPaths(async (sql) => {
    const pool = sql as Pool;
    const { gpuDemand } = gpuCommand();
    const { executionId, commandIds } = await insertCommands(sql, [{ gpuDemand }, { gpuDemand }]);
    await saveWorker(sql, gpuWorker());
    await sql`DEALLOCATE ALL`.simple();
    const asked = commandIds.map((commandId) => ({ executionId, commandId, attempt: 1 }));
    const options = { leaseMs: 1000, workerTimeoutMs: 1000 };
    for (const one of asked) {
      await claimGpus(pool, [{ ...one, workerId: WORKER }], options);
    }
    await listGpuPools(sql);
    await readLeases(sql, executionId, commandIds);
    await takeOut(sql, [{ executionId, commandId: newId(), attempt: 1, error: UNFIT }]);
  });
  expect(paths).toEqual([
    "Index Only Scan by available_at in command_gpu_queue",
    // Of all GPUs that are leased.
    "Index Scan all of command_gpus",
    "Index Scan by execution_id, command_id in command_pkey",
    "Index Scan by pool, available_at in command_gpu_queue",
  ]);
});

const UNFIT = failure("not_found", "nobody has that", { code: "GPU_UNFIT" });

test("places are given and passed on by key, in the order of the queue", async () => {
  const paths = await accessPaths(async (sql) => {
    const pool = sql as Pool;
    const applicants = [applicant("queue"), applicant("reject"), applicant("cancel_oldest")];
    await enterQueues(pool, applicants, "{}");
    await passPlacesOn(pool, ["k"], "{}");
    const ids = applicants.map(({ executionId }) => executionId);
    await readPositionsInQueue(pool, ids);
  });
  expect(paths).toEqual([
    "Index Only Scan by concurrency_key in execution_held",
    "Index Only Scan by concurrency_key in execution_queued",
    "Index Scan by concurrency_key in execution_freed",
    "Index Scan by concurrency_key in execution_held",
    "Index Scan by concurrency_key in execution_queued",
    "Index Scan by concurrency_key in execution_taking",
    "Index Scan by execution_id in execution_pkey",
    "Index Scan by status, execution_id in execution_status",
  ]);
});

test("positions are read by key", async () => {
  const paths = await accessPaths(async (sql) => {
    const { executionId } = await insert(sql, starting());
    await sql`DEALLOCATE ALL`.simple();
    await readPositions(sql, [executionId]);
  });
  expect(paths).toEqual(["Index Scan by execution_id in execution_pkey"]);
});

test("what a worker holds is read by key", async () => {
  const paths = await accessPaths(async (sql) => {
    const held = { executionId: newId<ExecutionId>(), commandId: newId<CommandId>(), attempt: 1 };
    await readHeldStep(sql, WORKER, held);
    await readHeldPayload(sql, WORKER, held);
  });
  expect(paths).toEqual(["Index Scan by execution_id, command_id in command_pkey"]);
});

test("executions of a rare status are found by it", async () => {
  const paths = await accessPaths(async (sql) => {
    await listExecutions(sql, { status: "running", limit: 1, offset: 0 });
  });
  expect(paths).toEqual(["Index Scan by status in execution_status"]);
});

test("executions of a playbook, by its id or a part of its path, are found by its versions", async () => {
  const paths = await accessPaths(async (sql) => {
    await listExecutions(sql, { catalogId: newId<CatalogId>(), limit: 1, offset: 0 });
    await listExecutions(sql, { path: "a", limit: 1, offset: 0 });
  });
  expect(paths).toEqual([
    "Index Only Scan by catalog_id in execution_catalog",
    // Of all that have not started.
    "Index Scan all of execution_catalog",
    "Index Scan by catalog_id in execution_catalog",
    "Index Scan by execution_id in execution_pkey",
  ]);
});

test("firings of a rare status are found by it", async () => {
  const paths = await accessPaths(async (sql) => {
    await listFirings(sql, newId(), { status: "failed", limit: 1, offset: 0 });
  });
  expect(paths).toEqual([
    "Index Scan by execution_id in execution_pkey",
    "Index Scan by schedule_id, status in schedule_firing_missed",
  ]);
});

test("what retention may remove is walked along the keys of what is left", async () => {
  const paths = await accessPaths(async (sql) => {
    const page = { ageMs: 1, afterId: "0", beforeId: newId(), limit: 1 };
    await listEventHolders(sql, page);
    await listResultHolders(sql, page);
  });
  expect(paths).toEqual([
    "Index Only Scan by execution_id, execution_id in result_removable",
    "Index Scan by execution_id in execution_pkey",
    "Index Scan by origin_id in execution_origin",
  ]);
});

test("dispatches are marked and forgotten by key, dead letters are found among themselves", async () => {
  const paths = await accessPaths(async (sql) => {
    const dispatchId = newId();
    await markStarted(sql, [{ dispatchId, executionId: newId<ExecutionId>(), isCounted: true }]);
    await markFailed(sql, { dispatchId, attempts: 1, error: "", delayMs: 1 });
    await removeOldDispatches(sql, { keepMs: 1, nowMs: Date.now() });
    await listDispatches(sql, newId(), { status: "dead", limit: 1, offset: 0 });
  });
  expect(paths).toEqual([
    "Index Scan by dispatch_id in subscription_dispatch_pkey",
    "Index Scan by execution_id in execution_pkey",
    "Index Scan by subscription_id in subscription_dispatch_dead",
  ]);
});

test("who holds GPUs and who waits for them is found by their own indexes", async () => {
  const paths = await accessPaths(async (sql) => {
    await insertCommands(sql, [{}]);
    await sql`DEALLOCATE ALL`.simple();
    await listGpuHolders(sql);
    await listGpuWaiters(sql, 10);
  });
  expect(paths).toEqual([
    "Index Only Scan by available_at in command_gpu_queue",
    "Index Scan all of command_gpus",
    "Index Scan by execution_id in execution_pkey",
    "Index Scan by pool, available_at in command_gpu_queue",
  ]);
});
