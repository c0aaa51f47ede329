/** Reads a stream of server-sent events. See "9.2.6 Interpreting an event stream", HTML standard. */

export interface ServerEvent {
  readonly id: string | undefined;
  readonly event: string;
  readonly data: string;
}

/** Ends when the connection does; an event cut short by that is dropped. */
export async function* readServerEvents(response: Response): AsyncGenerator<ServerEvent> {
  let rest = "";
  for await (const chunk of textOf(response)) {
    const blocks = `${rest}${chunk}`.split("\n\n");
    rest = blocks.pop() ?? "";
    for (const block of blocks) {
      const event = parseBlock(block);
      if (event !== undefined) {
        yield event;
      }
    }
  }
}

async function* textOf(response: Response): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    yield decoder.decode(chunk, { stream: true }).replaceAll("\r\n", "\n");
  }
}

/** Undefined for comments and other blocks without data. */
function parseBlock(block: string): ServerEvent | undefined {
  const fields = new Map<string, string>();
  const data: string[] = [];
  for (const line of block.split("\n")) {
    const [, name, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
    if (name === "data") {
      data.push(value ?? "");
    } else if (name !== undefined) {
      fields.set(name, value ?? "");
    }
  }
  return data.length === 0
    ? undefined
    : { id: fields.get("id"), event: fields.get("event") ?? "message", data: data.join("\n") };
}
