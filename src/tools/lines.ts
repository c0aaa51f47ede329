/** Turns chunks of output into lines. */

/** Longest line handed on in one piece; a longer one is cut into several. Characters. */
const LINE_LENGTH_MAX = 64 * 1024;

export interface LineSplitter {
  push(chunk: Uint8Array): void;
  /** Hands on a last line that has no newline. Nothing may be pushed afterwards. */
  end(): void;
}

/** Splits UTF-8 bytes at newlines; `onLine` gets each line without its `\n` or `\r\n`. */
export function createLineSplitter(onLine: (line: string) => void): LineSplitter {
  const decoder = new TextDecoder();
  let rest = "";
  const take = (text: string): void => {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      onLine(line.endsWith("\r") ? line.slice(0, -1) : line);
    }
    while (rest.length > LINE_LENGTH_MAX) {
      onLine(rest.slice(0, LINE_LENGTH_MAX));
      rest = rest.slice(LINE_LENGTH_MAX);
    }
  };
  return {
    push: (chunk) => take(decoder.decode(chunk, { stream: true })),
    end: () => {
      take(decoder.decode());
      if (rest !== "") {
        onLine(rest);
      }
      rest = "";
    },
  };
}
