/** Stands in for the services outside that give tokens and keep secrets; says what they were asked. */
import type { Json } from "../../../src/core/json.ts";

export interface RemoteRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: Headers;
  readonly body: string;
}

export interface Remote extends Disposable {
  readonly url: string;
  readonly requests: RemoteRequest[];
  /** How many requests went to the path. */
  count(path: string): number;
}

export type Reply = Response | Promise<Response>;

/** @param routes answers by path. */
export function startRemote(
  routes: Readonly<Record<string, (request: RemoteRequest) => Reply>>,
): Remote {
  const requests: RemoteRequest[] = [];
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: async (request) => {
      const { pathname: path } = new URL(request.url);
      const { method, headers } = request;
      const seen = { method, path, headers, body: await request.text() };
      requests.push(seen);
      return (await routes[path]?.(seen)) ?? new Response("no such path", { status: 404 });
    },
  });
  return {
    url: `http://127.0.0.1:${server.port}`,
    requests,
    count: (path) => requests.filter((request) => request.path === path).length,
    [Symbol.dispose]: () => void server.stop(true),
  };
}

export function json(body: Json, status = 200): Response {
  return Response.json(body, { status });
}
