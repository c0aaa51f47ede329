/** Turns a template with statements (`{% if %}`, `{% for %}`, `{% set %}` …) into MiniJinja's text. */
import { TemplateFault } from "./error.ts";
import { writeExpression } from "./expression.ts";
import { machineName } from "./filter.ts";
import type { Segment, Token } from "./lexer.ts";
import type { Names } from "./names.ts";

type StatementWriter = (rest: readonly Token[], names: Names) => string;

/** By the word that begins them. */
export const STATEMENTS: ReadonlyMap<string, StatementWriter> = new Map<string, StatementWriter>([
  ["if", writeExpressionText],
  ["elif", writeExpressionText],
  ["else", writeNothing],
  ["endif", writeNothing],
  ["for", writeFor],
  ["endfor", writeEnd],
  ["set", writeSet],
  ["endset", writeNothing],
  ["with", writeWith],
  ["endwith", writeEnd],
  ["macro", writeMacro],
  ["endmacro", writeEnd],
  ["call", writeCall],
  ["endcall", writeEnd],
  ["filter", writeFilterBlock],
  ["endfilter", writeNothing],
  ["do", writeExpressionText],
]);

/** Prints a value the way texts do: see toText. */
export const TEXT_FILTER = machineName("text");

/**
 * MiniJinja's text of a whole template. `print` puts an expression into an output tag.
 *
 * @throws TemplateFault on statements that are not known or that need other templates.
 */
export function writeProgram(
  segments: readonly Segment[],
  names: Names,
  print: (expression: string) => string,
): string {
  let text = "";
  let written = "";
  for (const segment of segments) {
    if (segment.kind === "text") {
      text += segment.text;
      continue;
    }
    written += quote(text);
    text = "";
    written +=
      segment.kind === "output"
        ? `{{ ${print(writeExpression(segment.tokens, names).text)} }}`
        : writeStatement(segment.tokens, names);
  }
  return written + quote(text);
}

/** Text beside which the scanner could see a tag that is none. */
function quote(text: string): string {
  return text.includes("{") ? `{% raw %}${text}{% endraw %}` : text;
}

function writeStatement(tokens: readonly Token[], names: Names): string {
  const keyword = tokens[0]?.text ?? "";
  const write = STATEMENTS.get(keyword);
  if (write === undefined) {
    throw new TemplateFault(`unknown statement "${keyword}"`);
  }
  return `{% ${keyword} ${write(tokens.slice(1), names)} %}`;
}

function writeNothing(): string {
  return "";
}

function writeExpressionText(rest: readonly Token[], names: Names): string {
  return writeExpression(rest, names).text;
}

function writeEnd(_: readonly Token[], names: Names): string {
  names.close();
  return "";
}

/** `targets in expression [if condition] [recursive]`; the condition sees the targets. */
function writeFor(rest: readonly Token[], names: Names): string {
  const start = rest.findIndex((token) => token.text === "in");
  if (start < 0) {
    throw new TemplateFault('"for" has no "in"');
  }
  const targets = rest.slice(0, start);
  const end = indexOutsideBrackets(rest, ["if", "recursive"], start + 1);
  const list = writeExpression(rest.slice(start + 1, end), names).text;
  names.open();
  names.bind([...nameTexts(targets), "loop"], true);
  return `${joinTexts(targets)} in ${list} ${writeForTail(rest.slice(end), names)}`;
}

function writeForTail(rest: readonly Token[], names: Names): string {
  if (rest[0]?.text !== "if") {
    return joinTexts(rest);
  }
  const isRecursive = rest.at(-1)?.text === "recursive";
  const condition = rest.slice(1, isRecursive ? -1 : undefined);
  return `if ${writeExpression(condition, names).text} ${isRecursive ? "recursive" : ""}`;
}

/** `name = expression`, `space.name = expression`, or the start of a block `name`. */
function writeSet(rest: readonly Token[], names: Names): string {
  const sign = indexOutsideBrackets(rest, ["="], 0);
  const targets = rest.slice(0, sign);
  const value = rest.slice(sign + 1);
  const text = value.length === 0 ? "" : `= ${writeExpression(value, names).text}`;
  const isAttribute = targets[1]?.text === ".";
  names.bind(isAttribute ? [] : nameTexts(targets), false);
  return `${joinTexts(targets)} ${text}`;
}

/** `name = expression, name = expression`. */
function writeWith(rest: readonly Token[], names: Names): string {
  const assignments = splitByComma(rest).map((tokens) => ({
    name: tokens[0]?.text ?? "",
    text: writeExpression(tokens.slice(2), names).text,
  }));
  names.open();
  names.bind(
    assignments.map((assignment) => assignment.name),
    true,
  );
  return assignments.map(({ name, text }) => `${name} = ${text}`).join(", ");
}

/** `name(parameter, parameter=default)`. */
function writeMacro(rest: readonly Token[], names: Names): string {
  const name = rest[0]?.text ?? "";
  names.bind([name], true);
  names.open();
  return `${name}${writeParameters(rest.slice(1), names)}`;
}

/** `(parameters) macro(arguments)`; the parameters may be missing. */
function writeCall(rest: readonly Token[], names: Names): string {
  const end = rest[0]?.text === "(" ? rest.findIndex((token) => token.text === ")") + 1 : 0;
  const target = writeExpression(rest.slice(end), names).text;
  names.open();
  return `${end === 0 ? "" : writeParameters(rest.slice(0, end), names)} ${target}`;
}

function writeParameters(tokens: readonly Token[], names: Names): string {
  const parameters = splitByComma(tokens.slice(1, -1)).map((parameter) => ({
    name: parameter[0]?.text ?? "",
    text: parameter.length > 2 ? ` = ${writeExpression(parameter.slice(2), names).text}` : "",
  }));
  names.bind([...parameters.map((parameter) => parameter.name), "caller"], true);
  return `(${parameters.map(({ name, text }) => name + text).join(", ")})`;
}

function writeFilterBlock(rest: readonly Token[], names: Names): string {
  const pipe: Token = { kind: "operator", text: "|" };
  const empty: Token = { kind: "string", text: '""' };
  const text = writeExpression([empty, pipe, ...rest], names).text;
  return text.slice(text.indexOf("|") + 1);
}

function indexOutsideBrackets(
  tokens: readonly Token[],
  texts: readonly string[],
  from: number,
): number {
  let depth = 0;
  for (let index = from; index < tokens.length; index++) {
    const text = tokens[index]?.text ?? "";
    if (depth === 0 && texts.includes(text)) {
      return index;
    }
    depth += depthChange(text);
  }
  return tokens.length;
}

function splitByComma(tokens: readonly Token[]): readonly (readonly Token[])[] {
  const parts: (readonly Token[])[] = [];
  let start = 0;
  while (start < tokens.length) {
    const end = indexOutsideBrackets(tokens, [","], start);
    parts.push(tokens.slice(start, end));
    start = end + 1;
  }
  return parts;
}

function depthChange(text: string): number {
  if (text === "(" || text === "[" || text === "{") {
    return 1;
  }
  return text === ")" || text === "]" || text === "}" ? -1 : 0;
}

function nameTexts(tokens: readonly Token[]): readonly string[] {
  return tokens.filter((token) => token.kind === "name").map((token) => token.text);
}

function joinTexts(tokens: readonly Token[]): string {
  return tokens.map((token) => token.text).join(" ");
}
