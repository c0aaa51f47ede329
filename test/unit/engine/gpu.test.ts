/** What tasks want of GPUs, who gets them, and what people are told. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { CommandId, ExecutionId, WorkerId } from "../../../src/core/ids.ts";
import type { Json } from "../../../src/core/json.ts";
import type { Task } from "../../../src/dsl/playbook.ts";
import { failure } from "../../../src/engine/failure.ts";
import type { Gpu, GpuDemand, GpuGrant } from "../../../src/engine/gpu.ts";
import { hasSameGpus } from "../../../src/engine/gpu-demand.ts";
import type { GpuHolder, GpuScene, GpuWaiter, GpuWorker } from "../../../src/engine/gpu-queue.ts";
import { findPlaceable, judgeClaim, PATIENCE_MS } from "../../../src/engine/gpu-queue.ts";
import { unfitFailure, waitReason } from "../../../src/engine/gpu-reason.ts";
import { placeGpus } from "../../../src/engine/place-gpus.ts";
import { GPU_CANCEL_DEADLINE_MS } from "../../../src/engine/stop.ts";
import { Driver, makePlaybook, makeRule, makeTask } from "./harness.ts";

const seed = process.env["TEST_SEED"];
const OPTIONS = { numRuns: 300, ...(seed === undefined ? {} : { seed: Number(seed) }) };

function gpu(id: string, more: Partial<Gpu> = {}): Gpu {
  return { id, index: id, name: "NVIDIA A100", memoryMib: 40_000, state: "ready", ...more };
}

function demand(more: Partial<GpuDemand> = {}): GpuDemand {
  return { count: 1, types: [], isShared: false, ...more };
}

function share(id: string, memoryMib: number): GpuGrant {
  return { id, name: "NVIDIA A100", memoryMib, isShared: true };
}

function ids(grants: readonly GpuGrant[] | undefined): readonly string[] | undefined {
  return grants?.map(({ id }) => id);
}

describe("placeGpus()", () => {
  test("takes the smallest that fits, and of shared ones the fullest", () => {
    const gpus = [gpu("a", { memoryMib: 80_000 }), gpu("b"), gpu("c", { memoryMib: 20_000 })];
    expect(ids(placeGpus(demand(), gpus, []))).toEqual(["c"]);
    expect(ids(placeGpus(demand({ memoryMinMib: 30_000 }), gpus, []))).toEqual(["b"]);
    const shared = demand({ isShared: true, memoryMinMib: 10_000 });
    expect(ids(placeGpus(shared, gpus, [share("a", 60_000)]))).toEqual(["a"]);
    expect(ids(placeGpus(shared, gpus, [share("b", 25_000)]))).toEqual(["b"]);
    expect(ids(placeGpus(shared, gpus, [share("b", 35_000)]))).toEqual(["c"]);
  });

  test("takes only what is ready, of a type that was asked for, and not kept", () => {
    const gpus = [
      gpu("a", { state: "unclean" }),
      gpu("b", { state: "out_of_service" }),
      gpu("c", { name: "NVIDIA L4" }),
      gpu("d"),
    ];
    expect(ids(placeGpus(demand({ types: ["a100"] }), gpus, []))).toEqual(["d"]);
    expect(ids(placeGpus(demand({ types: ["H100", "l4"] }), gpus, []))).toEqual(["c"]);
    expect(placeGpus(demand({ types: ["a100"] }), gpus, [], new Set(["d"]))).toBeUndefined();
    expect(placeGpus(demand({ count: 3 }), gpus, [])).toBeUndefined();
  });

  test("takes several of one product if there are enough, else whatever fits", () => {
    const gpus = [gpu("a", { name: "L4" }), gpu("b"), gpu("c", { name: "L4" }), gpu("d")];
    expect(ids(placeGpus(demand({ count: 2 }), gpus, []))).toEqual(["a", "c"]);
    expect(ids(placeGpus(demand({ count: 3 }), gpus, []))).toEqual(["a", "b", "c"]);
  });

  test("gives slices by their profile, and never a GPU that is cut", () => {
    const slice = { parentId: "a", migProfile: "1g.5gb", memoryMib: 4864 };
    const gpus = [gpu("a"), gpu("s1", slice), gpu("s2", slice), gpu("b")];
    expect(ids(placeGpus(demand(), gpus, []))).toEqual(["b"]);
    expect(placeGpus(demand({ count: 2 }), gpus, [])).toBeUndefined();
    const wanted = demand({ count: 2, migProfile: "1g.5gb" });
    expect(ids(placeGpus(wanted, gpus, []))).toEqual(["s1", "s2"]);
    const whole = { id: "a", name: "x", memoryMib: 40_000, isShared: false };
    expect(placeGpus(wanted, gpus, [whole])).toBeUndefined();
  });

  const anyGpu = fc.record({
    id: fc.constantFrom("a", "b", "c", "d", "e"),
    name: fc.constantFrom("L4", "A100"),
    memoryMib: fc.integer({ min: 1, max: 100 }),
    state: fc.constantFrom("ready", "ready", "ready", "unclean", "out_of_service"),
  });
  const anyDemand = fc.record({
    count: fc.integer({ min: 1, max: 4 }),
    types: fc.constantFrom([], ["L4"], ["a100", "l4"]),
    memory: fc.option(fc.integer({ min: 1, max: 60 })),
    isShared: fc.boolean(),
  });

  test("never gives one GPU to two, or more memory than there is, whatever was asked before", () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(anyGpu, { selector: ({ id }) => id }),
        fc.array(fc.tuple(anyDemand, fc.nat()), { maxLength: 20 }),
        (facts, demands) => {
          const gpus = facts.map((fact) => gpu(fact.id, fact as Partial<Gpu>));
          let taken: GpuGrant[] = [];
          for (const [{ memory, isShared, ...rest }, released] of demands) {
            const memoryMinMib = memory ?? (isShared ? 1 : undefined);
            const wanted = {
              ...rest,
              isShared,
              ...(memoryMinMib === undefined ? {} : { memoryMinMib }),
            };
            const grants = placeGpus(wanted, gpus, taken);
            if (grants !== undefined) {
              expect(new Set(ids(grants)).size).toBe(wanted.count);
              taken.push(...grants);
            }
            checkTaken(gpus, taken);
            taken = taken.filter((_, index) => index !== released % (2 * taken.length + 1));
          }
        },
      ),
      OPTIONS,
    );
  });

  function checkTaken(gpus: readonly Gpu[], taken: readonly GpuGrant[]): void {
    for (const [id, own] of Map.groupBy(taken, (grant) => grant.id)) {
      const found = gpus.find((one) => one.id === id);
      expect(found?.state).toBe("ready");
      expect(own.length === 1 || own.every(({ isShared }) => isShared)).toBe(true);
      const sum = own.reduce((total, { memoryMib }) => total + memoryMib, 0);
      expect(sum).toBeLessThanOrEqual(found?.memoryMib ?? 0);
    }
  }
});

function worker(name: string, gpus: readonly Gpu[], more: Partial<GpuWorker> = {}): GpuWorker {
  const workerId = name as WorkerId;
  const rest = { pool: "gpu", isCluster: false, isDraining: false, freeSlots: 1 };
  return { workerId, name, gpus, ...rest, ...more };
}

function waiter(id: string, wish: GpuDemand, more: Partial<GpuWaiter> = {}): GpuWaiter {
  const commandId = id as CommandId;
  const executionId = "7" as ExecutionId;
  return { commandId, executionId, attempt: 1, pool: "gpu", waitedMs: 0, demand: wish, ...more };
}

function holder(gpuIds: readonly string[], sinceMs = 0): GpuHolder {
  const grants = gpuIds.map((id) => ({
    id,
    name: "NVIDIA A100",
    memoryMib: 40_000,
    isShared: false,
  }));
  const executionId = "5" as ExecutionId;
  return { executionId, commandId: "held" as CommandId, step: "train", sinceMs, grants };
}

describe("the queue", () => {
  const old = { waitedMs: PATIENCE_MS + 1 };

  test("lets a small one pass a large one that does not fit, but not for ever", () => {
    const one = worker("w", [gpu("a"), gpu("b")]);
    const small = waiter("small", demand());
    const scene = (large: GpuWaiter): GpuScene => ({
      workers: [one],
      holders: [holder(["a"])],
      waiters: [large, small],
    });
    const young = scene(waiter("large", demand({ count: 2 })));
    expect(judgeClaim(young, one, small)).toMatchObject({ kind: "given", to: small });
    const patient = scene(waiter("large", demand({ count: 2 }), old));
    expect(judgeClaim(patient, one, small)).toEqual({ kind: "waits" });
    expect(findPlaceable(patient, { max: 9, isSlotNeeded: false })).toEqual([]);
    expect(findPlaceable(young, { max: 9, isSlotNeeded: false })).toEqual([small]);
  });

  test("keeps GPUs for it on the worker that has most of them free, and leaves others alone", () => {
    const busy = worker("busy", [gpu("a"), gpu("b")]);
    const freer = worker("freer", [gpu("c"), gpu("d")]);
    const large = waiter("large", demand({ count: 2 }), old);
    const small = waiter("small", demand());
    const scene: GpuScene = {
      workers: [busy, freer],
      holders: [holder(["a", "b"]), holder(["d"])],
      waiters: [large, small],
    };
    expect(judgeClaim(scene, freer, small).kind).toBe("waits");
    const later = { ...scene, holders: [holder(["a"]), holder(["d"])] };
    // Both have one free now; the first by name is kept, the other one's is for everybody.
    expect(judgeClaim(later, busy, small).kind).toBe("elsewhere");
    expect(judgeClaim(later, freer, small).kind).toBe("given");
  });

  test("of a pool does not hold up another pool on GPUs that it does not need", () => {
    const one = worker("w", [gpu("a")]);
    const other = worker("v", [gpu("b")], { pool: "other" });
    const mine = waiter("mine", demand());
    const theirs = waiter("theirs", demand(), { pool: "other", ...old });
    const scene: GpuScene = {
      workers: [one, other],
      holders: [holder(["b"])],
      waiters: [theirs, mine],
    };
    expect(judgeClaim(scene, one, mine).kind).toBe("given");
  });

  test("is announced as far as there are GPUs and, for a sweep, slots", () => {
    const one = worker("w", [gpu("a"), gpu("b")], { freeSlots: 0 });
    const waiters = ["x", "y", "z"].map((id) => waiter(id, demand()));
    const scene: GpuScene = { workers: [one], holders: [], waiters };
    const found = findPlaceable(scene, { max: 9, isSlotNeeded: false });
    expect(found.map(({ commandId }) => String(commandId))).toEqual(["x", "y"]);
    expect(findPlaceable(scene, { max: 9, isSlotNeeded: true })).toEqual([]);
    expect(findPlaceable(scene, { max: 1, isSlotNeeded: false })).toHaveLength(1);
  });
});

describe("what people are told", () => {
  const one = worker("host", [gpu("a"), gpu("b", { state: "unclean", reason: "pid 7 is on it" })]);

  test("of a command that waits: who has the GPUs, and what is wrong with the others", () => {
    const scene = { workers: [one], holders: [holder(["a"], 1_700_000_000_000)], waiters: [] };
    expect(waitReason(scene, waiter("x", demand({ types: ["A100"] })))).toBe(
      "waiting for 1 GPU (A100) of pool gpu: 1 of 2 leased, the longest by step train of execution 5 since 2023-11-14T22:13:20.000Z; GPU b is not clean (pid 7 is on it)",
    );
  });

  test.each<[Partial<GpuDemand>, string]>([
    [{ count: 3 }, "At most 2 of one worker would fit"],
    [{ memoryMinMib: 50_000 }, "memory_min of at most 40000 MiB would fit"],
    [{ types: ["H100"] }, "type NVIDIA A100 would fit"],
    [{ migProfile: "1g.5gb" }, "Whole GPUs, without mig_profile, would fit"],
    [{ types: ["H100"], memoryMinMib: 50_000 }, "Name a pool that has such GPUs"],
  ])("of one that fits nowhere, %j: what would", (wish, advice) => {
    const scene = { workers: [one], holders: [], waiters: [] };
    const error = unfitFailure(scene, waiter("x", demand(wish)));
    expect(error.message).toContain("it has 2 × NVIDIA A100 of 40000 MiB on host");
    expect(error.message).toContain(advice);
  });
});

describe("the demand of a command", () => {
  function issued(task: Partial<Task>, workload = {}) {
    const run = new Driver(makePlaybook({ start: { tasks: [task] } }));
    run.start(workload);
    return run;
  }

  test("is rendered when the command is issued, and decides the pool", () => {
    const gpus: Json = { count: "{{ n }}", type: "{{ kind }}", memory_min: "{{ n }}Gi" };
    const { commands } = issued({ gpu: gpus }, { n: 2, kind: ["H100"] });
    const [command] = commands.values();
    expect(command?.pool).toBe("gpu");
    expect(command?.gpus).toEqual(demand({ count: 2, types: ["H100"], memoryMinMib: 2048 }));
  });

  test("is none where the template says so, and where a cluster chooses", () => {
    const [none] = issued({ gpu: "{{ n }}" }, { n: 0 }).commands.values();
    expect([none?.pool, none?.gpus]).toEqual(["cpu", undefined]);
    const config = { runtime: "{{ r }}" };
    const [cluster] = issued({ gpu: 1, config }, { r: "kubernetes" }).commands.values();
    expect([cluster?.pool, cluster?.gpus]).toEqual(["gpu", undefined]);
  });

  test("that makes no sense fails the step", () => {
    const run = issued({ gpu: "{{ n }}" }, { n: "many" });
    expect(run.state.status).toBe("failed");
    expect(run.state.failure).toMatchObject({
      kind: "schema",
      code: "GPU_INVALID",
      message:
        'The GPUs of task start cannot be chosen: the number of GPUs is a whole number from 0 to 64, or true, not "many"',
    });
  });

  test("is the same for a second task only if it surely is", () => {
    const same = (a: Json | undefined, b: Json | undefined): boolean =>
      hasSameGpus(wish(a), wish(b));
    expect(same(undefined, undefined)).toBe(true);
    expect(same(1, { count: 1 })).toBe(true);
    expect(same(1, 2)).toBe(false);
    expect(same(undefined, 1)).toBe(false);
    expect(same("{{ n }}", "{{ n }}")).toBe(false);
    const task = wish("{{ n }}");
    expect(hasSameGpus(task, task)).toBe(true);
    const runtime = makeTask("k", { gpu: 1, config: { runtime: "kubernetes" } });
    expect(hasSameGpus(runtime, wish(undefined))).toBe(true);
  });

  function wish(gpus: Json | undefined): Task {
    return makeTask("t", gpus === undefined ? {} : { gpu: gpus });
  }
});

describe("the log says what a command held", () => {
  const LEASE = { gpus: ["GPU-1"], isShared: false, workerId: "w" as WorkerId, sinceMs: 5 };

  function started(): { readonly run: Driver; readonly commandId: CommandId } {
    const run = new Driver(makePlaybook({ start: { tasks: [{ gpu: 1 }] } })).start();
    const { commandId } = run.open("start");
    run.leases.set(commandId, LEASE);
    return { run, commandId };
  }

  test.each<[string, (run: Driver, commandId: CommandId) => unknown]>([
    ["call.done", (run) => run.ok("start")],
    ["call.error", (run) => run.fail("start")],
    [
      "command.retried",
      (run, commandId) => run.give({ kind: "lease_expired", commandId, attempt: 1 }),
    ],
    [
      "command.retried",
      (run) => run.report("start", { status: "released", reason: "the worker stops" }),
    ],
    [
      "command.yielded",
      (run, commandId) => {
        const { pipeline } = run.commands.get(commandId)?.payload ?? run.open("start").payload;
        return run.report("start", { status: "yielded", pipeline, delayMs: 0 });
      },
    ],
    [
      "command.cancelled",
      (run) => {
        run.give({ kind: "cancel", reason: "enough" });
        return run.report("start", { status: "cancelled" });
      },
    ],
    [
      "command.cancelled",
      (run) => run.give({ kind: "finalize", status: "failed", reason: "enough" }),
    ],
  ])("%s", (type, end) => {
    const { run, commandId } = started();
    end(run, commandId);
    const found = run.events.map(({ event }) => event).find((event) => event.type === type);
    expect(found).toMatchObject({ commandId, lease: LEASE });
    const issued = run.events.find(({ event }) => event.type === "command.issued");
    expect(issued?.event).toMatchObject({ gpus: demand() });
  });
});

test("a cancelled command keeps its GPUs until it is gone, or for a quarter of an hour", () => {
  const run = new Driver(makePlaybook({ start: { tasks: [{ gpu: 1 }] } })).start();
  run.give({ kind: "cancel", reason: "enough" });
  const endMs = run.nowMs + GPU_CANCEL_DEADLINE_MS;
  while (run.state.status === "running") {
    expect(run.commands.size).toBe(1);
    run.fire("cancel_deadline");
  }
  expect(run.nowMs).toBeGreaterThanOrEqual(endMs);
  expect(run.state.status).toBe("cancelled");
});

describe("a command that nobody will have", () => {
  const error = failure("timeout", "it waited too long", { code: "QUEUE_TIMEOUT" });

  test("fails its task", () => {
    const run = new Driver(makePlaybook({ start: {} })).start();
    const { commandId } = run.open("start");
    run.give({ kind: "unclaimed", commandId, attempt: 1, error });
    expect(run.state.failure).toMatchObject({ code: "QUEUE_TIMEOUT", step: "start" });
    expect(run.give({ kind: "unclaimed", commandId, attempt: 1, error }).isStale).toBe(true);
  });

  test("is what the task's policy makes of it", () => {
    const when = "{{ output.error.code == 'QUEUE_TIMEOUT' }}";
    const rules = [makeRule({ when, action: "retry", attempts: 2 }), makeRule({ action: "fail" })];
    const policy = { mode: "exclusive", rules } as const;
    const run = new Driver(makePlaybook({ start: { tasks: [{ policy }] } })).start();
    const first = run.open("start").commandId;
    run.give({ kind: "unclaimed", commandId: first, attempt: 1, error });
    const second = run.open("start");
    expect(second.commandId).not.toBe(first);
    expect(second.payload.pipeline.tries).toBe(1);
    run.give({ kind: "unclaimed", commandId: second.commandId, attempt: 1, error });
    expect(run.state.failure).toMatchObject({ code: "QUEUE_TIMEOUT" });
    expect(run.isSameAsReplay()).toBe(true);
  });

  test("is handed out again with a whole time in the queue", () => {
    const tasks = [{ queueTimeoutMs: 9000 }];
    const run = new Driver(makePlaybook({ start: { tasks } })).start();
    const { commandId, queueTimeoutMs } = run.open("start");
    expect(queueTimeoutMs).toBe(9000);
    const { requeue } = run.give({ kind: "lease_expired", commandId, attempt: 1 });
    expect(requeue).toMatchObject([{ commandId, attempt: 2, queueTimeoutMs: 9000 }]);
  });
});
