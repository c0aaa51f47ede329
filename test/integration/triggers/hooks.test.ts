import { expect, setDefaultTimeout, test } from "bun:test";
import { createHmac } from "node:crypto";
import { waitFor } from "../../support/wait.ts";
import type { Server } from "./harness.ts";
import { createWorld, executionsOf, playbook, startServer } from "./harness.ts";

setDefaultTimeout(60_000);

const PATH = "tests/hooked";
const SECRET = "It's a Secret to Everybody";

function subscription(spec: object, path = "hooks/one"): string {
  return JSON.stringify({
    apiVersion: "noetl.io/v1",
    kind: "Subscription",
    metadata: { name: path, path },
    spec: { source: "webhook", mode: "push", dispatch: { playbook: PATH }, ...spec },
  });
}

const HMAC = {
  ingress: { gateway_path: "github/push", verify: { type: "hmac_sha256", credential: "hook" } },
};
const BEARER = { ingress: { path: "b", verify: { type: "bearer", credential: "hook" } } };

async function prepare(server: Server, spec: object): Promise<void> {
  await server.register(playbook(PATH));
  const credential = { name: "hook", type: "secret", data: { secret: SECRET } };
  await server.call("POST", "/api/credentials", credential);
  const { status, body } = await server.register(subscription(spec));
  expect([status, body.kind]).toEqual([200, "subscription"]);
}

function sign(text: string): string {
  return createHmac("sha256", SECRET).update(text).digest("hex");
}

const bearer = { authorization: `Bearer ${SECRET}` };

test("a signed call starts an execution without a token of the API", async () => {
  await using world = await createWorld();
  await using server = await startServer(world);
  await prepare(server, HMAC);
  const text = '{"ref": "main",  "size": 12345678901234567890}';
  const call = async (signature: string) =>
    await server.call("POST", "/hooks/github/push", text, { "x-hub-signature-256": signature });
  const answer = await call(`sha256=${sign(text)}`);
  expect([answer.status, answer.body.status]).toEqual([202, "started"]);
  // Digits stay, and the signature is over the bytes as they came.
  expect(await executionsOf(world, PATH)).toMatchObject([
    {
      executionId: answer.body.execution_id,
      payload: { ref: "main", size: "12345678901234567890" },
    },
  ]);
  const wrong = await call(`sha256=${sign(`${text} `)}`);
  expect([wrong.status, wrong.body.code]).toEqual([401, "HOOK_REFUSED"]);
  const missing = await server.call("POST", "/hooks/github/push", text, {});
  expect([missing.status, missing.body.error]).toEqual([
    401,
    expect.stringContaining("x-hub-signature-256"),
  ]);
  expect(missing.body.error).not.toContain(SECRET);
  expect((await server.call("POST", "/hooks/no/such", text, {})).status).toBe(404);
  expect(await executionsOf(world, PATH)).toHaveLength(1);
});

test("a signed time that is too old is refused, in a header of its own or in the signature's", async () => {
  await using world = await createWorld();
  await using server = await startServer(world);
  const verify = {
    type: "hmac_sha256",
    credential: "hook",
    header: "Stripe-Signature",
    prefix: "v1=",
    timestamp_header: "Stripe-Signature",
    timestamp_prefix: "t=",
    tolerance: "5m",
  };
  await prepare(server, { ingress: { path: "stripe", verify } });
  const call = async (ageSeconds: number) => {
    const time = Math.floor(Date.now() / 1000) - ageSeconds;
    const signature = `t=${time},v1=${sign(`${time}.{}`)},v0=ignored`;
    return await server.call("POST", "/hooks/stripe", "{}", { "stripe-signature": signature });
  };
  expect((await call(0)).status).toBe(202);
  const old = await call(600);
  expect([old.status, old.body.error]).toEqual([401, expect.stringContaining("too far off")]);
});

test("a bearer token is compared with the credential, also with the one before", async () => {
  await using world = await createWorld();
  await using server = await startServer(world);
  await prepare(server, BEARER);
  expect((await server.call("POST", "/hooks/b", "{}", bearer)).status).toBe(202);
  const changed = { secret: "new", previous_secret: SECRET };
  await server.call("POST", "/api/credentials", { name: "hook", type: "secret", data: changed });
  expect((await server.call("POST", "/hooks/b", "{}", bearer)).status).toBe(202);
  for (const authorization of ["Bearer new", "Bearer newer"]) {
    const { status } = await server.call("POST", "/hooks/b", "{}", { authorization });
    expect(status).toBe(authorization === "Bearer new" ? 202 : 401);
  }
});

test("filter, payload, headers that control, and secrets that stay out of them", async () => {
  await using world = await createWorld();
  await using server = await startServer(world);
  await prepare(server, {
    ...BEARER,
    filter: "data.kind == 'order' and headers['x-region'] != 'us'",
    dispatch: {
      playbook: PATH,
      payload_from: { order: "{{ data.order }}", headers: "{{ headers }}", q: "{{ query.q }}" },
      payload: { source: "{{ subscription.path }}" },
    },
    headers: { directives: [{ header: "X-Pool", controls: "execution_pool" }] },
  });
  const call = async (body: object, headers: Record<string, string> = {}) =>
    await server.call("POST", "/hooks/b?q=7", body, { ...bearer, ...headers });
  expect((await call({ kind: "other" })).body).toEqual({ status: "filtered" });
  expect((await call({ kind: "order" }, { "x-region": "us" })).body.status).toBe("filtered");
  const order = { id: 5 };
  const started = await call({ kind: "order", order }, { "x-region": "eu", "x-pool": "cpu-09" });
  expect(started.body.status).toBe("started");
  const [execution] = await executionsOf(world, PATH);
  expect(execution).toMatchObject({
    pool: "cpu-09",
    payload: { order, q: "7", source: "hooks/one" },
  });
  expect(JSON.stringify(execution?.payload)).not.toContain(SECRET);
  expect(await server.metricsText()).toContain(
    'noetl_subscription_executions_total{source="webhook",outcome="filtered"} 2',
  );
});

test("the same key gives the same execution, by header or by a field of the body", async () => {
  await using world = await createWorld();
  await using server = await startServer(world);
  await prepare(server, { ...BEARER, dedup: { enabled: true, window_secs: 3600 } });
  const call = async (body: object, headers: Record<string, string> = {}) =>
    (await server.call("POST", "/hooks/b", body, { ...bearer, ...headers })).body;
  const key = { "idempotency-key": "abc" };
  const answers = await Promise.all([
    call({ n: 1 }, key),
    call({ n: 1 }, key),
    call({ n: 1 }, key),
  ]);
  expect(new Set(answers.map((one) => one.execution_id)).size).toBe(1);
  expect(answers.filter(({ status }) => status === "started")).toHaveLength(1);
  await server.register(subscription({ ...BEARER, dedup: { key: "data.id" } }));
  const first = await call({ id: "x" });
  expect(await call({ id: "x" })).toEqual({ ...first, status: "duplicate" });
  expect((await call({ id: "y" })).status).toBe("started");
});

test("?wait answers with the result once the execution has ended, or without it in time", async () => {
  await using world = await createWorld();
  await using server = await startServer(world);
  await prepare(server, BEARER);
  const waiting = server.call("POST", "/hooks/b?wait=30s", "{}", bearer);
  const [execution] = await waitFor("the execution", async () => {
    const found = await executionsOf(world, PATH);
    return found.length === 1 && found;
  });
  await server.finish(execution?.executionId ?? "");
  const answer = await waiting;
  expect([answer.status, answer.body.status]).toEqual([200, "COMPLETED"]);
  const late = await server.call("POST", "/hooks/b?wait=50ms", "{}", bearer);
  expect([late.status, late.body.status]).toEqual([202, "started"]);
  expect((await server.call("POST", "/hooks/b?wait=soon", "{}", bearer)).status).toBe(422);
});

test("limits answer 413 and 429, a paused hook 503", async () => {
  await using world = await createWorld();
  await using server = await startServer(world);
  const ingress = { ...BEARER.ingress, max_body_bytes: 100 };
  await prepare(server, { ingress, limits: { max_dispatch_per_sec: 2, max_in_flight: 3 } });
  const call = async (body: string) => await server.call("POST", "/hooks/b", body, bearer);
  expect((await call(`"${"x".repeat(200)}"`)).status).toBe(413);
  const answers = await Promise.all([1, 2, 3, 4, 5].map(() => call("{}")));
  const refused = answers.filter(({ status }) => status === 429);
  expect(answers.filter(({ status }) => status === 202)).toHaveLength(2);
  expect(Number(refused[0]?.headers.get("retry-after"))).toBeGreaterThan(0);
  await waitFor("the third", async () => (await call("{}")).status === 202);
  const full = await waitFor("the limit of executions", async () => {
    const answer = await call("{}");
    return answer.body.error?.includes("still run") === true && answer;
  });
  expect(full.status).toBe(429);
  await server.call("POST", "/api/subscriptions/hooks%2Fone/pause");
  expect((await call("{}")).status).toBe(503);
});

test("a call that cannot be dispatched is a dead letter, and starts once it is mended", async () => {
  await using world = await createWorld();
  await using server = await startServer(world);
  await prepare(server, { ...BEARER, dispatch: { playbook: "tests/later" } });
  const { status, body } = await server.call("POST", "/hooks/b", { n: 1 }, bearer);
  expect([status, body.code]).toEqual([422, "PLAYBOOK_NOT_FOUND"]);
  const base = "/api/subscriptions/hooks%2Fone/dead-letters";
  const letters = (await server.call("GET", base)).body.dead_letters;
  expect(letters).toMatchObject([
    { dispatch_id: body.details.dead_letter_id, messages: [{ data: { n: 1 } }] },
  ]);
  expect(JSON.stringify(letters)).not.toContain(SECRET);
  await server.register(playbook("tests/later"));
  expect((await server.call("POST", `${base}/replay`)).body).toEqual({ replayed: 1 });
  const [execution] = await waitFor("its execution", async () => {
    const found = await executionsOf(world, "tests/later");
    return found.length > 0 && found;
  });
  expect(execution?.payload).toEqual({ n: 1 });
  expect((await server.call("GET", base)).body.dead_letters).toEqual([]);
  const gone = await server.call("DELETE", `${base}/1`);
  expect([gone.status, gone.body.code]).toEqual([404, "DEAD_LETTER_NOT_FOUND"]);
});

test("two subscriptions cannot have one hook, and one without verification is refused", async () => {
  await using world = await createWorld();
  await using server = await startServer(world);
  await prepare(server, BEARER);
  const second = await server.register(subscription(BEARER, "hooks/two"));
  expect([second.status, second.body.code]).toEqual([409, "HOOK_TAKEN"]);
  const open = await server.register(subscription({ ingress: { path: "c" } }, "hooks/three"));
  expect([open.status, open.body.code]).toEqual([422, "SUBSCRIPTION_INVALID"]);
  expect(open.body.error).toContain("verified");
});

test("a path that climbs out of /hooks/ reaches nothing without a token", async () => {
  await using world = await createWorld();
  await using server = await startServer(world);
  await server.register(playbook(PATH));
  const { port } = new URL(await server.listen());
  for (const path of [
    "/hooks/../api/execute",
    "/hooks/%2e%2e/api/execute",
    "/hooks//../api/execute",
  ]) {
    const body = JSON.stringify({ path: PATH });
    const { promise, resolve } = Promise.withResolvers<string>();
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port: Number(port),
      socket: { data: (_socket, data) => resolve(data.toString()) },
    });
    socket.write(
      `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    expect(await promise).toMatch(/^HTTP\/1.1 40[14] /);
    socket.end();
  }
  expect(await executionsOf(world, PATH)).toEqual([]);
});
