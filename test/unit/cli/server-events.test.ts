import { expect, test } from "bun:test";
import { readServerEvents } from "../../../src/cli/server-events.ts";

test("readServerEvents() puts events together from any chunks, and drops what was cut short", async () => {
  const text =
    'retry: 1000\n\n: still here\n\nid: 7\ndata: {"a":"ö"}\n\nevent: end\ndata: 1\ndata: 2\n\ndata: cut';
  const bytes = new TextEncoder().encode(text);
  for (const size of [1, 2, 7, bytes.length]) {
    const chunks = Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
      bytes.slice(index * size, (index + 1) * size),
    );
    const response = new Response(streamOf(chunks));
    const events = await Array.fromAsync(readServerEvents(response));
    expect(events).toEqual([
      { id: "7", event: "message", data: '{"a":"ö"}' },
      { id: undefined, event: "end", data: "1\n2" },
    ]);
  }
});

function streamOf(chunks: readonly Uint8Array<ArrayBuffer>[]): ReadableStream {
  return new ReadableStream({
    start(controller) {
      for (const chunk of chunks) {
        controller.enqueue(chunk);
      }
      controller.close();
    },
  });
}
