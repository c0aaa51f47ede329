import { expect, setDefaultTimeout, test } from "bun:test";
import type { JetStreamClient, NatsConnection } from "nats";
import { connect, headers } from "nats";
import type { TransactionSql } from "postgres";
import type { Pool, Store } from "../../../src/store/pool.ts";
import { waitFor } from "../../support/wait.ts";
import type { Server, World } from "./harness.ts";
import { createWorld, executionsOf, playbook, startServer } from "./harness.ts";

setDefaultTimeout(60_000);

const PATH = "tests/received";

function subscription(spec: object, path = "subs/orders"): string {
  return JSON.stringify({
    apiVersion: "noetl.io/v1",
    kind: "Subscription",
    metadata: { name: path.replace("/", "_"), path },
    spec: {
      source: "nats",
      mode: "pull",
      nats: { stream: "ORDERS", subject: "orders.>", ack_wait: "2s" },
      dispatch: { playbook: PATH },
      ...spec,
    },
  });
}

interface Publisher extends AsyncDisposable {
  readonly connection: NatsConnection;
  readonly stream: JetStreamClient;
}

/** A stream of orders, and somebody who publishes to it. */
async function publisher({ nats }: World): Promise<Publisher> {
  const connection = await connect({ servers: nats.url });
  const manager = await connection.jetstreamManager();
  await manager.streams.add({ name: "ORDERS", subjects: ["orders.>"] });
  return {
    connection,
    stream: connection.jetstream(),
    [Symbol.asyncDispose]: async () => await connection.close(),
  };
}

async function numbersOf(world: World, path = PATH): Promise<readonly number[]> {
  const executions = await executionsOf(world, path);
  return executions
    .map(({ payload }) => (payload as { n: number }).n)
    .sort((left, right) => left - right);
}

function upTo(count: number): readonly number[] {
  return Array.from({ length: count }, (_, n) => n);
}

/** Messages that the subscription has not acknowledged. */
async function pendingCount({ connection }: Publisher, durable: string): Promise<number> {
  const manager = await connection.jetstreamManager();
  const info = await manager.consumers.info("ORDERS", durable);
  return info.num_pending + info.num_ack_pending;
}

const DURABLE = "noetl_subscription_subs_orders";

async function stateOf(server: Server, path = "subs/orders") {
  const { body } = await server.call("GET", `/api/subscriptions/${encodeURIComponent(path)}`);
  return body;
}

async function act(server: Server, action: string) {
  return await server.call("POST", `/api/subscriptions/subs%2Forders/${action}`);
}

test("each message starts one execution and is acknowledged, whatever its form", async () => {
  await using world = await createWorld();
  await using server = await startServer(world);
  await using nats = await publisher(world);
  await server.register(playbook(PATH));
  expect((await server.register(subscription({}))).body.kind).toBe("subscription");
  await nats.stream.publish("orders.new", '{"n": 1, "id": 12345678901234567890}');
  await nats.stream.publish("orders.new", "just text");
  await nats.stream.publish("orders.new", new Uint8Array([255, 0, 254]));
  const executions = await waitFor("three executions", async () => {
    const found = await executionsOf(world, PATH);
    return found.length === 3 && found;
  });
  expect(executions.map(({ payload }) => payload)).toEqual([
    { n: 1, id: "12345678901234567890" },
    { data: "just text" },
    { data: "/wD+" },
  ]);
  await waitFor("acknowledgements", async () => (await pendingCount(nats, DURABLE)) === 0);
  const { body } = await server.call("GET", "/api/subscriptions/subs%2Forders/dispatches");
  expect(body.dispatches).toHaveLength(3);
  expect(await stateOf(server)).toMatchObject({ state: "active", holder: server.serverId });
});

test("a server that is gone is followed by another: no message lost, none twice", async () => {
  await using world = await createWorld();
  await using nats = await publisher(world);
  await using other = await startServer(world);
  let first: Server | undefined = await startServer(world);
  await other.register(playbook(PATH));
  await other.register(subscription({}));
  const count = 300;
  const publishing = (async () => {
    for (const n of upTo(count)) {
      await nats.stream.publish("orders.new", JSON.stringify({ n }));
    }
  })();
  // Whoever holds it goes, however far it got.
  await waitFor("the first executions", async () => (await executionsOf(world, PATH)).length > 20);
  const holder = (await stateOf(other)).holder;
  if (holder === first.serverId) {
    await first[Symbol.asyncDispose]();
    first = undefined;
  } else {
    await world.db.sql`UPDATE noetl.subscription SET holder = 'a dead one', lease_until = now()`;
  }
  await publishing;
  await waitFor("all executions", async () => (await executionsOf(world, PATH)).length >= count);
  await waitFor("acknowledgements", async () => (await pendingCount(nats, DURABLE)) === 0);
  expect(await numbersOf(world)).toEqual(upTo(count));
  await first?.[Symbol.asyncDispose]();
});

test("a message that comes again after its commit is known", async () => {
  await using world = await createWorld();
  await using nats = await publisher(world);
  await using server = await startServer(world);
  await server.register(playbook(PATH));
  await server.register(subscription({}));
  await nats.stream.publish("orders.new", '{"n": 0}');
  await waitFor("the execution", async () => (await executionsOf(world, PATH)).length === 1);
  // The consumer is made anew and delivers everything again.
  await act(server, "pause");
  await waitFor("no holder", async () => (await stateOf(server)).holder === null);
  const manager = await nats.connection.jetstreamManager();
  await manager.consumers.delete("ORDERS", DURABLE);
  await act(server, "resume");
  await nats.stream.publish("orders.new", '{"n": 1}');
  await waitFor("the new one", async () => (await executionsOf(world, PATH)).length === 2);
  await waitFor("acknowledgements", async () => (await pendingCount(nats, DURABLE)) === 0);
  expect(await numbersOf(world)).toEqual([0, 1]);
});

test("what was accepted by a server that died before it started it is started by another", async () => {
  await using world = await createWorld();
  await using nats = await publisher(world);
  await using server = await startServer(world);
  await server.register(playbook(PATH));
  await server.register(subscription({}));
  await nats.stream.publish("orders.new", '{"n": 7}');
  const [before] = await waitFor("the execution", async () => {
    const found = await executionsOf(world, PATH);
    return found.length === 1 && found;
  });
  await waitFor("the mark", async () => {
    const rows = await world.db.sql`
      UPDATE noetl.subscription_dispatch
      SET status = 'accepted', execution_id = NULL, is_open = false, messages = '[{"data":{"n":7}}]'
      WHERE status = 'started'
      RETURNING dispatch_id`;
    return rows.length === 1;
  });
  await world.db.sql`UPDATE noetl.subscription SET revision = revision + 1`;
  const started = await waitFor("the mark again", async () => {
    const { body } = await server.call("GET", "/api/subscriptions/subs%2Forders/dispatches");
    return body.dispatches[0].status === "started" && body.dispatches[0];
  });
  expect(started.execution_id).toBe(before?.executionId);
  expect(await executionsOf(world, PATH)).toHaveLength(1);
});

test("messages whose commit was not answered are dispatched all the same", async () => {
  await using world = await createWorld();
  await using nats = await publisher(world);
  const answers = { lost: 0, toLose: 0 };
  await using server = await startServer(world, (store) => losing(store, answers));
  await server.register(playbook(PATH));
  await server.register(subscription({}));
  await nats.stream.publish("orders.new", '{"n": 0}');
  await waitFor("the first", async () => (await executionsOf(world, PATH)).length === 1);
  answers.toLose = 1;
  await nats.stream.publish("orders.new", '{"n": 1}');
  await waitFor("the second", async () => (await executionsOf(world, PATH)).length === 2);
  await waitFor("acknowledgements", async () => (await pendingCount(nats, DURABLE)) === 0);
  expect(answers.lost).toBe(1);
  expect(await numbersOf(world)).toEqual([0, 1]);
});

/** Loses the connection right after transactions have committed. */
function losing(store: Store, answers: { lost: number; toLose: number }): Store {
  const { durable } = store;
  const begin = async (run: (sql: TransactionSql) => Promise<unknown>): Promise<unknown> => {
    const value = await durable.begin(run);
    if (answers.lost === answers.toLose) {
      return value;
    }
    answers.lost++;
    throw Object.assign(new Error("the connection is gone"), { code: "CONNECTION_CLOSED" });
  };
  const get = (target: Pool, name: string | symbol): unknown =>
    name === "begin" ? begin : Reflect.get(target, name);
  return { ...store, durable: new Proxy(durable, { get }) };
}

test("filter, dedup by key and header, directives", async () => {
  await using world = await createWorld();
  await using nats = await publisher(world);
  await using server = await startServer(world);
  await server.register(playbook(PATH));
  await server.register(
    subscription({
      filter: "{{ data.n < 10 }}",
      dedup: { key: "data.n", window_secs: 600 },
      headers: {
        directives: [
          { header: "X-Priority", controls: "priority" },
          { header: "X-Drop", controls: "drop" },
        ],
      },
    }),
  );
  const publish = async (n: number, header: Record<string, string> = {}) => {
    const set = headers();
    for (const [name, value] of Object.entries(header)) {
      set.set(name, value);
    }
    await nats.stream.publish("orders.new", JSON.stringify({ n }), { headers: set });
  };
  await publish(11);
  await publish(1, { "X-Priority": "9" });
  await publish(1);
  await publish(2, { "X-Drop": "true" });
  await publish(3, { "X-Drop": "no" });
  await publish(4);
  await waitFor("the last", async () => (await numbersOf(world)).includes(4));
  await waitFor("acknowledgements", async () => (await pendingCount(nats, DURABLE)) === 0);
  expect(await numbersOf(world)).toEqual([1, 3, 4]);
  expect((await executionsOf(world, PATH))[0]?.priority).toBe(9);
  const metrics = await server.metricsText();
  expect(metrics).toContain('noetl_subscription_messages_received_total{source="nats"} 6');
  expect(metrics).toContain(
    'noetl_subscription_executions_total{source="nats",outcome="duplicate"} 1',
  );
  expect(metrics).toContain('noetl_subscription_directives_applied_total{controls="priority"} 1');
});

test("a batch starts one execution with its messages in order", async () => {
  await using world = await createWorld();
  await using nats = await publisher(world);
  await using server = await startServer(world);
  await server.register(playbook(PATH));
  for (const n of upTo(25)) {
    await nats.stream.publish("orders.new", JSON.stringify({ n }));
  }
  const dispatch = {
    playbook: PATH,
    batch_dispatch: true,
    batch_max: 10,
    batch_wait: "300ms",
    payload_from: "data.n",
    payload: { total: "{{ count }}" },
  };
  await server.register(subscription({ dispatch }));
  await waitFor("acknowledgements", async () => (await pendingCount(nats, DURABLE)) === 0);
  const executions = await waitFor("all messages", async () => {
    const found = (await executionsOf(world, PATH)).map(
      ({ payload }) => payload as { messages: number[]; count: number; total: number },
    );
    return found.flatMap(({ messages }) => messages).length >= 25 && found;
  });
  expect(executions.flatMap(({ messages }) => messages).sort((a, b) => a - b)).toEqual([
    ...upTo(25),
  ]);
  expect(executions.every(({ messages, count }) => count === messages.length && count <= 10)).toBe(
    true,
  );
  expect(executions.some(({ count }) => count > 1)).toBe(true);
  expect(executions[0]?.total).toBe(executions[0]?.count ?? 0);
});

test("max_in_flight holds messages back until executions have ended", async () => {
  await using world = await createWorld();
  await using nats = await publisher(world);
  await using server = await startServer(world);
  await server.register(playbook(PATH));
  for (const n of upTo(6)) {
    await nats.stream.publish("orders.new", JSON.stringify({ n }));
  }
  await server.register(subscription({ limits: { max_in_flight: 2 } }));
  await waitFor("two executions", async () => (await executionsOf(world, PATH)).length === 2);
  for (const expected of [3, 4, 5, 6]) {
    const running = await executionsOf(world, PATH);
    expect(running).toHaveLength(expected - 1);
    await server.finish(running.at(-1)?.executionId ?? "");
    await waitFor("the next", async () => (await executionsOf(world, PATH)).length >= expected);
  }
  expect(await numbersOf(world)).toEqual(upTo(6));
});

test("a rate is kept, and a change of it takes effect at once", async () => {
  await using world = await createWorld();
  await using nats = await publisher(world);
  await using server = await startServer(world);
  await server.register(playbook(PATH));
  for (const n of upTo(60)) {
    await nats.stream.publish("orders.new", JSON.stringify({ n }));
  }
  await server.register(subscription({ limits: { max_dispatch_per_sec: 0.01 } }));
  await waitFor("the first", async () => (await executionsOf(world, PATH)).length === 1);
  await waitFor("that it is held back", async () =>
    (await server.metricsText()).includes('rate_limited_total{source="nats",reason="rate"}'),
  );
  expect(await executionsOf(world, PATH)).toHaveLength(1);
  await server.register(subscription({}));
  await waitFor("all", async () => (await executionsOf(world, PATH)).length === 60);
  expect(await numbersOf(world)).toEqual(upTo(60));
});

test("failing dispatches open the circuit; messages stay at the source and come when it closes", async () => {
  await using world = await createWorld();
  await using nats = await publisher(world);
  await using server = await startServer(world);
  for (const n of upTo(300)) {
    await nats.stream.publish("orders.new", JSON.stringify({ n }));
  }
  await server.register(
    subscription({
      circuit_breaker: { failures: 3, cooldown: "1s" },
      dead_letter: { attempts: 50 },
    }),
  );
  await waitFor("the circuit", async () => (await stateOf(server)).circuit === "open");
  expect(await pendingCount(nats, DURABLE)).toBeGreaterThan(0);
  await server.register(playbook(PATH));
  await waitFor("all", async () => (await executionsOf(world, PATH)).length === 300);
  expect(await numbersOf(world)).toEqual(upTo(300));
  await waitFor("the closed circuit", async () => (await stateOf(server)).circuit === "closed");
  expect(await server.metricsText()).toContain(
    'circuit_transitions_total{downstream="dispatch",transition="half_open"}',
  );
});

test("what cannot be dispatched becomes a dead letter, is announced, and can be replayed", async () => {
  await using world = await createWorld();
  await using nats = await publisher(world);
  await using server = await startServer(world);
  await server.register(playbook(PATH));
  const announced: string[] = [];
  nats.connection.subscribe("dead.orders", {
    callback: (_error, message) => void announced.push(message.string()),
  });
  await nats.connection.flush();
  const spec = (payload: string) =>
    subscription({
      dispatch: { playbook: PATH, payload_from: payload },
      dead_letter: { subject: "dead.orders" },
    });
  await server.register(spec("data.n | no_such_filter"));
  const refused = await server.register(spec("data.n | no_such_filter"));
  expect(refused.status).toBe(422);
  await server.register(spec("1 / data.n"));
  await nats.stream.publish("orders.new", '{"n": 0}');
  await nats.stream.publish("orders.new", '{"n": 2}');
  const base = "/api/subscriptions/subs%2Forders/dead-letters";
  const [letter] = await waitFor("the dead letter", async () => {
    const { body } = await server.call("GET", base);
    return body.dead_letters.length === 1 && body.dead_letters;
  });
  expect(letter.messages[0]).toMatchObject({ subject: "orders.new", data: { n: 0 } });
  expect(letter.error).not.toBe("");
  await waitFor("the announcement", () => announced.length === 1);
  await waitFor("acknowledgements", async () => (await pendingCount(nats, DURABLE)) === 0);
  expect((await executionsOf(world, PATH)).map(({ payload }) => payload)).toEqual([{ data: 0.5 }]);
  await server.register(spec("data"));
  const replayed = await server.call("POST", `${base}/${letter.dispatch_id}/replay`);
  expect(replayed.body).toEqual({ replayed: 1 });
  await waitFor("its execution", async () => (await executionsOf(world, PATH)).length === 2);
  expect((await server.call("GET", base)).body.dead_letters).toEqual([]);
});

test("pause, resume, drain, deactivate, activate", async () => {
  await using world = await createWorld();
  await using nats = await publisher(world);
  await using server = await startServer(world);
  await server.register(playbook(PATH));
  await server.register(subscription({ enabled: false }));
  expect(await stateOf(server)).toMatchObject({
    state: "registered",
    last_event_type: "subscription.registered",
  });
  const wrong = await act(server, "resume");
  expect([wrong.status, wrong.body.code]).toEqual([409, "SUBSCRIPTION_STATE"]);
  expect((await act(server, "activate")).body.state).toBe("active");
  await nats.stream.publish("orders.new", '{"n": 0}');
  await waitFor("an execution", async () => (await executionsOf(world, PATH)).length === 1);
  expect((await act(server, "pause")).body.state).toBe("paused");
  await waitFor("no holder", async () => (await stateOf(server)).holder === null);
  await nats.stream.publish("orders.new", '{"n": 1}');
  expect((await act(server, "resume")).body.state).toBe("active");
  await waitFor("the held one", async () => (await executionsOf(world, PATH)).length === 2);
  expect((await act(server, "drain")).body.state).toBe("draining");
  await waitFor("that it is drained", async () => (await stateOf(server)).state === "inactive");
  expect((await stateOf(server)).last_event_type).toBe("subscription.drained");
  expect((await act(server, "activate")).body.state).toBe("active");
  expect((await act(server, "deactivate")).body.state).toBe("inactive");
  expect((await act(server, "explode")).status).toBe(404);
});

test("a stream that does not exist is said, and found once it does", async () => {
  await using world = await createWorld();
  await using server = await startServer(world);
  await server.register(playbook(PATH));
  await server.register(subscription({ nats: { subject: "orders.>" } }));
  const { problem } = await waitFor("the problem", async () => {
    const state = await stateOf(server);
    return state.problem !== null && state;
  });
  expect(problem).toContain("orders.>");
  await using nats = await publisher(world);
  await nats.stream.publish("orders.new", '{"n": 0}');
  await waitFor("an execution", async () => (await executionsOf(world, PATH)).length === 1);
  await waitFor("no problem", async () => (await stateOf(server)).problem === null);
});

test("plain messages are taken while somebody listens", async () => {
  await using world = await createWorld();
  await using server = await startServer(world);
  const connection = await connect({ servers: world.nats.url });
  await server.register(playbook(PATH));
  await server.register(subscription({ nats: { subject: "plain.*", jetstream: false } }));
  await waitFor("a listener", async () => {
    connection.publish("plain.x", '{"n": 0}');
    await connection.flush();
    return (await executionsOf(world, PATH)).length > 0;
  });
  expect((await executionsOf(world, PATH))[0]?.payload).toEqual({ n: 0 });
  await connection.close();
});

test("a nats-server that is killed and comes back is survived", async () => {
  await using world = await createWorld();
  await using nats = await publisher(world);
  await using server = await startServer(world);
  await server.register(playbook(PATH));
  await server.register(subscription({}));
  await nats.stream.publish("orders.new", '{"n": 0}');
  await waitFor("an execution", async () => (await executionsOf(world, PATH)).length === 1);
  process.kill(world.nats.pid, "SIGKILL");
  await waitFor("a second", async () => {
    await nats.stream.publish("orders.new", '{"n": 1}', { msgID: "second", timeout: 500 });
    return true;
  });
  await waitFor("its execution", async () => (await executionsOf(world, PATH)).length === 2);
  expect(await numbersOf(world)).toEqual([0, 1]);
});

test("sources that are not there are refused with what to do instead", async () => {
  await using world = await createWorld();
  await using server = await startServer(world);
  for (const source of ["pubsub", "kafka"]) {
    const { status, body } = await server.register(subscription({ source }));
    expect([status, body.code]).toEqual([422, "SUBSCRIPTION_INVALID"]);
    expect(body.error).toContain(`source ${source} is not supported here`);
    expect(body.details.diagnostics[0].path).toBe("spec.source");
  }
});
