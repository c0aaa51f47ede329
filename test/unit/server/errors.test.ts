import { describe, expect, test } from "bun:test";
import { createBackend, createTestServer } from "./backend.ts";

interface Case {
  readonly name: string;
  readonly method: string;
  readonly path: string;
  readonly body?: unknown;
  readonly status: number;
  readonly code: string;
}

const CASES: readonly Case[] = [
  { name: "unknown route", method: "GET", path: "/nope", status: 404, code: "ROUTE_NOT_FOUND" },
  {
    name: "wrong method",
    method: "DELETE",
    path: "/api/execute",
    status: 405,
    code: "METHOD_NOT_ALLOWED",
  },
  {
    name: "wrong method on a parameter",
    method: "PUT",
    path: "/api/executions/5/steps",
    status: 405,
    code: "METHOD_NOT_ALLOWED",
  },
  {
    name: "malformed JSON",
    method: "POST",
    path: "/api/execute",
    body: "{",
    status: 400,
    code: "REQUEST_MALFORMED",
  },
  {
    name: "wrong type",
    method: "POST",
    path: "/api/execute",
    body: { path: 5 },
    status: 422,
    code: "REQUEST_INVALID",
  },
  {
    name: "body is a list",
    method: "POST",
    path: "/api/execute",
    body: [],
    status: 422,
    code: "REQUEST_INVALID",
  },
  {
    name: "payload is a text",
    method: "POST",
    path: "/api/execute",
    body: { path: "a", payload: "x" },
    status: 422,
    code: "REQUEST_INVALID",
  },
  {
    name: "nothing to execute",
    method: "POST",
    path: "/api/execute",
    body: {},
    status: 422,
    code: "REQUEST_INVALID",
  },
  {
    name: "bad id",
    method: "POST",
    path: "/api/execute",
    body: { catalog_id: "x1" },
    status: 422,
    code: "ID_INVALID",
  },
  {
    name: "too large",
    method: "POST",
    path: "/api/execute",
    body: { path: "a", payload: { x: "y".repeat(2000) } },
    status: 413,
    code: "REQUEST_TOO_LARGE",
  },
  {
    name: "missing playbook",
    method: "POST",
    path: "/api/execute",
    body: { path: "missing" },
    status: 404,
    code: "PLAYBOOK_NOT_FOUND",
  },
  {
    name: "bug",
    method: "POST",
    path: "/api/execute",
    body: { path: "broken" },
    status: 500,
    code: "INTERNAL",
  },
  {
    name: "unknown execution",
    method: "GET",
    path: "/api/executions/999",
    status: 404,
    code: "EXECUTION_NOT_FOUND",
  },
  {
    name: "malformed execution id",
    method: "GET",
    path: "/api/executions/abc",
    status: 422,
    code: "ID_INVALID",
  },
  {
    name: "unknown status",
    method: "GET",
    path: "/api/executions?status=odd",
    status: 422,
    code: "REQUEST_INVALID",
  },
  {
    name: "limit is a word",
    method: "GET",
    path: "/api/executions?limit=many",
    status: 422,
    code: "REQUEST_INVALID",
  },
  {
    name: "cancel of an ended one",
    method: "POST",
    path: "/api/executions/2/cancel",
    status: 422,
    code: "EXECUTION_FINISHED",
  },
  {
    name: "finalize of an ended one",
    method: "POST",
    path: "/api/executions/2/finalize",
    body: { status: "FAILED" },
    status: 422,
    code: "EXECUTION_FINISHED",
  },
  {
    name: "unknown catalog entry",
    method: "POST",
    path: "/api/catalog/resource",
    body: { path: "x" },
    status: 404,
    code: "CATALOG_ENTRY_NOT_FOUND",
  },
  {
    name: "unknown credential",
    method: "GET",
    path: "/api/credentials/x",
    status: 404,
    code: "CREDENTIAL_NOT_FOUND",
  },
  {
    name: "variables in no form",
    method: "POST",
    path: "/api/vars/1",
    body: { variables: 7 },
    status: 422,
    code: "REQUEST_INVALID",
  },
  {
    name: "event that nothing waits for",
    method: "POST",
    path: "/api/events",
    body: { execution_id: "1", step: "s", event_type: "call.done" },
    status: 409,
    code: "COMMAND_NOT_OPEN",
  },
  {
    name: "event of another kind",
    method: "POST",
    path: "/api/events",
    body: { execution_id: "1", step: "s", event_type: "step.enter" },
    status: 422,
    code: "EVENT_TYPE_UNSUPPORTED",
  },
];

describe("every error has the same body", () => {
  for (const { name, method, path, body, status, code } of CASES) {
    test(`${name}: ${status} ${code}`, async () => {
      const backend = createBackend();
      backend.add("1");
      backend.add("2", { status: "completed" });
      const { call } = createTestServer(backend, { bodyBytesMax: 1000 });
      const size =
        body === undefined ? {} : { "content-length": String(JSON.stringify(body).length) };
      const answer = await call(method, path, body, size);
      expect(answer.status).toBe(status);
      expect(answer.body).toEqual({
        error: expect.any(String),
        code,
        status,
        details: expect.any(Object),
      });
      expect(answer.body.error).not.toBe("");
    });
  }
});

test("a validation error says what is wrong and where", async () => {
  const { call } = createTestServer(createBackend());
  const { body } = await call("POST", "/api/execute", { path: "a", priority: 12 });
  expect(body.error).toContain("/priority");
  expect(body.details.problems[0].where).toBe("/priority");
  expect(body.details.in).toBe("body");
});

test("a bug shows nothing outside and everything in the log", async () => {
  const { call, lines } = createTestServer(createBackend());
  const answer = await call("POST", "/api/execute", { path: "broken" });
  expect(answer.text).not.toContain("secret detail");
  expect(lines.join("")).toContain("secret detail");
});

test("405 names the methods that are there", async () => {
  const { call } = createTestServer(createBackend());
  const answer = await call("DELETE", "/api/execute");
  expect(answer.headers.get("allow")).toBe("POST");
});
