import { afterAll, describe, expect, test } from "bun:test";
import type { JsonObject } from "../../../src/core/json.ts";
import { createPostgresTool } from "../../../src/tools/postgres.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { waitFor } from "../../support/wait.ts";
import type { Call } from "./call.ts";
import { failureFrom, run, valueFrom } from "./call.ts";

const db = await createTestDatabase({ isMigrated: false });
const tool = createPostgresTool({ maxOutputBytes: 1_000_000 });
afterAll(async () => {
  await tool.close?.();
  await db[Symbol.asyncDispose]();
});

const url = new URL(db.url);
const credential = {
  type: "postgres",
  data: {
    db_host: url.hostname,
    db_port: url.port,
    db_user: url.username,
    db_password: decodeURIComponent(url.password),
    db_name: url.pathname.slice(1),
  },
};
const withDb = (config: JsonObject, more: Partial<Call> = {}): Call => ({
  config: { auth: "pg", ...config },
  credentials: { pg: credential },
  ...more,
});
const query = async (command: string, config: JsonObject = {}): Promise<JsonObject> =>
  (await valueFrom(tool, withDb({ command, ...config }))) as JsonObject;
const failed = (command: string, config: JsonObject = {}, more: Partial<Call> = {}) =>
  failureFrom(tool, withDb({ command, ...config }, more));

describe("connections", () => {
  test("takes a credential, its plain names, a connection string or fields of its own", async () => {
    const { data } = credential;
    const plain = {
      host: data.db_host,
      port: data.db_port,
      user: data.db_user,
      password: data.db_password,
      database: data.db_name,
    };
    const sql = { query: "SELECT current_database() AS name" };
    const rows = { rows: [{ name: data.db_name }] };
    const ask = (config: JsonObject, credentials = {}) =>
      valueFrom(tool, { config: { ...sql, ...config }, credentials });
    expect(await ask(plain)).toMatchObject(rows);
    expect(await ask({ connection_string: db.url })).toMatchObject(rows);
    expect(await ask({ auth: "a" }, { a: { type: "postgres", data: plain } })).toMatchObject(rows);
    expect(
      await ask({ credential: "a" }, { a: { type: "postgres", data: { dsn: db.url } } }),
    ).toMatchObject(rows);
    const other = { ...credential.data, db_name: "nowhere" };
    expect(
      await ask({ auth: "a", database: data.db_name }, { a: { type: "postgres", data: other } }),
    ).toMatchObject(rows);
    expect(await failureFrom(tool, { config: sql })).toMatchObject({ code: "DATABASE_MISSING" });
    expect(await failureFrom(tool, { config: { ...sql, auth: "none" } })).toMatchObject({
      kind: "auth",
    });
  });

  test("tells a server that is not there, a wrong password and a missing database", async () => {
    const ask = (config: JsonObject) => failed("SELECT 1", config);
    expect(await ask({ port: 1 })).toMatchObject({ kind: "db_connection", retryable: true });
    expect(await ask({ user: "stranger", password: "x" })).toMatchObject({ kind: "auth" });
    expect(await ask({ database: "nowhere" })).toMatchObject({ code: "3D000" });
  });

  test("more tasks than connections wait for one", async () => {
    const all = Array.from({ length: 30 }, (_, n) => n);
    const results = await Promise.all(
      all.map((n) => query("SELECT $1::int AS n, pg_sleep(0.01)", { params: [n] })),
    );
    const numbers = results.map(({ rows }) => (rows as JsonObject[])[0]?.["n"]);
    expect(numbers).toEqual(all);
  });
});

describe("results", () => {
  test("gives rows, columns and count of the last statement, and of each", async () => {
    const value = await query("SELECT 1 AS a; SELECT 2 AS b, 'x' AS c UNION ALL SELECT 3, 'y'");
    expect(value).toEqual({
      rows: [
        { b: 2, c: "x" },
        { b: 3, c: "y" },
      ],
      columns: ["b", "c"],
      row_count: 2,
      command_0: {
        rows: [{ a: 1 }],
        columns: ["a"],
        row_count: 1,
        command: "SELECT",
        status: "success",
      },
      command_1: {
        rows: [
          { b: 2, c: "x" },
          { b: 3, c: "y" },
        ],
        columns: ["b", "c"],
        row_count: 2,
        command: "SELECT",
        status: "success",
      },
    });
  });

  test("takes its text from query, command, commands, sql or script", async () => {
    for (const name of ["query", "command", "sql", "script"]) {
      expect(await query("", { [name]: "SELECT 1 AS a; SELECT 2 AS a" })).toMatchObject({
        rows: [{ a: 2 }],
        command_0: { rows: [{ a: 1 }] },
      });
    }
    expect(
      await query("", { commands: ["SELECT 1 AS a", { query: "SELECT 3 AS a" }] }),
    ).toMatchObject({ rows: [{ a: 3 }] });
  });

  test("gives rows as lists if as_objects is false", async () => {
    const value = await query("SELECT 1 AS a, 'x' AS a, NULL AS b", { as_objects: false });
    expect(value).toMatchObject({ columns: ["a", "a", "b"], rows: [[1, "x", null]] });
  });

  test("runs scripts with comments, DO blocks and DDL", async () => {
    const value = await query(`
      -- a table; with a comment
      CREATE TABLE script (id serial PRIMARY KEY, note text);
      DO $$ BEGIN
        INSERT INTO script (note) VALUES ('a;b'), ('c');
      END $$;
      /* last */ SELECT count(*) AS n FROM script;`);
    expect(value).toMatchObject({ rows: [{ n: 2 }], row_count: 1 });
    expect(Object.keys(value).filter((key) => key.startsWith("command_")).length).toBe(3);
  });

  test("counts changed rows and gives what RETURNING returns", async () => {
    await query("CREATE TABLE changed (id int, note text)");
    const insert = "INSERT INTO changed VALUES (1, 'a'), (2, 'b')";
    expect(await query(insert)).toMatchObject({ rows: [], row_count: 2, affected_rows: 2 });
    expect(await query("UPDATE changed SET note = 'z' WHERE id = 2 RETURNING *")).toMatchObject({
      rows: [{ id: 2, note: "z" }],
      columns: ["id", "note"],
    });
    expect(await query("DELETE FROM changed")).toMatchObject({ row_count: 2 });
  });

  test("gives rows of SHOW, VALUES, EXPLAIN and WITH, and columns of no rows", async () => {
    expect(await query("SHOW server_encoding")).toMatchObject({
      rows: [{ server_encoding: "UTF8" }],
    });
    expect(await query("VALUES (1, 2)")).toMatchObject({ rows: [{ column1: 1, column2: 2 }] });
    expect(await query("EXPLAIN SELECT 1")).toMatchObject({ columns: ["QUERY PLAN"] });
    expect(await query("WITH x AS (SELECT 1 AS a) SELECT * FROM x")).toMatchObject({
      row_count: 1,
    });
    expect(await query("SELECT 1 AS a WHERE false")).toMatchObject({ rows: [], columns: ["a"] });
  });

  test("gives every type its JSON form", async () => {
    const value = await query(`SELECT
      1::int2 AS i2, 2::int4 AS i4, 9007199254740993::int8 AS i8, 3::int8 AS small,
      1.5::float4 AS f4, 1e-7::float8 AS f8, 99.90::numeric AS n, 0.12345678901234567::numeric AS long,
      true AS b, NULL::text AS nothing, 'é'::varchar AS v, '{"a":[1,null]}'::jsonb AS j,
      '[1]'::json AS js, '2024-01-02'::date AS d, '03:04:05'::time AS t,
      '2024-01-02 03:04:05.6'::timestamp AS ts, '2024-01-02 03:04:05+02'::timestamptz AS tz,
      '00000000-0000-0000-0000-000000000001'::uuid AS u, '\\x00ff'::bytea AS bytes,
      '1 day'::interval AS iv, '[1,5)'::int4range AS r, '{1,NULL}'::int[] AS ints,
      ARRAY['a,b', 'c"d'] AS texts, ARRAY[1.5, 2]::numeric[] AS numerics,
      ARRAY['2024-01-02 03:04:05+00'::timestamptz] AS times, '{{1,2},{3,4}}'::int8[] AS nested,
      '10.0.0.1'::inet AS net`);
    expect((value["rows"] as JsonObject[])[0]).toEqual({
      i2: 1,
      i4: 2,
      i8: "9007199254740993",
      small: 3,
      f4: 1.5,
      f8: 1e-7,
      n: 99.9,
      long: "0.12345678901234567",
      b: true,
      nothing: null,
      v: "é",
      j: { a: [1, null] },
      js: [1],
      d: "2024-01-02",
      t: "03:04:05",
      ts: "2024-01-02T03:04:05.6",
      tz: "2024-01-02T01:04:05Z",
      u: "00000000-0000-0000-0000-000000000001",
      bytes: "AP8=",
      iv: "1 day",
      r: "[1,5)",
      ints: [1, null],
      texts: ["a,b", 'c"d'],
      numerics: [1.5, 2],
      times: ["2024-01-02T03:04:05Z"],
      nested: [
        [1, 2],
        [3, 4],
      ],
      net: "10.0.0.1",
    });
  });

  test("refuses a result over the limit, and goes on with the next task", async () => {
    expect(await failed("SELECT repeat('x', 1000) FROM generate_series(1, 2000)")).toMatchObject({
      kind: "limit",
      code: "RESULT_TOO_LARGE",
    });
    expect(await query("SELECT 1 AS a")).toMatchObject({ rows: [{ a: 1 }] });
  });

  test("passes notices on as log lines", async () => {
    const { logs } = await run(
      tool,
      withDb({ command: "DO $$ BEGIN RAISE NOTICE 'hello'; END $$" }),
    );
    expect(logs).toEqual(["stderr: NOTICE: hello"]);
  });
});

describe("parameters", () => {
  test("fit the type that the statement wants", async () => {
    const command =
      "SELECT $1::int + 1 AS i, $2::text AS t, $3::jsonb AS j, $4::int[] AS a, $5::text[] AS ta," +
      " $6::bool AS b, $7::numeric AS n, $8::timestamptz AS tz, $9::text AS none, $10::jsonb AS parsed";
    const params = [
      1,
      "é'",
      { x: [1] },
      [1, 2],
      ["a,b", null],
      true,
      1.5,
      "2024-01-02T03:04:05Z",
      null,
      '{"y":2}',
    ];
    expect(await query(command, { params })).toMatchObject({
      rows: [
        {
          i: 2,
          t: "é'",
          j: { x: [1] },
          a: [1, 2],
          ta: ["a,b", null],
          b: true,
          n: 1.5,
          tz: "2024-01-02T03:04:05Z",
          none: null,
          parsed: { y: 2 },
        },
      ],
    });
  });

  test("go to the statements that use them", async () => {
    const value = await query("SELECT 1 AS a; SELECT $1::int AS b; SELECT $2::int AS c", {
      params: [5, 6],
    }).catch((error: unknown) => error);
    expect(value).toBeInstanceOf(Error);
    expect(await query("SELECT 1 AS a; SELECT $1::int AS b", { params: [5, 6] })).toMatchObject({
      rows: [{ b: 5 }],
    });
    expect(await failed("SELECT $2::int, $1::int", { params: [1] })).toMatchObject({
      code: "PARAMETER_MISSING",
    });
  });
});

describe("failures", () => {
  test("a syntax error says near what and where", async () => {
    const failure = await failed("SELECT\n  COUNT(*) as row_count,\nFROM patient_info;");
    expect(failure).toMatchObject({ kind: "db_error", code: "42601", retryable: false });
    expect(failure.message).toContain('syntax error at or near "FROM"');
    expect(failure.message).toContain("line 3: FROM patient_info");
  });

  test("a constraint has its kind, detail and the number of its statement", async () => {
    await query("CREATE TABLE uniq (id int PRIMARY KEY)");
    const { outcome } = await run(
      tool,
      withDb({ command: "INSERT INTO uniq VALUES (1); INSERT INTO uniq VALUES (1); SELECT 1" }),
    );
    expect(outcome).toMatchObject({
      ok: false,
      failure: { kind: "db_constraint", code: "23505" },
      value: { row_count: 1 },
    });
    const { message } = outcome.ok ? { message: "" } : outcome.failure;
    expect(message).toStartWith("statement 2: duplicate key");
    expect(message).toContain("DETAIL: Key (id)=(1)");
    expect(await query("SELECT count(*) AS n FROM uniq")).toMatchObject({ rows: [{ n: 1 }] });
  });

  test("a serialization failure and a deadlock may be tried again", async () => {
    const raise = (code: string) => failed(`DO $$ BEGIN RAISE SQLSTATE '${code}'; END $$`);
    expect(await raise("40001")).toMatchObject({ kind: "db_deadlock", retryable: true });
    expect(await raise("40P01")).toMatchObject({ kind: "db_deadlock", retryable: true });
    expect(await raise("08006")).toMatchObject({ kind: "db_connection", retryable: true });
  });

  test("an abort cancels the statement at the server", async () => {
    const stop = new AbortController();
    const failure = failed("SELECT pg_sleep(60) /* cancel me */", {}, { signal: stop.signal });
    const running = () => db.sql`
      SELECT pid FROM pg_stat_activity
      WHERE query LIKE '%cancel me%' AND state = 'active' AND pid <> pg_backend_pid()`;
    await waitFor("the statement to run", async () => (await running()).length > 0);
    stop.abort();
    expect(await failure).toMatchObject({ kind: "cancelled" });
    await waitFor("the statement to be gone", async () => (await running()).length === 0);
  });

  test("a connection that is cut is a failure that may be tried again", async () => {
    const failure = failed("SELECT pg_sleep(60) /* cut me */");
    await waitFor("the statement to run", async () => {
      const cut = await db.sql`
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE query LIKE '%cut me%' AND state = 'active' AND pid <> pg_backend_pid()`;
      return cut.length > 0;
    });
    expect(await failure).toMatchObject({ kind: "db_connection", retryable: true });
    expect(await query("SELECT 1 AS a")).toMatchObject({ rows: [{ a: 1 }] });
  });
});

describe("transactions and settings", () => {
  test("each statement commits by itself, so VACUUM works", async () => {
    await query("CREATE TABLE vac (a int); INSERT INTO vac VALUES (1); VACUUM vac; SELECT 1");
    expect(await query("SELECT count(*) AS n FROM vac")).toMatchObject({ rows: [{ n: 1 }] });
  });

  test("a transaction that the text begins is rolled back when it fails or is left open", async () => {
    await query("CREATE TABLE tx (a int)");
    await query("BEGIN; INSERT INTO tx VALUES (1); COMMIT");
    await failed("BEGIN; INSERT INTO tx VALUES (2); SELECT 1/0; COMMIT");
    await query("BEGIN; INSERT INTO tx VALUES (3)");
    expect(await query("SELECT a FROM tx")).toMatchObject({ rows: [{ a: 1 }] });
  });

  test("settings and temporary tables do not reach the next task", async () => {
    await query("SET search_path TO pg_catalog; CREATE TEMP TABLE leak (a int)");
    const after =
      "SELECT current_setting('search_path') AS path, to_regclass('pg_temp.leak') AS leak";
    expect(await query(after)).toMatchObject({ rows: [{ path: '"$user", public', leak: null }] });
  });

  test("searches the schema of the task", async () => {
    await query("CREATE SCHEMA other; CREATE TABLE other.here AS SELECT 5 AS a");
    expect(await query("SELECT a FROM here", { schema: "other" })).toMatchObject({
      rows: [{ a: 5 }],
    });
  });
});
