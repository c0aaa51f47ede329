/**
 * Splits a template into text, `{{ expression }}` and `{% statement %}`, and these into tokens.
 *
 * Follows Jinja: strings and nested braces hide `}}`, `{{-` and `-}}` trim the text beside them,
 * `{% raw %}` gives its content as it is, comments vanish. A `{#` that is never closed is text,
 * because shell and SQL hold it.
 */
import { TemplateFault } from "./error.ts";

export type Segment =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "output" | "statement"; readonly tokens: readonly Token[] };

export interface Token {
  readonly kind: "name" | "number" | "string" | "operator";
  /** As written; a string with its quotes. */
  readonly text: string;
}

const NUMBER = /0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+|\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const DIGITS = /\d+/y;
const NAME = /[\p{L}_][\p{L}\p{N}_]*/uy;
const STRING = /"(?:[^"\\]|\\[\s\S])*"|'(?:[^'\\]|\\[\s\S])*'/y;
const OPERATOR = /\*\*|\/\/|==|!=|<=|>=|[+\-*/%~<>=|.,:()[\]{}]/y;
const SPACE = /\s*/y;
const RAW_END = /\{%[-+]?\s*endraw\s*[-+]?%\}/g;
/** More is no template that a person wrote; keeps the parser's recursion bounded. */
const TOKENS_MAX = 4000;

/** True if Jinja has something to do in this text. */
export function isTemplate(text: string): boolean {
  const at = text.indexOf("{");
  return at >= 0 && nextOpening(text, at) >= 0;
}

/** @throws TemplateFault on an expression, statement or string that does not end. */
export function readSegments(text: string): readonly Segment[] {
  return new SegmentReader(text).read();
}

class SegmentReader {
  readonly #text: string;
  readonly #segments: Segment[] = [];
  #position = 0;
  #shouldTrimStart = false;

  constructor(text: string) {
    this.#text = text;
  }

  read(): readonly Segment[] {
    for (;;) {
      const opening = nextOpening(this.#text, this.#position);
      if (opening < 0) {
        this.#pushText(this.#text.slice(this.#position), false);
        return this.#segments;
      }
      this.#pushText(this.#text.slice(this.#position, opening), this.#text[opening + 2] === "-");
      this.#readTag(opening);
    }
  }

  #pushText(text: string, shouldTrimEnd: boolean): void {
    const started = this.#shouldTrimStart ? text.trimStart() : text;
    const trimmed = shouldTrimEnd ? started.trimEnd() : started;
    this.#shouldTrimStart = false;
    if (trimmed !== "") {
      this.#segments.push({ kind: "text", text: trimmed });
    }
  }

  #readTag(opening: number): void {
    const sign = this.#text[opening + 1];
    if (sign === "#") {
      const closing = this.#text.indexOf("#}", opening + 2);
      this.#shouldTrimStart = this.#text[closing - 1] === "-";
      this.#position = closing + 2;
      return;
    }
    const mark = this.#text[opening + 2];
    const reader = new TokenReader(this.#text, opening + (mark === "-" || mark === "+" ? 3 : 2));
    const tokens = reader.readUntil(sign === "{" ? "}}" : "%}");
    this.#position = reader.position;
    this.#shouldTrimStart = reader.isTrimming;
    if (sign === "%" && tokens.length === 1 && tokens[0]?.text === "raw") {
      this.#readRaw();
    } else {
      this.#segments.push({ kind: sign === "{" ? "output" : "statement", tokens });
    }
  }

  #readRaw(): void {
    RAW_END.lastIndex = this.#position;
    const end = RAW_END.exec(this.#text);
    if (end === null) {
      throw new TemplateFault("{% raw %} has no {% endraw %}");
    }
    this.#pushText(this.#text.slice(this.#position, end.index), end[0][2] === "-");
    this.#position = RAW_END.lastIndex;
    this.#shouldTrimStart = end[0].at(-3) === "-";
  }
}

class TokenReader {
  readonly #text: string;
  position: number;
  isTrimming = false;

  constructor(text: string, position: number) {
    this.#text = text;
    this.position = position;
  }

  /** Reads up to and including the closing mark that stands outside strings and braces. */
  readUntil(closing: "}}" | "%}"): readonly Token[] {
    const tokens: Token[] = [];
    const start = this.position;
    let depth = 0;
    for (;;) {
      this.#take(SPACE);
      if (depth === 0 && this.#endsWith(closing)) {
        return tokens;
      }
      const token = this.#readToken(tokens.at(-1));
      if (token === undefined || tokens.length >= TOKENS_MAX) {
        throw new TemplateFault(this.#describeStop(token, closing, start));
      }
      depth += Number(token.text === "{") - Number(token.text === "}");
      tokens.push(token);
    }
  }

  #endsWith(closing: string): boolean {
    const mark = this.#text[this.position];
    const offset = mark === "-" || mark === "+" ? 1 : 0;
    if (!this.#text.startsWith(closing, this.position + offset)) {
      return false;
    }
    this.isTrimming = mark === "-";
    this.position += offset + closing.length;
    return true;
  }

  #readToken(previous: Token | undefined): Token | undefined {
    for (const [kind, pattern] of [
      ["name", NAME],
      ["number", previous?.text === "." ? DIGITS : NUMBER],
      ["string", STRING],
      ["operator", OPERATOR],
    ] as const) {
      const text = this.#take(pattern);
      if (text !== undefined) {
        return { kind, text };
      }
    }
    return undefined;
  }

  #take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.position;
    const match = pattern.exec(this.#text);
    if (match === null) {
      return undefined;
    }
    this.position = pattern.lastIndex;
    return match[0];
  }

  #describeStop(token: Token | undefined, closing: string, start: number): string {
    if (token !== undefined) {
      return `an expression has more than ${TOKENS_MAX} parts`;
    }
    const character = this.#text[this.position];
    if (character === undefined) {
      return `"${closing}" is missing after "${this.#text.slice(start - 2, start + 20).trim()}"`;
    }
    return character === "'" || character === '"'
      ? "a string has no closing quote"
      : `unexpected character ${JSON.stringify(character)}`;
  }
}

function nextOpening(text: string, from: number): number {
  let lastCommentEnd: number | undefined;
  for (let at = text.indexOf("{", from); at >= 0; at = text.indexOf("{", at + 1)) {
    const sign = text[at + 1];
    if (sign === "{" || sign === "%") {
      return at;
    }
    if (sign === "#") {
      lastCommentEnd ??= text.lastIndexOf("#}");
      if (lastCommentEnd >= at + 2) {
        return at;
      }
    }
  }
  return -1;
}

const ESCAPES: Readonly<Record<string, string>> = {
  n: "\n",
  t: "\t",
  r: "\r",
  b: "\b",
  f: "\f",
  "0": "\0",
};
const ESCAPE = /\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([\s\S]))/g;

/** The value of a string token. */
export function readString(token: Token): string {
  const body = token.text.slice(1, -1);
  return body.includes("\\")
    ? body.replace(ESCAPE, (_, long?: string, short?: string, other = "") => {
        const code = long ?? short;
        return code === undefined
          ? (ESCAPES[other] ?? other)
          : String.fromCharCode(Number.parseInt(code, 16));
      })
    : body;
}
