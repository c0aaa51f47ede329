/** Splits a stream of bytes into lines of text. */

/** Of one line; the rest of it is dropped. Far above a Pod's JSON in a watch. */
const LINE_CHARS_MAX = 4 * 2 ** 20;

/** Without their newline, in order; the last one also without any. Rejects when the signal is aborted. */
export async function* readLines(
  body: ReadableStream<Uint8Array>,
  signal: AbortSignal,
): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const text of decoded(body, decoder)) {
    signal.throwIfAborted();
    const lines = text.split("\n");
    const last = lines.pop() ?? "";
    for (const [index, line] of lines.entries()) {
      yield index === 0 ? rest + line : line;
    }
    rest = lines.length === 0 ? bounded(rest, last) : last;
  }
  signal.throwIfAborted();
  if (rest !== "") {
    yield rest;
  }
}

function bounded(rest: string, more: string): string {
  return rest.length + more.length > LINE_CHARS_MAX ? rest : rest + more;
}

async function* decoded(
  body: ReadableStream<Uint8Array>,
  decoder: TextDecoder,
): AsyncGenerator<string> {
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        break;
      }
      yield decoder.decode(value, { stream: true });
    }
    yield decoder.decode();
  } finally {
    // Ends the connection when whoever reads has had enough.
    await reader.cancel().catch(() => undefined);
  }
}
