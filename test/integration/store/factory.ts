/** Rows for tests of the store: every column filled validly, what matters named by the test. */
import type { CatalogId, CommandId, ExecutionId, WorkerId } from "../../../src/core/ids.ts";
import type { WorkerRegistration } from "../../../src/engine/command.ts";
import type { Gpu, GpuDemand } from "../../../src/engine/gpu.ts";
import type { Applicant } from "../../../src/store/admission.ts";
import type { AppendGroup, IssuedCommand, NewExecution } from "../../../src/store/append.ts";
import { appendBatch } from "../../../src/store/append.ts";
import type { Sql } from "../../../src/store/pool.ts";

let lastId = 9_007_199_254_740_993n;

/** Beyond what a double can hold. */
export function newId<Id extends string>(): Id {
  return String(lastId++) as Id;
}

export const WORKER = "worker-1" as WorkerId;

export function group(more: Partial<AppendGroup> = {}): AppendGroup {
  return {
    executionId: newId<ExecutionId>(),
    expectedSeq: 0,
    newSeq: 1,
    status: "running",
    result: undefined,
    error: undefined,
    hasEnded: false,
    create: undefined,
    playbook: undefined,
    events: [],
    issue: [],
    requeue: [],
    remove: [],
    cancel: [],
    timers: [],
    stopTimers: [],
    spawn: [],
    isPurged: false,
    ...more,
  };
}

/** The start of a root. */
export function starting(more: Partial<AppendGroup> = {}): AppendGroup {
  const executionId = more.executionId ?? newId<ExecutionId>();
  return group({ executionId, create: newExecution({ executionId }), events: [event(1)], ...more });
}

export function newExecution(more: Partial<NewExecution> = {}): NewExecution {
  const executionId = more.executionId ?? newId<ExecutionId>();
  return {
    executionId,
    catalogId: newId<CatalogId>(),
    path: "test/playbook",
    version: 1,
    parentId: undefined,
    rootId: executionId,
    depth: 0,
    returnStep: undefined,
    isWaited: false,
    payload: "{}",
    pool: undefined,
    priority: undefined,
    dedup: undefined,
    origin: undefined,
    ...more,
  };
}

/** A root that asks for the only place of the key `k`. */
export function applicant(onLimit: Applicant["onLimit"], more: Partial<Applicant> = {}): Applicant {
  const executionId = more.executionId ?? newId<ExecutionId>();
  return {
    executionId,
    key: "k",
    limit: 1,
    onLimit,
    priority: 5,
    create: newExecution({ executionId }),
    playbook: { catalogId: newId<CatalogId>(), version: 1 },
    ...more,
  };
}

export function event(seq: number, payload = '{"type":"playbook.started"}') {
  return { seq, type: "playbook.started", step: undefined, timeMs: 1_700_000_000_123, payload };
}

export function command(more: Partial<IssuedCommand> = {}): IssuedCommand {
  return {
    commandId: newId<CommandId>(),
    eventSeq: 1,
    step: "start",
    visit: 1,
    index: undefined,
    tool: "python",
    pool: "cpu-01",
    priority: 5,
    attempt: 1,
    delayMs: 0,
    isCancelling: false,
    grant: undefined,
    gpuDemand: undefined,
    queueTimeoutMs: undefined,
    payload: '{"n":1}',
    ...more,
  };
}

/** A command that wants GPUs; default: one, for itself. */
export function gpuCommand(
  demand: Partial<GpuDemand> = {},
  more: Partial<IssuedCommand> = {},
): Partial<IssuedCommand> {
  const full: GpuDemand = { count: 1, types: [], isShared: false, ...demand };
  return { pool: "gpu-01", tool: "cuda", gpuDemand: JSON.stringify(full), ...more };
}

/** Ready, of 40 GiB. */
export function gpu(id: string, more: Partial<Gpu> = {}): Gpu {
  const product = { name: "NVIDIA A100-PCIE-40GB", memoryMib: 40_960 };
  return { id: `GPU-${id}`, index: id, ...product, state: "ready", ...more };
}

export function gpuWorker(more: Partial<WorkerRegistration> = {}): WorkerRegistration {
  return {
    workerId: WORKER,
    name: "gpu-host",
    pool: "gpu-01",
    slots: 8,
    hostname: "gpu-host",
    pid: 1,
    version: "t",
    tools: ["cuda"],
    labels: {},
    gpus: ["0", "1", "2", "3"].map((id) => gpu(id)),
    ...more,
  };
}

/** A running execution with these commands queued. */
export async function insertCommands(
  sql: Sql,
  commands: readonly Partial<IssuedCommand>[],
): Promise<{ readonly executionId: ExecutionId; readonly commandIds: readonly CommandId[] }> {
  const issue = commands.map(command);
  const { executionId } = await insert(sql, starting({ issue }));
  return { executionId, commandIds: issue.map(({ commandId }) => commandId) };
}

export async function insert(sql: Sql, one: AppendGroup): Promise<AppendGroup> {
  const { moved } = await appendBatch(sql, [one]);
  if (!moved.has(one.executionId)) {
    throw new Error(`execution ${one.executionId} did not move`);
  }
  return one;
}
