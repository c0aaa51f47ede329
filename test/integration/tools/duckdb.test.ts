import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Json, JsonObject } from "../../../src/core/json.ts";
import { DuckdbDatabases } from "../../../src/tools/duckdb/databases.ts";
import { createDuckdbTools } from "../../../src/tools/duckdb.ts";
import type { Credential } from "../../../src/tools/tool.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import { waitFor } from "../../support/wait.ts";
import type { Call } from "./call.ts";
import { failureFrom, problemsOf, valueFrom } from "./call.ts";

const files = makeScratchDir("duckdb");
const opened: DuckdbDatabases[] = [];
const open = (
  memoryBytes = 4e9,
  command?: readonly string[],
  memoryCountMax = 8,
): DuckdbDatabases => {
  const main = join(import.meta.dir, "../../../src/main.ts");
  const databases = new DuckdbDatabases({
    command: command ?? [process.execPath, main, "__runner", "duckdb"],
    env: process.env,
    filesDir: files,
    memoryBytes,
    memoryCountMax,
    library: () => Promise.resolve(undefined),
  });
  opened.push(databases);
  return databases;
};
const toolsOn = (databases: DuckdbDatabases) =>
  createDuckdbTools({ databases, maxOutputBytes: 1_000_000 });
const [tool, lake] = toolsOn(open());
afterAll(async () => {
  await Promise.all(opened.map((databases) => databases.close()));
});

const ask = async (command: string, config: JsonObject = {}): Promise<JsonObject> =>
  (await valueFrom(tool, { config: { command, ...config } })) as JsonObject;
const failed = (command: string, config: JsonObject = {}, more: Partial<Call> = {}) =>
  failureFrom(tool, { config: { command, ...config }, ...more });
/** Child processes of this one that run DuckDB. */
const runners = (): readonly number[] =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return (
          readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ")[1] ===
            String(process.pid) &&
          readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("__runner\0duckdb")
        );
      } catch {
        return false;
      }
    })
    .map(Number);

/** Processor time that DuckDB has used, in hundredths of a second. */
const computedTicks = (): number =>
  runners()
    .map((pid) => readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ")[11])
    .reduce((sum, ticks) => sum + Number(ticks), 0);

const LONG = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(1000000) b";
/** One call of one function: DuckDB cannot interrupt it. */
const STUCK = "SELECT levenshtein(repeat('ab', 200000), repeat('ba', 200000))";

describe("results", () => {
  test("have the shape of the postgres tool's", async () => {
    const value = await ask(
      "CREATE TABLE t (a integer); INSERT INTO t VALUES (1), (2); -- all\nSELECT a FROM t ORDER BY a;",
    );
    const last = { rows: [{ a: 1 }, { a: 2 }], columns: ["a"], row_count: 2 };
    expect(value).toEqual({
      ...last,
      command_0: { rows: [], columns: [], row_count: 0, command: "CREATE", status: "success" },
      command_1: { rows: [], columns: [], row_count: 2, command: "INSERT", status: "success" },
      command_2: { ...last, command: "SELECT", status: "success" },
    });
    expect(await ask("CREATE TABLE t AS SELECT 1 AS a; UPDATE t SET a = 2")).toMatchObject({
      rows: [],
      row_count: 1,
      affected_rows: 1,
    });
    expect(await ask("CREATE TABLE t AS SELECT 1 AS a; DELETE FROM t RETURNING a")).toMatchObject({
      rows: [{ a: 1 }],
    });
  });

  test("give every type as JSON", async () => {
    const value = await ask(`SELECT 1::TINYINT AS small, 9007199254740993 AS big,
      123456789012345678901234567890::HUGEINT AS huge, 12.50::DECIMAL(10,2) AS money,
      12345678901234567890.5::DECIMAL(38,1) AS exact, 0.1::FLOAT AS single, 1.5e300 AS double,
      'nan'::DOUBLE AS nan, true AS yes, NULL AS nothing, DATE '2026-01-02' AS day,
      TIME '03:04:05' AS hour, TIMESTAMP '2026-01-02 03:04:05.6' AS at_local,
      TIMESTAMPTZ '2026-01-02 03:04:05.123456+02' AS zoned, INTERVAL '1 year 2 days 3 hours' AS span,
      [1, NULL, 3] AS list, ['a', 'b']::VARCHAR[2] AS pair, {a: 1, b: {c: DATE '2026-01-02'}} AS struct,
      map {'k': 1, 'l': 2} AS map, map {1: 'x'} AS numbered, '\\x00\\xFF'::BLOB AS bytes,
      '8b9b7cc0-8f25-4d2c-9db6-1b2ec2b7b0ba'::UUID AS id, '{"a": [1, 12345678901234567890]}'::JSON AS doc,
      union_value(n := 5) AS either, 'x'::ENUM ('x', 'y') AS choice, '0101'::BIT AS bits`);
    expect((value["rows"] as readonly Json[])[0]).toEqual({
      small: 1,
      big: "9007199254740993",
      huge: "123456789012345678901234567890",
      money: 12.5,
      exact: "12345678901234567890.5",
      single: 0.1,
      double: 1.5e300,
      nan: "NaN",
      yes: true,
      nothing: null,
      day: "2026-01-02",
      hour: "03:04:05",
      at_local: "2026-01-02T03:04:05.6",
      zoned: "2026-01-02T01:04:05.123456Z",
      span: "1 year 2 days 03:00:00",
      list: [1, null, 3],
      pair: ["a", "b"],
      struct: { a: 1, b: { c: "2026-01-02" } },
      map: { k: 1, l: 2 },
      numbered: { "1": "x" },
      bytes: "AP8=",
      id: "8b9b7cc0-8f25-4d2c-9db6-1b2ec2b7b0ba",
      doc: { a: [1, "12345678901234567890"] },
      either: 5,
      choice: "x",
      bits: "0101",
    });
  });

  test("may be lists, and keep columns of the same name apart", async () => {
    expect(await ask("SELECT 1 AS a, 2 AS b", { as_objects: false })).toMatchObject({
      rows: [[1, 2]],
      columns: ["a", "b"],
    });
    expect(await ask("SELECT 1 AS a, 2 AS a")).toMatchObject({ rows: [{ a: 1, "a:1": 2 }] });
  });

  test("come from any of the fields, lists of commands too", async () => {
    const rows = [{ a: 1 }];
    for (const config of [
      { query: "SELECT 1 AS a" },
      { script: "SELECT 1 AS a" },
      { commands: ["CREATE TABLE t AS SELECT 1 AS a -- one", { command: "FROM t" }] },
    ]) {
      expect(await valueFrom(tool, { config })).toMatchObject({ rows });
    }
  });

  test("too large a one is refused, and the task's memory is not the worker's", async () => {
    expect(await failed("SELECT repeat('x', 1000) AS a FROM range(100000)")).toMatchObject({
      kind: "limit",
      code: "RESULT_TOO_LARGE",
      message: "the result is larger than 1000000 bytes",
    });
  });

  test("parameters go by position or by name", async () => {
    const params = [1, "it's", null, true, 2.5, { a: [1] }];
    expect(
      await ask("SELECT $1 AS a, $2 AS b, $3 AS c, $4 AS d, $5 AS e, $6::JSON AS f", { params }),
    ).toMatchObject({ rows: [{ a: 1, b: "it's", c: null, d: true, e: 2.5, f: { a: [1] } }] });
    expect(await ask("SELECT ? + ? AS sum", { params: [1, 2] })).toMatchObject({
      rows: [{ sum: 3 }],
    });
    expect(
      await ask("SELECT $low AS a, $high AS b", { params: { high: 9, low: 1 } }),
    ).toMatchObject({
      rows: [{ a: 1, b: 9 }],
    });
    expect(await failed("SELECT $1 + $2 AS a", { params: [1] })).toMatchObject({
      kind: "schema",
      code: "PARAMETER_MISSING",
      message: "the statement uses $2, which `params` does not have",
    });
  });
});

describe("databases", () => {
  test("in memory each task has one of its own", async () => {
    await ask("CREATE TABLE mine AS SELECT 1");
    expect(await failed("FROM mine", { database: ":memory:" })).toMatchObject({ code: "CATALOG" });
  });

  test("in memory no more tasks run at once than may; the others wait, or give up", async () => {
    const [narrow] = toolsOn(open(4e9, undefined, 1));
    const abort = new AbortController();
    const first = failureFrom(narrow, { config: { command: LONG }, signal: abort.signal });
    const gone = failureFrom(narrow, {
      config: { command: "SELECT 1" },
      signal: AbortSignal.abort(),
    });
    const next = valueFrom(narrow, { config: { command: "SELECT 2 AS a" } });
    expect(await gone).toMatchObject({ kind: "cancelled" });
    abort.abort();
    expect(await first).toMatchObject({ kind: "cancelled" });
    expect(await next).toMatchObject({ rows: [{ a: 2 }] });
  });

  test("files stay, relative ones in the worker's folder", async () => {
    await ask("CREATE TABLE t AS SELECT 1 AS a", { database: "deep/er/a.duckdb" });
    const full = join(files, "deep/er/a.duckdb");
    expect(existsSync(full)).toBe(true);
    expect(await ask("FROM t", { db_path: full })).toMatchObject({ rows: [{ a: 1 }] });
    expect(await ask("FROM t", { db_path: "deep/../deep/er/a.duckdb" })).toMatchObject({
      row_count: 1,
    });
    expect(await failed("SELECT 1", { database: "../a.duckdb" })).toMatchObject({
      kind: "schema",
      code: "PATH_OUTSIDE",
    });
    expect(await failed("SELECT 1", { database: "/no/such/folder/a.duckdb" })).toMatchObject({
      kind: "db_error",
      code: "IO",
    });
  });

  test("what a task leaves open is undone", async () => {
    const database = "open.duckdb";
    await ask("CREATE TABLE t (a integer)", { database });
    await ask("BEGIN; INSERT INTO t VALUES (1)", { database });
    expect(await ask("FROM t", { database })).toMatchObject({ rows: [] });
  });

  test("tasks on one file at the same time share it", async () => {
    const database = "shared.duckdb";
    await ask("CREATE TABLE t (a integer)", { database });
    const tasks = Array.from({ length: 12 }, (_, a) =>
      ask(`INSERT INTO t VALUES (${a})`, { database }),
    );
    await Promise.all(tasks);
    expect(await ask("SELECT count(DISTINCT a)::INT AS n FROM t", { database })).toMatchObject({
      rows: [{ n: 12 }],
    });
  });

  test("two workers take turns on one file", async () => {
    const [other] = toolsOn(open());
    const config = { database: "turns.duckdb", command: "INSERT INTO t VALUES (1)" };
    await ask("CREATE TABLE t (a integer)", { database: "turns.duckdb" });
    await Promise.all([tool, other, tool, other].map((each) => valueFrom(each, { config })));
    expect(await ask("FROM t", { database: "turns.duckdb" })).toMatchObject({ row_count: 4 });
  });

  test("a schema is made the current one; relative paths in SQL lead to the folder too", async () => {
    const database = "schema.duckdb";
    await ask("CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 1 AS a", { database });
    expect(await ask("FROM t", { database, schema: "s" })).toMatchObject({ rows: [{ a: 1 }] });
    await ask("COPY (SELECT 7 AS a) TO 'out.parquet'");
    expect(await ask("FROM 'out.parquet'")).toMatchObject({ rows: [{ a: 7 }] });
    expect(existsSync(join(files, "out.parquet"))).toBe(true);
  });
});

describe("failures", () => {
  test("say what and where; syntax errors before anything runs", async () => {
    const database = "failures.duckdb";
    expect(await failed("CREATE TABLE t (a integer); SELEC 1", { database })).toMatchObject({
      kind: "db_error",
      code: "PARSER",
    });
    expect(await failed("SELECT 1 AS a; FROM t", { database })).toMatchObject({
      code: "CATALOG",
      message: expect.stringContaining(
        "statement 2: Catalog Error: Table with name t does not exist",
      ),
    });
    const unique = "CREATE TABLE u (a integer PRIMARY KEY); INSERT INTO u VALUES (1), (1)";
    expect(await failed(unique)).toMatchObject({ kind: "db_constraint", code: "CONSTRAINT" });
    expect(await failed("SELECT 'x'::INTEGER")).toMatchObject({ code: "CONVERSION" });
    expect(await failed("-- nothing")).toMatchObject({ kind: "schema", code: "STATEMENT_MISSING" });
  });

  test("an extension that is not there is named, with what to do", async () => {
    const pg = { type: "postgres", data: { host: "127.0.0.1", password: "secret" } };
    const credentials: Call["credentials"] = { pg };
    for (const auth of ["pg", ["pg"], { db: "pg" }, { db: { source: "credential", key: "pg" } }]) {
      const failure = await failed("SELECT 1", { auth }, { credentials });
      expect(failure).toMatchObject({ code: "EXTENSION_MISSING", retryable: false });
      expect(failure.message).toContain('DuckDB\'s extension "postgres" is not installed');
      expect(failure.message).toContain("INSTALL postgres");
    }
    const store: Omit<Credential, "name"> = { type: "s3", data: { key_id: "a", secret: "b" } };
    expect(
      await failed("SELECT 1", { credentials: ["bucket"] }, { credentials: { bucket: store } }),
    ).toMatchObject({ message: expect.stringContaining("INSTALL httpfs") });
    const failure = await failureFrom(lake, {
      config: { command: "SELECT 1", catalog_connection: "lake.duckdb" },
    });
    expect(failure.message).toContain("INSTALL ducklake");
  });

  test("a credential that is missing, or of no use, is an auth failure", async () => {
    expect(await failed("SELECT 1", { auth: "nobody" })).toMatchObject({ kind: "auth" });
    const bearer = { type: "bearer", data: { token: "t" } };
    expect(await failed("SELECT 1", { auth: "b" }, { credentials: { b: bearer } })).toMatchObject({
      kind: "auth",
      code: "CREDENTIAL_TYPE",
    });
  });

  test("a ducklake task without a catalog is a duckdb task", async () => {
    const config = { command: "SELECT 42 AS a" };
    expect(await valueFrom(lake, { config })).toMatchObject({ rows: [{ a: 42 }] });
  });

  test("bad input is refused before it runs", () => {
    expect(problemsOf(tool, {})).toHaveLength(1);
    expect(problemsOf(tool, { command: " " })).toHaveLength(1);
    expect(problemsOf(tool, { command: "SELECT 1", database: { a: 1 } })).toEqual([
      '`database` must be a text, not {"a":1}',
    ]);
  });

  test("a program that does not start is told", async () => {
    const [broken] = toolsOn(open(1e9, ["false"]));
    const failure = await failureFrom(broken, { config: { command: "SELECT 1" } });
    expect(failure.message).toContain("DuckDB's process exited with code 1");
    const [missing] = toolsOn(open(1e9, ["/no/such/program"]));
    expect(
      await failureFrom(missing, { config: { command: "SELECT 1", database: "x" } }),
    ).toMatchObject({ kind: "internal", code: "DUCKDB_MISSING" });
  });
});

describe("stopping", () => {
  test("a long query is interrupted and its process kept", async () => {
    expect(await failed(LONG, {}, { signal: AbortSignal.timeout(200) })).toMatchObject({
      kind: "timeout",
    });
    const before = runners();
    await ask("SELECT 1");
    expect(runners()).toEqual(before);
  });

  test("what cannot be interrupted is killed, and the file is whole", async () => {
    const database = "stuck.duckdb";
    await ask("CREATE TABLE t AS SELECT 1 AS a", { database });
    const sql = `INSERT INTO t VALUES (2); ${STUCK}`;
    const abort = new AbortController();
    const stuck = failed(sql, { database }, { signal: abort.signal });
    const busy = async (): Promise<boolean> =>
      ((await ask("SELECT count(*)::INT AS n FROM t", { database }))["rows"] as JsonObject[])[0]?.[
        "n"
      ] === 2;
    await waitFor("the insert", busy);
    const before = computedTicks();
    await waitFor("the call that cannot be interrupted", () => computedTicks() > before + 50);
    const neighbour = failed(LONG, { database });
    abort.abort();
    expect(await stuck).toMatchObject({ kind: "cancelled" });
    expect(await neighbour).toMatchObject({ kind: "db_connection", retryable: true });
    expect(await ask("FROM t", { database })).toMatchObject({ rows: [{ a: 1 }, { a: 2 }] });
  }, 20_000);

  test("a task that takes too much memory is killed, the next one runs", async () => {
    const [small] = toolsOn(open(400_000_000));
    const hog = "SELECT length(repeat('x', 900000000) || repeat('y', 900000000))";
    expect(await failureFrom(small, { config: { command: hog } })).toMatchObject({
      kind: "oom_host",
    });
    const config = { command: "SELECT 1 AS a" };
    expect(await valueFrom(small, { config })).toMatchObject({ rows: [{ a: 1 }] });
  }, 60_000);

  test("what does not fit into memory goes to disk, and is gone afterwards", async () => {
    const [small] = toolsOn(open(700_000_000));
    const command =
      "SET memory_limit = '100MB'; CREATE TABLE t AS SELECT md5(range::VARCHAR) AS a FROM range(4000000); SELECT count(*)::INT AS n FROM (SELECT a FROM t ORDER BY a)";
    expect(await valueFrom(small, { config: { command } })).toMatchObject({
      rows: [{ n: 4_000_000 }],
    });
    await Promise.all(opened.map((databases) => databases.close()));
    expect(readdirSync(join(files, ".spill"))).toEqual([]);
  }, 60_000);

  test("processes end with the worker, even when it is killed", async () => {
    const script = `
      import { DuckdbDatabases } from "${process.cwd()}/src/tools/duckdb/databases.ts";
      const databases = new DuckdbDatabases({
        command: [process.execPath, "${process.cwd()}/src/main.ts", "__runner", "duckdb"],
        env: process.env, filesDir: ${JSON.stringify(files)}, memoryBytes: 4e9,
        library: async () => undefined,
      });
      const session = await databases.open(undefined, new AbortController().signal);
      const running = session.run(${JSON.stringify(STUCK)}, { parameters: [], maxBytes: 1e6, hasObjects: true });
      const { readdirSync, readFileSync } = await import("node:fs");
      const child = readdirSync("/proc").find((pid) => {
        try {
          return readFileSync("/proc/" + pid + "/stat", "utf8").split(") ")[1].split(" ")[1] === String(process.pid);
        } catch { return false; }
      });
      process.stdout.write(child + "\\n");
      await running;`;
    const host = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe" });
    const { value } = await host.stdout.getReader().read();
    const pid = Number(new TextDecoder().decode(value));
    expect(pid).toBeGreaterThan(0);
    host.kill("SIGKILL");
    await host.exited;
    await waitFor("its end", () => !existsSync(`/proc/${pid}`));
    expect(existsSync(`/proc/${pid}`)).toBe(false);
  });
});
