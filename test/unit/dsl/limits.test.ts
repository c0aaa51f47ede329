import { describe, expect, test } from "bun:test";
import { documentOf, findings, playbookOf, stepOf } from "./document.ts";

function withConcurrency(concurrency: string): string {
  const executor = `executor:\n  spec:\n    concurrency: ${concurrency}\n`;
  return documentOf("- {step: a, tool: {kind: noop}}").replace("workflow:", `${executor}workflow:`);
}

function toolWith(more: string): string {
  return `- {step: a, tool: {kind: http, url: "http://x", ${more}}}`;
}

describe("executor.spec.concurrency", () => {
  test.each<[string, object]>([
    ['{key: "{{ region }}", limit: 3}', { key: "{{ region }}", limit: 3, onLimit: "queue" }],
    ["{limit: 2, on_limit: reject}", { limit: 2, onLimit: "reject" }],
    ["{key: db, on_limit: cancel_oldest}", { key: "db", limit: 1, onLimit: "cancel_oldest" }],
    ['{key: 7, limit: "{{ most }}"}', { key: "7", limit: "{{ most }}", onLimit: "queue" }],
  ])("%s", (text, expected) => {
    expect(playbookOf(withConcurrency(text)).executor.concurrency).toEqual(expected as never);
    expect(findings(withConcurrency(text), "warning")).toEqual([]);
  });

  test.each<[string, string]>([
    ["{limit: 0}", "FIELD_NOT_INTEGER executor.spec.concurrency.limit 6"],
    ["{limit: many}", "FIELD_NOT_INTEGER executor.spec.concurrency.limit 6"],
    ["{limit: 10001}", "CONCURRENCY_INVALID executor.spec.concurrency.limit 6"],
    ['{limit: "{{ a + }}"}', "TEMPLATE_SYNTAX executor.spec.concurrency.limit 6"],
    ['{key: " "}', "KEY_EMPTY executor.spec.concurrency.key 6"],
    ["{key: {a: 1}}", "FIELD_NOT_TEXT executor.spec.concurrency.key 6"],
    ["{on_limit: que}", "CONCURRENCY_INVALID executor.spec.concurrency.on_limit 6"],
    ["3", "FIELD_NOT_MAP executor.spec.concurrency 6"],
  ])("%s is refused", (text, expected) => {
    expect(findings(withConcurrency(text), "error")).toContain(expected);
  });

  test("an unknown field is named", () => {
    const text = withConcurrency("{limt: 3}");
    expect(findings(text, "warning")).toEqual(["FIELD_UNKNOWN executor.spec.concurrency.limt 6"]);
  });
});

describe("rate_limit", () => {
  test.each<[string, object]>([
    ["spec: {rate_limit: {per_second: 5}}", { perSecond: 5, burst: 5 }],
    ["rate_limit: {per_minute: 30, key: api}", { perSecond: 0.5, burst: 1, key: "api" }],
    ['rate_limit: {per_hour: 3600, key: "{{ a }}", burst: 9}', burstOf(9)],
  ])("%s", (more, expected) => {
    expect(stepOf(toolWith(more)).tasks[0]?.rateLimit).toEqual(expected as never);
    expect(findings(documentOf(toolWith(more)), "warning")).toEqual([]);
  });

  test.each<[string, string]>([
    ["rate_limit: {}", "RATE_LIMIT_INVALID workflow[0].tool.rate_limit 5"],
    [
      "rate_limit: {per_second: 1, per_minute: 1}",
      "RATE_LIMIT_INVALID workflow[0].tool.rate_limit 5",
    ],
    [
      "spec: {rate_limit: {per_second: 0}}",
      "RATE_LIMIT_INVALID workflow[0].tool.spec.rate_limit.per_second 5",
    ],
    [
      "rate_limit: {per_second: fast}",
      "RATE_LIMIT_INVALID workflow[0].tool.rate_limit.per_second 5",
    ],
    [
      "rate_limit: {per_second: 1, burst: 0}",
      "FIELD_NOT_INTEGER workflow[0].tool.rate_limit.burst 5",
    ],
  ])("%s is refused", (more, expected) => {
    expect(findings(documentOf(toolWith(more)), "error")).toContain(expected);
  });

  test("a task that the server runs takes none", () => {
    const text = documentOf(
      "- {step: a, tool: {kind: playbook, path: x, rate_limit: {per_second: 1}}}",
    );
    expect(findings(text, "error")).toEqual([
      "RATE_LIMIT_UNSUPPORTED workflow[0].tool.rate_limit 5",
    ]);
  });
});

function burstOf(burst: number): object {
  return { perSecond: 1, burst, key: "{{ a }}" };
}
