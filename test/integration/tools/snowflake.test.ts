import { afterAll, describe, expect, test } from "bun:test";
import { generateKeyPairSync } from "node:crypto";
import type { JsonObject } from "../../../src/core/json.ts";
import { createSnowflakeTool, openSnowflake } from "../../../src/tools/snowflake.ts";
import { encryptedKey, startSnowflake } from "../../support/snowflake.ts";
import { waitFor } from "../../support/wait.ts";
import type { Call } from "./call.ts";
import { failureFrom, problemsOf, run, valueFrom } from "./call.ts";

const NUMBER = { name: "N", type: "fixed", scale: 0 };
const numbers = (from: number, count: number): string[][] =>
  Array.from({ length: count }, (_, index) => [String(from + index)]);

const server = startSnowflake({
  "SELECT 1 AS N": { columns: [NUMBER], partitions: [[["1"]]] },
  "SELECT 2 AS N": { columns: [NUMBER], partitions: [[["2"]]], polls: 3 },
  "SELECT ?": { columns: [NUMBER], partitions: [[["7"]]] },
  "SELECT MANY": { columns: [NUMBER], partitions: [numbers(0, 3), numbers(3, 4), numbers(7, 1)] },
  "SELECT LARGE": { columns: [{ name: "T", type: "text" }], partitions: [[["x".repeat(200_000)]]] },
  "INSERT INTO t SELECT 1": {
    columns: [{ name: "number of rows inserted", type: "fixed" }],
    partitions: [[["5"]]],
    stats: { numRowsInserted: 5, numRowsUpdated: 0, numRowsDeleted: 0 },
  },
  "SELECT 1; SELECT 2": {
    parts: [
      { columns: [NUMBER], partitions: [[["1"]]] },
      { columns: [NUMBER], partitions: [[["2"]]] },
    ],
  },
  SLEEP: { polls: Number.POSITIVE_INFINITY },
  DUPLICATE: {
    error: { status: 422, body: { code: "100072", message: "NULL", sqlState: "23001" } },
  },
  SLOW: { error: { status: 422, body: { code: "000630", message: "timeout", sqlState: "57014" } } },
  "SELECT KINDS": {
    columns: [
      ...["fixed", "real", "boolean", "text", "variant", "binary"].map((type) => ({
        name: type,
        type,
      })),
      { name: "decimal", type: "fixed", scale: 2 },
      { name: "huge", type: "fixed" },
      ...["date", "time", "timestamp_ntz", "timestamp_ltz", "timestamp_tz"].map((type) => ({
        name: type,
        type,
      })),
      { name: "nothing", type: "text" },
    ],
    partitions: [
      [
        ["42", "0.5", "true", "größe", '{"a":[1]}', "00ff", "12.50", "12345678901234567890"]
          .concat([
            "18628",
            "82919.500000000",
            "1614000000.123456789",
            "-0.500000000",
            "1616173619.000000000 1500",
          ])
          .concat([null as unknown as string]),
      ],
    ],
  },
});
const tool = createSnowflakeTool({ maxOutputBytes: 100_000 });
afterAll(() => server.stop());

function call(config: JsonObject, more: Partial<Call> & { data?: JsonObject } = {}): Call {
  const { data, ...rest } = more;
  const credentials = { sf: { type: "snowflake", data: { ...server.credential, ...data } } };
  return { config: { auth: "sf", ...config }, credentials, ...rest };
}

describe("statements", () => {
  test("logs in by key pair, waits for the result and gives rows", async () => {
    const config = {
      command: "SELECT 2 AS N",
      warehouse: "W",
      database: "D",
      schema: "S",
      role: "R",
    };
    expect(await valueFrom(tool, call(config))).toEqual({
      status: "success",
      rows: [{ N: 2 }],
      columns: ["N"],
      row_count: 1,
      command_0: {
        status: "success",
        rows: [{ N: 2 }],
        result: [{ N: 2 }],
        columns: ["N"],
        row_count: 1,
        error: null,
      },
    });
    expect(server.submitted.at(-1)).toEqual({
      statement: "SELECT 2 AS N",
      database: "D",
      schema: "S",
      warehouse: "W",
      role: "R",
      parameters: { MULTI_STATEMENT_COUNT: "0" },
    });
  });

  test("reads all partitions in order", async () => {
    const value = await valueFrom(tool, call({ query: "SELECT MANY" }));
    const { rows } = value as unknown as { rows: { N: number }[] };
    expect(rows.map(({ N }) => N)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });

  test("runs lists, several statements in one text, and base64", async () => {
    const list = await valueFrom(tool, call({ commands: ["SELECT 1 AS N", "SELECT 2 AS N"] }));
    expect(list).toMatchObject({ rows: [{ N: 2 }], command_0: { rows: [{ N: 1 }] } });
    const several = await valueFrom(tool, call({ command: "SELECT 1; SELECT 2" }));
    expect(several).toMatchObject({
      command_0: { rows: [{ N: 1 }] },
      command_1: { rows: [{ N: 2 }] },
    });
    const encoded = { command_b64: Buffer.from("SELECT 1 AS N").toString("base64") };
    expect(await valueFrom(tool, call(encoded))).toMatchObject({ rows: [{ N: 1 }] });
  });

  test("binds parameters by their types", async () => {
    await valueFrom(
      tool,
      call({ command: "SELECT ?", params: [1, 0.5, "a", true, null, { b: 1 }] }),
    );
    expect(server.submitted.at(-1)).toEqual({
      statement: "SELECT ?",
      bindings: {
        1: { type: "FIXED", value: "1" },
        2: { type: "REAL", value: "0.5" },
        3: { type: "TEXT", value: "a" },
        4: { type: "BOOLEAN", value: "true" },
        5: { type: "TEXT", value: null },
        6: { type: "TEXT", value: '{"b":1}' },
      },
    });
  });

  test("says how many rows a change has touched", async () => {
    const value = await valueFrom(tool, call({ command: "INSERT INTO t SELECT 1" }));
    expect(value).toMatchObject({ affected_rows: 5, row_count: 1 });
  });

  test("decodes every type", async () => {
    const value = await valueFrom(tool, call({ command: "SELECT KINDS" }));
    const { rows } = value as unknown as { rows: JsonObject[] };
    expect(rows[0]).toEqual({
      fixed: 42,
      real: 0.5,
      boolean: true,
      text: "größe",
      variant: { a: [1] },
      binary: "00ff",
      decimal: "12.50",
      huge: "12345678901234567890",
      date: "2021-01-01",
      time: "23:01:59.5",
      timestamp_ntz: "2021-02-22T13:20:00.123456789",
      timestamp_ltz: "1969-12-31T23:59:59.5Z",
      timestamp_tz: "2021-03-19T18:06:59+01:00",
      nothing: null,
    });
  });

  test("gives rows in chunks to other tools", async () => {
    const { config, credentials } = call({});
    const session = await openSnowflake(config, {
      signal: new AbortController().signal,
      timeoutMs: undefined,
      credential: (name) =>
        Promise.resolve({ name, type: "snowflake", data: credentials?.["sf"]?.data ?? {} }),
    });
    const [result] = await session.run({ text: "SELECT MANY" });
    const sizes: number[] = [];
    for await (const chunk of result?.chunks() ?? []) {
      sizes.push(chunk.length);
    }
    expect(sizes).toEqual([3, 4, 1]);
    expect(result?.rowCount).toBe(8);
  });
});

describe("logins", () => {
  test("takes an encrypted key, and one on a single line", async () => {
    const config = { command: "SELECT 1 AS N" };
    expect(await valueFrom(tool, call(config, { data: encryptedKey }))).toMatchObject({
      row_count: 1,
    });
    const line = server.credential.sf_private_key.replaceAll("\n", "\\n");
    const value = await valueFrom(tool, call(config, { data: { sf_private_key: line } }));
    expect(value).toMatchObject({ row_count: 1 });
    const wrong = { ...encryptedKey, sf_private_key_passphrase: "no" };
    expect(await failureFrom(tool, call(config, { data: wrong }))).toMatchObject({
      kind: "auth",
      code: "SNOWFLAKE_KEY_INVALID",
    });
  });

  test("another key, or a user who does not have it, is refused", async () => {
    const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    const other = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
    for (const data of [{ sf_private_key: other }, { sf_user: "somebody" }]) {
      const failure = await failureFrom(tool, call({ command: "SELECT 1 AS N" }, { data }));
      expect(failure).toMatchObject({ kind: "auth", status: 401, retryable: false });
      expect(failure.message).toContain("JWT token is invalid");
    }
  });

  test("says what a credential lacks, and that a password will not do", async () => {
    const problem = async (fields: JsonObject) =>
      (await failureFrom(tool, { config: { command: "SELECT 1", ...fields } })).message;
    expect(await problem({ account: "a", user: "u", password: "p" })).toContain(
      "takes no password",
    );
    expect(await problem({ user: "u", private_key: "k" })).toBe("`account` is missing");
    expect(await problem({ account: "a/b", user: "u" })).toContain("not the name");
    expect(await problem({ account: "a" })).toContain("needs `private_key`");
  });
});

describe("failures", () => {
  test("says when there is nothing to run", () => {
    expect(problemsOf(tool, {})).toHaveLength(1);
    expect(problemsOf(tool, { commands: [" "] })).toHaveLength(1);
    expect(problemsOf(tool, { query: "SELECT 1" })).toEqual([]);
  });

  test("a statement that fails stops the list; what was done before is there", async () => {
    const { outcome } = await run(
      tool,
      call({ commands: ["SELECT 1 AS N", "SELEC", "SELECT 2 AS N"] }),
    );
    expect(outcome).toMatchObject({
      ok: false,
      value: { command_0: { rows: [{ N: 1 }] } },
      failure: { kind: "db_error", code: "42000" },
    });
    expect(outcome.ok ? "" : outcome.failure.message).toStartWith(
      "statement 2: Snowflake: SQL comp",
    );
  });

  test("constraints and time limits have their kinds", async () => {
    expect(await failureFrom(tool, call({ command: "DUPLICATE" }))).toMatchObject({
      kind: "db_constraint",
    });
    expect(await failureFrom(tool, call({ command: "SLOW" }))).toMatchObject({ kind: "timeout" });
  });

  test("a result that is too large is refused", async () => {
    expect(await failureFrom(tool, call({ command: "SELECT LARGE" }))).toMatchObject({
      kind: "limit",
    });
  });

  test("tries again what passes, and runs the statement once", async () => {
    const before = server.submitted.length;
    server.failNext(503, 2);
    expect(await valueFrom(tool, call({ command: "SELECT 1 AS N" }))).toMatchObject({
      row_count: 1,
    });
    expect(server.submitted.length).toBe(before + 1);
  });

  test("gives up in the end, as a server error; an account that is away is a connection failure", async () => {
    server.failNext(503, 4);
    expect(await failureFrom(tool, call({ command: "SELECT 1 AS N" }))).toMatchObject({
      kind: "server_error",
      code: "HTTP_503",
    });
    const away = call({ command: "SELECT 1" }, { data: { host: "http://127.0.0.1:1" } });
    expect(await failureFrom(tool, away)).toMatchObject({ kind: "connection", retryable: true });
  });

  test("a stopped task cancels its statement", async () => {
    const stop = new AbortController();
    const before = server.submitted.length;
    const failed = failureFrom(tool, call({ command: "SLEEP" }, { signal: stop.signal }));
    await waitFor("the statement", () => server.submitted.length > before);
    stop.abort(new DOMException("over", "TimeoutError"));
    expect(await failed).toMatchObject({ kind: "timeout" });
    await waitFor("its cancel", () => server.cancelled.size === 1);
  });
});
