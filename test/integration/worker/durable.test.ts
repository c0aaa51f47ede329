/** Commands whose work outlives their worker: found again, let go of, parked, handed over. */
import { afterEach, describe, expect, test } from "bun:test";
import type { CommandId } from "../../../src/core/ids.ts";
import type { Rule, Task } from "../../../src/dsl/playbook.ts";
import type {
  AdoptionAnswer,
  AdoptionQuestion,
  GrantedCommand,
} from "../../../src/engine/command.ts";
import type { WorkerOptions } from "../../../src/worker/options.ts";
import { startNats } from "../../support/nats.ts";
import { waitFor } from "../../support/wait.ts";
import { Boxes, BoxTool, HeldBack, machineOf } from "./boxes.ts";
import { TestPlatform, task } from "./platform.ts";

const nats = await startNats();
let count = 0;
let current: TestPlatform | undefined;

const GPU_1 = { id: "GPU-1", name: "L4", memoryMib: 1, isShared: false };

interface Place {
  readonly platform: TestPlatform;
  readonly boxes: Boxes;
  readonly tool: BoxTool;
  readonly questions: AdoptionQuestion[];
  run(options?: Partial<WorkerOptions>): ReturnType<TestPlatform["runWorker"]>;
}

async function start(isCluster = false): Promise<Place> {
  const platform = await TestPlatform.start(nats.url, `d${++count}`);
  current = platform;
  const boxes = new Boxes(isCluster);
  const tool = new BoxTool(boxes);
  const questions: AdoptionQuestion[] = [];
  const answer = platform.adoptionOf;
  platform.adoptionOf = (workerId, question) => {
    questions.push(question);
    return answer(workerId, question);
  };
  const run: Place["run"] = (options) =>
    platform.runWorker({ ...machineOf(boxes, tool), ...options });
  return { platform, boxes, tool, questions, run };
}

afterEach(async () => {
  await current?.[Symbol.asyncDispose]();
  current = undefined;
});

function box(config: Task["config"] = {}, more: Partial<Task> = {}): Task {
  return { ...task("box", config, more), kind: "box" };
}

/** From now on the platform says that the worker has the command. */
function adopt({ platform, questions }: Place, commandId: string, more: object = {}): void {
  platform.adoptionOf = (_workerId, question): AdoptionAnswer<GrantedCommand> => {
    questions.push(question);
    const stored = platform.commands.get(commandId);
    if (stored === undefined || question.held.commandId !== commandId) {
      return { status: "disowned" };
    }
    stored.status = "running";
    const { executionId, attempt } = question.held;
    const held = {
      executionId,
      commandId: commandId as CommandId,
      attempt,
      claimedAtMs: Date.now(),
    };
    return {
      status: "adopted",
      command: { ...held, payload: JSON.stringify(stored.payload), ...more },
    };
  };
}

describe("containers of a dead worker", () => {
  test("are adopted: their commands run on, are held and reported, and then they go", async () => {
    const place = await start();
    const { platform, boxes, tool, questions } = place;
    const id = await platform.queue([box()]);
    platform.commands.clear();
    const other = await platform.queue([box()]);
    const stored = platform.commands.get(other);
    platform.commands.set(id, {
      payload: stored?.payload as never,
      attempt: 1,
      status: "running",
      claimCount: 1,
    });
    boxes.leave({ commandId: id });
    adopt(place, id, { loggedUntilMs: 77 });
    place.run({ slots: 1 });
    await waitFor("the adopted command", () => tool.isRunning(id));
    expect(questions[0]).toMatchObject({
      held: { commandId: id, attempt: 1 },
      ...{ ownerId: "old", isOwnerDead: true, isReusable: false },
    });
    expect(tool.contexts[0]?.command).toMatchObject({
      commandId: id,
      adopted: { loggedUntilMs: 77 },
    } as never);
    await waitFor("a heartbeat that holds it", () =>
      platform.heartbeats.at(-1)?.held.some(({ commandId }) => commandId === id),
    );
    // It takes the only slot.
    expect(platform.heartbeats.at(-1)?.freeSlots).toBe(0);
    tool.end(id);
    expect(await platform.outcome(id)).toMatchObject({ status: "ok", value: `${id}-1` });
    await waitFor("the box to go", () => !boxes.boxes.has(`${id}-1`));
    expect(boxes.history).toEqual([`remove ${id}-1`]);
  });

  test("that nobody owns are stopped and removed, and keep their GPUs until then", async () => {
    const { platform, boxes, questions, run } = await start();
    boxes.leave({ commandId: "77", attempt: 3 }, ["GPU-1"]);
    boxes.leave({ commandId: "78", platformId: "another" }, ["GPU-2"]);
    let isLater = true;
    platform.adoptionOf = (_workerId, question) => {
      questions.push(question);
      return { status: isLater ? "later" : "disowned" };
    };
    const gpus = new HeldBack();
    run({ gpus });
    await waitFor("the first look", () => gpus.held.length === 1 && gpus.held[0] !== "all");
    expect(gpus.held).toEqual([["GPU-1"]]);
    isLater = false;
    await waitFor("the box to go", () => !boxes.boxes.has("77-3"));
    await waitFor("its GPU", () => gpus.held.length === 0);
    expect(boxes.history).toEqual(["stop 77-3", "remove 77-3"]);
    expect([...boxes.boxes.keys()]).toEqual(["78-1"]);
    expect(questions.every(({ held }) => held.commandId === "77")).toBe(true);
  });

  test("hold all GPUs back as long as their runtime or the servers do not answer", async () => {
    const { platform, boxes, run } = await start();
    boxes.isDown = true;
    boxes.leave({ commandId: "77" }, ["GPU-1"]);
    const gpus = new HeldBack();
    run({ gpus });
    // It works all the same.
    const id = await platform.queue([task("t", { do: "give", value: 1 })]);
    expect(await platform.outcome(id)).toMatchObject({ status: "ok" });
    expect(gpus.held).toEqual(["all"]);
    boxes.isDown = false;
    await waitFor("all GPUs", () => gpus.held.length === 0);
    expect(boxes.history).toEqual(["stop 77-1", "remove 77-1"]);
  });

  test("of a cluster are asked about as what a later attempt goes on with", async () => {
    const { boxes, questions, run } = await start(true);
    boxes.leave({ commandId: "77" });
    run();
    await waitFor("a question", () => questions.length > 0);
    expect(questions[0]?.isReusable).toBe(true);
  });
});

describe("a durable task", () => {
  test("that is cancelled is stopped before that is said, and then removed", async () => {
    const { platform, boxes, tool, run } = await start();
    run();
    const id = await platform.queue([box()]);
    await waitFor("the box", () => tool.isRunning(id));
    platform.direct({ kind: "cancel", commandId: id as CommandId, attempt: 1 });
    expect(await platform.outcome(id)).toEqual({ status: "cancelled" });
    await waitFor("the box to go", () => boxes.boxes.size === 0);
    expect(boxes.history).toEqual([`stop ${id}-1`, `remove ${id}-1`]);
  });

  test("whose lease is lost is left, and ended when a server disowns it", async () => {
    const { platform, boxes, tool, questions, run } = await start();
    run();
    const id = await platform.queue([box()]);
    await waitFor("the box", () => tool.isRunning(id));
    platform.direct({ kind: "lost", commandId: id as CommandId, attempt: 1 });
    await waitFor("the box to go", () => boxes.boxes.size === 0);
    expect(boxes.history).toEqual([`leave ${id}-1`, `stop ${id}-1`, `remove ${id}-1`]);
    expect(questions.at(-1)).toMatchObject({ ownerId: "w", isOwnerDead: true });
    expect(platform.reports).toEqual([]);
  });

  test("whose report is refused is ended only when a server disowns it", async () => {
    const place = await start();
    const { platform, boxes, tool, questions, run } = place;
    let isMine = true;
    platform.adoptionOf = (_workerId, question) => {
      questions.push(question);
      return { status: isMine ? "later" : "disowned" };
    };
    run();
    const id = await platform.queue([box()]);
    await waitFor("the box", () => tool.isRunning(id));
    const stored = platform.commands.get(id);
    platform.commands.delete(id);
    tool.end(id);
    await waitFor("a question", () => questions.length > 0);
    expect(boxes.history).toEqual([]);
    expect(tool.settledCommands).toEqual([]);
    expect(stored?.claimCount).toBe(1);
    isMine = false;
    await waitFor("the box to go", () => boxes.boxes.size === 0);
  });

  test("outlives an outage of all servers, and its worker takes it up again", async () => {
    const place = await start();
    const { platform, boxes, tool, run } = place;
    platform.leaseMs = 600;
    run();
    const id = await platform.queue([box()]);
    adopt(place, id);
    await waitFor("the box", () => tool.isRunning(id));
    await platform.stopServer();
    await waitFor("the lost lease", () => boxes.history.includes(`leave ${id}-1`));
    await platform.startServer();
    await waitFor("the box again", () => tool.contexts.length === 2 && tool.isRunning(id));
    tool.end(id);
    expect(await platform.outcome(id)).toMatchObject({ status: "ok" });
    expect(boxes.history.filter((entry) => entry.startsWith("stop"))).toEqual([]);
  });

  test("begins when the container of an earlier attempt is gone", async () => {
    const { platform, boxes, tool, run } = await start();
    const id = await platform.queue([box()]);
    boxes.leave({ commandId: id, process: "1:1:1" });
    platform.adoptionOf = () => ({ status: "later" });
    run();
    await waitFor("the first attempt", () => tool.isRunning(id));
    platform.direct({ kind: "lost", commandId: id as CommandId, attempt: 1 });
    await waitFor("the box that was left", () => boxes.history.includes(`leave ${id}-1`));
    platform.adoptionOf = () => ({ status: "disowned" });
    await platform.requeue(id);
    await waitFor("the second attempt", () => tool.isRunning(id, 2));
    expect(boxes.history.slice(-2)).toEqual([`stop ${id}-1`, `remove ${id}-1`]);
    tool.end(id, 2);
    expect(await platform.outcome(id)).toMatchObject({ status: "ok" });
  });

  test("has a command of its own: earlier tasks and tries are in the payload", async () => {
    const { platform, tool, run } = await start();
    run();
    const policy = (more: Partial<Rule>): Partial<Task> => ({
      policy: {
        rules: [
          {
            action: "retry",
            set: [],
            attempts: 3,
            backoff: "fixed",
            delay: 0,
            hasJitter: false,
            ...more,
          },
        ],
      } as never,
    });
    const piped = await platform.queue([task("a", { do: "give", value: 7 }), box()]);
    expect(await platform.outcome(piped)).toMatchObject({
      status: "yielded",
      pipeline: { position: 1, results: { a: 7 } },
      delayMs: 0,
    });
    const retried = await platform.queue([box({ fail: true }, policy({ delay: 1 }))]);
    expect(await platform.outcome(retried)).toMatchObject({
      status: "yielded",
      pipeline: { position: 0, tries: 1 },
      delayMs: 1000,
    });
    expect(tool.contexts).toHaveLength(1);
  });

  test("yields for a task that wants other GPUs", async () => {
    const { platform, run } = await start();
    run();
    const give = (label: string, more: Partial<Task> = {}): Task =>
      task(label, { do: "give", value: label }, more);
    const one = await platform.queue([give("a"), give("b", { gpu: 1 })]);
    expect(await platform.outcome(one)).toMatchObject({ status: "yielded", delayMs: 0 });
    const two = await platform.queue([give("a", { gpu: 1 }), give("b", { gpu: 1 }), give("c")]);
    expect(await platform.outcome(two)).toMatchObject({ pipeline: { position: 2 } });
  });

  test("with GPUs begins when what others have left on them is gone", async () => {
    const { platform, boxes, tool, run } = await start();
    const inventory = new HeldBack();
    run({ gpus: inventory });
    await waitFor("the first look", () => platform.heartbeats.length > 0 && inventory.isFree);
    boxes.leave({ commandId: "77" }, ["GPU-1"]);
    const id = await platform.queue([box()], {}, [GPU_1]);
    await waitFor("the box", () => tool.isRunning(id));
    expect(boxes.history).toEqual(["stop 77-1", "remove 77-1"]);
    expect(inventory.held).toEqual([]);
  });

  test("with GPUs does not begin as long as a container on them cannot be removed", async () => {
    const { platform, boxes, tool, run } = await start();
    const inventory = new HeldBack();
    run({ gpus: inventory });
    await waitFor("the first look", () => platform.heartbeats.length > 0 && inventory.isFree);
    boxes.leave({ commandId: "77" }, ["GPU-1"]);
    boxes.isStuck = true;
    const id = await platform.queue([box()], {}, [GPU_1]);
    await waitFor("the second try to remove it", () => boxes.history.length >= 2);
    expect(tool.contexts).toEqual([]);
    boxes.isStuck = false;
    await waitFor("the box", () => tool.isRunning(id));
    expect([...boxes.boxes.keys()]).toEqual([`${id}-1`]);
  });

  test("ends one that a server has ended meanwhile, and whose GPUs it is given", async () => {
    const { platform, boxes, tool, run } = await start();
    run({ gpus: new HeldBack() });
    const first = await platform.queue([box()], {}, [GPU_1]);
    await waitFor("the first box", () => tool.isRunning(first));
    // Nobody has told its worker yet.
    platform.commands.delete(first);
    const second = await platform.queue([box()], {}, [GPU_1]);
    await waitFor("the second box", () => tool.isRunning(second));
    expect(boxes.history).toEqual([`leave ${first}-1`, `stop ${first}-1`, `remove ${first}-1`]);
  });

  test("whose lease is lost keeps its GPUs from others until its container is gone", async () => {
    const { platform, tool, run } = await start();
    const inventory = new HeldBack();
    platform.adoptionOf = () => ({ status: "later" });
    run({ gpus: inventory });
    const id = await platform.queue([box()], {}, [GPU_1]);
    await waitFor("the box", () => tool.isRunning(id));
    platform.direct({ kind: "lost", commandId: id as CommandId, attempt: 1 });
    await waitFor("no lease", () => inventory.leases.length === 0);
    expect(inventory.heldAtRelease).toEqual([["GPU-1"]]);
  });

  test("is not shown with free GPUs before its machine was looked at", async () => {
    const { platform, run } = await start();
    const inventory = new HeldBack();
    const seen: unknown[] = [];
    inventory.current = () => {
      seen.push([...inventory.held]);
      return [];
    };
    run({ gpus: inventory });
    await waitFor("a registration", () => platform.registrations.length > 0);
    expect(seen[0]).toEqual(["all"]);
  });

  test("holds its GPUs in the inventory until its report is accepted", async () => {
    const place = await start();
    const { platform, tool, boxes, run } = place;
    const id = await platform.queue([box()]);
    const gpus = [{ id: "GPU-1", name: "L4", memoryMib: 1, isShared: false }];
    boxes.leave({ commandId: id });
    adopt(place, id, { gpus });
    const inventory = new HeldBack();
    run({ gpus: inventory, slots: 1 });
    await waitFor("the box", () => tool.isRunning(id));
    expect(inventory.leases).toMatchObject([{ gpuId: "GPU-1", commandId: id, step: "step" }]);
    tool.end(id);
    await platform.outcome(id);
    await waitFor("no lease", () => inventory.leases.length === 0);
  });
});

describe("a parked command", () => {
  test("is held and renewed in no slot, and others run meanwhile", async () => {
    const { platform, tool, run } = await start();
    const { worker } = run({ slots: 1 });
    const parked = await platform.queue([box({ park: true })]);
    await waitFor("the box", () => tool.isRunning(parked));
    const second = await platform.queue([task("t", { do: "give", value: 2 })]);
    expect(await platform.outcome(second)).toMatchObject({ value: 2 });
    expect(worker.status).toMatchObject({ slots: 1, parked: 1 });
    await waitFor("a heartbeat", () => {
      const { held = [], freeSlots } = platform.heartbeats.at(-1) ?? {};
      return held.length === 1 && held[0]?.commandId === parked && freeSlots === 1;
    });
    tool.end(parked);
    expect(await platform.outcome(parked)).toMatchObject({ status: "ok" });
    await waitFor("nothing held", () => worker.status.parked === 0);
  });

  test("goes on in a slot, or yields when none is free", async () => {
    const { platform, tool, run } = await start();
    run({ slots: 1 });
    const tasks = [box({ park: true }), task("t", { do: "give", value: 2 })];
    const first = await platform.queue(tasks);
    await waitFor("the box", () => tool.isRunning(first));
    tool.end(first);
    expect(await platform.outcome(first)).toMatchObject({ status: "ok" });
    const second = await platform.queue(tasks);
    await waitFor("the box", () => tool.isRunning(second));
    const busy = await platform.queue([task("t", { do: "hang" })]);
    await platform.running(busy);
    tool.end(second);
    expect(await platform.outcome(second)).toMatchObject({
      status: "yielded",
      pipeline: { position: 1 },
    });
  });

  test("keeps its slot when too many are parked", async () => {
    const { platform, tool, run } = await start();
    const { worker } = run({ slots: 2, parkedMax: 1 });
    const ids = [await platform.queue([box({ park: true })])];
    await waitFor("the first box", () => tool.isRunning(ids[0] ?? ""));
    ids.push(await platform.queue([box({ park: true })]));
    await waitFor("the second box", () => tool.isRunning(ids[1] ?? ""));
    expect(worker.status).toMatchObject({ parked: 1, freeSlots: 1 });
  });
});

describe("a worker that is told to stop", () => {
  test("waits for durable tasks, then stops them and hands their commands back", async () => {
    const { platform, boxes, tool, run } = await start();
    const { stop } = run();
    const id = await platform.queue([box({ slow: 50 })]);
    await waitFor("the box", () => tool.isRunning(id));
    await stop();
    expect(await platform.outcome(id)).toMatchObject({ status: "released" });
    expect(boxes.history).toEqual([`stop ${id}-1`, `remove ${id}-1`]);
    expect(platform.deregistered).toHaveLength(1);
  });

  test("stops them at once if it shall", async () => {
    const { platform, boxes, tool, run } = await start();
    const { stop } = run({ drain: "stop", graceMs: 600_000 });
    const id = await platform.queue([box()]);
    const plain = await platform.queue([task("t", { do: "hang" })]);
    await waitFor("the box", () => tool.isRunning(id));
    await platform.running(plain);
    await stop();
    expect(await platform.outcome(id)).toMatchObject({ status: "released" });
    expect(await platform.outcome(plain)).toMatchObject({ status: "released" });
    expect(boxes.boxes.size).toBe(0);
  });

  test("leaves them to the next worker if it shall, which takes them over", async () => {
    const place = await start();
    const { platform, boxes, tool, run } = place;
    const { stop } = run({ drain: "leave" });
    const id = await platform.queue([box({}, { isIdempotent: false })]);
    const plain = await platform.queue([task("t", { do: "hang" })]);
    await waitFor("the box", () => tool.isRunning(id));
    await platform.running(plain);
    await stop();
    expect(await platform.outcome(plain)).toMatchObject({ status: "released" });
    expect(platform.reports.map(({ commandId }) => commandId)).toEqual([plain as CommandId]);
    expect(boxes.history).toEqual([`leave ${id}-1`]);
    expect(platform.deregistered).toEqual([]);
    adopt(place, id);
    run();
    await waitFor("the box again", () => tool.isRunning(id));
    tool.end(id);
    expect(await platform.outcome(id)).toMatchObject({ status: "ok" });
  });

  test("hands back what has left no container", async () => {
    const { platform, boxes, tool, run } = await start();
    const { stop } = run({ drain: "leave" });
    const id = await platform.queue([box()]);
    await waitFor("the box", () => tool.isRunning(id));
    boxes.boxes.clear();
    await stop();
    expect(await platform.outcome(id)).toMatchObject({ status: "released" });
    expect(platform.deregistered).toHaveLength(1);
  });

  test("releases what is parked at once, without ending it, whatever may run twice", async () => {
    const { platform, boxes, tool, run } = await start();
    const { stop } = run({ graceMs: 600_000 });
    const id = await platform.queue([box({ park: true }, { isIdempotent: false })]);
    await waitFor("the box", () => tool.isRunning(id));
    await stop();
    expect(await platform.outcome(id)).toMatchObject({ status: "released" });
    expect(boxes.history).toEqual([`leave ${id}-1`]);
    expect(tool.settledCommands).toEqual([]);
    expect(platform.deregistered).toHaveLength(1);
  });

  test("fails what it has stopped and what may not run twice", async () => {
    const { platform, boxes, tool, run } = await start();
    const { stop } = run();
    const id = await platform.queue([box({}, { isIdempotent: false })]);
    await waitFor("the box", () => tool.isRunning(id));
    await stop();
    expect(await platform.outcome(id)).toMatchObject({
      status: "error",
      error: { kind: "worker_lost" },
    });
    expect(boxes.boxes.size).toBe(0);
  });
});
