import { describe, expect, test } from "bun:test";
import type { ExecutionId } from "../../../src/core/ids.ts";
import type { JsonObject } from "../../../src/core/json.ts";
import { parsePlaybook } from "../../../src/dsl/parse.ts";
import { concurrencyOf } from "../../../src/engine/concurrency.ts";

function claimOf(
  concurrency: string,
  payload: JsonObject = {},
  workload = "{ region: eu, most: 3 }",
) {
  const text = `apiVersion: noetl.io/v2
kind: Playbook
metadata: { path: a/b }
executor: { spec: { concurrency: ${concurrency} } }
workload: ${workload}
workflow:
- { step: start, tool: { kind: noop } }`;
  const { playbook, diagnostics } = parsePlaybook(text, { knownTools: new Map() });
  if (playbook === undefined) {
    throw new Error(JSON.stringify(diagnostics));
  }
  const start = { executionId: "1" as ExecutionId, path: "a/b", version: 1, payload };
  return concurrencyOf(playbook, start, { nowMs: 0, resolved: new Map(), env: {} });
}

describe("concurrencyOf()", () => {
  test.each<[string, JsonObject, object]>([
    ["{}", {}, { key: "a/b", limit: 1, onLimit: "queue" }],
    ['{key: "db-{{ region }}"}', {}, { key: "db-eu", limit: 1, onLimit: "queue" }],
    ['{key: "{{ workload.region }}"}', { region: "us" }, { key: "us" }],
    ['{key: "{{ payload.customer }}"}', { customer: 7 }, { key: "7" }],
    ['{limit: "{{ most }}", on_limit: reject}', {}, { limit: 3, onLimit: "reject" }],
    ['{limit: "{{ most + 1 }}"}', { most: 9 }, { limit: 10 }],
    ['{limit: "{{ most }}"}', { most: "4" }, { limit: 4 }],
  ])("%s with %j", (concurrency, payload, expected) => {
    expect(claimOf(concurrency, payload)).toMatchObject(expected as never);
  });

  test("the playbook's own defaults are rendered first", () => {
    const workload = '{ region: "{{ 1 + 1 }}" }';
    expect(claimOf('{key: "{{ region }}"}', {}, workload)?.key).toBe("2");
  });

  test("a playbook without the field limits nothing", () => {
    expect(claimOf("null")).toBeUndefined();
  });

  test.each<[string, JsonObject, string]>([
    ['{key: "{{ payload.missing }}"}', {}, "CONCURRENCY_KEY_INVALID"],
    ['{key: "{{ region }}"}', { region: "x".repeat(501) }, "CONCURRENCY_KEY_INVALID"],
    ['{limit: "{{ region }}"}', {}, "CONCURRENCY_LIMIT_INVALID"],
    ['{limit: "{{ 0 }}"}', {}, "CONCURRENCY_LIMIT_INVALID"],
    ['{limit: "{{ most }}"}', { most: 1e6 }, "CONCURRENCY_LIMIT_INVALID"],
    ['{key: "{{ region.x() }}"}', {}, "TEMPLATE_ERROR"],
  ])("%s with %j is refused", (concurrency, payload, code) => {
    expect(() => claimOf(concurrency, payload)).toThrow(expect.objectContaining({ code }));
  });
});
