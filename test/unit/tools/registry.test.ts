import { describe, expect, test } from "bun:test";
import type { JsonObject } from "../../../src/core/json.ts";
import { checkRendered } from "../../../src/dsl/tool-check.ts";
import { parseRetryAfter } from "../../../src/tools/http/answer.ts";
import { createTools, KNOWN_TOOL_KINDS } from "../../../src/tools/registry.ts";
import { describeTool } from "../../support/tools.ts";

const tools = createTools({ selfCommand: ["false"], env: {} });

describe("createTools()", () => {
  test("has every known kind but those that the server runs", () => {
    const server = ["playbook", "wait", "workbook"];
    const kinds = [...tools.kinds, ...tools.lacking.keys(), ...server];
    expect(kinds.sort()).toEqual([...KNOWN_TOOL_KINDS.keys()].sort());
    expect(tools.get("teleport")).toBeUndefined();
  });

  test("accepts the older names of fields", () => {
    const problems = (kind: string, config: JsonObject): readonly unknown[] =>
      checkRendered(tools.get(kind)?.description ?? describeTool(kind), config);
    expect(problems("http", { endpoint: "http://a/" })).toEqual([]);
    expect(problems("postgres", { query: "SELECT 1" })).toEqual([]);
    expect(problems("postgres", { commands: ["SELECT 1"] })).toEqual([]);
    expect(problems("duckdb", { script: "SELECT 1", db_path: "a.db" })).toEqual([]);
    expect(problems("shell", { cmds: ["ls"] })).toEqual([]);
    expect(problems("python", { script: { uri: "a.py" } })).toEqual([]);
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
