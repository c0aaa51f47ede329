/** What each tool refuses, when a document is registered and when a template has become it. */
import { describe, expect, test } from "bun:test";
import { stringify } from "yaml";
import type { JsonObject } from "../../../src/core/json.ts";
import { parsePlaybook } from "../../../src/dsl/parse.ts";
import { checkRendered } from "../../../src/dsl/tool-check.ts";
import { KNOWN_TOOL_KINDS } from "../../../src/tools/registry.ts";
import { describeTool } from "../../support/tools.ts";

/** By kind: fields that will not do. Nothing at all will not do either, where a kind has needs. */
const BAD: Readonly<Record<string, readonly JsonObject[]>> = {
  artifact: [{ action: "steal" }, { name: [5] }, { action: "put", ttl: "soon" }],
  container: [
    { image: "" },
    { image: "x", privileged: true },
    { image: "x", resources: { cpu: "many" } },
    { image: "x", runtime: "lxc" },
  ],
  cuda: [
    { source: "x", script: "y" },
    { script: "print(1)", language: "python" },
    { source: "x", resources: { memory: "lots" } },
  ],
  duckdb: [{ command: " " }, { query: "SELECT 1", database: { a: 1 } }],
  ducklake: [{ command: [" "] }, { query: "SELECT 1", catalog_connection: [5] }],
  http: [
    { url: "" },
    { url: "http://x", method: [5] },
    { url: "http://x", paginate: { mode: "x" } },
  ],
  javascript: [{ code: [5] }, { script: { type: "gcs", uri: "gs://b/x.js" } }],
  mcp: [{ server: "github" }, { endpoint: "nowhere" }, { url: "http://x", method: "tools/call" }],
  nats: [{ operation: "peek" }, { operation: "kv_get", bucket: "b" }],
  playbook: [{ path: "" }, { path: ["p"] }],
  postgres: [{ commands: [] }, { query: "SELECT 1", port: "high" }],
  python: [{ code: ["x"] }, { code: "x", env: ["A=1"] }],
  script: [
    { code: "x", language: "ruby" },
    { code: "x", job: { image: "python" } },
  ],
  secrets: [{ auth: "k", provider: "vault" }, { auth: ["a", "b"] }],
  sftp: [{ operation: "steal" }, { operation: "rename", path: "a" }],
  shell: [{ command: "" }, { command: { a: 1 } }, { command: "x", env: "A=1" }],
  snowflake: [{ command: { a: 1 } }, { query: "SELECT 1", connection: "x" }],
  ssh: [{ cmds: [] }, { command: "x", port: 0 }],
  subscription: [{}, { stream: "S", source: "kafka" }, { operation: "peek" }],
  transfer: [
    { source: { type: "ftp" }, target: {} },
    { source: {}, target: {}, chunk_size: 0 },
  ],
  typescript: [{ code: null }, { code: "x", libs: "os" }],
  wait: [{ duration: "soon" }, { until: "soon" }, { signal: "s", on_timeout: "explode" }],
};

test("nothing is left out but noop, which takes anything, and workbook, which is no tool", () => {
  const kinds = [...KNOWN_TOOL_KINDS.keys()].filter((kind) => !/^(noop|workbook)$/.test(kind));
  expect(Object.keys(BAD).sort()).toEqual(kinds.sort());
});

describe.each(Object.entries(BAD))("%s", (kind, configs) => {
  const description = KNOWN_TOOL_KINDS.get(kind) ?? describeTool(kind);
  const all = description.needs === undefined ? configs : [{}, ...configs];

  test("refuses bad input", () => {
    for (const config of all) {
      const problems = checkRendered(description, config);
      const messages = problems.map(({ message }) => message);
      expect([config, messages]).not.toEqual([config, []]);
    }
  });

  test("refuses it at registration, with the same words", () => {
    for (const config of all) {
      const { diagnostics } = parsePlaybook(documentOf(kind, config), {
        knownTools: KNOWN_TOOL_KINDS,
      });
      const errors = diagnostics.filter(({ severity }) => severity === "error");
      const wanted = checkRendered(description, config);
      expect(errors.map(({ message, line }) => [message, line])).toEqual(
        wanted.map(({ message }) => [message, 6]),
      );
    }
  });
});

function documentOf(kind: string, config: JsonObject): string {
  const workflow = JSON.stringify([{ step: "a", tool: { kind, ...config } }]);
  const head = stringify({
    apiVersion: "noetl.io/v2",
    kind: "Playbook",
    metadata: { path: "tests/bad" },
  });
  return `${head}workflow:\n  ${workflow}\n`;
}
