import { afterEach, expect, test } from "bun:test";
import { rm } from "node:fs/promises";
import { connect } from "nats";
import type { Bus, BusEvent } from "../../../src/bus/bus.ts";
import { connectBus } from "../../../src/bus/bus.ts";
import type { CommandConsumer } from "../../../src/bus/command-consumer.ts";
import type { CommandId, ExecutionId } from "../../../src/core/ids.ts";
import type { CommandNotification, LogLine } from "../../../src/engine/command.ts";
import { createLogger } from "../../../src/observability/log.ts";
import { deleteStreams, startNats } from "../../support/nats.ts";
import { waitFor } from "../../support/wait.ts";

const log = createLogger({ level: "error", format: "json", component: "test", write: () => {} });
const EXECUTION = "321321321321321321" as ExecutionId;

const nats = await startNats();
let count = 0;
const opened: Bus[] = [];

afterEach(async () => {
  await Promise.all(opened.splice(0).map((bus) => bus.close()));
  await deleteStreams(nats.url, [`C_t${count}`, `L_t${count}`]);
});

/** A bus on streams of its own. */
async function openBus(onEvent: (event: BusEvent) => void = () => undefined): Promise<Bus> {
  const name = `t${++count}`;
  const bus = await connectBus({
    url: nats.url,
    name,
    log,
    stream: `C_${name}`,
    subjectPrefix: `commands.${name}`,
    logStream: `L_${name}`,
    logSubjectPrefix: `logs.${name}`,
    onEvent,
  });
  opened.push(bus);
  await bus.ensureStreams();
  return bus;
}

function notification(commandId: number): CommandNotification {
  return {
    executionId: EXECUTION,
    commandId: String(commandId) as CommandId,
    eventId: "1",
    step: "s",
    attempt: 1,
  };
}

/** Publishes as the relay does: again until it is stored. */
async function publish(bus: Bus, commandId: number): Promise<void> {
  const messageId = `${commandId}:1`;
  await waitFor("a stored message", async () => {
    await bus.publishCommand("cpu", notification(commandId), { messageId });
    return true;
  });
}

interface Taker {
  readonly consumer: CommandConsumer;
  readonly taken: string[];
  /** Resolves once the command was delivered. */
  take(commandId: number): Promise<unknown>;
}

/** Acknowledges what comes and always wants `slots` more. */
function takeAll(bus: Bus, slots = 2): Taker {
  const taken: string[] = [];
  const consumer = bus.consumeCommands("cpu", (messages) => {
    for (const message of messages) {
      message.ack();
      taken.push(message.notification.commandId);
    }
    consumer.want(slots);
  });
  consumer.want(slots);
  const take = (commandId: number) =>
    waitFor(`command ${commandId}`, () => taken.includes(String(commandId)));
  return { consumer, taken, take };
}

test("publishCommand() reaches a consumer of the pool, once per message id", async () => {
  const bus = await openBus();
  const { taken, take } = takeAll(bus);
  await publish(bus, 1);
  await publish(bus, 1);
  await publish(bus, 2);
  await take(2);
  expect(taken).toEqual(["1", "2"]);
});

test("consumeCommands() takes no more than it has slots for", async () => {
  const bus = await openBus();
  const taken: string[] = [];
  const consumer = bus.consumeCommands("cpu", (messages) => {
    taken.push(...messages.map((message) => message.notification.commandId));
  });
  consumer.want(3);
  await Promise.all([1, 2, 3, 4, 5].map((id) => publish(bus, id)));
  const lag = await waitFor("three deliveries", async () => {
    const found = await bus.lag("cpu");
    return found?.unackedCount === 3 && taken.length === 3 ? found : undefined;
  });
  expect(lag).toEqual({ pendingCount: 2, unackedCount: 3, redeliveredCount: 0 });
  consumer.want(1);
  await waitFor("the fourth", () => taken.length === 4);
  expect((await bus.lag("cpu"))?.pendingCount).toBe(1);
});

test("nak() delivers the message again", async () => {
  const bus = await openBus();
  const seen: number[] = [];
  const consumer = bus.consumeCommands("cpu", (messages) => {
    for (const message of messages) {
      seen.push(seen.length);
      if (seen.length === 1) {
        message.nak(50);
      } else {
        message.ack();
      }
    }
    consumer.want(1);
  });
  consumer.want(1);
  await publish(bus, 1);
  await waitFor("the second delivery", () => seen.length === 2);
  await waitFor("no open delivery", async () => (await bus.lag("cpu"))?.unackedCount === 0);
  expect(seen).toEqual([0, 1]);
});

test("an undecodable message is removed and counted", async () => {
  const events: BusEvent[] = [];
  const bus = await openBus((event) => events.push(event));
  const { take } = takeAll(bus);
  const raw = await connect({ servers: nats.url.replace("nats://", "") });
  await raw.jetstream().publish(`commands.t${count}.cpu.1`, "not a notification");
  await raw.close();
  await publish(bus, 7);
  await take(7);
  expect(events).toEqual([{ type: "undecodable", pool: "cpu" }]);
});

test("consumeCommands() goes on after its consumer and its stream were deleted", async () => {
  const events: BusEvent[] = [];
  const bus = await openBus((event) => events.push(event));
  const { take } = takeAll(bus);
  await publish(bus, 1);
  await take(1);
  const before = await bus.streamIdentity();

  const raw = await connect({ servers: nats.url.replace("nats://", "") });
  const manager = await raw.jetstreamManager();
  await manager.consumers.delete(`C_t${count}`, "noetl_worker_cpu");
  await publish(bus, 2);
  await take(2);
  await manager.streams.delete(`C_t${count}`);
  await raw.close();
  // What the deleted stream held is gone: a sender notices by the identity and sends again.
  await waitFor("another stream", async () => (await bus.streamIdentity()) !== before);
  await publish(bus, 3);
  await take(3);
  expect(events.filter(({ type }) => type === "repaired").length).toBeGreaterThanOrEqual(1);
});

test("publishCommand() makes a missing stream", async () => {
  const bus = await openBus();
  const raw = await connect({ servers: nats.url.replace("nats://", "") });
  await (await raw.jetstreamManager()).streams.delete(`C_t${count}`);
  await raw.close();
  await bus.publishCommand("cpu", notification(1), { messageId: "1:1" });
  const { take } = takeAll(bus);
  await take(1);
  expect(await bus.lag("cpu")).toBeDefined();
});

test("a killed and restarted nats-server is survived, its store with it", async () => {
  const events: BusEvent[] = [];
  const bus = await openBus((event) => events.push(event));
  const { take } = takeAll(bus);
  await publish(bus, 1);
  await take(1);

  process.kill(nats.pid, "SIGKILL");
  await waitFor("the loss", () => events.some(({ type }) => type === "disconnected"));
  await publish(bus, 2);
  await take(2);

  await rm(nats.storeDir, { recursive: true, force: true });
  process.kill(nats.pid, "SIGKILL");
  await waitFor(
    "both losses",
    () => events.filter(({ type }) => type === "disconnected").length >= 2,
  );
  await publish(bus, 3);
  await take(3);
  expect(bus.isConnected).toBe(true);
});

test("publishCommand() fails at once while NATS is away", async () => {
  const bus = await openBus();
  process.kill(nats.pid, "SIGKILL");
  await waitFor("the loss", () => !bus.isConnected);
  const error = await bus
    .publishCommand("cpu", notification(1), { messageId: "1:1" })
    .catch((cause: unknown) => cause);
  expect(error).toMatchObject({ kind: "unavailable", code: "BUS_UNAVAILABLE" });
  await waitFor("the way back", () => bus.isConnected);
});

function line(step: string, text: string): LogLine {
  return {
    executionId: EXECUTION,
    commandId: "5" as CommandId,
    attempt: 1,
    step,
    task: "t",
    stream: "stdout",
    timeMs: 1,
    text,
  };
}

test("readLogs() pages through an execution's lines", async () => {
  const bus = await openBus();
  await bus.publishLogs([line("a", "1"), line("a", "2")]);
  await bus.publishLogs([line("b.c", "3")]);
  await bus.publishLogs([line("a", "4")]);

  const texts = async (query: { step?: string; afterSeq?: number; limit: number }) => {
    const page = await bus.readLogs(EXECUTION, query);
    return [page.lastSeq, ...page.lines.map(({ text }) => text)];
  };
  expect(await texts({ limit: 100 })).toEqual([3, "1", "2", "3", "4"]);
  expect(await texts({ limit: 1 })).toEqual([1, "1", "2"]);
  expect(await texts({ limit: 100, afterSeq: 1 })).toEqual([3, "3", "4"]);
  expect(await texts({ limit: 100, step: "b.c" })).toEqual([2, "3"]);
  expect(await texts({ limit: 100, afterSeq: 3 })).toEqual([3]);
});

test("followLogs() gives what is there and then what comes, until aborted", async () => {
  const bus = await openBus();
  await bus.publishLogs([line("a", "1")]);
  const stop = new AbortController();
  const texts: string[] = [];
  for await (const page of bus.followLogs(EXECUTION, { signal: stop.signal })) {
    texts.push(...page.lines.map(({ text }) => text));
    if (texts.length === 1) {
      await bus.publishLogs([line("a", "2")]);
    } else {
      stop.abort();
    }
  }
  expect(texts).toEqual(["1", "2"]);
});

test("close() gives back what was on its way and lets others take it", async () => {
  const bus = await openBus();
  const first = bus.consumeCommands("cpu", () => undefined);
  first.want(1);
  await first.close();
  await publish(bus, 1);
  const { take } = takeAll(bus);
  await take(1);
  expect(first.silenceMs).toBeGreaterThanOrEqual(0);
});
