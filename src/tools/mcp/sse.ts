/** Server-sent events of an HTTP answer. See the HTML standard, section 9.2. */

export interface ServerEvent {
  readonly name: string;
  readonly data: string;
}

export class StreamTooLargeError extends Error {
  override readonly name = "StreamTooLargeError";
}

/** @throws StreamTooLargeError when one event is larger than `lengthMax` characters. */
export async function* readEvents(
  stream: ReadableStream<Uint8Array>,
  lengthMax: number,
): AsyncGenerator<ServerEvent> {
  const decoder = new TextDecoder();
  let rest = "";
  let name = "";
  let data: string[] = [];
  for await (const part of stream) {
    // A CR at the end of a part may be half of a CRLF.
    const text = rest + decoder.decode(part, { stream: true });
    const lines = text.split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line === "") {
        if (data.length > 0) {
          yield { name: name || "message", data: data.join("\n") };
        }
        name = "";
        data = [];
      } else if (line.startsWith("data:")) {
        data.push(valueOfField(line));
      } else if (line.startsWith("event:")) {
        name = valueOfField(line);
      }
    }
    if (rest.length + data.reduce((sum, each) => sum + each.length, 0) > lengthMax) {
      throw new StreamTooLargeError();
    }
  }
}

function valueOfField(line: string): string {
  const text = line.slice(line.indexOf(":") + 1);
  return text.startsWith(" ") ? text.slice(1) : text;
}
