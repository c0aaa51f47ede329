import { describe, expect, test } from "bun:test";
import { parseRetryAfter } from "../../../src/tools/http/answer.ts";
import { createTools, KNOWN_TOOL_KINDS } from "../../../src/tools/registry.ts";

const tools = createTools({ selfCommand: ["false"], env: {} });

describe("createTools()", () => {
  test("has every known kind but those that the server runs", () => {
    const server = ["playbook", "wait", "workbook"];
    expect([...tools.kinds, ...server].sort()).toEqual([...KNOWN_TOOL_KINDS].sort());
    expect(tools.get("teleport")).toBeUndefined();
  });

  test("says what a task lacks", () => {
    const problems = tools.kinds.map((kind) => [kind, tools.get(kind)?.check({}).length]);
    expect(Object.fromEntries(problems)).toEqual({
      duckdb: 1,
      ducklake: 1,
      http: 1,
      javascript: 1,
      mcp: 1,
      nats: 1,
      noop: 0,
      postgres: 1,
      python: 1,
      script: 1,
      secrets: 1,
      sftp: 1,
      shell: 1,
      transfer: 2,
      snowflake: 1,
      ssh: 1,
      subscription: 1,
      typescript: 1,
    });
  });

  test("accepts the older names of fields", () => {
    expect(tools.get("http")?.check({ endpoint: "http://a/" })).toEqual([]);
    expect(tools.get("postgres")?.check({ query: "SELECT 1" })).toEqual([]);
    expect(tools.get("postgres")?.check({ commands: ["SELECT 1"] })).toEqual([]);
    expect(tools.get("duckdb")?.check({ script: "SELECT 1", db_path: "a.db" })).toEqual([]);
    expect(tools.get("shell")?.check({ cmds: ["ls"] })).toEqual([]);
    expect(tools.get("python")?.check({ script: { uri: "a.py" } })).toEqual([]);
  });
});

describe("parseRetryAfter()", () => {
  test("reads seconds and dates", () => {
    expect(parseRetryAfter("2")).toBe(2000);
    expect(parseRetryAfter("0.5")).toBe(500);
    expect(parseRetryAfter("Thu, 01 Jan 1970 00:00:00 GMT")).toBe(0);
    expect(parseRetryAfter("soon")).toBeUndefined();
    expect(parseRetryAfter(null)).toBeUndefined();
  });
});
