import { afterAll, describe, expect, test } from "bun:test";
import { connect } from "nats";
import type { JsonObject } from "../../../src/core/json.ts";
import { findFreePort } from "../../../src/embedded/free-port.ts";
import { createNatsTool } from "../../../src/tools/nats.ts";
import { createSubscriptionTool } from "../../../src/tools/subscription.ts";
import { startNats } from "../../support/nats.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import { waitFor } from "../../support/wait.ts";
import type { Call } from "./call.ts";
import { failureFrom, problemsOf, run, valueFrom } from "./call.ts";

const server = await startNats();
const tool = createNatsTool({ maxOutputBytes: 1_000_000 });
const admin = await connect({ servers: `127.0.0.1:${server.port}` });
const manager = await admin.jetstreamManager();
afterAll(async () => {
  await tool.close?.();
  await admin.close();
  await server.stop();
});

const credentials = { bus: { type: "nats", data: { nats_url: server.url } } };

function call(operation: string, config: JsonObject = {}): Call {
  return { config: { auth: "bus", operation, ...config }, credentials };
}

async function perform(operation: string, config: JsonObject = {}): Promise<JsonObject> {
  return (await valueFrom(tool, call(operation, config))) as JsonObject;
}

async function problem(operation: string, config: JsonObject = {}) {
  return await failureFrom(tool, call(operation, config));
}

async function addStream(name: string, count = 0): Promise<void> {
  await manager.streams.add({ name, subjects: [`${name}.>`] });
  for (let number = 1; number <= count; number++) {
    await admin.jetstream().publish(`${name}.item`, JSON.stringify({ number }));
  }
}

describe("keys", () => {
  test("puts, gets, lists, deletes and purges", async () => {
    const at = { bucket: "sessions", key: "user.1" };
    const value = { id: 1, name: "Ada" };
    expect(await perform("kv_put", { ...at, value, create: true })).toEqual({
      status: "success",
      ...at,
      revision: 1,
    });
    expect(await perform("kv_get", at)).toMatchObject({ ...at, status: "success", value });
    await perform("kv_put", { bucket: "sessions", key: "other", value: "text" });
    expect(await perform("kv_keys", { bucket: "sessions" })).toMatchObject({
      keys: ["other", "user.1"],
      count: 2,
    });
    expect(await perform("kv_keys", { bucket: "sessions", pattern: "user.*" })).toMatchObject({
      keys: ["user.1"],
    });
    expect(await perform("kv_delete", at)).toMatchObject({ deleted: true });
    expect(await perform("kv_get", at)).toEqual({ status: "not_found", ...at, value: null });
    expect(await perform("kv_purge", at)).toMatchObject({ purged: true });
  });

  test("a revision guards against a change in between", async () => {
    const at = { bucket: "guarded", key: "k" };
    await perform("kv_put", { ...at, value: 1, create: true, revision: 0 });
    expect(await perform("kv_put", { ...at, value: 2, revision: 1 })).toMatchObject({
      revision: 2,
    });
    expect(await problem("kv_put", { ...at, value: 3, revision: 1 })).toMatchObject({
      kind: "client_error",
      code: "REVISION_CONFLICT",
    });
    expect(await perform("kv_get", { ...at, revision: 1 })).toMatchObject({ status: "not_found" });
  });

  test("keeps bytes that are no text, and text that is no JSON", async () => {
    const at = { bucket: "bytes", key: "k" };
    await perform("kv_put", { ...at, value: "AP8=", encoding: "base64", create: true });
    expect(await perform("kv_get", at)).toMatchObject({ value: "AP8=", encoding: "base64" });
    await perform("kv_put", { ...at, value: "plain" });
    expect(await perform("kv_get", at)).toMatchObject({ value: "plain", encoding: "text" });
    expect(await problem("kv_get", { ...at, encoding: "json" })).toMatchObject({ kind: "parse" });
  });

  test("says when the bucket does not exist, in every operation", async () => {
    for (const operation of ["kv_get", "kv_put", "kv_delete", "kv_purge", "kv_keys"]) {
      const failure = await problem(operation, { bucket: "nowhere", key: "k", value: 1 });
      expect(failure).toMatchObject({ kind: "not_found", code: "BUCKET_NOT_FOUND" });
    }
  });

  test("refuses a key with wildcards", async () => {
    const failure = await problem("kv_put", { bucket: "bytes", key: "a.>", value: 1 });
    expect(failure).toMatchObject({ kind: "schema", code: "KEY_INVALID" });
  });

  test("says that the bucket takes no time to live of one key", async () => {
    const at = { bucket: "forever", key: "k", value: 1 };
    await perform("kv_put", { ...at, create: true });
    const { outcome, logs } = await run(tool, call("kv_put", { ...at, ttl: 60 }));
    expect(outcome.ok).toBe(true);
    expect(logs.join("\n")).toContain('bucket "forever" keeps keys for ever');
  });
});

describe("objects", () => {
  test("puts, describes, lists, gets and deletes", async () => {
    const at = { bucket: "files", name: "report.txt" };
    const put = await perform("object_put", { ...at, data: "größe", create: true });
    expect(put).toMatchObject({ ...at, status: "success", size: 7 });
    expect(await perform("object_info", at)).toMatchObject({ ...at, size: 7 });
    expect(await perform("object_list", { bucket: "files" })).toMatchObject({
      count: 1,
      objects: [{ name: "report.txt", size: 7 }],
    });
    expect(await perform("object_get", at)).toMatchObject({ data: "größe", encoding: "text" });
    expect(await perform("object_delete", at)).toMatchObject({ deleted: true });
    expect(await perform("object_get", at)).toEqual({ status: "not_found", ...at });
    expect(await perform("object_info", at)).toEqual({ status: "not_found", ...at });
  });

  test("keeps bytes and JSON", async () => {
    const at = { bucket: "mixed", object: "o" };
    await perform("object_put", { ...at, data: "AP8=", encoding: "base64", create: true });
    expect(await perform("object_get", at)).toMatchObject({ data: "AP8=", encoding: "base64" });
    await perform("object_put", { ...at, data: { a: [1] } });
    expect(await perform("object_get", { ...at, encoding: "json" })).toMatchObject({
      data: { a: [1] },
    });
  });

  test("refuses to read an object that is larger than a result may be", async () => {
    const at = { bucket: "large", name: "big" };
    await perform("object_put", { ...at, data: "x".repeat(1_000_001), create: true });
    expect(await problem("object_get", at)).toMatchObject({
      kind: "limit",
      code: "RESULT_TOO_LARGE",
    });
  });

  test("makes no bucket by itself", async () => {
    const failure = await problem("object_put", { bucket: "absent", name: "o", data: "x" });
    expect(failure).toMatchObject({ kind: "not_found", code: "BUCKET_NOT_FOUND" });
    expect(await problem("object_list", { bucket: "absent" })).toMatchObject({ kind: "not_found" });
  });
});

describe("streams", () => {
  test("publishes once per msg_id, gets messages and describes the stream", async () => {
    await addStream("orders");
    const message = { subject: "orders.new", data: { n: 1 }, headers: { "X-A": "b" }, msg_id: "1" };
    expect(await perform("js_publish", message)).toMatchObject({ stream: "orders", seq: 1 });
    expect(await perform("js_publish", message)).toMatchObject({ seq: 1, duplicate: true });
    const wanted = { seq: 1, subject: "orders.new", data: { n: 1 } };
    expect(await perform("js_get_msg", { stream: "orders", seq: 1 })).toMatchObject(wanted);
    const last = await perform("js_get_msg", { stream: "orders", last: "orders.new" });
    expect(last).toMatchObject({ ...wanted, headers: { "X-A": "b" } });
    expect(await perform("js_get_msg", { stream: "orders", seq: 9 })).toMatchObject({
      status: "not_found",
    });
    expect(await perform("js_stream_info", { stream: "orders" })).toMatchObject({
      stream: "orders",
      messages: 1,
      last_seq: 1,
      subjects: ["orders.>"],
    });
  });

  test("a durable consumer gives each acknowledged message once", async () => {
    await addStream("jobs", 5);
    const config = { stream: "jobs", consumer: "c", batch: 3, timeout_ms: 0 };
    const first = await perform("js_consume", config);
    expect(first).toMatchObject({ count: 3, acked: 3, ack_ids: [] });
    const messages = first["messages"] as unknown as JsonObject[];
    expect(messages.map((each) => each["data"])).toEqual([1, 2, 3].map((number) => ({ number })));
    expect(await perform("js_consume", config)).toMatchObject({ count: 2 });
    expect(await perform("js_consume", config)).toMatchObject({ count: 0, messages: [] });
  });

  test("messages taken with ack explicit come back when they are refused", async () => {
    await addStream("tasks", 2);
    const config = { stream: "tasks", consumer: "c", ack: "explicit", timeout_ms: 0 };
    const first = await perform("js_consume", config);
    expect(first).toMatchObject({ count: 2, acked: 0 });
    const [one = "", two = ""] = first["ack_ids"] as unknown as string[];
    expect(await perform("js_ack", { ack_ids: [one] })).toMatchObject({ count: 1, ack: "ack" });
    await perform("js_ack", { ack_ids: [two], ack: "progress" });
    await perform("js_ack", { ack_ids: [two], ack: "nak" });
    const again = await perform("js_consume", { ...config, timeout_ms: 10_000 });
    expect(again).toMatchObject({ messages: [{ seq: 2, deliveries: 2 }] });
    await perform("js_ack", { ack_ids: again["ack_ids"] ?? [], ack: "term" });
    expect(await perform("js_consume", config)).toMatchObject({ count: 0 });
  });

  test("without a consumer's name it reads and leaves nothing behind", async () => {
    await addStream("reads", 3);
    const config = { stream: "reads", ack: "none", timeout_ms: 0 };
    expect(await perform("js_consume", config)).toMatchObject({ count: 3 });
    expect(await perform("js_consume", { ...config, seq: 3 })).toMatchObject({ count: 1 });
    expect(await perform("js_consume", { ...config, subject: "reads.none" })).toMatchObject({
      count: 0,
    });
    expect((await manager.streams.info("reads")).state.consumer_count).toBe(0);
  });

  test("waits for a message that comes later", async () => {
    await addStream("late");
    const config = { stream: "late", consumer: "c", timeout_ms: 20_000 };
    const consumed = perform("js_consume", config);
    await waitFor("a waiting pull", async () => {
      return (await manager.consumers.info("late", "c")).num_waiting > 0;
    });
    await admin.jetstream().publish("late.one", "1");
    expect(await consumed).toMatchObject({ count: 1, messages: [{ data: 1 }] });
  });

  test("refuses messages that are larger than a result may be", async () => {
    const small = createNatsTool({ maxOutputBytes: 1000 });
    await addStream("fat");
    await admin.jetstream().publish("fat.one", "x".repeat(5000));
    const failure = await failureFrom(small, call("js_consume", { stream: "fat", consumer: "c" }));
    expect(failure).toMatchObject({ kind: "limit" });
    await small.close?.();
  });

  test("says when there is no such stream", async () => {
    expect(await problem("js_publish", { subject: "nobody.here", data: 1 })).toMatchObject({
      kind: "connection",
      code: "NATS_NO_RESPONDERS",
    });
    expect(await problem("js_consume", { stream: "nostream" })).toMatchObject({
      kind: "not_found",
    });
    expect(await problem("js_stream_info", { stream: "nostream" })).toMatchObject({
      kind: "not_found",
    });
  });
});

describe("subscription", () => {
  const subscription = createSubscriptionTool(() => tool);
  const poll = (config: JsonObject) =>
    valueFrom(subscription, { config: { auth: "bus", source: "nats", ...config }, credentials });

  test("polls, and answers for what it took", async () => {
    await addStream("feed", 2);
    const config = { stream: "feed", consumer: "c", timeout_ms: 0 };
    const first = await poll({ ...config, ack: "explicit" });
    expect(first).toMatchObject({
      status: "success",
      source: "nats",
      operation: "poll",
      count: 2,
      ack_mode: "explicit",
      metrics: { received: 2, acked: 0 },
    });
    const { ack_ids } = first as { ack_ids: string[] };
    expect(await poll({ operation: "nack", ack_ids })).toMatchObject({ count: 2 });
    const again = await poll({ ...config, timeout_ms: 10_000 });
    expect(again).toMatchObject({ count: 2, acked: 2, ack_mode: "auto" });
    expect(await poll(config)).toMatchObject({ count: 0, messages: [] });
  });

  test("says what it does not do", async () => {
    expect(problemsOf(subscription, { source: "kafka" })[0]).toContain(
      "`source` must be one of nats",
    );
    expect(problemsOf(subscription, { operation: "peek" })[0]).toContain("poll, ack, nack");
    expect(problemsOf(subscription, {})).toEqual(["js_consume needs `stream`"]);
    const failure = await failureFrom(subscription, {
      config: { auth: "bus", stream: "nostream" },
      credentials,
    });
    expect(failure).toMatchObject({ kind: "not_found" });
  });
});

describe("bad input and bad servers", () => {
  test("says what a task lacks", () => {
    expect(problemsOf(tool, {})[0]).toContain("nats needs an operation: kv_get, ");
    expect(problemsOf(tool, { operation: "kv_get" })).toEqual([
      "kv_get needs `bucket`",
      "kv_get needs `key`",
    ]);
    expect(problemsOf(tool, { operation: "object_get", bucket: "b" })).toHaveLength(1);
    expect(problemsOf(tool, { operation: "js_consume", stream: "s", ack: "maybe" })).toHaveLength(
      1,
    );
    expect(problemsOf(tool, { operation: "js_ack" })).toEqual(["js_ack needs `ack_ids`"]);
    expect(problemsOf(tool, { operation: "js_ack", ack_ids: [] })).toEqual([]);
  });

  test("an ack id that is another subject is refused", async () => {
    const failure = await problem("js_ack", { ack_ids: ["orders.new"] });
    expect(failure).toMatchObject({ kind: "schema", code: "ACK_ID_INVALID" });
  });

  test("fails without a server, with an unknown credential and with no answer", async () => {
    const config = { operation: "kv_keys", bucket: "b" };
    expect(await failureFrom(tool, { config })).toMatchObject({ code: "NATS_URL_MISSING" });
    expect(await failureFrom(tool, { config: { ...config, auth: "no" } })).toMatchObject({
      kind: "auth",
    });
    const closed = { ...config, url: "nats://127.0.0.1:1" };
    expect(await failureFrom(tool, { config: closed })).toMatchObject({
      kind: "connection",
      code: "NATS_UNREACHABLE",
      retryable: true,
    });
  });

  test("a wrong login is an auth failure", async () => {
    const config = { operation: "kv_keys", bucket: "b" };
    await using locked = await startLockedServer();
    const wrong = { ...config, url: locked.url, user: "u", password: "wrong" };
    expect(await failureFrom(tool, { config: wrong })).toMatchObject({ kind: "auth" });
    const right = { ...config, url: `nats://u:p%40ss@${locked.host}` };
    expect(await failureFrom(tool, { config: right })).toMatchObject({ code: "BUCKET_NOT_FOUND" });
  });

  test("a task that waits is stopped at once", async () => {
    await addStream("slow");
    const stop = new AbortController();
    const config = { stream: "slow", consumer: "c", timeout_ms: 60_000 };
    const failed = failureFrom(tool, { ...call("js_consume", config), signal: stop.signal });
    await waitFor("a waiting pull", async () => {
      return (await manager.consumers.info("slow", "c")).num_waiting > 0;
    });
    stop.abort(new DOMException("over", "TimeoutError"));
    expect(await failed).toMatchObject({ kind: "timeout" });
  });

  test("connects anew after the server was gone", async () => {
    const own = await startNats();
    const config = { operation: "kv_put", bucket: "b", key: "k", value: 1, create: true };
    const at = { config: { ...config, url: own.url } };
    expect(await valueFrom(tool, at)).toMatchObject({ revision: 1 });
    const { pid } = own;
    process.kill(pid, "SIGKILL");
    await waitFor("another process", () => own.pid !== pid);
    const value = await waitFor("a put", async () => {
      const { outcome } = await run(tool, at);
      return outcome.ok ? outcome.value : undefined;
    });
    expect(value).toMatchObject({ revision: 2 });
    await own.stop();
  });
});

/** A nats-server that asks for a login. */
async function startLockedServer() {
  const port = await findFreePort();
  const dir = makeScratchDir("nats-locked");
  const child = Bun.spawn(
    [
      "nats-server",
      "-a",
      "127.0.0.1",
      "-p",
      `${port}`,
      "-js",
      "-sd",
      dir,
      "--user",
      "u",
      "--pass",
      "p@ss",
    ],
    { env: { ...process.env, PATH: `${process.env["PATH"]}:/usr/sbin` }, stderr: "ignore" },
  );
  await waitFor("the server", async () => {
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: { data: () => undefined },
    });
    socket.end();
    return true;
  });
  return {
    host: `127.0.0.1:${port}`,
    url: `nats://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => {
      child.kill();
      await child.exited;
    },
  };
}
