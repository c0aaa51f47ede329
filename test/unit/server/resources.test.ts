import { expect, test } from "bun:test";
import { createBackend, createTestServer } from "./backend.ts";

const PLAYBOOK = "apiVersion: noetl.io/v2\nkind: Playbook\n";

test("the catalog registers YAML and base64, lists and gives entries", async () => {
  const { call } = createTestServer(createBackend());
  const first = await call("POST", "/api/catalog/register", { content: PLAYBOOK });
  expect(first.body).toMatchObject({
    status: "success",
    path: "tests/demo",
    version: 1,
    catalog_id: "7",
    kind: "playbook",
    warnings: [],
  });
  const base64 = Buffer.from(PLAYBOOK).toString("base64");
  await call("POST", "/api/catalog/register", { content: base64, resource_type: "Playbook" });
  const list = await call("POST", "/api/catalog/list", { resource_type: "Playbook" });
  expect(list.body.entries.map((entry: { version: number }) => entry.version)).toEqual([2, 1]);
  expect(list.body.entries[0].content).toBe(PLAYBOOK);
  expect((await call("GET", "/api/catalog/list?limit=1")).body.entries.length).toBe(1);
  expect((await call("GET", "/api/catalog/list/Playbook")).body.entries.length).toBe(2);
  const resource = { path: "tests/demo", version: "1" };
  expect((await call("POST", "/api/catalog/resource", resource)).body.version).toBe(1);
});

test("a refused playbook says every error in the text and in details", async () => {
  const { call } = createTestServer(createBackend());
  const { status, body } = await call("POST", "/api/catalog/register", { content: "broken: 1" });
  expect(status).toBe(422);
  expect(body.error).toBe(
    'Cannot register the playbook: 1 error(s)\n  error at line 4, column 9: workflow[0].next: no step "ende": did you mean "end"?',
  );
  expect(body.details.diagnostics[0].code).toBe("STEP_UNKNOWN");
});

test("credentials never show their content unless the operator allows it", async () => {
  const backend = createBackend();
  const { call } = createTestServer(backend);
  const credential = { name: "pg_local", type: "postgres", data: { db_password: "s3cret" } };
  const created = await call("POST", "/api/credentials", credential);
  expect(created.body).toMatchObject({ id: "11", name: "pg_local", type: "postgres" });
  for (const path of ["/api/credentials", "/api/credentials/pg_local"]) {
    expect((await call("GET", path)).text).not.toContain("s3cret");
  }
  expect(created.text).not.toContain("s3cret");
  const refused = await call("GET", "/api/credentials/pg_local?include_data=true");
  expect([refused.status, refused.body.code]).toEqual([403, "SECRETS_HIDDEN"]);
  const open = createTestServer(backend, { canReadSecrets: true });
  const shown = await open.call("GET", "/api/credentials/pg_local?include_data=true");
  expect(shown.body.data).toEqual({ db_password: "s3cret" });
  expect((await call("DELETE", "/api/credentials/pg_local")).status).toBe(200);
  expect((await call("GET", "/api/credentials/pg_local")).status).toBe(404);
});

test("health is 503 and says why when a component is down", async () => {
  const backend = createBackend();
  const { call } = createTestServer(backend);
  expect((await call("GET", "/api/health")).body).toMatchObject({
    status: "ok",
    database: "ok",
    nats: "ok",
    version: "1.0.0",
  });
  backend.health = {
    database: { isHealthy: true },
    nats: { isHealthy: false, reason: "no route" },
  };
  const { status, body } = await call("GET", "/api/health");
  expect(status).toBe(503);
  expect(body).toMatchObject({ status: "unhealthy", nats: "unhealthy: no route" });
  expect((await call("GET", "/readyz")).status).toBe(503);
  expect((await call("GET", "/livez")).status).toBe(200);
  expect((await call("GET", "/health")).body).toEqual({ status: "ok" });
});

test("readiness ends when the server closes", async () => {
  const { server, call } = createTestServer(createBackend());
  await server.stop();
  expect((await call("GET", "/readyz")).body.status).toBe("not_ready");
});

test("pools say why commands wait; workers, totals, variables and results are there", async () => {
  const backend = createBackend();
  backend.add("1");
  const { call } = createTestServer(backend);
  const pools = (await call("GET", "/api/worker/pools")).body;
  expect(pools[0]).toMatchObject({ name: "cpu-01", status: "active", slots: 8, free_slots: 5 });
  expect(pools[1]).toMatchObject({
    status: "no_workers",
    waiting_reason: expect.stringContaining("gpu-01"),
  });
  expect((await call("GET", "/api/worker/pools?name=gpu-01")).body.length).toBe(1);
  expect((await call("GET", "/api/workers")).body.workers[0]).toMatchObject({
    name: "host-1",
    metrics_url: "http://127.0.0.1:9090/metrics",
  });
  expect((await call("GET", "/api/dashboard/stats")).body.stats).toMatchObject({
    total_executions: 10,
    successful_executions: 2,
    total_workers: 6,
  });
  expect((await call("GET", "/api/vars/1")).body[0]).toMatchObject({
    var_name: "total",
    var_value: 3,
  });
  expect((await call("GET", "/api/vars/1/nope")).status).toBe(404);
  const list = [{ var_name: "a", var_value: [1] }, { var_name: "b" }];
  expect((await call("POST", "/api/vars/1", { variables: list })).body).toEqual({
    execution_id: "1",
    variables_set: 2,
    status: "success",
  });
  await call("POST", "/api/vars/1", { variables: { c: true } });
  await call("DELETE", "/api/vars/1/total");
  expect(backend.changes).toEqual([
    { values: { a: [1], b: null }, removed: [] },
    { values: { c: true }, removed: [] },
    { values: {}, removed: ["total"] },
  ]);
  const { ref } = backend.shelf.add("7", "big", '{"big":true}');
  const path = `/api/result/resolve?ref=${encodeURIComponent(ref.$ref)}`;
  expect((await call("GET", path)).body).toEqual({ big: true });
});

test("the OpenAPI document has every route with its schemas and errors", async () => {
  const { call } = createTestServer(createBackend());
  const { body } = await call("GET", "/openapi/json");
  const paths = Object.keys(body.paths);
  for (const path of [
    "/api/execute",
    "/api/executions/{id}/steps",
    "/api/credentials/{key}",
    "/metrics",
  ]) {
    expect(paths).toContain(path);
  }
  const execute = body.paths["/api/execute"].post;
  expect(execute.requestBody.content["application/json"].schema.properties).toHaveProperty("dedup");
  expect(execute.responses["404"].content["application/json"].schema.required).toContain("code");
});

test("the page and its files come with a policy that allows no other host", async () => {
  const { call } = createTestServer(createBackend());
  const open = ["/", "/api"];
  const seen = new Set<string>();
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    seen.add(path);
    const answer = await call("GET", path);
    expect([path, answer.status]).toEqual([path, 200]);
    expect(answer.text).not.toMatch(/https?:\/\/(?!127|localhost|www\.w3\.org)/);
    expect(answer.headers.get("content-security-policy")).toContain("default-src 'none'");
    const named = [...answer.text.matchAll(/(?:from "\.|")(\/[\w-]+\.js|\/ui\/[\w.-]+)"/g)];
    const files = named.map(([, name = ""]) => (name.startsWith("/ui/") ? name : `/ui${name}`));
    open.push(...files.filter((file) => !seen.has(file) && !open.includes(file)));
  }
  // Whatever a file of the page imports is there, too.
  expect(seen.size).toBeGreaterThan(30);
});

test("cleanup cancels what has not ended for long, with its children; a dry run only says which", async () => {
  const backend = createBackend();
  backend.add("1");
  backend.add("2");
  const { call } = createTestServer(backend);
  const ids = { execution_ids: ["1", "2"] };
  const dry = await call("POST", "/api/executions/cleanup", { dry_run: true });
  expect([dry.body, backend.cancels]).toMatchObject([{ ...ids, cancelled_count: 0 }, []]);
  const real = await call("POST", "/api/executions/cleanup", { older_than_minutes: 5 });
  expect(real.body).toMatchObject({ ...ids, cancelled_count: 2, has_more: false });
  expect(backend.cancels).toMatchObject([
    { executionId: "1", cascade: true, reason: "cleanup: not ended after 5 min" },
    { executionId: "2", cascade: true },
  ]);
});
