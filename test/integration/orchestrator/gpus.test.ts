/** GPUs from the task to the log: leased with commands, rung for, refused, given up. Inventories are made up. */
import { expect, test } from "bun:test";
import type { ExecutionId, WorkerId } from "../../../src/core/ids.ts";
import type { ClaimedCommand } from "../../../src/engine/command.ts";
import type { RecordedEvent } from "../../../src/engine/event.ts";
import type { Gpu, GpuLease } from "../../../src/engine/gpu.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { waitFor } from "../../support/wait.ts";
import type { Server } from "./harness.ts";
import {
  claimNext,
  ok,
  parsedCommand,
  playbook,
  report,
  startPlaybook,
  startServer,
  watchToEnd,
} from "./harness.ts";

function gpu(index: number, more: Partial<Gpu> = {}): Gpu {
  const product = { name: "NVIDIA L4", memoryMib: 23_034 };
  return { id: `GPU-${index}`, index: String(index), ...product, state: "ready", ...more };
}

/** Takes what is announced on the servers, as far as it has slots, and forgets what it does not get. */
class GpuWorker {
  readonly workerId: WorkerId;
  readonly held: ClaimedCommand[] = [];
  readonly #server: Server;
  readonly #slots: number;
  #seen = 0;

  constructor(server: Server, name: string, slots: number) {
    this.#server = server;
    this.workerId = name as WorkerId;
    this.#slots = slots;
  }

  async register(gpus: readonly Gpu[]): Promise<this> {
    await this.#server.orchestrator.register({
      workerId: this.workerId,
      name: this.workerId,
      pool: "gpu-01",
      slots: this.#slots,
      hostname: "gpu-host",
      pid: 1,
      version: "test",
      tools: ["python"],
      labels: {},
      gpus,
    });
    return this;
  }

  async beat(gpus: readonly Gpu[]): Promise<void> {
    await this.#server.orchestrator.heartbeat({
      workerId: this.workerId,
      held: this.held.map(({ executionId, commandId, attempt }) => ({
        executionId,
        commandId,
        attempt,
      })),
      freeSlots: this.#slots - this.held.length,
      pullAgeMs: 0,
      eventLoopLagMs: 0,
      rssBytes: 1,
      cpuPercent: 0,
      isDraining: false,
      gpus,
    });
  }

  /** Claims what was announced since it last looked, each once. */
  async look(): Promise<void> {
    const { published } = this.#server.bus;
    while (this.#seen < published.length && this.held.length < this.#slots) {
      const { notification } = published[this.#seen++] ?? { notification: undefined };
      const { executionId, commandId, attempt } = notification ?? {};
      if (executionId === undefined || commandId === undefined || attempt === undefined) {
        continue;
      }
      const asked = { executionId, commandId, attempt };
      const [outcome] = await this.#server.orchestrator.claim(this.workerId, [asked]);
      if (outcome?.status === "claimed" && !this.#has(outcome.command.commandId)) {
        this.held.push(parsedCommand(outcome.command));
      }
    }
  }

  #has(commandId: string): boolean {
    return this.held.some((command) => command.commandId === commandId);
  }

  async endOne(): Promise<void> {
    const command = this.held.shift();
    if (command !== undefined) {
      expect(await report(this.#server, command, ok(1), this.workerId)).toBe("accepted");
    }
  }
}

const LOOP = `  - step: train
    loop:
      in: "{{ range(16) | list }}"
      iterator: n
      spec: { mode: parallel, max_in_flight: 16 }
    tool: { kind: noop, gpu: 1 }
`;

interface Span {
  readonly gpu: string;
  readonly sinceMs: number;
  readonly untilMs: number;
}

/** From the log alone. */
function spansOf(events: readonly RecordedEvent[]): readonly Span[] {
  return events.flatMap(({ event, timeMs }) => {
    const lease: GpuLease | undefined = "lease" in event ? event.lease : undefined;
    const { gpus = [], sinceMs = 0 } = lease ?? {};
    return gpus.map((id) => ({ gpu: id, sinceMs, untilMs: timeMs }));
  });
}

function overlaps(spans: readonly Span[]): readonly (readonly [Span, Span])[] {
  const sorted = spans.toSorted((a, b) => a.gpu.localeCompare(b.gpu) || a.sinceMs - b.sinceMs);
  return sorted.flatMap((span, index) => {
    const next = sorted[index + 1];
    return next?.gpu === span.gpu && next.sinceMs < span.untilMs ? [[span, next] as const] : [];
  });
}

test("16 tasks over 4 GPUs that two workers see: never two on one, all busy while work waits", async () => {
  await using db = await createTestDatabase();
  await using first = startServer(db.url);
  await using second = startServer(db.url);
  const gpus = [0, 1, 2, 3].map((index) => gpu(index));
  const workers = [
    await new GpuWorker(first, "a", 16).register(gpus),
    await new GpuWorker(second, "b", 16).register(gpus),
  ];
  const executionId = await startPlaybook(first, playbook("test/train", LOOP));
  for (let left = 16; left > 0; left--) {
    // Who asked in vain is not asked again: whoever frees a GPU must ring for the next one.
    await waitFor("all GPUs to be busy", async () => {
      await Promise.all(workers.map((worker) => worker.look()));
      return workers.flatMap(({ held }) => held).length === Math.min(4, left);
    });
    await workers.find(({ held }) => held.length > 0)?.endOne();
  }
  const events = await watchToEnd(first, executionId);
  expect(events.at(-1)?.event.type).toBe("playbook.completed");
  const spans = spansOf(events);
  expect(spans).toHaveLength(16);
  expect(new Set(spans.map((span) => span.gpu))).toEqual(new Set(gpus.map(({ id }) => id)));
  expect(overlaps(spans)).toEqual([]);
}, 30_000);

test("a demand that fits no worker of the pool fails the step at once, and says what would fit", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const worker = await new GpuWorker(server, "a", 4).register([gpu(0)]);
  const step = `  - step: big
    tool: { kind: noop, gpu: { memory_min: 40Gi } }
`;
  const executionId = await startPlaybook(server, playbook("test/big", step));
  const events = watchToEnd(server, executionId);
  await waitFor("the end", async () => {
    await worker.look();
    return (await server.orchestrator.state(executionId))?.status === "failed";
  });
  expect((await events).at(-1)?.event).toMatchObject({
    type: "playbook.failed",
    error: {
      kind: "not_found",
      code: "GPU_UNFIT",
      step: "big",
      message: expect.stringContaining("memory_min of at most 23034 MiB would fit"),
    },
  });
  expect(worker.held).toEqual([]);
});

const ONE = `  - step: one
    tool: { kind: noop, gpu: 1 }
`;

async function waitReason(server: Server, executionId: ExecutionId): Promise<string> {
  const { store } = server;
  const [row] = await store.durable`
    SELECT waits_for FROM noetl.command WHERE execution_id = ${executionId}`;
  return String(row?.["waits_for"] ?? "");
}

test("a GPU that becomes ready is given to who waits for it", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url, { sweepIntervalMs: 60_000 });
  const unclean = gpu(0, { state: "unclean", reason: "process 7 is on it" });
  const worker = await new GpuWorker(server, "a", 1).register([unclean]);
  const executionId = await startPlaybook(server, playbook("test/one", ONE));
  await waitFor("a reason", async () => {
    await worker.look();
    return (await waitReason(server, executionId)) !== "";
  });
  expect(await waitReason(server, executionId)).toBe(
    "waiting for 1 GPU of pool gpu-01: GPU 0 is not clean (process 7 is on it)",
  );
  await worker.beat([gpu(0)]);
  await waitFor("the command", async () => {
    await worker.look();
    return worker.held.length === 1;
  });
  expect(worker.held[0]?.gpus).toMatchObject([{ id: "GPU-0", memoryMib: 23_034 }]);
});

test("what a worker held that goes is another's, and the log has both leases", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const [gone, other] = [new GpuWorker(server, "a", 1), new GpuWorker(server, "b", 1)];
  await gone.register([gpu(0)]);
  const executionId = await startPlaybook(server, playbook("test/one", ONE));
  await waitFor("the command", async () => {
    await gone.look();
    return gone.held.length === 1;
  });
  await other.register([gpu(0)]);
  await server.orchestrator.deregister(gone.workerId);
  await waitFor("the command again", async () => {
    await other.look();
    return other.held.length === 1;
  });
  expect(other.held[0]).toMatchObject({ attempt: 2, gpus: [{ id: "GPU-0" }] });
  await other.endOne();
  const events = await watchToEnd(server, executionId);
  const spans = spansOf(events);
  expect(spans).toHaveLength(2);
  expect(overlaps(spans)).toEqual([]);
});

test("a claim that is repeated because its answer got lost gives the same GPUs", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const worker = await new GpuWorker(server, "a", 4).register([gpu(0), gpu(1)]);
  await startPlaybook(server, playbook("test/one", ONE));
  const first = await claimNext(server, worker.workerId);
  const { executionId, commandId, attempt } = first;
  const held = { executionId, commandId, attempt };
  const [again] = await server.orchestrator.claim(worker.workerId, [held], true);
  expect(again).toMatchObject({ status: "claimed", command: { gpus: first.gpus } });
  const [row] =
    await db.sql`SELECT count(*)::int AS count FROM noetl.command WHERE gpus IS NOT NULL`;
  expect(row?.["count"]).toBe(1);
});

test("a command that is still queued at its time fails with what it waited for; its policy may try again", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const worker = await new GpuWorker(server, "a", 4).register([
    gpu(0, { state: "out_of_service", reason: "XID 79" }),
  ]);
  const step = `  - step: soon
    tool:
      kind: noop
      gpu: 1
      timeouts: { queue: 300ms }
      spec:
        policy:
          rules:
            - when: "{{ output.status == 'error' and output.error.code == 'QUEUE_TIMEOUT' }}"
              then: { do: retry, attempts: 2, delay: 0 }
            - else: { then: { do: fail } }
`;
  const executionId = await startPlaybook(server, playbook("test/soon", step));
  const watched = watchToEnd(server, executionId);
  await waitFor("the end", async () => {
    await worker.look();
    return (await server.orchestrator.state(executionId))?.status === "failed";
  });
  const events = await watched;
  const types = events.map(({ event }) => event.type);
  expect(types.filter((type) => type === "command.issued")).toHaveLength(2);
  expect(events.at(-1)?.event).toMatchObject({
    error: {
      kind: "timeout",
      code: "QUEUE_TIMEOUT",
      message: expect.stringMatching(/timeouts\.queue\).*GPU 0 is out of service \(XID 79\)/),
    },
  });
  const rows = await db.sql`SELECT 1 FROM noetl.command`;
  expect(rows).toHaveLength(0);
});

test("a task without GPUs of the same pool runs while others wait for GPUs", async () => {
  await using db = await createTestDatabase();
  await using server = startServer(db.url);
  const worker = await new GpuWorker(server, "a", 2).register([gpu(0, { state: "unclean" })]);
  await startPlaybook(server, playbook("test/one", ONE));
  await waitFor("the first to ask in vain", async () => {
    await worker.look();
    const [row] = await db.sql`SELECT 1 FROM noetl.command WHERE waits_for IS NOT NULL`;
    return row !== undefined;
  });
  const plain = `  - step: plain
    tool: { kind: noop, pool: gpu-01 }
`;
  await startPlaybook(server, playbook("test/plain", plain));
  await waitFor("the other", async () => {
    await worker.look();
    return worker.held.length === 1;
  });
  expect(worker.held[0]?.payload.step.name).toBe("plain");
  await worker.endOne();
});
