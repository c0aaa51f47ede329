import { expect, setDefaultTimeout, test } from "bun:test";
import { waitFor } from "../../support/wait.ts";
import { playbook, resultOf, startPlatform } from "./platform.ts";
import type { Remote } from "./remote.ts";
import { json, startRemote } from "./remote.ts";

setDefaultTimeout(30_000);

/** Gives numbered tokens, and answers `/data` only to the newest one. */
function startTokens({ expiresIn = 3600, revokesFirst = false } = {}): Remote {
  let issued = 0;
  return startRemote({
    "/token": ({ body }) => {
      const form = new URLSearchParams(body);
      if (form.get("client_secret") !== "cl1ent-secret") {
        return json({ error: "invalid_client", error_description: `bad ${form}` }, 401);
      }
      issued++;
      return json({ access_token: `tok-${issued}-secretpart`, expires_in: expiresIn });
    },
    "/data": ({ headers }) => {
      const token = headers.get("authorization");
      const isNewest = token === `Bearer tok-${issued}-secretpart`;
      const isRevoked = revokesFirst && issued === 1;
      return isNewest && !isRevoked
        ? json({ saw: token?.split("-")[1] ?? "" })
        : json({ error: "expired" }, 401);
    },
  });
}

const TOKEN_STEPS = `
workflow:
  - step: start
    tool:
      kind: http
      url: "{{ workload.base }}/data"
      headers:
        Authorization: "Bearer {{ keychain.api.access_token }}"
    next: { arcs: [{ step: again }] }
  - step: again
    tool:
      kind: http
      url: "{{ workload.base }}/data"
      headers: { Authorization: "Bearer {{ keychain.api.token }}" }
`;

test("an oauth2 entry is fetched once, with another entry's secret, kept sealed and masked", async () => {
  using remote = startTokens();
  await using platform = await startPlatform({
    providers: { env: { CLIENT_SECRET: "cl1ent-secret" } },
  });
  const { status, steps, catalogId, id } = await platform.run(
    playbook(
      "keychain/oauth2",
      `
workload: { base: "${remote.url}" }
keychain:
  - name: client
    kind: secrets
    provider: env
    map: { secret: CLIENT_SECRET }
  - name: api
    kind: oauth2
    endpoint: "{{ workload.base }}/token"
    data:
      grant_type: client_credentials
      client_id: me
      client_secret: "{{ keychain.client.secret }}"
${TOKEN_STEPS}`,
    ),
  );
  expect(status).toBe("COMPLETED");
  expect(resultOf(steps, "again")).toMatchObject({ data: { saw: "1" } });
  expect(remote.count("/token")).toBe(1);
  const rows =
    await platform.sql`SELECT cache_key, sealed, scope, execution_id FROM noetl.keychain`;
  expect(rows.map((row) => row["scope"])).toEqual(["local", "local"]);
  expect(JSON.stringify(rows)).not.toContain("secretpart");
  const listed = await platform.call("GET", `/api/keychain/catalog/${catalogId}`);
  expect(listed.body["entries"]).toMatchObject([
    { keychain_name: "api", scope_type: "local", execution_id: id },
    { keychain_name: "client" },
  ]);
});

test("a token that a service refuses is fetched anew once, and the task tried again", async () => {
  using remote = startTokens({ revokesFirst: true });
  await using platform = await startPlatform();
  await platform.call("POST", "/api/credentials", {
    name: "api_client",
    type: "oauth2",
    data: { token_url: `${remote.url}/token`, client_id: "me", client_secret: "cl1ent-secret" },
  });
  const content = playbook(
    "keychain/refused",
    `
workload: { base: "${remote.url}" }
keychain:
  - { name: api, kind: credential, credential: api_client, scope: global }
workflow:
  - step: start
    tool:
      - by_alias: { kind: http, url: "{{ base }}/data", auth: api_client }
      - by_keychain:
          kind: http
          url: "{{ base }}/data"
          headers: { Authorization: "Bearer {{ keychain.api.token }}" }
`,
  );
  const { status, steps } = await platform.run(content);
  expect(status).toBe("COMPLETED");
  expect(resultOf(steps, "start")).toMatchObject({ by_alias: { data: { saw: "2" } } });
  // One for the alias, one after its refusal, one for the entry of the keychain.
  expect(remote.count("/token")).toBe(3);
  await platform.run(content);
  expect(remote.count("/token")).toBe(5);
});

test("many commands at once fetch a token once", async () => {
  using remote = startTokens();
  await using platform = await startPlatform();
  await platform.call("POST", "/api/credentials", {
    name: "api_client",
    type: "oauth2",
    data: {
      token_url: `${remote.url}/token`,
      client_id: "me",
      client_secret: "cl1ent-secret",
      scopes: ["read", "write"],
    },
  });
  const { status } = await platform.run(
    playbook(
      "keychain/many",
      `
workload: { base: "${remote.url}", alias: api_client }
workflow:
  - step: start
    loop: { in: "{{ range(20) | list }}", iterator: item, spec: { mode: parallel, max_in_flight: 8 } }
    tool: { kind: http, url: "{{ base }}/data", auth: "{{ alias }}" }
`,
    ),
  );
  expect(status).toBe("COMPLETED");
  expect(remote.count("/token")).toBe(1);
  expect(remote.requests[0]?.body).toContain("scope=read+write");
});

test("an entry with auto_renew is renewed before it ends, as long as it is in use", async () => {
  using remote = startTokens({ expiresIn: 1 });
  await using platform = await startPlatform();
  const content = (path: string, work: string) =>
    playbook(
      path,
      `
workload: { base: "${remote.url}" }
keychain:
  - name: api
    kind: oauth2
    scope: global
    auto_renew: true
    token_url: "{{ base }}/token"
    client_id: me
    client_secret: cl1ent-secret
${work}`,
    );
  await platform.run(content("keychain/renew", TOKEN_STEPS));
  await waitFor("a renewal ahead", () => remote.count("/token") >= 2);
  await waitFor("the log line", () =>
    platform.lines.some((line) => line.includes("keychain value renewed")),
  );
  // Unused since: it lapses.
  const [row] = await platform.sql`SELECT used_at < updated_at AS idle FROM noetl.keychain`;
  expect(row?.["idle"]).toBe(true);
  expect(remote.count("/token")).toBe(2);
});

test("an entry that cannot be had fails the task as auth, naming alias and cause", async () => {
  using remote = startTokens();
  await using platform = await startPlatform();
  let tried = 0;
  const failing = async (keychain: string, read: string) => {
    const { error } = await platform.run(
      playbook(
        `keychain/bad${++tried}`,
        `
workload: { base: "${remote.url}" }
keychain: ${keychain}
workflow:
  - step: start
    tool: { kind: python, input: { x: "{{ ${read} }}" }, code: "result = x" }
`,
      ),
    );
    return error;
  };
  const unknown = await failing("[]", "keychain.nobody.token");
  expect(unknown).toMatchObject({ kind: "auth", code: "KEYCHAIN_NOT_FOUND" });
  expect(JSON.stringify(unknown)).toContain('Keychain entry \\"nobody\\" cannot be had');
  const field = await failing("[{ name: a, kind: static, token: x }]", "keychain.a.tokken");
  expect(field).toMatchObject({ kind: "auth", code: "KEYCHAIN_FIELD_UNKNOWN" });
  const denied = await failing(
    '[{ name: a, kind: oauth2, token_url: "{{ base }}/token", client_id: me, client_secret: wr0ng-one }]',
    "keychain.a.token",
  );
  expect(denied).toMatchObject({ kind: "auth", code: "SECRET_DENIED" });
  expect(JSON.stringify(denied)).not.toContain("wr0ng-one");
  const circle = await failing(
    '[{ name: a, kind: static, v: "{{ keychain.b.v }}" }, { name: b, kind: static, v: "{{ keychain.a.v }}" }]',
    "keychain.a.v",
  );
  expect(circle).toMatchObject({ code: "KEYCHAIN_CYCLE" });
  const foreign = await failing(
    "[{ name: a, kind: secrets, provider: aws_sm, map: { k: x } }]",
    "keychain.a.k",
  );
  expect(JSON.stringify(foreign)).toContain('provider \\"aws_sm\\" is not one of this platform');
});

test("a service that does not answer is a connection failure, which may be tried again", async () => {
  await using platform = await startPlatform();
  const { error } = await platform.run(
    playbook(
      "keychain/down",
      `
keychain: [{ name: a, kind: oauth2, token_url: "http://127.0.0.1:1/token", client_id: me, client_secret: cl1ent-secret }]
workflow:
  - step: start
    tool: { kind: python, input: { x: "{{ keychain.a.token }}" }, code: "result = x" }
`,
    ),
  );
  expect(error).toMatchObject({ kind: "connection", retryable: true });
});

test("templates that decide the route cannot read the keychain: a warning, and a clear failure", async () => {
  await using platform = await startPlatform();
  const { status, error, warnings } = await platform.run(
    playbook(
      "keychain/route",
      `
keychain: [{ name: a, kind: static, token: s3cret-token }]
workflow:
  - step: start
    tool: { kind: noop }
    set: { ctx.token: "{{ keychain.a.token }}" }
`,
    ),
  );
  expect(warnings).toMatchObject([{ code: "KEYCHAIN_ON_SERVER" }]);
  expect(status).toBe("FAILED");
  expect(error).toMatchObject({ kind: "template" });
  expect(JSON.stringify(error)).toContain("keychain.a is known to workers alone");
});

test("values set over the API stand in for an alias, until they expire or are deleted", async () => {
  await using platform = await startPlatform();
  const content = playbook(
    "keychain/set",
    `
workflow:
  - step: start
    tool: { kind: python, input: { x: "{{ keychain.manual.pin }}" }, code: "result = {'n': len(x)}" }
`,
  );
  const registered = await platform.call("POST", "/api/catalog/register", { content });
  const url = `/api/keychain/${String(registered.body["catalog_id"])}/manual`;
  const set = { data: { pin: "pin-of-twelve" }, scope_type: "global", expires_in: 3600 };
  expect((await platform.call("POST", url, set)).body).toMatchObject({ status: "success" });
  const { steps } = await platform.run(content);
  expect(resultOf(steps, "start")).toEqual({ n: 13 });
  const shown = await platform.call("GET", url);
  expect(shown.body).toMatchObject({ status: "found", access_count: 1, scope_type: "global" });
  expect(shown.body).not.toHaveProperty("data");
  await platform.call("POST", url, { ...set, expires_in: 0 });
  expect((await platform.call("GET", url)).body).toMatchObject({ status: "expired" });
  expect((await platform.call("DELETE", url)).status).toBe(200);
  expect((await platform.call("GET", url)).body).toMatchObject({ status: "not_found" });
  expect((await platform.call("DELETE", url)).status).toBe(404);
  expect((await platform.call("GET", `${url}?scope_type=odd`)).status).toBe(422);
});

const SHARED_TOKEN = `
keychain:
  - name: api
    kind: oauth2
    scope: global
    token_url: "{{ workload.base }}/token"
    client_id: me
    client_secret: cl1ent-secret
workflow:
  - step: start
    tool: { kind: http, url: "{{ base }}/data", auth: api }
`;

test("a token outlives a restart and is shared by servers, however many ask at once", async () => {
  using remote = startTokens();
  const content = playbook("keychain/shared", `workload: { base: "${remote.url}" }${SHARED_TOKEN}`);
  await using first = await startPlatform();
  await using second = await startPlatform({ databaseUrl: first.databaseUrl });
  const runs = await Promise.all([first, second, first, second].map((one) => one.run(content)));
  expect(runs.map(({ status }) => status)).toEqual(Array(4).fill("COMPLETED"));
  await using third = await startPlatform({ databaseUrl: first.databaseUrl });
  expect((await third.run(content)).status).toBe("COMPLETED");
  expect(remote.count("/token")).toBe(1);
});

test("the lease of a server that died while it fetched ends, and another one fetches", async () => {
  using remote = startTokens();
  const content = playbook("keychain/died", `workload: { base: "${remote.url}" }${SHARED_TOKEN}`);
  await using platform = await startPlatform();
  await platform.run(content);
  await platform.sql`
    UPDATE noetl.keychain
    SET sealed = NULL, version = 0, lease_until = now() + interval '1 second'`;
  expect((await platform.run(content)).status).toBe("COMPLETED");
  expect(remote.count("/token")).toBe(2);
});

test("a sub-playbook reads the entries of the playbook that called it", async () => {
  await using platform = await startPlatform();
  await platform.call("POST", "/api/catalog/register", {
    content: playbook(
      "keychain/child",
      `
workflow:
  - step: start
    tool: { kind: python, input: { x: "{{ keychain.from_parent.pin }}" }, code: "result = {'n': len(x)}" }
`,
    ),
  });
  const { status, steps } = await platform.run(
    playbook(
      "keychain/parent",
      `
workload: { pin: "pin-of-twelve" }
keychain: [{ name: from_parent, kind: static, pin: "{{ workload.pin }}" }]
workflow:
  - step: start
    tool: { kind: playbook, path: keychain/child }
`,
    ),
  );
  expect(status).toBe("COMPLETED");
  expect(resultOf(steps, "start")).toEqual({ n: 13 });
});

test("entries of one name are kept apart where the workload makes them different", async () => {
  using remote = startRemote({
    "/token": ({ body }) =>
      json({ access_token: `token-of-${new URLSearchParams(body).get("client_id")}` }),
  });
  await using platform = await startPlatform();
  const content = playbook(
    "keychain/tenants",
    `
workload: { tenant: a }
keychain:
  - name: api
    kind: oauth2
    scope: global
    endpoint: "${remote.url}/token"
    data: { grant_type: client_credentials, client_id: "{{ workload.tenant }}" }
workflow:
  - step: start
    tool: { kind: python, input: { t: "{{ keychain.api.token }}" }, code: "result = t[-1]" }
`,
  );
  const lastOf = async (tenant: string) =>
    resultOf((await platform.run(content, { tenant })).steps, "start");
  expect(await lastOf("x")).toBe("x");
  expect(await lastOf("y")).toBe("y");
  expect(await lastOf("x")).toBe("x");
  expect(remote.count("/token")).toBe(2);
});
