import { afterAll, describe, expect, test } from "bun:test";
import type { JsonObject } from "../../../src/core/json.ts";
import { createHttpTool } from "../../../src/tools/http.ts";
import { CERTIFICATE } from "../../support/certificate.ts";
import { failureFrom, run, valueFrom } from "./call.ts";

const tool = createHttpTool({ maxOutputBytes: 1_000_000 });

const server = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  routes: {
    "/echo": async (request) => {
      const { search } = new URL(request.url);
      const headers = Object.fromEntries(request.headers);
      return Response.json({ method: request.method, search, headers, body: await request.text() });
    },
    "/status/:status": ({ params }) =>
      Response.json(
        { why: "because" },
        { status: Number(params.status), headers: { "Retry-After": "2", "X-Case": "Kept" } },
      ),
    "/text": new Response("plain"),
    "/empty": new Response(null, { status: 204 }),
    "/big-number": new Response('{"id":9007199254740993}'),
    "/bytes": new Response(Uint8Array.of(0, 255)),
    "/large": new Response("x".repeat(1_000_001)),
    "/redirect": Response.redirect("/text"),
    "/hang": () => new Promise<Response>(() => undefined),
  },
});
afterAll(() => server.stop(true));
const base = `http://127.0.0.1:${server.port}`;

interface Echo {
  readonly method: string;
  readonly search: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

async function echo(config: JsonObject, credentials = {}): Promise<Echo> {
  const value = await valueFrom(tool, { config: { url: `${base}/echo`, ...config }, credentials });
  return (value as unknown as { data: Echo }).data;
}

describe("requests", () => {
  test("drops null parameters and repeats lists", async () => {
    const { search, method } = await echo({ params: { a: 1, b: null, c: ["x", "y"], d: true } });
    expect(search).toBe("?a=1&c=x&c=y&d=true");
    expect(method).toBe("GET");
  });

  test("takes a body from json, form, body, data or payload", async () => {
    const post = async (config: JsonObject): Promise<readonly [string, string | undefined]> => {
      const { body, headers } = await echo({ method: "post", ...config });
      return [body, headers["content-type"]];
    };
    const json = ['{"a":1}', "application/json"] as const;
    expect(await post({ json: { a: 1 }, body: "no" })).toEqual(json);
    expect(await post({ body: { a: 1 } })).toEqual(json);
    expect(await post({ data: { a: 1 } })).toEqual(json);
    expect(await post({ payload: { a: 1 } })).toEqual(json);
    const form = ["a=1&b=x+y", "application/x-www-form-urlencoded"] as const;
    expect(await post({ form: { a: 1, b: "x y", c: null } })).toEqual(form);
    expect((await post({ body: "as it is" }))[0]).toBe("as it is");
    const headers = { "Content-Type": "application/x-www-form-urlencoded" };
    expect(await post({ headers, data: { a: 1, b: "x y" } })).toEqual(form);
  });

  test("uses credentials: bearer, basic and api_key, or an explicit map", async () => {
    const credentials = {
      token: { type: "bearer", data: { token: "t1" } },
      pair: { type: "basic", data: { username: "u", password: "p" } },
      key: { type: "api_key", data: { api_key: "k", header: "X-Key" } },
    };
    const headersOf = async (auth: JsonObject | string) =>
      (await echo({ auth }, credentials)).headers;
    expect((await headersOf("token"))["authorization"]).toBe("Bearer t1");
    expect((await headersOf("pair"))["authorization"]).toBe("Basic dTpw");
    expect((await headersOf("key"))["x-key"]).toBe("k");
    expect((await headersOf({ type: "bearer", token: "t2" }))["authorization"]).toBe("Bearer t2");
    expect((await headersOf({ credential: "token" }))["authorization"]).toBe("Bearer t1");
    const config = { url: base, auth: "unknown" };
    expect(await failureFrom(tool, { config })).toMatchObject({ kind: "auth" });
  });
});

describe("answers", () => {
  test("parses JSON, keeps text, encodes bytes", async () => {
    const data = async (path: string, more: JsonObject = {}) =>
      ((await valueFrom(tool, { config: { endpoint: base + path, ...more } })) as JsonObject)[
        "data"
      ];
    expect(await data("/text")).toBe("plain");
    expect(await data("/empty")).toBe("");
    expect(await data("/big-number")).toEqual({ id: "9007199254740993" });
    expect(await data("/big-number", { response_type: "text" })).toBe('{"id":9007199254740993}');
    expect(await data("/bytes", { response_type: "binary" })).toEqual({ base64: "AP8=", size: 2 });
  });

  test("gives status, headers, and the body under both names", async () => {
    const { outcome } = await run(tool, { config: { url: `${base}/status/201` } });
    expect(outcome).toMatchObject({
      ok: true,
      value: {
        status_code: 201,
        headers: { "x-case": "Kept" },
        data: { why: "because" },
        body: { why: "because" },
        url: `${base}/status/201`,
      },
      http: { status: 201 },
    });
  });

  test("follows redirects unless told not to", async () => {
    const config = { url: `${base}/redirect` };
    expect(await valueFrom(tool, { config })).toMatchObject({ data: "plain" });
    const { outcome } = await run(tool, { config: { ...config, follow_redirects: false } });
    expect(outcome).toMatchObject({ ok: true, value: { status_code: 302 } });
  });

  const kinds: readonly (readonly [number, string, boolean])[] = [
    [400, "client_error", false],
    [401, "auth", false],
    [403, "auth", false],
    [404, "not_found", false],
    [429, "rate_limit", true],
    [500, "server_error", true],
    [503, "server_error", true],
  ];
  for (const [status, kind, retryable] of kinds) {
    test(`status ${status} is a failure of kind ${kind} that keeps its value`, async () => {
      const { outcome } = await run(tool, { config: { url: `${base}/status/${status}` } });
      expect(outcome).toMatchObject({
        ok: false,
        value: { status_code: status, data: { why: "because" } },
        failure: { kind, retryable, code: `HTTP_${status}`, status, retryAfterMs: 2000 },
        http: { status },
      });
    });
  }
});

test("accepts a certificate that nobody vouches for only if verify_ssl is false", async () => {
  const fetch = (): Response => Response.json({ ok: 1 });
  const secure = Bun.serve({ port: 0, hostname: "127.0.0.1", tls: CERTIFICATE, fetch });
  try {
    const url = `https://127.0.0.1:${secure.port}/`;
    expect(await failureFrom(tool, { config: { url } })).toMatchObject({ kind: "connection" });
    const value = await valueFrom(tool, { config: { url, verify_ssl: false } });
    expect(value).toMatchObject({ data: { ok: 1 } });
  } finally {
    await secure.stop(true);
  }
});

describe("trouble", () => {
  test("a refused connection, a bad address, a large answer", async () => {
    const failed = (url: string) => failureFrom(tool, { config: { url } });
    expect(await failed("http://127.0.0.1:1/secret?key=1")).toMatchObject({
      kind: "connection",
      retryable: true,
      message: expect.not.stringContaining("key=1"),
    });
    expect(await failed("not a url")).toMatchObject({ kind: "schema", code: "URL_INVALID" });
    expect(await failed(`${base}/large`)).toMatchObject({ kind: "limit" });
  });

  test("stops on abort", async () => {
    const signal = AbortSignal.timeout(50);
    const failure = await failureFrom(tool, { config: { url: `${base}/hang` }, signal });
    expect(failure).toMatchObject({ kind: "timeout", retryable: true });
  });

  test("gives up after the task's own timeout", async () => {
    const config = { url: `${base}/hang`, timeout_seconds: 0.05 };
    expect(await failureFrom(tool, { config })).toMatchObject({ kind: "timeout" });
  });
});
