import { expect, test } from "bun:test";
import { createBackend, createTestServer } from "../../unit/server/backend.ts";

async function listen(options: Parameters<typeof createTestServer>[1] = {}) {
  const backend = createBackend();
  const { server } = createTestServer(backend, options);
  const url = `http://127.0.0.1:${await server.start("127.0.0.1", 0)}`;
  return { backend, url, server, [Symbol.asyncDispose]: server.stop };
}

test("a body over the limit is refused, announced or not", async () => {
  await using running = await listen({ bodyBytesMax: 10_000 });
  const body = JSON.stringify({ path: "a", payload: { text: "x".repeat(50_000) } });
  const announced = await fetch(`${running.url}/api/execute`, { method: "POST", body });
  expect(announced.status).toBe(413);
  const stream = new Blob([body]).stream();
  const chunked = await fetch(`${running.url}/api/execute`, { method: "POST", body: stream });
  expect(chunked.status).toBe(413);
  expect(running.backend.starts).toEqual([]);
});

test("a client that goes away ends its live stream on the server", async () => {
  const ended = Promise.withResolvers<void>();
  await using running = await listen();
  const { watch } = running.backend.orchestrator;
  running.backend.add("12");
  running.backend.record("12", { type: "step.entered", step: "a", visit: 1, tokenCount: 1 });
  running.backend.orchestrator.watch = (id, options) => {
    options.signal.addEventListener("abort", () => ended.resolve(), { once: true });
    return watch(id, options);
  };
  const client = new AbortController();
  const response = await fetch(`${running.url}/api/executions/12/events/stream`, {
    signal: client.signal,
  });
  const first = await response.body?.getReader().read();
  expect(new TextDecoder().decode(first?.value)).toContain("retry:");
  client.abort();
  await ended.promise;
  expect((await fetch(`${running.url}/livez`)).status).toBe(200);
});

test("stop() ends live streams and frees the port", async () => {
  await using running = await listen();
  running.backend.add("12");
  const response = await fetch(`${running.url}/api/executions/12/events/stream`);
  await running.server.stop();
  expect(await response.text()).toContain("retry:");
  expect(fetch(`${running.url}/livez`)).rejects.toThrow();
});
