import { afterAll, describe, expect, test } from "bun:test";
import type { JsonObject } from "../../../src/core/json.ts";
import { createMcpTool } from "../../../src/tools/mcp.ts";
import { waitFor } from "../../support/wait.ts";
import { failureFrom, problemsOf, run, valueFrom } from "./call.ts";
import { startMcpServer } from "./mcp-server.ts";

const tool = createMcpTool({ maxOutputBytes: 100_000 });
const streaming = startMcpServer();
const plain = startMcpServer({ isJson: true });
const guarded = startMcpServer({ token: "t1" });

const odd = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  routes: {
    "/down": new Response("try later", { status: 503, headers: { "retry-after": "3" } }),
    "/text": new Response("hello"),
    "/large": new Response(`"${"x".repeat(100_001)}"`),
    "/cut": new Response("data: {}\n\n", { headers: { "content-type": "text/event-stream" } }),
    "/no-handshake": async (request) => {
      const { id, method } = (await request.json()) as { id: number; method: string };
      return method === "initialize"
        ? Response.json({ jsonrpc: "2.0", id, error: { code: -32_601, message: "no" } })
        : Response.json({ jsonrpc: "2.0", id, result: { content: [{ type: "text", text: "7" }] } });
    },
  },
});
afterAll(async () => {
  await Promise.all([streaming.stop(), plain.stop(), guarded.stop(), odd.stop(true)]);
});
const at = (path: string): string => `http://127.0.0.1:${odd.port}${path}`;

const problem = (config: JsonObject) => failureFrom(tool, { config });

describe.each([
  ["by events", streaming.url],
  ["by JSON", plain.url],
])("answers %s", (_name, endpoint) => {
  test("lists all tools, page by page", async () => {
    const value = await valueFrom(tool, { config: { endpoint } });
    const { tools, server } = value as unknown as { tools: JsonObject[]; server: JsonObject };
    expect(tools.map((each) => each["name"])).toEqual(["add", "greet", "fail", "hang"]);
    expect(server).toEqual({ name: "calculator", version: "2.0" });
  });

  test("calls a tool with arguments, or with the task's input", async () => {
    const config = { endpoint, tool: "add" };
    const wanted = { status: "success", data: { sum: 5 }, structuredContent: { sum: 5 } };
    const own = { ...config, arguments: { a: 2, b: 3 } };
    expect(await valueFrom(tool, { config: own })).toMatchObject(wanted);
    expect(await valueFrom(tool, { config, input: { a: 1, b: 4 } })).toMatchObject(wanted);
  });

  test("a tool that says isError fails the task, with its answer", async () => {
    const { outcome } = await run(tool, { config: { endpoint, tool: "fail" } });
    expect(outcome).toMatchObject({
      ok: false,
      value: { status: "error", text: "it broke", isError: true },
      failure: { kind: "server_error", code: "MCP_TOOL_ERROR" },
    });
    const blamed = { endpoint, tool: "fail", arguments: { a: "Invalid arguments: a" } };
    expect(await problem(blamed)).toMatchObject({ kind: "client_error", retryable: false });
  });

  test("errors of the protocol are told apart", async () => {
    expect(await problem({ endpoint, tool: "nothing" })).toMatchObject({
      kind: "client_error",
      code: "JSONRPC_-32602",
    });
    const failure = await problem({ endpoint, method: "resources/read", params: { uri: "x" } });
    expect(failure).toMatchObject({ kind: "client_error", code: "JSONRPC_-32601" });
  });
});

describe("sessions", () => {
  test("texts come together, log messages go to the log, the session ends", async () => {
    const { outcome, logs } = await run(tool, {
      config: { endpoint: streaming.url, tool: "greet" },
    });
    expect(outcome).toMatchObject({ ok: true, value: { text: "Hello\nAda", data: "Hello\nAda" } });
    expect(logs).toEqual(["stdout: [info] about to greet"]);
    expect(streaming.sessions.size).toBe(0);
  });

  test("uses a credential", async () => {
    const config = { endpoint: guarded.url, auth: "mcp" };
    const credentials = { mcp: { type: "bearer", data: { token: "t1" } } };
    expect(await valueFrom(tool, { config, credentials })).toMatchObject({ status: "success" });
    expect(await problem({ endpoint: guarded.url })).toMatchObject({ kind: "auth", status: 401 });
  });

  test("does without a handshake where there is none", async () => {
    const config = { endpoint: at("/no-handshake"), tool: "x" };
    expect(await valueFrom(tool, { config })).toMatchObject({ data: 7, server: {} });
  });

  test("a cancelled call is told to the server, and its session ends", async () => {
    const stop = new AbortController();
    const { outcome } = await run(tool, {
      config: { endpoint: streaming.url, tool: "hang" },
      signal: stop.signal,
      onLog: () => stop.abort(),
    });
    expect(outcome).toMatchObject({ ok: false, failure: { kind: "cancelled" } });
    await waitFor("the end of the session", () => streaming.sessions.size === 0);
  });

  test("a call that takes too long is a timeout", async () => {
    const config = { endpoint: streaming.url, tool: "hang", timeout: 0.3 };
    expect(await problem(config)).toMatchObject({ kind: "timeout" });
  });
});

describe("bad input and bad servers", () => {
  test("says what a task lacks", () => {
    expect(problemsOf(tool, {})).toEqual(["mcp needs an endpoint"]);
    expect(problemsOf(tool, { server: "github" })[0]).toContain("`server` alone");
    expect(problemsOf(tool, { endpoint: "nowhere" })).toEqual([
      '`endpoint` "nowhere" is not a URL',
    ]);
    expect(problemsOf(tool, { url: "http://a/", method: "tools/call" })).toHaveLength(1);
    expect(problemsOf(tool, { base_url: "http://a/", tool: "x" })).toEqual([]);
  });

  test("a server that is down, away, too talkative or no MCP server fails the task", async () => {
    expect(await problem({ endpoint: at("/down") })).toMatchObject({
      kind: "server_error",
      code: "HTTP_503",
      retryAfterMs: 3000,
    });
    expect(await problem({ endpoint: "http://127.0.0.1:1/" })).toMatchObject({
      kind: "connection",
      code: "MCP_UNREACHABLE",
    });
    expect(await problem({ endpoint: at("/text") })).toMatchObject({ kind: "parse" });
    expect(await problem({ endpoint: at("/large") })).toMatchObject({ kind: "limit" });
    expect(await problem({ endpoint: at("/cut") })).toMatchObject({ code: "MCP_NO_ANSWER" });
  });
});
