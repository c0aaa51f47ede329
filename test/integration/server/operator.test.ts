import { expect, test } from "bun:test";
import { createBackend, createTestServer } from "../../unit/server/backend.ts";
import { OPERATOR_TOKEN, startPlatform } from "./platform.ts";

const PATH = "/api/postgres/execute";
const OPERATOR = { authorization: `Bearer ${OPERATOR_TOKEN}` };

test("only operators ask the database, and nobody does where there is no operator's token", async () => {
  await using platform = await startPlatform();
  const { call } = platform;
  const ask = async (headers: Record<string, string>) => {
    const { status, body } = await call("POST", PATH, { query: "SELECT 1 AS a" }, headers);
    return [status, body.code ?? body.result];
  };
  expect(await ask({})).toEqual([403, "OPERATOR_TOKEN_REQUIRED"]);
  expect(await ask({ authorization: "Bearer nearly" })).toEqual([403, "OPERATOR_TOKEN_REQUIRED"]);
  expect(await ask(OPERATOR)).toEqual([200, [{ a: 1 }]]);
  const without = createTestServer(createBackend());
  const { status, body } = await without.call("POST", PATH, { query: "SELECT 1" }, OPERATOR);
  expect([status, body.code]).toEqual([503, "OPERATOR_OFF"]);
});

test("the platform's database is only read, one statement at a time, within limits", async () => {
  await using platform = await startPlatform();
  const { call, db } = platform;
  const ask = async (body: object) => await call("POST", PATH, body, OPERATOR);
  const refused = async (body: object) => (await ask(body)).body.code;
  expect(await refused({ query: "DELETE FROM noetl.worker" })).toBe("STATEMENT_REFUSED");
  expect(await refused({ query: "SELECT 1; DROP TABLE noetl.worker" })).toBe("STATEMENT_REFUSED");
  expect(await refused({ query: "COPY (SELECT 1) TO PROGRAM 'id'" })).toBe("STATEMENT_REFUSED");
  expect(await refused({ query: "SELECT 1", read_only: false })).toBe("REQUEST_INVALID");
  expect(await refused({ procedure: "now" })).toBe("REQUEST_INVALID");
  const sneaky = "WITH gone AS (DELETE FROM noetl.node RETURNING 1) SELECT count(*) FROM gone";
  expect((await ask({ query: sneaky })).body.details).toMatchObject({ sqlstate: "25006" });
  const doing = "SELECT set_config('transaction_read_only', 'off', true)";
  expect((await ask({ query: doing })).body.code).toBe("QUERY_FAILED");
  const slow = await ask({ query: "SELECT pg_sleep(60)", timeout_seconds: 1 });
  expect([slow.status, slow.body.details.sqlstate]).toEqual([422, "57014"]);
  const many = await ask({ query: "SELECT generate_series(1, 100000) AS n", limit: 3 });
  expect(many.body).toMatchObject({ result: [{ n: 1 }, { n: 2 }, { n: 3 }], is_cut: true });
  const named = await ask({ query: "SELECT count(*) AS n FROM node", db_schema: "noetl" });
  expect(named.body.result[0].n).toBeGreaterThan(0);
  const wrong = await ask({ query_base64: btoa("SELECT nothing FROM nowhere") });
  expect(wrong.body).toMatchObject({ code: "QUERY_FAILED", details: { sqlstate: "42P01" } });
  expect((await db.sql`SELECT count(*)::int AS n FROM noetl.node`)[0]?.["n"]).toBeGreaterThan(0);
});

test("a credential's database is written only when that is asked for", async () => {
  await using platform = await startPlatform();
  const { call, db } = platform;
  const data = { connection_string: db.url };
  await call("POST", "/api/credentials", { name: "own", type: "postgres", data });
  const ask = async (query: string, more: object = {}) =>
    (await call("POST", PATH, { query, credential: "own", ...more }, OPERATOR)).body;
  expect((await ask("CREATE TABLE t (a int)")).code).toBe("STATEMENT_REFUSED");
  await ask("CREATE TABLE t (a int)", { read_only: false });
  const written = await ask("INSERT INTO t VALUES (1), (2)", { read_only: false });
  expect(written).toMatchObject({ status: "ok", row_count: 2 });
  const returning = "INSERT INTO t SELECT generate_series(1, 5000) RETURNING a";
  const undone = await ask(returning, { read_only: false, limit: 10 });
  expect(undone.code).toBe("TOO_MANY_ROWS");
  expect((await ask("SELECT count(*) AS n FROM t")).result).toEqual([{ n: 2 }]);
  const unknown = await call("POST", PATH, { query: "SELECT 1", credential: "none" }, OPERATOR);
  expect(unknown.status).toBe(404);
});
