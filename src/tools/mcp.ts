/** Calls tools of a server that speaks the Model Context Protocol. */
import { parseDuration } from "../core/duration.ts";
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject, parseJson } from "../core/json.ts";
import type { ToolDescription } from "../dsl/tool-description.ts";
import type { FailureKind } from "../engine/failure.ts";
import { failure } from "../engine/failure.ts";
import { buildRequest } from "./http/request.ts";
import { onlyGiven } from "./layers.ts";
import { McpSession } from "./mcp/session.ts";
import { stoppedFailure } from "./stopped.ts";
import { taskError, thrownFailure } from "./task-error.ts";
import type { Tool, ToolCall, ToolContext, ToolModule, ToolOutcome } from "./tool.ts";

export interface McpToolOptions {
  /** Largest answer, bytes. */
  readonly maxOutputBytes: number;
}

/** Limit of a call whose task sets none. */
const TIMEOUT_MS = 60_000;
const PROTOCOL_VERSION = "2025-06-18";
/** Pages of one list that are put together. */
const PAGES_MAX = 100;
const MESSAGE_LENGTH_MAX = 500;
/** What servers write when the arguments were at fault, not the tool. */
const ARGUMENTS_AT_FAULT = /-3260[0-2]\b|invalid (arguments|input|params)|unknown tool|validation/i;

const DESCRIPTION: ToolDescription = {
  kind: "mcp",
  summary: "calls `tool` of the MCP server at `endpoint`, or another `method` such as tools/list",
  runsOn: "worker",
  needs: [{ oneOf: ["endpoint", "url", "server_url", "base_url", "server"], text: "an endpoint" }],
  fields: {
    endpoint: { type: "text", about: "address of the server (streamable HTTP)" },
    url: { sameAs: "endpoint" },
    server_url: { sameAs: "endpoint" },
    base_url: { sameAs: "endpoint" },
    server: { type: "text", about: "its name; it does not say where it is" },
    tool: { type: "text", about: "name of the tool" },
    tool_name: { sameAs: "tool" },
    arguments: { type: "any", about: "what the tool gets", default: "the task's input" },
    method: { type: "text", about: "another method", default: "tools/call, else tools/list" },
    params: { type: "map", about: "of the method" },
    headers: { type: "map", about: "of each request" },
    request_id: { type: "scalar", about: "id of the request" },
    protocol_version: { type: "text", about: "which is asked for", default: PROTOCOL_VERSION },
    credential: { type: ["text", "map"], about: "older name of `auth`" },
  },
  result: {
    status: "success",
    method: "what was asked",
    server: "what the server says of itself",
    content: "tools/call: the parts of the answer",
    text: "tools/call: its texts",
    data: "tools/call: structured content, or the text parsed",
    tools: "tools/list: all of them, of all pages",
  },
  failures: {
    connection: "a server that cannot be reached",
    client_error: "a status or an error that blames the request",
    server_error: "the tool has failed (MCP_TOOL_ERROR), or the server",
    parse: "an answer that is no JSON-RPC",
  },
  example:
    "kind: mcp\nendpoint: https://mcp.example.com/mcp\nauth: mcp_token\ntool: search\narguments: { query: noetl }\n",
  check: checkMcp,
};

export const mcpModule: ToolModule = {
  descriptions: [DESCRIPTION],
  create: (parts) => [createMcpTool(parts)],
};

export function createMcpTool(options: McpToolOptions): Tool {
  return {
    description: DESCRIPTION,
    run: (call, context) => runCall(call, options, context),
  };
}

function checkMcp(config: JsonObject): readonly string[] {
  const url = endpointOf(config);
  const method = methodOf(config);
  const problems = url === undefined ? [missingEndpoint(config)] : [];
  if (url !== undefined && !URL.canParse(url)) {
    problems.push(`\`endpoint\` "${url}" is not a URL`);
  }
  if (method === "tools/call" && !isText(toolOf(config))) {
    problems.push("tools/call needs `tool`");
  }
  return problems;
}

function missingEndpoint(config: JsonObject): string {
  return isText(config["server"])
    ? "`server` alone does not say where the server is: `endpoint` is missing"
    : "`endpoint` is missing";
}

function endpointOf(config: JsonObject): string | undefined {
  const names = ["endpoint", "url", "server_url", "base_url"];
  return names.map((name) => config[name]).find(isText);
}

function toolOf(config: JsonObject): Json | undefined {
  return config["tool"] ?? config["tool_name"];
}

function methodOf(config: JsonObject): string {
  const { method } = config;
  if (isText(method)) {
    return method;
  }
  return isText(toolOf(config)) ? "tools/call" : "tools/list";
}

function isText(value: Json | undefined): value is string {
  return typeof value === "string" && value !== "";
}

async function runCall(
  call: ToolCall,
  options: McpToolOptions,
  context: ToolContext,
): Promise<ToolOutcome> {
  const own = parseDuration(call.config["timeout"]);
  const limit = AbortSignal.timeout(own ?? context.timeoutMs ?? TIMEOUT_MS);
  const signal = AbortSignal.any([context.signal, limit]);
  try {
    return await converse(call, options, { ...context, signal });
  } catch (error) {
    const known = thrownFailure(error);
    if (known !== undefined) {
      return { ok: false, failure: known };
    }
    if (signal.aborted) {
      return { ok: false, failure: stoppedFailure(signal) };
    }
    throw error;
  }
}

async function converse(
  call: ToolCall,
  options: McpToolOptions,
  context: ToolContext,
): Promise<ToolOutcome> {
  const { config } = call;
  const { headers, auth, credential } = config;
  const target = { url: endpointOf(config), method: "POST", headers, auth, credential };
  const { url, headers: own } = await buildRequest(onlyGiven(target), context);
  const version = config["protocol_version"];
  const session = new McpSession({
    url,
    headers: own,
    protocolVersion: isText(version) ? version : PROTOCOL_VERSION,
    bytesMax: options.maxOutputBytes,
    signal: context.signal,
    log: (line) => context.log("stdout", line),
  });
  try {
    const server = await session.open();
    const result = await ask(session, call);
    return outcomeOf(methodOf(config), { ...result, server });
  } finally {
    await session.close();
  }
}

async function ask(session: McpSession, { config, input }: ToolCall): Promise<JsonObject> {
  const method = methodOf(config);
  const given = isJsonObject(config["params"]) ? config["params"] : {};
  if (method === "tools/call") {
    const { arguments: own } = config;
    const params = { ...given, name: toolOf(config) ?? null, arguments: own ?? input };
    return await session.request(method, params, config["request_id"]);
  }
  return method.endsWith("/list")
    ? await askPages(session, method, given)
    : await session.request(method, given, config["request_id"]);
}

/** All pages of a list as one. */
async function askPages(
  session: McpSession,
  method: string,
  params: JsonObject,
): Promise<JsonObject> {
  const all = new Map<string, readonly Json[]>();
  let cursor: Json | undefined;
  for (let page = 0; page < PAGES_MAX; page++) {
    const result = await session.request(method, onlyGiven({ ...params, cursor }));
    for (const [name, value] of Object.entries(result)) {
      if (Array.isArray(value)) {
        all.set(name, [...(all.get(name) ?? []), ...value]);
      }
    }
    cursor = result["nextCursor"];
    if (!isText(cursor)) {
      return Object.fromEntries(all);
    }
  }
  throw taskError("limit", "MCP_LIST_TOO_LONG", `${method} has more than ${PAGES_MAX} pages`);
}

/** `isError` is how a tool, other than the protocol, says that it failed. */
function outcomeOf(method: string, result: JsonObject): ToolOutcome {
  if (method !== "tools/call") {
    return { ok: true, value: { status: "success", method, ...result } };
  }
  const text = textOf(result["content"]);
  const data = result["structuredContent"] ?? parsed(text);
  const value = { status: "success", method, ...result, text, data };
  if (result["isError"] !== true) {
    return { ok: true, value };
  }
  const kind: FailureKind = ARGUMENTS_AT_FAULT.test(text) ? "client_error" : "server_error";
  const message = `the tool failed: ${text.slice(0, MESSAGE_LENGTH_MAX)}`;
  return {
    ok: false,
    value: { ...value, status: "error" },
    failure: failure(kind, message, { code: "MCP_TOOL_ERROR" }),
  };
}

/** The text parts of a tool's answer, one a line. */
function textOf(content: Json | undefined): string {
  const parts: readonly Json[] = Array.isArray(content) ? content : [];
  return parts
    .flatMap((part) => (isJsonObject(part) && isText(part["text"]) ? [part["text"]] : []))
    .join("\n");
}

function parsed(text: string): Json {
  try {
    return parseJson(text);
  } catch {
    return text;
  }
}
