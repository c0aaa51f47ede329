/** Finds arguments for a function by the names of its parameters. */

export interface Parameter {
  /** Undefined for a destructured one. */
  readonly name: string | undefined;
  readonly hasDefault: boolean;
  readonly isRest: boolean;
}

const OPENING = "([{";
const CLOSING = ")]}";

/** Parameters of a function, from its source text. */
export function parseParameters(source: string): readonly Parameter[] {
  return splitParameters(parameterText(source)).map((text) => {
    const isRest = text.startsWith("...");
    const name = /^[\p{ID_Start}$_][\p{ID_Continue}$\u200c\u200d]*/u.exec(text)?.[0];
    const hasDefault = indexAtTop(text, "=") !== -1;
    return { name, hasDefault, isRest };
  });
}

/** What stands between the parentheses; of `x => …` the lone name. */
function parameterText(source: string): string {
  const arrow = /^(?:async\s+)?([\p{ID_Start}$_][\p{ID_Continue}$]*)\s*=>/u.exec(source);
  if (arrow?.[1] !== undefined && arrow[1] !== "async") {
    return arrow[1];
  }
  const start = source.indexOf("(");
  return source.slice(start + 1, closingIndex(source, start));
}

function closingIndex(text: string, start: number): number {
  let depth = 0;
  for (let index = start; index < text.length; index = next(text, index)) {
    const char = text[index] ?? "";
    depth += OPENING.includes(char) ? 1 : 0;
    depth -= CLOSING.includes(char) ? 1 : 0;
    if (depth === 0) {
      return index;
    }
  }
  return text.length;
}

function splitParameters(text: string): readonly string[] {
  const parts: string[] = [];
  let rest = text;
  for (let comma = indexAtTop(rest, ","); comma !== -1; comma = indexAtTop(rest, ",")) {
    parts.push(rest.slice(0, comma));
    rest = rest.slice(comma + 1);
  }
  return [...parts, rest].map(withoutLeadingComments).filter((part) => part !== "");
}

function withoutLeadingComments(text: string): string {
  return text.replace(/^(?:\s|\/\/[^\n]*(?:\n|$)|\/\*[\s\S]*?\*\/)+/, "").trim();
}

/** Index of a character outside brackets, strings and comments, or -1. */
function indexAtTop(text: string, wanted: string): number {
  for (let index = 0; index < text.length; index = next(text, index)) {
    const char = text[index] ?? "";
    if (char === wanted) {
      return index;
    }
    if (OPENING.includes(char)) {
      index = closingIndex(text, index);
    }
  }
  return -1;
}

/** The index after the string, comment or single character that begins at `index`. */
function next(text: string, index: number): number {
  const char = text[index] ?? "";
  if (char === '"' || char === "'" || char === "`") {
    return afterString(text, index, char);
  }
  if (char === "/" && text[index + 1] === "/") {
    return indexOrEnd(text, "\n", index);
  }
  if (char === "/" && text[index + 1] === "*") {
    return indexOrEnd(text, "*/", index) + 2;
  }
  return index + 1;
}

function afterString(text: string, start: number, quote: string): number {
  for (let index = start + 1; index < text.length; index++) {
    if (text[index] === "\\") {
      index++;
    } else if (text[index] === quote) {
      return index + 1;
    }
  }
  return text.length;
}

function indexOrEnd(text: string, wanted: string, from: number): number {
  const index = text.indexOf(wanted, from);
  return index === -1 ? text.length : index;
}
