/** Templates, ready to render. Compiled ones are kept, the least recently used forgotten. */
import { TemplateError, TemplateFault } from "./error.ts";
import type { Chain } from "./expression.ts";
import { writeExpression } from "./expression.ts";
import type { Segment, Token } from "./lexer.ts";
import { isTemplate, readSegments } from "./lexer.ts";
import type { Program } from "./machine.ts";
import { MACHINE, OUT_FILTER } from "./machine.ts";
import type { Needs } from "./names.ts";
import { Names } from "./names.ts";
import { TEXT_FILTER, writeProgram } from "./statement.ts";

export type Template =
  /** A single expression and nothing else: keeps its type. */
  | { readonly kind: "lone"; readonly expression: Expression }
  /** Text and expressions in turn. */
  | { readonly kind: "mixed"; readonly parts: readonly (string | Expression)[] }
  /** With statements: rendered as a whole. */
  | { readonly kind: "program"; readonly program: Program; readonly needs: Needs };

/** Evaluated as a chain where it is one, without WebAssembly. */
export interface Expression {
  readonly chain: Chain | undefined;
  readonly program: Program;
  readonly needs: Needs;
}

const TEMPLATE_LENGTH_MAX = 1024 * 1024;
const CACHE_COUNT_MAX = 2000;
const CACHE_LENGTH_MAX = 16 * 1024 * 1024;

/** Oldest use first. */
const cache = new Map<string, Template>();
let cacheLength = 0;

/** @throws TemplateError on a template that cannot be read. */
export function compile(text: string): Template {
  const known = cache.get(text);
  if (known !== undefined) {
    cache.delete(text);
    cache.set(text, known);
    return known;
  }
  const template = compileNew(text);
  cache.set(text, template);
  cacheLength += text.length;
  forgetOldest();
  return template;
}

/** Reads the template to its end, MiniJinja's own parser included. @throws TemplateError */
export function checkTemplate(text: string): void {
  if (!isTemplate(text)) {
    return;
  }
  const template = compile(text);
  try {
    programs(template).forEach((program) => {
      MACHINE.check(program);
    });
  } catch (error) {
    throw toTemplateError(text, error);
  }
}

export function toTemplateError(text: string, error: unknown): unknown {
  return error instanceof TemplateFault
    ? new TemplateError(text, error.message, { cause: error.cause ?? error })
    : error;
}

/** All that the template reads from outside. */
export function readNeeds(template: Template): readonly Needs[] {
  switch (template.kind) {
    case "lone":
      return [template.expression.needs];
    case "mixed":
      return expressions(template.parts).map((expression) => expression.needs);
    case "program":
      return [template.needs];
  }
}

function compileNew(text: string): Template {
  try {
    if (text.length > TEMPLATE_LENGTH_MAX) {
      throw new TemplateFault(`it is longer than ${TEMPLATE_LENGTH_MAX} characters`);
    }
    return compileSegments(readSegments(text));
  } catch (error) {
    throw toTemplateError(text, error);
  }
}

function compileSegments(segments: readonly Segment[]): Template {
  if (segments.some((segment) => segment.kind === "statement")) {
    return compileProgram(segments);
  }
  const loneTokens = readLone(segments);
  if (loneTokens !== undefined) {
    return { kind: "lone", expression: compileExpression(loneTokens) };
  }
  const parts = segments.map((segment) =>
    segment.kind === "text" ? segment.text : compileExpression(segment.tokens),
  );
  return { kind: "mixed", parts };
}

/** The only expression, if no text is beside it but the line ends of a YAML block. */
function readLone(segments: readonly Segment[]): readonly Token[] | undefined {
  const outputs = segments.filter((segment) => segment.kind !== "text");
  const isBare = segments.every(
    (segment) =>
      segment.kind !== "text" || (segment.text.trim() === "" && segment.text.includes("\n")),
  );
  return isBare && outputs.length === 1 ? outputs[0]?.tokens : undefined;
}

function compileExpression(tokens: readonly Token[]): Expression {
  const names = new Names();
  const { text, chain } = writeExpression(tokens, names);
  const program = MACHINE.createProgram(
    `{{ (${text}) | ${OUT_FILTER} }}`,
    `{{ (${text}) | tojson }}`,
  );
  return { chain, program, needs: names.needs() };
}

function compileProgram(segments: readonly Segment[]): Template {
  const names = new Names();
  const text = writeProgram(segments, names, (expression) => `(${expression}) | ${TEXT_FILTER}`);
  const wideText = writeProgram(
    segments,
    names,
    (expression) => `(${expression}) | default('', true)`,
  );
  return { kind: "program", program: MACHINE.createProgram(text, wideText), needs: names.needs() };
}

function forgetOldest(): void {
  for (const [text, template] of cache) {
    if (cache.size <= CACHE_COUNT_MAX && cacheLength <= CACHE_LENGTH_MAX) {
      return;
    }
    cache.delete(text);
    cacheLength -= text.length;
    for (const program of programs(template)) {
      MACHINE.remove(program);
    }
  }
}

function programs(template: Template): readonly Program[] {
  switch (template.kind) {
    case "lone":
      return [template.expression.program];
    case "mixed":
      return expressions(template.parts).map((expression) => expression.program);
    case "program":
      return [template.program];
  }
}

function expressions(parts: readonly (string | Expression)[]): readonly Expression[] {
  return parts.filter((part) => typeof part !== "string");
}
