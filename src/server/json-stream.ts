/**
 * Large JSON answers in pieces: items are turned into text one by one and the event loop gets its
 * turn after each chunk, so that one client with a big execution does not stop all others.
 */

const CHUNK_CHARS = 65_536;

/** A JSON object: the fields of `head`, then `name` with the list of `items`. */
export function streamJson(
  head: Readonly<Record<string, unknown>>,
  name: string,
  items: AsyncIterable<unknown> | Iterable<unknown>,
): Response {
  const chunks = jsonChunks(head, name, items);
  const stream = new ReadableStream<string>({
    async pull(controller) {
      const { done, value } = await chunks.next();
      if (done === true) {
        controller.close();
      } else {
        controller.enqueue(value);
      }
    },
    cancel: async () => {
      await chunks.return(undefined);
    },
  });
  return new Response(stream.pipeThrough(new TextEncoderStream()), {
    headers: { "content-type": "application/json; charset=utf-8" },
  });
}

export async function* jsonChunks(
  head: Readonly<Record<string, unknown>>,
  name: string,
  items: AsyncIterable<unknown> | Iterable<unknown>,
): AsyncGenerator<string, void, undefined> {
  const fields = JSON.stringify(head);
  let chunk = `${fields.slice(0, -1)}${fields === "{}" ? "" : ","}${JSON.stringify(name)}:[`;
  let separator = "";
  for await (const item of items) {
    chunk += separator + (JSON.stringify(item) ?? "null");
    separator = ",";
    if (chunk.length >= CHUNK_CHARS) {
      yield chunk;
      chunk = "";
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  yield `${chunk}]}`;
}
