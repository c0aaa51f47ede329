/**
 * A pool with four GPUs as rows of the database: what a worker said of them, who holds them, who waits. The
 * worker itself is not there: test/integration/cli/gpu-pool.test.ts has a real one.
 */
import type { Gpu, GpuDemand, GpuGrant } from "../../../src/engine/gpu.ts";
import { waitFor } from "../../support/wait.ts";
import type { Platform } from "./platform.ts";

const NAME = "NVIDIA H100 80GB HBM3";
const MEMORY_MIB = 81_559;

export const GPUS: readonly Gpu[] = [
  gpu("0", { memoryUsedMib: 62_464, utilizationPercent: 98, temperatureC: 71, powerW: 642.5 }),
  gpu("1", { memoryUsedMib: 20_480, utilizationPercent: 35, temperatureC: 52, powerW: 310 }),
  gpu("2", { memoryUsedMib: 4, utilizationPercent: 0, temperatureC: 31, powerW: 68 }),
  gpu("3", {
    state: "out_of_service",
    reason: "XID 79 at 2026-11-23 05:12:44Z: the GPU has fallen off the bus. Reset it or reboot.",
  }),
];

function gpu(index: string, more: Partial<Gpu>): Gpu {
  const id = `GPU-${index}f2c0a41-9d1e-4b7a-8c55-0123456789ab`;
  const measured = { eccErrors: 0, state: "ready" as const };
  return { id, index, name: NAME, memoryMib: MEMORY_MIB, ...measured, ...more };
}

export const idOf = (index: number): string => GPUS[index]?.id ?? "";

const grant = (index: number, isShared = false, memoryMib = MEMORY_MIB): GpuGrant => ({
  id: idOf(index),
  name: NAME,
  memoryMib,
  isShared,
});

const PLAYBOOK = (path: string) => `
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: train, path: ${path}}
workflow:
  - step: train
    pool: gpu-01
    tool: {kind: python, code: "result = 1"}
`;

export const REASON =
  "waiting for 2 GPUs (H100) of pool gpu-01: 2 of 4 leased, the longest by step train of execution 1 since 2026-11-23T06:00:00Z";

const RUNTIMES = [
  { name: "podman", version: "4.3.1", isUsable: true, gpus: "cdi" },
  {
    name: "docker",
    version: "",
    isUsable: false,
    gpus: "none",
    problem: "permission denied on /var/run/docker.sock: add the user to group docker",
  },
];

/** Ids of the executions by what they do. */
export interface GpuWorld {
  /** Holds GPU 0. */
  readonly alone: string;
  /** Shares GPU 1. */
  readonly sharing: string;
  /** Wants two. */
  readonly waiting: string;
}

export async function seedGpuPool(platform: Platform): Promise<GpuWorld> {
  const { sql } = platform.db;
  const insert = (worker: string, heartbeatAt: string, gpus: readonly Gpu[]) => sql`
    INSERT INTO noetl.worker (
      worker_id, name, pool, slots, hostname, pid, version, tools, labels, free_slots, heartbeat_at,
      gpus, runtimes
    )
    VALUES (
      ${worker}, ${worker.replace(/-id$/, "")}, 'gpu-01', 8, 'node1', 4711, '1.0.0', '{container,cuda}', '{}', 6,
      now() + ${heartbeatAt}::interval, ${JSON.stringify(gpus)}::text::json,
      ${JSON.stringify(RUNTIMES)}::text::json
    )`;
  await insert("node1-id", "1 hour", GPUS);
  // What the same machine said before its worker was started again.
  await insert("before-id", "-20 seconds", GPUS);
  const alone = await start(platform, "models/llm");
  const sharing = await start(platform, "models/embed");
  const waiting = await start(platform, "models/large");
  await hold(platform, alone, [grant(0)]);
  await hold(platform, sharing, [grant(1, true, 20_480)]);
  await wait(platform, waiting, { count: 2, types: ["H100"], isShared: false });
  return { alone, sharing, waiting };
}

async function start({ call, db }: Platform, path: string): Promise<string> {
  await call("POST", "/api/catalog/register", { content: PLAYBOOK(path) });
  const { body } = await call("POST", "/api/execute", { path });
  const id = String(body.execution_id);
  return await waitFor(`the command of ${path}`, async () => {
    const rows = await db.sql`SELECT 1 FROM noetl.command WHERE execution_id = ${id}`;
    return rows.length === 0 ? undefined : id;
  });
}

async function hold({ db }: Platform, id: string, gpus: readonly GpuGrant[]): Promise<void> {
  await db.sql`
    UPDATE noetl.command
    SET status = 'running', worker_id = 'node1-id', claimed_at = now() - interval '5 minutes',
        lease_until = now() + interval '1 hour', gpus = ${JSON.stringify(gpus)}::text::json,
        gpu_demand = '{"count": 1, "types": [], "isShared": false}'
    WHERE execution_id = ${id}`;
}

async function wait({ db }: Platform, id: string, demand: GpuDemand): Promise<void> {
  await db.sql`
    UPDATE noetl.command
    SET gpu_demand = ${JSON.stringify(demand)}::text::json, waits_for = ${REASON},
        available_at = now() - interval '90 seconds'
    WHERE execution_id = ${id}`;
}
