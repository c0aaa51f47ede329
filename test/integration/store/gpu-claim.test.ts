/** GPUs are leased with commands: never twice, all or none, and free with the row. */
import { describe, expect, test } from "bun:test";
import type { CommandId, ExecutionId, WorkerId } from "../../../src/core/ids.ts";
import type { GpuDemand, GpuGrant } from "../../../src/engine/gpu.ts";
import type { IssuedCommand } from "../../../src/store/append.ts";
import { appendBatch } from "../../../src/store/append.ts";
import { claimCommands } from "../../../src/store/claim.ts";
import type { GpuClaimRow } from "../../../src/store/gpu-claim.ts";
import { claimGpus } from "../../../src/store/gpu-claim.ts";
import { listGpuPools, readLeases, readScene } from "../../../src/store/gpu-scene.ts";
import type { Pool } from "../../../src/store/pool.ts";
import { takeOut } from "../../../src/store/queue-error.ts";
import { sweepDue } from "../../../src/store/sweep.ts";
import { listPools, saveWorker } from "../../../src/store/worker.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { command, gpu, gpuCommand, gpuWorker, group, insertCommands, WORKER } from "./factory.ts";

const OPTIONS = { leaseMs: 10_000, workerTimeoutMs: 10_000 };

interface Queued {
  readonly executionId: ExecutionId;
  readonly commandId: CommandId;
}

async function queue(
  sql: Pool,
  demands: readonly Partial<GpuDemand>[],
  more: Partial<IssuedCommand> = {},
): Promise<readonly Queued[]> {
  const rows = demands.map((demand) => gpuCommand(demand, more));
  const { executionId, commandIds } = await insertCommands(sql, rows);
  return commandIds.map((commandId) => ({ executionId, commandId }));
}

async function claim(
  sql: Pool,
  asked: readonly Queued[],
  { workerId = WORKER, attempt = 1 } = {},
): Promise<readonly GpuClaimRow[]> {
  const requests = asked.map((one) => ({ ...one, attempt, workerId }));
  return await claimGpus(sql, requests, OPTIONS);
}

function grantsOf(rows: readonly GpuClaimRow[]): readonly (readonly GpuGrant[] | string)[] {
  return rows.map((row) => (row.status === "claimed" ? (row.gpus ?? []) : row.status));
}

function idsOf(rows: readonly GpuClaimRow[]): readonly (readonly string[] | string)[] {
  return grantsOf(rows).map((grants) =>
    typeof grants === "string" ? grants : grants.map(({ id }) => id),
  );
}

async function waitsFor(sql: Pool, { commandId }: Queued): Promise<string | undefined> {
  const [row] = await sql`SELECT waits_for FROM noetl.command WHERE command_id = ${commandId}`;
  return row?.["waits_for"] ?? undefined;
}

test("workers that see the same GPUs and ask at once never get one of them twice", async () => {
  await using db = await createTestDatabase();
  const workers = ["a", "b", "c", "d"].map((id) => id as WorkerId);
  for (const workerId of workers) {
    await saveWorker(db.sql, gpuWorker({ workerId, name: workerId }));
  }
  const queued = await queue(
    db.sql,
    Array.from({ length: 12 }, () => ({})),
  );
  const rows = await Promise.all(
    queued.map((one, n) => claim(db.sql, [one], { workerId: workers[n % 4] })),
  );
  const given = rows.flatMap(idsOf).filter((ids) => typeof ids !== "string");
  expect(given.flat().toSorted()).toEqual(["GPU-0", "GPU-1", "GPU-2", "GPU-3"]);
});

test("of several GPUs a command gets all or none, and takes none from others while it waits", async () => {
  await using db = await createTestDatabase();
  await saveWorker(db.sql, gpuWorker());
  const [three, two, one] = await queue(db.sql, [{ count: 3 }, { count: 2 }, {}]);
  expect(idsOf(await claim(db.sql, [three as Queued]))).toEqual([["GPU-0", "GPU-1", "GPU-2"]]);
  expect(idsOf(await claim(db.sql, [two as Queued]))).toEqual(["waits"]);
  expect(await waitsFor(db.sql, two as Queued)).toMatch(
    /^waiting for 2 GPUs of pool gpu-01: 3 of 4 leased, the longest by step start of execution \d+ since 20/,
  );
  expect(idsOf(await claim(db.sql, [one as Queued]))).toEqual([["GPU-3"]]);
  expect(await listPools(db.sql, 10_000)).toMatchObject([
    { pool: "gpu-01", reason: "gpus_busy", gpuLeases: 4, gpuWaiters: 1 },
  ]);
});

test("what is asked for together is given from what is left", async () => {
  await using db = await createTestDatabase();
  await saveWorker(db.sql, gpuWorker());
  const queued = await queue(db.sql, [{ count: 2 }, { count: 2 }, { count: 1 }]);
  expect(idsOf(await claim(db.sql, queued))).toEqual([
    ["GPU-0", "GPU-1"],
    ["GPU-2", "GPU-3"],
    "waits",
  ]);
});

test("a usual claim says that the command wants GPUs, and gives what it holds again", async () => {
  await using db = await createTestDatabase();
  await saveWorker(db.sql, gpuWorker());
  const [one] = await queue(db.sql, [{}]);
  const request = { ...(one as Queued), attempt: 1, workerId: WORKER };
  expect(await claimCommands(db.sql, [request], 1000)).toEqual([{ status: "wants_gpus" }]);
  const [given] = await claim(db.sql, [one as Queued]);
  const [again] = await claimCommands(db.sql, [request], 1000);
  expect(again).toMatchObject({ status: "claimed", gpus: [{ id: "GPU-0", memoryMib: 40_960 }] });
  expect(given).toMatchObject({ claimedAtMs: again?.status === "claimed" ? again.claimedAtMs : 0 });
  const other = { ...request, workerId: "other" as WorkerId };
  expect(await claimCommands(db.sql, [other], 1000)).toEqual([{ status: "gone" }]);
});

test("the end and the loss of a command free its GPUs in their commit", async () => {
  await using db = await createTestDatabase();
  await saveWorker(db.sql, gpuWorker({ gpus: [gpu("0")] }));
  const [first, second] = await queue(db.sql, [{}, {}]);
  const { executionId, commandId } = first as Queued;
  await claim(db.sql, [first as Queued]);
  const leases = await readLeases(db.sql, executionId, [commandId]);
  expect(leases.get(commandId)).toMatchObject({ gpus: ["GPU-0"], workerId: WORKER });
  const requeue = [
    { commandId, attempt: 2, delayMs: 0, isCancelling: false, queueTimeoutMs: undefined },
  ];
  await appendBatch(db.sql, [group({ executionId, expectedSeq: 1, newSeq: 2, requeue })]);
  expect(await readLeases(db.sql, executionId, [commandId])).toEqual(new Map());
  expect(idsOf(await claim(db.sql, [second as Queued]))).toEqual([["GPU-0"]]);
  expect(idsOf(await claim(db.sql, [first as Queued], { attempt: 2 }))).toEqual(["waits"]);
  const remove = [(second as Queued).commandId];
  await appendBatch(db.sql, [group({ executionId, expectedSeq: 2, newSeq: 3, remove })]);
  expect(idsOf(await claim(db.sql, [first as Queued], { attempt: 2 }))).toEqual([["GPU-0"]]);
  expect(await waitsFor(db.sql, first as Queued)).toBeUndefined();
});

test("who comes first is given what another was asked for, and the notification is for that one", async () => {
  await using db = await createTestDatabase();
  await saveWorker(db.sql, gpuWorker({ gpus: [gpu("0")] }));
  const [usual] = await queue(db.sql, [{}]);
  const [urgent] = await queue(db.sql, [{}], { priority: 9 });
  const [row] = await claim(db.sql, [usual as Queued]);
  expect(row).toMatchObject({ status: "claimed", commandId: urgent?.commandId });
  const [{ bell_id: bell } = { bell_id: "" }] =
    await db.sql`SELECT bell_id FROM noetl.command WHERE gpus IS NOT NULL`;
  expect(bell).toBe(usual?.commandId);
});

test("nobody overtakes a command that has waited for a minute on the GPUs that it needs", async () => {
  await using db = await createTestDatabase();
  await saveWorker(db.sql, gpuWorker({ gpus: [gpu("0"), gpu("1")] }));
  const [running, large, small] = await queue(db.sql, [{}, { count: 2 }, {}]);
  await claim(db.sql, [running as Queued]);
  await db.sql`
    UPDATE noetl.command SET available_at = now() - interval '61 seconds'
    WHERE command_id = ${(large as Queued).commandId}`;
  expect(idsOf(await claim(db.sql, [small as Queued]))).toEqual(["waits"]);
  const { executionId, commandId } = running as Queued;
  const remove = [commandId];
  await appendBatch(db.sql, [group({ executionId, expectedSeq: 1, newSeq: 2, remove })]);
  expect(idsOf(await claim(db.sql, [small as Queued]))).toEqual([["GPU-0", "GPU-1"]]);
});

describe("a command that fits nowhere", () => {
  test("is taken out of the queue with what would fit", async () => {
    await using db = await createTestDatabase();
    await saveWorker(db.sql, gpuWorker());
    const [one] = await queue(db.sql, [{ count: 5 }]);
    const [row] = await claim(db.sql, [one as Queued]);
    expect(row).toMatchObject({
      status: "unfit",
      error: {
        kind: "not_found",
        code: "GPU_UNFIT",
        retryable: false,
        message:
          "No worker of pool gpu-01 has 5 GPUs: it has 4 × NVIDIA A100-PCIE-40GB of 40960 MiB on gpu-host. At most 4 of one worker would fit: a task runs on one machine",
      },
    });
    expect(idsOf(await claim(db.sql, [one as Queued]))).toEqual(["later"]);
    const request = { ...(one as Queued), attempt: 1, workerId: WORKER };
    expect(await claimCommands(db.sql, [request], 1000)).toEqual([{ status: "gone" }]);
  });

  test("is found by a sweep with its failure, should the server die then", async () => {
    await using db = await createTestDatabase();
    await saveWorker(db.sql, gpuWorker({ gpus: [] }));
    const [one] = await queue(db.sql, [{}]);
    await claim(db.sql, [one as Queued]);
    await db.sql`UPDATE noetl.command SET lease_until = now()`;
    const limits = { graceMs: 0, notifyGraceMs: 0, isExpiring: true, limit: 9, notifyLimit: 9 };
    const { leases } = await sweepDue(db.sql, limits);
    expect(leases).toMatchObject([{ ...one, attempt: 1, queueError: { code: "GPU_UNFIT" } }]);
    expect(leases[0]?.workerId).toBeUndefined();
  });

  test("waits for a GPU that is out of service, and for its worker if it had one before", async () => {
    await using db = await createTestDatabase();
    const broken = gpu("0", { state: "out_of_service", reason: "XID 79" });
    await saveWorker(db.sql, gpuWorker({ gpus: [broken] }));
    const [one, again] = await queue(db.sql, [{}, { count: 2 }]);
    expect(idsOf(await claim(db.sql, [one as Queued]))).toEqual(["waits"]);
    expect(await waitsFor(db.sql, one as Queued)).toBe(
      "waiting for 1 GPU of pool gpu-01: GPU 0 is out of service (XID 79)",
    );
    const { commandId } = again as Queued;
    await db.sql`UPDATE noetl.command SET attempt = 2 WHERE command_id = ${commandId}`;
    expect(idsOf(await claim(db.sql, [again as Queued], { attempt: 2 }))).toEqual(["waits"]);
  });
});

test("another worker of the pool that could have it now is left to ask", async () => {
  await using db = await createTestDatabase();
  await saveWorker(db.sql, gpuWorker({ gpus: [] }));
  const other = "other" as WorkerId;
  await saveWorker(db.sql, gpuWorker({ workerId: other, name: "other" }));
  const [one] = await queue(db.sql, [{}]);
  expect(idsOf(await claim(db.sql, [one as Queued]))).toEqual(["later"]);
  expect(idsOf(await claim(db.sql, [one as Queued], { workerId: other }))).toEqual([["GPU-0"]]);
});

test("a worker whose containers run in a cluster gets it without GPUs, one that drains or is unknown not", async () => {
  await using db = await createTestDatabase();
  const runtimes = [
    { name: "docker", version: "1", isUsable: false, gpus: "none" },
    { name: "kubernetes", version: "1", isUsable: true, gpus: "cluster" },
  ] as const;
  const [one, two, three] = await queue(db.sql, [{}, {}, {}]);
  expect(idsOf(await claim(db.sql, [one as Queued]))).toEqual(["later"]);
  await saveWorker(db.sql, gpuWorker());
  await db.sql`UPDATE noetl.worker SET is_draining = true`;
  expect(idsOf(await claim(db.sql, [two as Queued]))).toEqual(["waits"]);
  await saveWorker(db.sql, gpuWorker({ gpus: [], runtimes }));
  expect(idsOf(await claim(db.sql, [three as Queued]))).toEqual([[]]);
  expect((await readScene(db.sql, ["gpu-01"], 10_000)).holders).toEqual([]);
});

test("shared GPUs are filled up to their memory, apart from exclusive ones", async () => {
  await using db = await createTestDatabase();
  await saveWorker(db.sql, gpuWorker({ gpus: [gpu("0"), gpu("1")] }));
  const shared = { isShared: true, memoryMinMib: 16_384 };
  const queued = await queue(db.sql, [shared, shared, {}, {}, shared]);
  expect(idsOf(await claim(db.sql, queued))).toEqual([
    ["GPU-0"],
    ["GPU-0"],
    ["GPU-1"],
    "waits",
    "waits",
  ]);
});

test("commands without GPUs are neither held up nor given more slowly by those that wait for some", async () => {
  await using db = await createTestDatabase();
  await queue(db.sql, [{}], { priority: 9 });
  const { executionId, commandIds } = await insertCommands(db.sql, [command({ pool: "gpu-01" })]);
  const [commandId] = commandIds;
  const asked = { executionId, commandId: commandId as CommandId, attempt: 1, workerId: WORKER };
  expect(await claimCommands(db.sql, [asked], 1000)).toMatchObject([
    { status: "claimed", commandId },
  ]);
  expect(await listGpuPools(db.sql)).toEqual(["gpu-01"]);
});

describe("the time in the queue", () => {
  const LIMITS = { graceMs: 0, notifyGraceMs: 0, isExpiring: true, limit: 9, notifyLimit: 9 };

  test("is over when nobody had the command by then", async () => {
    await using db = await createTestDatabase();
    const limits = [{ queueTimeoutMs: 0 }, { queueTimeoutMs: 60_000 }, {}];
    const { executionId, commandIds } = await insertCommands(db.sql, limits);
    const { overdue } = await sweepDue(db.sql, LIMITS);
    const [commandId] = commandIds;
    expect(overdue).toMatchObject([{ executionId, commandId, attempt: 1, pool: "cpu-01" }]);
  });

  test("ends for the command or begins for the worker, whoever is first", async () => {
    await using db = await createTestDatabase();
    const rows = Array.from({ length: 30 }, () => ({ queueTimeoutMs: 0 }));
    const { executionId, commandIds } = await insertCommands(db.sql, rows);
    const error = {
      kind: "timeout",
      code: "QUEUE_TIMEOUT",
      message: "late",
      retryable: true,
    } as const;
    const outcomes = await Promise.all(
      commandIds.map(async (commandId) => {
        const one = { executionId, commandId, attempt: 1 };
        const [taken, claimed] = await Promise.all([
          takeOut(db.sql, [{ ...one, error }]),
          claimCommands(db.sql, [{ ...one, workerId: WORKER }], 1000),
        ]);
        return [taken.length, claimed[0]?.status === "claimed" ? 1 : 0];
      }),
    );
    expect(outcomes.every(([taken = 0, claimed = 0]) => taken + claimed <= 1)).toBe(true);
    expect(outcomes.flat().reduce((sum, n) => sum + n, 0)).toBeGreaterThan(0);
  });

  test("begins anew when the command is handed out again", async () => {
    await using db = await createTestDatabase();
    const { executionId, commandIds } = await insertCommands(db.sql, [{ queueTimeoutMs: 0 }]);
    const requeue = commandIds.map((commandId) => ({
      commandId,
      attempt: 2,
      delayMs: 0,
      isCancelling: false,
      queueTimeoutMs: 60_000,
    }));
    await appendBatch(db.sql, [group({ executionId, expectedSeq: 1, newSeq: 2, requeue })]);
    expect((await sweepDue(db.sql, LIMITS)).overdue).toEqual([]);
  });
});
