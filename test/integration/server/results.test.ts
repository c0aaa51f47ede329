/** `/api/result`: stored values over HTTP, against the real store. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Platform } from "./platform.ts";
import { startPlatform } from "./platform.ts";

const PLAYBOOK = `apiVersion: noetl.io/v2
kind: Playbook
metadata: { path: test/results }
workflow:
  - step: start
    tool: { kind: noop }
`;

/** PostgreSQL may have to be started first. */
const START_MS = 60_000;

let platform: Platform;
let id = "";

beforeAll(async () => {
  platform = await startPlatform();
  await platform.call("POST", "/api/catalog/register", { content: PLAYBOOK });
  const started = await platform.call("POST", "/api/execute", { path: "test/results" });
  id = started.body.execution_id;
}, START_MS);

afterAll(async () => {
  await platform[Symbol.asyncDispose]();
});

async function request(method: string, path: string, init: RequestInit = {}): Promise<Response> {
  return await platform.handle(new Request(`http://localhost${path}`, { method, ...init }));
}

const resolve = (address: string) => `/api/result/resolve?ref=${encodeURIComponent(address)}`;

test("a value is put, listed, resolved by reference, URI and URN, and deleted", async () => {
  const data = { rows: [1, 2], ok: true };
  const more = { scope: "permanent", ttl: 3600, source_step: "start" };
  const { status, body } = await platform.call("PUT", `/api/result/${id}`, {
    name: "report",
    data,
    ...more,
  });
  expect(status).toBe(200);
  expect(body).toMatchObject({
    ...{ store: "db", scope: "permanent", source_step: "start", bytes: 24, type: "object" },
    uri: `noetl://default/default/results/${id}/report/0/0/1`,
  });
  expect(body.ref).toMatch(/^noetl:\/\/execution\/\d+\/result\/report\/[0-9a-f]{64}$/);
  expect(Date.parse(body.expires_at)).toBeGreaterThan(Date.now() + 3_000_000);

  const listed = await platform.call("GET", `/api/result/${id}?name=report`);
  expect(listed.body).toMatchObject({ execution_id: id, results: [{ ref: body.ref }] });
  const urn = `urn:noetl:default:default:results:${id}:report`;
  for (const path of [
    resolve(body.ref),
    `/api/result/resolve?uri=${encodeURIComponent(body.uri)}`,
    `/api/result/resolve?urn=${encodeURIComponent(urn)}`,
    `/api/result/${id}/report`,
  ]) {
    expect((await platform.call("GET", path)).body).toEqual(data);
  }
  expect((await platform.call("GET", resolve(`${body.ref}#/rows`))).body).toEqual([1, 2]);

  expect((await platform.call("DELETE", resolve(body.ref))).body.status).toBe("deleted");
  expect((await platform.call("GET", resolve(body.ref))).status).toBe(404);
  expect((await platform.call("DELETE", resolve(body.ref))).status).toBe(404);
});

test("other content than JSON keeps its type, as a body or as base64", async () => {
  const bytes = new Uint8Array([0, 1, 254, 255]);
  const headers = { "content-type": "image/png" };
  const put = await request("PUT", `/api/result/${id}/picture`, { body: bytes, headers });
  expect(await put.json()).toMatchObject({ content_type: "image/png", bytes: 4, type: "binary" });
  const got = await request("GET", `/api/result/${id}/picture`);
  expect(got.headers.get("content-type")).toBe("image/png");
  expect(new Uint8Array(await got.arrayBuffer())).toEqual(bytes);

  const coded = { name: "coded", data: bytes.toBase64(), encoding: "base64" };
  const stored = await platform.call("PUT", `/api/result/${id}`, coded);
  expect(stored.body).toMatchObject({ bytes: 4, content_type: "application/octet-stream" });
});

test("a body is stored while it is read, also one that does not say its length", async () => {
  const piece = crypto.getRandomValues(new Uint8Array(65_536));
  let left = 50;
  const body = new ReadableStream<Uint8Array>({
    pull: (controller) => {
      controller.enqueue(piece);
      left--;
      if (left === 0) {
        controller.close();
      }
    },
  });
  const put = await request("PUT", `/api/result/${id}/stream`, { body, duplex: "half" } as object);
  expect(await put.json()).toMatchObject({ bytes: 50 * 65_536 });
  const got = await request("GET", `/api/result/${id}/stream`);
  expect(got.headers.get("x-noetl-size")).toBe(String(50 * 65_536));
  expect((await got.arrayBuffer()).byteLength).toBe(50 * 65_536);
});

test("what cannot be done is refused with a code", async () => {
  const put = (body: object) => platform.call("PUT", `/api/result/${id}`, body);
  const answers = [
    await platform.call("GET", "/api/result/resolve"),
    await platform.call("GET", resolve("https://example.org")),
    await platform.call("GET", resolve(`noetl://default/default/results/${id}/nope`)),
    await platform.call("PUT", "/api/result/1", { name: "a", data: 1 }),
    await put({ name: "a", data: 1, scope: "day" }),
    await put({ name: "a", data: 1, ttl: "soon" }),
    await put({ name: "", data: 1 }),
    await put({ name: "a", data: "%%%", encoding: "base64" }),
  ];
  expect(answers.map(({ status, body }) => [status, body.code])).toEqual([
    [400, "REF_MISSING"],
    [400, "REF_INVALID"],
    [404, "RESULT_NOT_FOUND"],
    [404, "EXECUTION_NOT_FOUND"],
    [422, "REQUEST_INVALID"],
    [422, "REQUEST_INVALID"],
    [422, "RESULT_NAME_INVALID"],
    [422, "REQUEST_INVALID"],
  ]);
});
