import { afterAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { Json, JsonObject } from "../../../src/core/json.ts";
import { createTools } from "../../../src/tools/registry.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import { waitFor } from "../../support/wait.ts";
import type { Call } from "./call.ts";
import { failureFrom, problemsOf, run, valueFrom } from "./call.ts";

const db = await createTestDatabase({ isMigrated: false });
const files = makeScratchDir("transfer");
const tools = createTools({
  selfCommand: [process.execPath, "src/main.ts"],
  env: process.env,
  filesDir: files,
});
const tool = tools.get("transfer");
const service = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: answer });
afterAll(async () => {
  await service.stop(true);
  await tools.close();
  await db[Symbol.asyncDispose]();
});

/** What the service answers next. */
let respond: (request: Request) => Response | Promise<Response> = () => Response.json([]);
function answer(request: Request): Response | Promise<Response> {
  return respond(request);
}

const credentials = {
  pg: { type: "postgres", data: { dsn: db.url } },
  api: { type: "bearer", data: { token: "t-1" } },
};
const call = (config: JsonObject, more: Partial<Call> = {}): Call => ({
  config,
  credentials,
  ...more,
});
const pg = (more: JsonObject): JsonObject => ({ type: "postgres", auth: "pg", ...more });
const duck = (more: JsonObject): JsonObject => ({ type: "duckdb", database: "t.duckdb", ...more });
const http = (more: JsonObject = {}): JsonObject => ({
  type: "http",
  url: service.url.href,
  ...more,
});
const move = async (config: JsonObject, more: Partial<Call> = {}): Promise<JsonObject> =>
  (await valueFrom(tool, call(config, more))) as JsonObject;
const failed = (config: JsonObject, more: Partial<Call> = {}) =>
  failureFrom(tool, call(config, more));
const inDuck = async (command: string): Promise<Json> => {
  const value = await valueFrom(tools.get("duckdb"), { config: { database: "t.duckdb", command } });
  return (value as JsonObject)["rows"] ?? null;
};
const inPostgres = async (query: string): Promise<unknown> => [...(await db.sql.unsafe(query))];

describe("from http to postgres", () => {
  test("maps names, coerces numbers, and keeps every character", async () => {
    await db.sql`CREATE TABLE post (id serial PRIMARY KEY, post_id integer, title text, tags text[], meta jsonb, note jsonb)`;
    const title = 'isn\'t \\ a\ttab\nnor \\N "quoted" 😀';
    respond = () =>
      Response.json([
        { userId: 1, id: 7, title, tags: ["a", 'b"c', null], meta: { deep: [1] }, note: "plain" },
        { userId: 2, id: 8 },
      ]);
    const mapping = { post_id: "id", title: "title", tags: "tags", meta: "meta", note: "note" };
    expect(await move({ source: http(), target: pg({ table: "post", mapping }) })).toEqual({
      direction: "http_to_postgres",
      source_type: "http",
      target_type: "postgres",
      mode: "append",
      rows_transferred: 2,
      chunks_processed: 1,
      target_table: "post",
      columns: ["post_id", "title", "tags", "meta", "note"],
    });
    expect(await inPostgres("SELECT *, tags::text AS tags FROM post ORDER BY id")).toEqual([
      {
        id: 1,
        post_id: 7,
        title,
        tags: '{a,"b\\"c",NULL}',
        meta: { deep: [1] },
        note: "plain",
      },
      { id: 2, post_id: 8, title: null, tags: null, meta: null, note: null },
    ]);
  });

  test("finds the list at data_path, sends method, headers and credential", async () => {
    await db.sql`CREATE TABLE city (name text, country text)`;
    let seen = "";
    respond = (request) => {
      seen = `${request.method} ${request.headers.get("authorization")}`;
      return Response.json({
        meta: { items: [1, "]"] },
        data: { items: [{ n: "Oslo", c: { k: "NO" } }] },
      });
    };
    const source = http({ data_path: "data.items", method: "POST", auth: "api", json: { q: 1 } });
    const target = pg({ table: "public.city", mapping: { name: "n", country: "c.k" } });
    expect(await move({ source, target })).toMatchObject({ rows_transferred: 1 });
    expect(await inPostgres("SELECT * FROM city")).toEqual([{ name: "Oslo", country: "NO" }]);
    expect(seen).toBe("POST Bearer t-1");
  });

  test("reads lines of JSON, and one map as one row", async () => {
    await db.sql`CREATE TABLE line (a integer)`;
    const headers = { "content-type": "application/x-ndjson" };
    respond = () => new Response('{"a":1}\n{"a":2}\n\n{"a":3}', { headers });
    expect(await move({ source: http(), target: pg({ table: "line" }) })).toMatchObject({
      rows_transferred: 3,
    });
    respond = () => Response.json({ a: 4 });
    await move({ source: http(), target: pg({ table: "line" }) });
    expect(await inPostgres("SELECT sum(a)::int AS sum FROM line")).toEqual([{ sum: 10 }]);
  });

  test("an answer without rows is a transfer of none", async () => {
    await db.sql`CREATE TABLE nothing (a integer)`;
    respond = () => Response.json([]);
    await inDuck("CREATE TABLE nothing AS SELECT 1 AS a");
    for (const target of [pg({ table: "nothing" }), duck({ table: "nothing" })]) {
      expect(await move({ source: http(), target, mode: "replace" })).toMatchObject({
        rows_transferred: 0,
        chunks_processed: 0,
      });
    }
    expect(await inDuck("FROM nothing")).toEqual([]);
  });

  test("says what is wrong with the rows, and writes none of them", async () => {
    await db.sql`CREATE TABLE strict (a integer)`;
    const target = pg({ table: "strict" });
    const bad = async (body: unknown, source: JsonObject = {}) => {
      respond = () => (typeof body === "string" ? new Response(body) : Response.json(body));
      return await failed({ source: http(source), target });
    };
    expect(await bad([{ a: 1 }, { a: "x" }])).toMatchObject({
      kind: "db_error",
      code: "22P02",
      message: expect.stringContaining('target: invalid input syntax for type integer: "x"'),
    });
    expect(await bad([{ b: 1 }])).toMatchObject({ kind: "schema", code: "COLUMN_MISSING" });
    expect(await bad([1])).toMatchObject({ kind: "schema", code: "ROW_INVALID" });
    expect(await bad({ rows: [] }, { data_path: "items" })).toMatchObject({
      code: "LIST_MISSING",
      message: 'source: the answer has no list at data_path "items"; at its top it has "rows"',
    });
    expect(await bad('[{"a":1},{"a":')).toMatchObject({ kind: "parse", code: "JSON_CUT" });
    expect(await bad("<html>")).toMatchObject({ kind: "parse", code: "JSON_INVALID" });
    const late = Array.from({ length: 1500 }, (_, a) => (a === 1400 ? { a, extra: 1 } : { a }));
    expect(await bad(late)).toMatchObject({ code: "COLUMN_UNEXPECTED" });
    expect(await inPostgres("SELECT * FROM strict")).toEqual([]);
  });

  test("points out a mapping that finds nothing", async () => {
    await db.sql`CREATE TABLE typo (a integer)`;
    respond = () => Response.json([{ b: 1 }]);
    const target = pg({ table: "typo", mapping: { a: "bee" } });
    const { outcome, logs } = await run(tool, call({ source: http(), target }));
    expect(outcome.ok).toBe(true);
    expect(logs).toContain('stderr: no row has "bee" for column "a"; the first has: b');
  });

  test("fails as an http task does", async () => {
    respond = () => new Response("later", { status: 429, headers: { "retry-after": "2" } });
    const target = pg({ table: "post" });
    expect(await failed({ source: http(), target })).toMatchObject({
      kind: "rate_limit",
      retryable: true,
      retryAfterMs: 2000,
      message: expect.stringContaining("source: HTTP 429"),
    });
    const closed = http({ url: "http://127.0.0.1:1/" });
    expect(await failed({ source: closed, target })).toMatchObject({ kind: "connection" });
    const wrong = http({ url: "nowhere" });
    expect(await failed({ source: wrong, target })).toMatchObject({ code: "URL_INVALID" });
  });

  test("a service that breaks off leaves the table as it was", async () => {
    await db.sql`CREATE TABLE half AS SELECT 1 AS a`;
    using broken = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        data: (socket) => {
          const body = '[{"a":2},{"a":3}';
          socket.end(`HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n${body}`);
        },
      },
    });
    const url = `http://127.0.0.1:${broken.port}/`;
    const config = { source: http({ url }), target: pg({ table: "half" }), mode: "replace" };
    expect((await failed(config)).message).toStartWith("source: ");
    expect(await inPostgres("SELECT * FROM half")).toEqual([{ a: 1 }]);
  });
});

describe("between databases", () => {
  const types = `1::smallint AS small, 9007199254740993::bigint AS big, 12.340::numeric(10,3) AS exact,
    'NaN'::float8 AS nan, true AS yes, E'a\\tb\\\\c\\n''"' AS text, '\\x00ff'::bytea AS bytes,
    DATE '2026-01-02' AS day, TIMESTAMP '2026-01-02 03:04:05.678' AS moment,
    TIMESTAMPTZ '2026-01-02 03:04:05+02' AS zoned, INTERVAL '1 year 2 days 03:04:05' AS span,
    ARRAY[1,NULL,3] AS numbers, ARRAY['a','b "c"',NULL] AS words, '{"k": [1]}'::jsonb AS doc,
    '8b9b7cc0-8f25-4d2c-9db6-1b2ec2b7b0ba'::uuid AS id, NULL::text AS nothing, ''::text AS empty`;

  test("keeps every value through DuckDB and back", async () => {
    await db.sql.unsafe(`CREATE TABLE origin AS SELECT ${types}`);
    await db.sql`CREATE TABLE returned (LIKE origin)`;
    await inDuck(`CREATE TABLE copy (small SMALLINT, big BIGINT, exact DECIMAL(10,3), nan DOUBLE,
      yes BOOLEAN, text VARCHAR, bytes BLOB, day DATE, moment TIMESTAMP, zoned TIMESTAMPTZ,
      span INTERVAL, numbers INTEGER[], words VARCHAR[], doc JSON, id UUID, nothing VARCHAR,
      empty VARCHAR)`);
    await move({ source: pg({ table: "origin" }), target: duck({ table: "copy" }) });
    expect(await inDuck("FROM copy")).toEqual([
      {
        small: 1,
        big: "9007199254740993",
        exact: 12.34,
        nan: "NaN",
        yes: true,
        text: "a\tb\\c\n'\"",
        bytes: "AP8=",
        day: "2026-01-02",
        moment: "2026-01-02T03:04:05.678",
        zoned: "2026-01-02T01:04:05Z",
        span: "1 year 2 days 03:04:05",
        numbers: [1, null, 3],
        words: ["a", 'b "c"', null],
        doc: { k: [1] },
        id: "8b9b7cc0-8f25-4d2c-9db6-1b2ec2b7b0ba",
        nothing: null,
        empty: "",
      },
    ]);
    await move({ source: duck({ query: "FROM copy" }), target: pg({ table: "returned" }) });
    const same = "SELECT (o::text = r::text) AS same FROM origin o, returned r";
    expect(await inPostgres(same)).toEqual([{ same: true }]);
  });

  test("moves structs and maps as JSON, within DuckDB too", async () => {
    await inDuck(
      `CREATE TABLE nested AS SELECT {a: 1, b: 'x'} AS s, map {'k': 2} AS m, [1.5] AS l`,
    );
    await inDuck("CREATE TABLE nested_copy AS FROM nested LIMIT 0");
    await move({ source: duck({ table: "nested" }), target: duck({ table: "nested_copy" }) });
    expect(await inDuck("FROM nested_copy")).toEqual([
      { s: { a: 1, b: "x" }, m: { k: 2 }, l: [1.5] },
    ]);
    await db.sql`CREATE TABLE nested (s jsonb, m jsonb, l numeric[])`;
    await move({ source: duck({ table: "nested" }), target: pg({ table: "nested" }) });
    expect(await inPostgres("SELECT s, m, l::text FROM nested")).toEqual([
      { s: { a: 1, b: "x" }, m: { k: 2 }, l: "{1.5}" },
    ]);
  });

  test("runs the statements before the query, and takes columns in the mapping's order", async () => {
    await db.sql`CREATE TABLE pair (b integer, a integer)`;
    const query = "CREATE TEMP TABLE t AS SELECT 1 AS x, 2 AS y; SELECT x, y FROM t;";
    const mapping = { a: "x", b: "Y" };
    for (const source of [pg({ query }), { type: "duckdb", query }]) {
      await move({ source, target: pg({ table: "pair", mapping }) });
    }
    expect(await inPostgres("SELECT a, b FROM pair")).toEqual([
      { a: 1, b: 2 },
      { a: 1, b: 2 },
    ]);
  });

  test("cuts into chunks and says how far it is", async () => {
    await db.sql`CREATE TABLE many (n integer)`;
    const source = pg({ query: "SELECT generate_series(1, 250000) AS n" });
    const target = pg({ table: "many" });
    const { outcome, logs } = await run(tool, call({ source, target, chunk_size: 4000 }));
    expect(outcome).toMatchObject({
      ok: true,
      value: { rows_transferred: 250_000, chunks_processed: 63 },
    });
    expect(logs).toEqual([
      "stdout: 100000 rows so far",
      "stdout: 200000 rows so far",
      "stdout: 250000 rows transferred",
    ]);
    expect(await inPostgres("SELECT count(DISTINCT n)::int AS count FROM many")).toEqual([
      { count: 250_000 },
    ]);
  });

  test("runs a statement of the author's own for each row", async () => {
    await db.sql`CREATE TABLE log (text text)`;
    const source = pg({ query: "SELECT n, n * 2 AS twice FROM generate_series(1, 1500) n" });
    const target = pg({ query: "INSERT INTO log VALUES ($1::text || '/' || $2::text)" });
    expect(await move({ source, target })).toMatchObject({
      rows_transferred: 1500,
      target_table: null,
    });
    const counted =
      "SELECT count(*)::int, max(text) FILTER (WHERE text LIKE '7/%') AS max FROM log";
    expect(await inPostgres(counted)).toEqual([{ count: 1500, max: "7/14" }]);
  });
});

for (const [kind, end, ask] of [
  ["postgres", pg, inPostgres],
  ["duckdb", duck, inDuck],
] as const) {
  describe(`modes in ${kind}`, () => {
    const setUp = async (name: string): Promise<void> => {
      await ask(`CREATE TABLE ${name} (id integer PRIMARY KEY, a text, kept text DEFAULT 'kept')`);
      await ask(`INSERT INTO ${name} VALUES (1, 'one', 'mine'), (2, 'two', 'mine')`);
    };
    const rows = (sql: string): JsonObject =>
      pg({ query: `SELECT * FROM (VALUES ${sql}) v(id, a)` });

    test("append adds", async () => {
      await setUp("appended");
      await move({ source: rows("(3, 'three')"), target: end({ table: "appended" }) });
      expect(await ask("SELECT id, kept FROM appended ORDER BY id")).toEqual([
        { id: 1, kept: "mine" },
        { id: 2, kept: "mine" },
        { id: 3, kept: "kept" },
      ]);
    });

    test("replace leaves only what came, also of rows with the same keys", async () => {
      await setUp("replaced");
      const config = {
        source: rows("(2, 'zwei'), (3, 'drei')"),
        target: end({ table: "replaced" }),
      };
      await move({ ...config, mode: "replace" });
      await move({ ...config, mode: "replace" });
      expect(await ask("SELECT * FROM replaced ORDER BY id")).toEqual([
        { id: 2, a: "zwei", kept: "kept" },
        { id: 3, a: "drei", kept: "kept" },
      ]);
    });

    test("upsert changes the columns that came, the last row of a key counts", async () => {
      await setUp("upserted");
      const source = rows("(2, 'no'), (3, 'drei'), (2, 'zwei')");
      const target = end({ table: "upserted" });
      await move({ source, target, mode: "upsert" });
      await move({ source, target: { ...target, keys: ["id"] }, mode: "upsert" });
      expect(await ask("SELECT * FROM upserted ORDER BY id")).toEqual([
        { id: 1, a: "one", kept: "mine" },
        { id: 2, a: "zwei", kept: "mine" },
        { id: 3, a: "drei", kept: "kept" },
      ]);
    });

    test("a failure leaves the old rows, whatever the mode", async () => {
      await setUp("unharmed");
      const source = rows("(5, 'five'), (NULL, 'none')");
      const modes = ["append", "replace", "upsert"];
      for (const mode of modes) {
        const { kind: failureKind } = await failed({
          source,
          target: end({ table: "unharmed" }),
          mode,
        });
        expect(failureKind).toBe("db_constraint");
      }
      expect(await ask("SELECT id FROM unharmed ORDER BY id")).toEqual([{ id: 1 }, { id: 2 }]);
    });

    test("upsert says what it needs", async () => {
      await ask("CREATE TABLE keyless (id integer, a text)");
      const target = end({ table: "keyless" });
      const config = { source: rows("(1, 'a')"), target, mode: "upsert" };
      expect(await failed(config)).toMatchObject({ kind: "schema", code: "KEYS_MISSING" });
      const unique = await failed({ ...config, target: { ...target, keys: "id" } });
      expect(unique.message).toMatch(/unique/i);
    });

    test("a table or column that is not there is named", async () => {
      await ask("CREATE TABLE narrow (id integer)");
      const missing = await failed({ source: rows("(1, 'a')"), target: end({ table: "nowhere" }) });
      expect(missing.message).toContain("nowhere");
      expect(
        await failed({ source: rows("(1, 'a')"), target: end({ table: "narrow" }) }),
      ).toMatchObject({
        code: "COLUMN_MISSING",
        message: expect.stringContaining('narrow has no column "a"; it has "id"'),
      });
    });
  });
}

describe("stopping", () => {
  const slow = "SELECT pg_sleep(0.02), n FROM generate_series(1, 100000) n";

  test("a transfer into postgres ends at once, and the server's query with it", async () => {
    await db.sql`CREATE TABLE stopped (n integer)`;
    const abort = new AbortController();
    const source = pg({ query: `${slow} -- stop me`, host: undefined as unknown as Json });
    const running = failed(
      {
        source,
        target: pg({ table: "stopped", mapping: { n: "n" } }),
        mode: "replace",
        chunk_size: 10,
      },
      { signal: abort.signal },
    );
    const active = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'FETCH%' AND state = 'active'";
    await waitFor("the query", async () => ((await inPostgres(active)) as Json[]).length > 0);
    abort.abort();
    expect(await running).toMatchObject({ kind: "cancelled" });
    await waitFor("the end", async () => ((await inPostgres(active)) as Json[]).length === 0);
    expect(await inPostgres("SELECT * FROM stopped")).toEqual([]);
  });

  test("a timeout is a timeout, also in DuckDB", async () => {
    await db.sql`CREATE TABLE late (n bigint)`;
    const query = "SELECT sum(a.range * b.range) AS n FROM range(10000000) a, range(1000000) b";
    const config = { source: { type: "duckdb", query }, target: pg({ table: "late" }) };
    expect(await failed(config, { signal: AbortSignal.timeout(300) })).toMatchObject({
      kind: "timeout",
    });
  });

  test("a service that says nothing more is left", async () => {
    await db.sql`CREATE TABLE silent (a integer)`;
    const abort = new AbortController();
    const asked = Promise.withResolvers<void>();
    respond = () =>
      new Response(
        new ReadableStream({
          start: (controller) => {
            controller.enqueue(new TextEncoder().encode('[{"a":1},'));
            asked.resolve();
          },
        }),
      );
    const config = { source: http(), target: pg({ table: "silent" }) };
    const running = failed(config, { signal: abort.signal });
    await asked.promise;
    abort.abort();
    expect(await running).toMatchObject({ kind: "cancelled" });
  });
});

describe("lost connections", () => {
  test("a target that is cut off is a failure that can be tried again", async () => {
    await db.sql`CREATE TABLE cut (n integer)`;
    const source = pg({ query: "SELECT n FROM generate_series(1, 100000) n, pg_sleep(0.0001)" });
    const running = failed({ source, target: pg({ table: "cut" }), chunk_size: 10 });
    const copying = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'COPY%'";
    const [{ pid } = { pid: 0 }] = (await waitFor("the copy", async () => {
      const found = (await inPostgres(copying)) as { pid: number }[];
      return found.length > 0 && found;
    })) as { pid: number }[];
    await db.sql`SELECT pg_terminate_backend(${pid})`;
    expect(await running).toMatchObject({ kind: "db_connection", retryable: true });
    expect(await inPostgres("SELECT * FROM cut")).toEqual([]);
  });

  test("a database that is not there is one too", async () => {
    const nowhere = { type: "postgres", connection: "postgres://127.0.0.1:1/x" };
    expect(
      await failed({ source: { ...nowhere, query: "SELECT 1" }, target: pg({ table: "cut" }) }),
    ).toMatchObject({ kind: "db_connection", retryable: true });
  });
});

describe("checking", () => {
  const problems = (config: JsonObject) => problemsOf(tool, config);

  test("names everything that is missing or wrong", () => {
    expect(problems({})).toEqual(["transfer needs a source", "transfer needs a target"]);
    expect(problems({ source: {}, target: {} })).toEqual([
      "`source.type` is missing: one of duckdb, http, postgres",
      "`target.type` is missing: one of duckdb, postgres",
    ]);
    expect(
      problems({
        source: { kind: "http" },
        target: { tool: "duckdb", mapping: ["a"], mode: "merge" },
      }),
    ).toEqual([
      "`source.url` is missing",
      "`target.table` is missing",
      "`target.database` is missing: rows in memory would be gone with the task",
      "`mode` must be one of append, replace, upsert",
      "`target.mapping` must map columns of the target to names of the source",
    ]);
    expect(problems({ source: {}, target: {}, mode: "merge", chunk_size: 0 })).toEqual([
      "`mode` must be one of append, replace, upsert",
      "`chunk_size` must be a whole number from 1 on, not 0",
    ]);
    expect(problems({ source: { type: "ftp" }, target: { type: "postgres" } })).toEqual([
      '`source.type` is "ftp": it must be one of duckdb, http, postgres',
      "`target.table` (or `target.query`) is missing",
    ]);
  });

  test("a query at the target decides itself", () => {
    const source = { type: "postgres", query: "SELECT 1" };
    const target = { type: "postgres", query: "INSERT INTO t VALUES ($1)" };
    expect(problems({ source, target })).toEqual([]);
    expect(problems({ source, target, mode: "upsert" })).toHaveLength(1);
  });
});

test("a worker that is killed leaves the old rows, at both", async () => {
  await db.sql`CREATE TABLE survivor AS SELECT 1 AS n`;
  await inDuck("CREATE TABLE survivor AS SELECT 1 AS n");
  const query = "SELECT n FROM generate_series(2, 100000) n, pg_sleep(0.0005)";
  const source = { type: "postgres", connection: db.url, query };
  const targets = [
    { type: "postgres", connection: db.url, table: "survivor" },
    duck({ table: "survivor" }),
  ];
  const script = `
    import { createTools } from "${process.cwd()}/src/tools/registry.ts";
    const tools = createTools({
      selfCommand: [process.execPath, "${process.cwd()}/src/main.ts"],
      env: process.env,
      filesDir: ${JSON.stringify(files)},
    });
    const context = {
      signal: new AbortController().signal, log: () => undefined,
      credential: () => Promise.reject(new Error("none")), resolve: () => Promise.resolve(null),
    };
    await Promise.all(${JSON.stringify(targets)}.map((target) => tools.get("transfer").run({
      label: "t", input: {}, context: {}, names: {}, executionId: "1", step: "s",
      config: { source: ${JSON.stringify(source)}, target, mode: "replace", chunk_size: 10 },
    }, context)));`;
  const host = Bun.spawn([process.execPath, "-e", script], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  const busy = `SELECT (SELECT count(*) FROM pg_stat_progress_copy WHERE tuples_processed > 100) > 0
    AND (SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'FETCH%') = 2 AS busy`;
  await waitFor("both transfers", async () => {
    const [row] = (await inPostgres(busy)) as { busy: boolean }[];
    return row?.busy === true;
  });
  host.kill("SIGKILL");
  await host.exited;
  expect(await inDuck("FROM survivor")).toEqual([{ n: 1 }]);
  expect(await inPostgres("SELECT n FROM survivor")).toEqual([{ n: 1 }]);
});

test("leaves no database file open", async () => {
  await inDuck("SELECT 1");
  const other = Bun.spawnSync([
    process.execPath,
    "-e",
    `const { DuckDBInstance } = await import("@duckdb/node-api");
     await DuckDBInstance.create(${JSON.stringify(join(files, "t.duckdb"))});
     process.stdout.write("opened");`,
  ]);
  expect(other.stdout.toString()).toBe("opened");
});
