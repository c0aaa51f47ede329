/** A server of the protocol, made of its official SDK, on a free port. */
import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { WebStandardStreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/webStandardStreamableHttp.js";
import {
  CallToolRequestSchema,
  ErrorCode,
  ListToolsRequestSchema,
  McpError,
} from "@modelcontextprotocol/sdk/types.js";

export interface McpServer {
  readonly url: string;
  /** Sessions that are open. */
  readonly sessions: ReadonlySet<string>;
  stop(): Promise<void>;
}

interface Options {
  /** Answers with JSON in place of a stream of events. */
  readonly isJson?: boolean;
  /** Bearer token that it asks for. */
  readonly token?: string;
}

const TOOLS = ["add", "greet", "fail", "hang"].map((name) => ({
  name,
  inputSchema: { type: "object" as const },
}));

export function startMcpServer(options: Options = {}): McpServer {
  const sessions = new Set<string>();
  const transports = new Map<string, WebStandardStreamableHTTPServerTransport>();
  const open = async (): Promise<WebStandardStreamableHTTPServerTransport> => {
    const transport = new WebStandardStreamableHTTPServerTransport({
      sessionIdGenerator: () => crypto.randomUUID(),
      enableJsonResponse: options.isJson === true,
      onsessioninitialized: (id) => {
        sessions.add(id);
        transports.set(id, transport);
      },
      onsessionclosed: (id) => {
        sessions.delete(id);
      },
    });
    await makeServer().connect(transport);
    return transport;
  };
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    idleTimeout: 0,
    fetch: async (request) => {
      if (
        options.token !== undefined &&
        request.headers.get("authorization") !== `Bearer ${options.token}`
      ) {
        return new Response("who are you?", { status: 401 });
      }
      const known = transports.get(request.headers.get("mcp-session-id") ?? "");
      return await (known ?? (await open())).handleRequest(request);
    },
  });
  return {
    url: `http://127.0.0.1:${server.port}/mcp`,
    sessions,
    stop: () => server.stop(true),
  };
}

function makeServer(): Server {
  const server = new Server(
    { name: "calculator", version: "2.0" },
    { capabilities: { tools: {}, logging: {} } },
  );
  server.setRequestHandler(ListToolsRequestSchema, (request) => {
    const start = Number(request.params?.cursor ?? 0);
    const more = start + 3 < TOOLS.length ? { nextCursor: String(start + 3) } : {};
    return { tools: TOOLS.slice(start, start + 3), ...more };
  });
  server.setRequestHandler(CallToolRequestSchema, async ({ params }, { sendNotification }) => {
    const { a, b } = params.arguments ?? {};
    switch (params.name) {
      case "add": {
        const structuredContent = { sum: Number(a) + Number(b) };
        return {
          content: [{ type: "text", text: JSON.stringify(structuredContent) }],
          structuredContent,
        };
      }
      case "greet":
        await sendNotification({
          method: "notifications/message",
          params: { level: "info", data: "about to greet" },
        });
        return {
          content: [
            { type: "text", text: "Hello" },
            { type: "text", text: "Ada" },
          ],
        };
      case "fail":
        return { content: [{ type: "text", text: String(a ?? "it broke") }], isError: true };
      case "hang":
        await sendNotification({
          method: "notifications/message",
          params: { level: "info", data: "hanging" },
        });
        return await new Promise<never>(() => undefined);
      default:
        throw new McpError(ErrorCode.InvalidParams, `Unknown tool: ${params.name}`);
    }
  });
  return server;
}
