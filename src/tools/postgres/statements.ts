/**
 * Cuts SQL text at the semicolons between statements: not inside quotes, dollar quotes, comments,
 * parentheses or the body of a `BEGIN ATOMIC` function. See the PostgreSQL manual, section 4.1.
 */

export interface Statement {
  /** Without its semicolon; comments stay. Never empty. */
  readonly text: string;
  /** Highest `$n` in it, 0 if none. */
  readonly parameterCount: number;
}

/** Statements in order; parts that hold nothing but comments are left out. */
export function splitStatements(sql: string): readonly Statement[] {
  const statements: Statement[] = [];
  let current = begin(0);
  for (const token of tokens(sql)) {
    if (token.kind === "semicolon" && current.depth === 0) {
      finish(sql, current, token.start, statements);
      current = begin(token.start + 1);
    } else {
      take(current, token);
    }
  }
  finish(sql, current, sql.length, statements);
  return statements;
}

interface Part {
  readonly start: number;
  /** Open parentheses and open blocks of an SQL body. */
  depth: number;
  isInBody: boolean;
  lastWord: string;
  hasContent: boolean;
  parameterCount: number;
}

function begin(start: number): Part {
  return {
    start,
    depth: 0,
    isInBody: false,
    lastWord: "",
    hasContent: false,
    parameterCount: 0,
  };
}

function finish(sql: string, part: Part, end: number, statements: Statement[]): void {
  if (part.hasContent) {
    const { parameterCount } = part;
    statements.push({ text: sql.slice(part.start, end).trim(), parameterCount });
  }
}

function take(part: Part, token: Token): void {
  part.hasContent ||= token.kind !== "comment";
  switch (token.kind) {
    case "open":
      part.depth++;
      break;
    case "close":
      part.depth = Math.max(0, part.depth - 1);
      break;
    case "parameter":
      part.parameterCount = Math.max(part.parameterCount, Number(token.text.slice(1)));
      break;
    case "word":
      takeWord(part, token.text.toLowerCase());
      break;
    default:
      break;
  }
}

function takeWord(part: Part, word: string): void {
  if (word === "atomic" && part.lastWord === "begin") {
    part.isInBody = true;
    part.depth++;
  } else if (part.isInBody && word === "case") {
    part.depth++;
  } else if (part.isInBody && word === "end") {
    part.depth--;
    part.isInBody = part.depth > 0;
  }
  part.lastWord = word;
}

interface Token {
  readonly kind: "semicolon" | "open" | "close" | "parameter" | "word" | "comment" | "other";
  readonly start: number;
  readonly text: string;
}

/** Sticky, tried in order at each position; what none matches is one character of no interest. */
const TOKENS: readonly (readonly [Token["kind"] | "block" | "space", RegExp])[] = [
  ["space", /\s+/y],
  ["comment", /--[^\n]*/y],
  ["block", /\/\*/y],
  ["other", /[eE]'(?:[^'\\]|\\[\s\S]|'')*(?:'|$)/y],
  ["other", /'(?:[^']|'')*(?:'|$)/y],
  ["other", /"(?:[^"]|"")*(?:"|$)/y],
  ["other", /\$([\p{L}_][\p{L}\p{N}_]*)?\$[\s\S]*?(?:\$\1\$|$(?![\s\S]))/uy],
  ["parameter", /\$\d+/y],
  ["word", /[\p{L}_][\p{L}\p{N}_$]*/uy],
  ["other", /\d[\p{L}\p{N}_.]*/uy],
  ["semicolon", /;/y],
  ["open", /\(/y],
  ["close", /\)/y],
];

function* tokens(sql: string): Generator<Token> {
  let position = 0;
  while (position < sql.length) {
    const [kind, text] = match(sql, position);
    if (kind === "block") {
      const end = endOfBlock(sql, position);
      yield { kind: "comment", start: position, text: "" };
      position = end;
      continue;
    }
    if (kind !== "space") {
      yield { kind, start: position, text };
    }
    position += text.length;
  }
}

function match(
  sql: string,
  position: number,
): readonly [Token["kind"] | "block" | "space", string] {
  for (const [kind, pattern] of TOKENS) {
    pattern.lastIndex = position;
    const text = pattern.exec(sql)?.[0];
    if (text !== undefined) {
      return [kind, text];
    }
  }
  return ["other", sql.slice(position, position + 1)];
}

/** Block comments nest. */
function endOfBlock(sql: string, start: number): number {
  const mark = /\/\*|\*\//g;
  mark.lastIndex = start;
  let depth = 0;
  for (let found = mark.exec(sql); found !== null; found = mark.exec(sql)) {
    depth += found[0] === "/*" ? 1 : -1;
    if (depth === 0) {
      return mark.lastIndex;
    }
  }
  return sql.length;
}
