import { expect, test } from "bun:test";
import { createBackend, createTestServer } from "./backend.ts";

const LIST = "/api/executions";

test("with a token every data route asks for it; probes and the page do not", async () => {
  const access = { token: "t0ken", isLoopback: false, origins: [] };
  const { call } = createTestServer(createBackend(), { access });
  const missing = await call("GET", LIST);
  expect([missing.status, missing.body.code]).toEqual([401, "TOKEN_MISSING"]);
  expect(missing.headers.get("www-authenticate")).toBe("Bearer");
  for (const token of ["Bearer nope!", "Bearer t0ken2", "t0ken"]) {
    expect((await call("GET", LIST, undefined, { authorization: token })).body.code).toBe(
      "TOKEN_INVALID",
    );
  }
  expect((await call("GET", LIST, undefined, { authorization: "Bearer t0ken" })).status).toBe(200);
  expect((await call("GET", "/nope")).status).toBe(401);
  for (const path of ["/", "/health", "/livez", "/readyz", "/ui/app.js"]) {
    expect((await call("GET", path)).status).toBe(200);
  }
});

test("without a token pages of other hosts may not call", async () => {
  const { call } = createTestServer(createBackend());
  const from = (origin: string, host = "localhost") =>
    call("GET", LIST, undefined, { origin, host });
  expect((await from("http://localhost")).status).toBe(200);
  expect((await from("https://evil.example")).body.code).toBe("ORIGIN_FORBIDDEN");
  expect((await from("null")).status).toBe(403);
  expect((await from("http://evil.example", "evil.example")).body.code).toBe("HOST_FORBIDDEN");
});

test("origins that the operator names may call and read, with a token too", async () => {
  const origin = "https://ops.example";
  const access = { token: "t0ken", isLoopback: true, origins: [origin] };
  const { call } = createTestServer(createBackend(), { access });
  const preflight = await call("OPTIONS", LIST, undefined, { origin });
  expect(preflight.status).toBe(204);
  expect(preflight.headers.get("access-control-allow-headers")).toContain("authorization");
  const answer = await call("GET", LIST, undefined, { origin, authorization: "Bearer t0ken" });
  expect(answer.status).toBe(200);
  expect(answer.headers.get("access-control-allow-origin")).toBe(origin);
  const other = await call("OPTIONS", LIST, undefined, { origin: "https://evil.example" });
  expect(other.status).toBe(401);
  expect(other.headers.get("access-control-allow-origin")).toBeNull();
});
