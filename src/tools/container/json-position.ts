/** Where a text stops being JSON: for people who have to mend the program that wrote it. */

export interface JsonProblem {
  /** From 1. */
  readonly line: number;
  /** From 1, in characters. */
  readonly column: number;
  /** What stands there, or that the text ends. */
  readonly found: string;
}

const SPACE = /[ \t\n\r]*/y;
const SCALAR =
  /"(?:[^"\\]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;

/** The first place that cannot be; undefined: it is JSON. */
export function findJsonProblem(text: string): JsonProblem | undefined {
  const scan = new Scan(text);
  const isValid = scan.document();
  return isValid ? undefined : problemAt(text, scan.position);
}

function problemAt(text: string, position: number): JsonProblem {
  const lines = text.slice(0, position).split("\n");
  const rest = text.slice(position, position + 20).split("\n")[0] ?? "";
  const found = position >= text.length ? "the end of the text" : JSON.stringify(rest);
  return { line: lines.length, column: (lines.at(-1)?.length ?? 0) + 1, found };
}

/** Walks through values without recursion, so that no depth is too deep. */
class Scan {
  readonly #text: string;
  /** Closing signs of the lists and maps that are open. */
  readonly #open: string[] = [];
  position = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** False: {@link position} is where it fails. */
  document(): boolean {
    this.#skip();
    while (this.#value()) {
      if (!this.#after()) {
        return false;
      }
      if (this.#open.length === 0) {
        return this.position === this.#text.length;
      }
    }
    return false;
  }

  /** A scalar, an empty list or map, or the opening of another one, up to its first value. */
  #value(): boolean {
    for (;;) {
      if (this.#take("[")) {
        this.#open.push("]");
      } else if (this.#take("{")) {
        this.#open.push("}");
      } else {
        return this.#match(SCALAR);
      }
      if (this.#isAt(this.#open.at(-1))) {
        this.#open.pop();
        this.position++;
        return true;
      }
      if (this.#open.at(-1) === "}" && !this.#key()) {
        return false;
      }
    }
  }

  /** What follows a value: closing signs, then a comma and, in a map, the next key. */
  #after(): boolean {
    this.#skip();
    for (;;) {
      const close = this.#open.at(-1);
      if (close === undefined) {
        return true;
      }
      if (this.#take(close)) {
        this.#open.pop();
      } else {
        return this.#take(",") && (close === "]" || this.#key());
      }
    }
  }

  #key(): boolean {
    if (!this.#isAt('"') || !this.#match(SCALAR)) {
      return false;
    }
    this.#skip();
    return this.#take(":");
  }

  #take(sign: string): boolean {
    if (!this.#isAt(sign)) {
      return false;
    }
    this.position++;
    this.#skip();
    return true;
  }

  #isAt(sign: string | undefined): boolean {
    return sign !== undefined && this.#text[this.position] === sign;
  }

  #skip(): void {
    this.#match(SPACE);
  }

  #match(pattern: RegExp): boolean {
    pattern.lastIndex = this.position;
    const found = pattern.exec(this.#text);
    const text = found?.[0] ?? "";
    const control = text.startsWith('"') ? controlIn(text) : -1;
    this.position += control < 0 ? text.length : control;
    return found !== null && control < 0;
  }
}

/** Where a text has a sign that must be escaped; -1: nowhere. */
function controlIn(text: string): number {
  for (let index = 0; index < text.length; index++) {
    if (text.charCodeAt(index) < 0x20) {
      return index;
    }
  }
  return -1;
}
