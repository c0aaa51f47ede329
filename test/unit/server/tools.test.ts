import { expect, test } from "bun:test";
import { KNOWN_TOOL_KINDS } from "../../../src/tools/registry.ts";
import { createBackend, createTestServer } from "./backend.ts";

test("tools are listed with their fields and schemas, and given one by one", async () => {
  const { call } = createTestServer(createBackend(), { knownTools: KNOWN_TOOL_KINDS });
  const { body } = await call("GET", "/api/tools");
  const kinds = body.tools.map(({ kind }: { kind: string }) => kind);
  expect(kinds).toEqual([...KNOWN_TOOL_KINDS.keys()].sort());
  const http = await call("GET", "/api/tools/http");
  expect(http.status).toBe(200);
  expect(http.body).toEqual(body.tools[kinds.indexOf("http")]);
  expect(http.body).toMatchObject({
    kind: "http",
    runs_on: "worker",
    needs: [{ one_of: ["url", "endpoint"], text: "a url or endpoint" }],
    failures: { rate_limit: "status 429; Retry-After is honoured" },
    schema: { type: "object", required: ["kind"] },
  });
  expect(http.body.fields[1]).toMatchObject({ name: "endpoint", same_as: "url", type: ["text"] });
});

test("an unknown kind is not found, with the nearest one", async () => {
  const { call } = createTestServer(createBackend(), { knownTools: KNOWN_TOOL_KINDS });
  const { status, body } = await call("GET", "/api/tools/htp");
  expect([status, body.code]).toEqual([404, "TOOL_NOT_FOUND"]);
  expect(body.error).toContain('did you mean "http"?');
});
