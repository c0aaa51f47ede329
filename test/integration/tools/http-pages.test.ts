import { afterAll, describe, expect, test } from "bun:test";
import { createServer } from "node:http";
import type { JsonObject } from "../../../src/core/json.ts";
import { createHttpTool } from "../../../src/tools/http.ts";
import { failureFrom, problemsOf, run, valueFrom } from "./call.ts";

const tool = createHttpTool({ maxOutputBytes: 1_000_000 });
const ITEMS = Array.from({ length: 25 }, (_, index) => ({ id: index }));
const PAGE = 10;

const seen: { readonly url: string; readonly authorization: string | null }[] = [];
let refusals = 0;

/** Ten of 25 items, from an offset on. */
function slice(offset: number): readonly JsonObject[] {
  return ITEMS.slice(offset, offset + PAGE);
}

function serve(request: Request): URL {
  seen.push({ url: request.url, authorization: request.headers.get("authorization") });
  return new URL(request.url);
}

const other = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  fetch: (request) => {
    serve(request);
    return Response.json([{ id: "elsewhere" }]);
  },
});
const server = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  routes: {
    "/page": (request) => {
      const page = Number(serve(request).searchParams.get("page"));
      const offset = (page - 1) * PAGE;
      return Response.json({ data: slice(offset), paging: { hasMore: offset + PAGE < 25 } });
    },
    "/offset": (request) => Response.json(slice(Number(serve(request).searchParams.get("offset")))),
    "/cursor": (request) => {
      const offset = Number(serve(request).searchParams.get("after") ?? 0);
      const next = offset + PAGE < 25 ? String(offset + PAGE) : null;
      return Response.json({ result: { items: slice(offset) }, meta: { next } });
    },
    "/link": (request) => {
      const offset = Number(serve(request).searchParams.get("from") ?? 0);
      const next = offset + PAGE < 25 ? `<?from=${offset + PAGE}>; rel="next", ` : "";
      const headers = { link: `${next}</link>; rel="first"` };
      return Response.json(slice(offset), { headers });
    },
    "/away": (request) => {
      serve(request);
      return Response.json([{ id: "here" }], {
        headers: { link: `<http://127.0.0.1:${other.port}/more>; rel=next` },
      });
    },
    "/circular": (request) => {
      serve(request);
      return Response.json([1], { headers: { link: '</circular>; rel="next"' } });
    },
    "/busy": () => {
      refusals++;
      return refusals % 2 === 1
        ? new Response("busy", { status: 429, headers: { "retry-after": "0.01" } })
        : Response.json([1, 2]);
    },
    "/broken": (request) => {
      const page = Number(serve(request).searchParams.get("page"));
      return page === 2 ? new Response("no", { status: 500 }) : Response.json(slice(0));
    },
    "/upload": async (request) => {
      const form = await request.formData();
      const entries = [...form].map(async ([name, value]) => [
        name,
        typeof value === "string"
          ? value
          : { name: value.name, type: value.type, text: await value.text() },
      ]);
      return Response.json(Object.fromEntries(await Promise.all(entries)));
    },
    "/bytes": async (request) => Response.json([...new Uint8Array(await request.arrayBuffer())]),
    "/hang": () => new Promise<Response>(() => undefined),
  },
});
const proxy = createServer((request, response) => {
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify({ asked: request.url }));
});
proxy.listen(0, "127.0.0.1");
afterAll(async () => {
  proxy.close();
  await Promise.all([server.stop(true), other.stop(true)]);
});
const base = `http://127.0.0.1:${server.port}`;

async function pages(path: string, paginate: JsonObject): Promise<JsonObject> {
  const value = await valueFrom(tool, { config: { url: `${base}/${path}`, paginate } });
  return value as JsonObject;
}

describe("paginate", () => {
  const ways: readonly (readonly [string, JsonObject])[] = [
    ["page", { mode: "page", items: "data", more: "paging.hasMore" }],
    ["page", { mode: "page", items: "data", size: 10, size_param: "size" }],
    ["offset", { mode: "offset" }],
    ["cursor", { mode: "cursor", items: "result.items", next: "meta.next", param: "after" }],
    ["link", { mode: "link" }],
  ];
  for (const [path, paginate] of ways) {
    test(`reads all pages of ${JSON.stringify(paginate)}, in order`, async () => {
      const value = await pages(path, paginate);
      expect(value).toMatchObject({ data: ITEMS, status_code: 200, is_cut: false });
      expect(value["pages"]).toBeGreaterThanOrEqual(3);
    });
  }

  test("stops at the author's limits and says that there was more", async () => {
    const mode = { mode: "page", items: "data", more: "paging.hasMore" };
    expect(await pages("page", { ...mode, max_pages: 2 })).toMatchObject({
      data: ITEMS.slice(0, 20),
      pages: 2,
      is_cut: true,
    });
    expect(await pages("page", { ...mode, max_items: 5 })).toMatchObject({
      data: ITEMS.slice(0, 5),
      is_cut: true,
    });
    expect(await pages("page", { ...mode, max_items: 25 })).toMatchObject({ is_cut: false });
  });

  test("waits as long as Retry-After says", async () => {
    expect(await pages("busy", { mode: "link" })).toMatchObject({ data: [1, 2], pages: 1 });
    expect(refusals).toBe(2);
  });

  test("fails with the page that failed, and keeps what came before", async () => {
    const config = { url: `${base}/broken`, paginate: { mode: "page" } };
    const { outcome } = await run(tool, { config });
    expect(outcome).toMatchObject({
      ok: false,
      value: { data: slice(0), pages: 2 },
      failure: { kind: "server_error", message: expect.stringContaining("page 2: HTTP 500") },
    });
  });

  test("refuses a walk in circles and a body without a list", async () => {
    const circle = { url: `${base}/circular`, paginate: { mode: "link" } };
    expect(await failureFrom(tool, { config: circle })).toMatchObject({ code: "PAGES_CIRCULAR" });
    const wrong = { url: `${base}/page`, paginate: { mode: "page", items: "rows" } };
    expect(await failureFrom(tool, { config: wrong })).toMatchObject({
      code: "PAGE_WITHOUT_ITEMS",
      message: expect.stringContaining("`rows`"),
    });
  });

  test("does not tell another service the credential", async () => {
    const config = { url: `${base}/away`, auth: { type: "bearer", token: "t1" } };
    const value = await valueFrom(tool, { config: { ...config, paginate: { mode: "link" } } });
    expect(value).toMatchObject({ data: [{ id: "here" }, { id: "elsewhere" }] });
    expect(seen.find(({ url }) => url.endsWith("/away"))?.authorization).toBe("Bearer t1");
    expect(seen.find(({ url }) => url.endsWith("/more"))?.authorization).toBeNull();
  });

  test("stops between and within pages on abort", async () => {
    const config = { url: `${base}/hang`, paginate: { mode: "link" } };
    const signal = AbortSignal.abort("cancelled");
    const { outcome } = await run(tool, { config, signal });
    expect(outcome.ok).toBe(false);
  });

  test("names what is wrong with the field", () => {
    const check = (paginate: JsonObject | string) => problemsOf(tool, { url: base, paginate });
    expect(check("all")).toEqual([expect.stringContaining("must be a map")]);
    expect(check({ mode: "pages" })).toEqual([expect.stringContaining("one of link, cursor")]);
    expect(check({ mode: "cursor" })).toEqual([expect.stringContaining("`paginate.next`")]);
    expect(check({ mode: "page", size: -1 })).toEqual([expect.stringContaining("whole number")]);
    expect(check({ mode: "page", limit: 1 })).toEqual([expect.stringContaining("unknown")]);
  });
});

describe("uploads", () => {
  test("sends files and fields as a form", async () => {
    const config = {
      url: `${base}/upload`,
      method: "post",
      form: { title: "Report", year: 2026 },
      files: {
        text: { filename: "a.txt", content: "hello", content_type: "text/plain" },
        bytes: { base64: "aGk=" },
        data: { a: 1 },
        short: "as it is",
      },
    };
    const missing = await failureFrom(tool, { config });
    expect(missing).toMatchObject({ code: "FILE_WITHOUT_CONTENT" });
    const { data: _, ...files } = config.files;
    expect(await valueFrom(tool, { config: { ...config, files } })).toMatchObject({
      data: {
        title: "Report",
        year: "2026",
        text: { name: "a.txt", text: "hello" },
        bytes: { name: "bytes", text: "hi" },
        short: { text: "as it is" },
      },
    });
  });

  test("sends bytes", async () => {
    const config = { url: `${base}/bytes`, method: "PUT", body_base64: "AP8=" };
    expect(await valueFrom(tool, { config })).toMatchObject({ data: [0, 255] });
  });
});

test("asks through a proxy", async () => {
  const address = proxy.address();
  const port = typeof address === "object" ? address?.port : 0;
  const config = { url: "http://service.invalid/path", proxy: `http://127.0.0.1:${port}` };
  expect(await valueFrom(tool, { config })).toMatchObject({
    data: { asked: "http://service.invalid/path" },
  });
});
