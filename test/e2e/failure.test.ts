/**
 * One failure at a time, each at a known moment: every part of the platform killed once while a task
 * runs, the JetStream store deleted, a worker stopped and resumed after it lost its lease.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CommandId, ExecutionId, WorkerId } from "../../src/core/ids.ts";
import type { ReportAnswer } from "../../src/engine/command.ts";
import { connectWorkerClient } from "../../src/rpc/client.ts";
import { waitFor } from "../support/wait.ts";
import type { Cluster } from "./chaos/cluster.ts";
import { startCluster } from "./chaos/cluster.ts";
import type { Component } from "./chaos/component.ts";

const LIMIT_MS = 90_000;
/** A worker's death is answered within this time. */
const HANDED_OUT_AGAIN_MS = 15_000;

let cluster: Cluster;
const dir = mkdtempSync(join(tmpdir(), "noetl-failure-"));

beforeAll(async () => {
  chmodSync(dir, 0o755);
  cluster = await startCluster({ dir, serverCount: 1, workerCount: 2, slots: 4 });
  await register("slow", "import time\ntime.sleep(3)\nresult = n * 2");
}, LIMIT_MS);

afterAll(async () => {
  await cluster[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true, force: true });
}, LIMIT_MS);

describe("an execution in progress", () => {
  const parts: readonly [string, (executionId: string) => Promise<Component>][] = [
    ["server", () => Promise.resolve(only(cluster.servers))],
    ["nats-server", () => Promise.resolve(cluster.nats.component)],
    ["postgres", () => Promise.resolve(cluster.postgres)],
    ["worker", (executionId) => holder(executionId)],
  ];
  test.each(parts)(
    "ends once with the right result when its %s is killed",
    async (_name, choose) => {
      const executionId = await startSlow(21);
      const component = await choose(executionId);
      await component.restart();
      await expectResult(executionId, 42);
    },
    LIMIT_MS,
  );

  test(
    "ends once with the right result when the JetStream store is deleted",
    async () => {
      const running = await startSlow(1);
      await cluster.nats.component.restart(() => {
        cluster.nats.wipe();
        return Promise.resolve();
      });
      const later = await execute(2);
      await expectResult(running, 2);
      await expectResult(later, 4);
    },
    LIMIT_MS,
  );
});

describe("a worker that was stopped past its lease", () => {
  test(
    "loses its command to another, and what it would still say is refused by the fence",
    async () => {
      const executionId = await startSlow(5);
      const worker = await holder(executionId);
      const stale = await runningCommand(executionId);
      worker.freeze();
      try {
        await waitFor("the next attempt", async () => {
          const { attempt, pid } = await runningCommand(executionId);
          return attempt === stale.attempt + 1 && pid !== worker.pid;
        });
        expect(await reportLate(stale)).toEqual(["stale"]);
        expect(await fenceRefusals()).toBeGreaterThan(0);
      } finally {
        worker.thaw();
      }
      await expectResult(executionId, 10);
      const [retried] = await cluster.sql<{ ms: number }[]>`
        SELECT extract(epoch FROM max(occurred_at) FILTER (WHERE type = 'command.retried')
                 - min(occurred_at) FILTER (WHERE type = 'command.issued'))::float * 1000 AS ms
        FROM noetl.event WHERE execution_id = ${executionId}`;
      expect(retried?.ms).toBeLessThan(HANDED_OUT_AGAIN_MS);
    },
    LIMIT_MS,
  );
});

interface RunningCommand {
  readonly executionId: ExecutionId;
  readonly commandId: CommandId;
  readonly attempt: number;
  readonly workerId: WorkerId;
  readonly pid: number;
}

/** The only open command of an execution, while a worker has it. */
async function runningCommand(executionId: string): Promise<RunningCommand> {
  const [row] = await cluster.sql<RunningCommand[]>`
    SELECT c.execution_id AS "executionId", c.command_id AS "commandId", c.attempt,
           c.worker_id AS "workerId", w.pid
    FROM noetl.command c JOIN noetl.worker w USING (worker_id)
    WHERE c.execution_id = ${executionId}`;
  if (row === undefined) {
    throw new Error(`No worker holds ${executionId}`);
  }
  return row;
}

/** Says what the stopped worker would say if it did not know better: that all went well. */
async function reportLate({
  executionId,
  commandId,
  attempt,
  workerId,
}: RunningCommand): Promise<readonly ReportAnswer[]> {
  const client = connectWorkerClient({ addresses: cluster.grpcAddresses });
  try {
    const outcome = { status: "ok", value: "from the dead", ctx: {} } as const;
    return await client.report(workerId, [
      { executionId, commandId, attempt, workerId, startedAtMs: Date.now(), outcome },
    ]);
  } finally {
    client.close();
  }
}

async function register(name: string, code: string): Promise<void> {
  const metadata = { name, path: `failure/${name}` };
  const tool = { kind: "python", input: { n: "{{ workload.n }}" }, code };
  const workflow = [{ step: "only", tool }];
  await only(cluster.apis).register(
    JSON.stringify({ apiVersion: "noetl.io/v2", kind: "Playbook", metadata, workflow }),
  );
}

function execute(n: number): Promise<string> {
  return only(cluster.apis).execute("failure/slow", { payload: { n } });
}

/** Starts the slow playbook and waits until a worker has claimed its task. */
async function startSlow(n: number): Promise<string> {
  const executionId = await execute(n);
  await waitFor("the claim", async () => (await holderPid(executionId)) !== undefined);
  return executionId;
}

async function holder(executionId: string): Promise<Component> {
  const pid = await holderPid(executionId);
  const worker = cluster.workers.find((candidate) => candidate.pid === pid);
  if (worker === undefined) {
    throw new Error(`No worker holds ${executionId}`);
  }
  return worker;
}

async function holderPid(executionId: string): Promise<number | undefined> {
  const [row] = await cluster.sql<{ pid: number }[]>`
    SELECT w.pid FROM noetl.command c JOIN noetl.worker w USING (worker_id)
    WHERE c.execution_id = ${executionId}`;
  return row?.pid;
}

/** Waits for the end; then the result is there, with one terminal event and nothing left behind. */
async function expectResult(executionId: string, result: number): Promise<void> {
  const status = await waitFor(
    `the end of ${executionId}`,
    async () => {
      const { status: current } = await only(cluster.apis).execution(executionId);
      return current === "RUNNING" || current === "PENDING" ? undefined : current;
    },
    { deadlineMs: 45_000 },
  );
  expect(status).toBe("COMPLETED");
  const steps = await only(cluster.apis).steps(executionId);
  expect(steps).toMatchObject([{ step: "only", result }]);
  const [row] = await cluster.sql<{ ends: number; done: number; commands: number }[]>`
    SELECT count(*) FILTER (WHERE type IN ('playbook.completed', 'playbook.failed'))::int AS ends,
           count(*) FILTER (WHERE type = 'call.done')::int AS done,
           (SELECT count(*)::int FROM noetl.command WHERE execution_id = ${executionId}) AS commands
    FROM noetl.event WHERE execution_id = ${executionId}`;
  expect(row).toEqual({ ends: 1, done: 1, commands: 0 });
}

/** Calls that the server has refused because another attempt owns the command. */
async function fenceRefusals(): Promise<number> {
  const text = await only(cluster.apis).text("/metrics");
  return [...text.matchAll(/^noetl_fence_refusals_total\{[^}]*\} (\d+)/gm)]
    .map(([, value]) => Number(value))
    .reduce((sum, value) => sum + value, 0);
}

function only<T>(items: readonly T[]): T {
  const [item] = items;
  if (item === undefined) {
    throw new Error("There is none");
  }
  return item;
}
