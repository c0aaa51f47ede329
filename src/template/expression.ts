/**
 * Turns the tokens of an expression into MiniJinja's text.
 *
 * Every maximal static path of a free name becomes one variable, so that only what is mentioned
 * crosses into WebAssembly. What MiniJinja lacks is put into words that it has: our filters get
 * their registered names, Python methods of maps (`.get(k, d)`) and `"…" % x` become filters,
 * `now()` a variable. An expression that is nothing but a path with filters is also given as a
 * {@link Chain}, which needs no WebAssembly.
 */
import type { Json } from "../core/json.ts";
import { TemplateFault } from "./error.ts";
import type { Filter } from "./filter.ts";
import { FILTERS, METHOD_FILTERS, machineName } from "./filter.ts";
import type { Token } from "./lexer.ts";
import { readString } from "./lexer.ts";
import type { Names } from "./names.ts";
import { suggestion } from "./nearest.ts";
import type { Path, Probe } from "./path.ts";

export type Operand =
  | { readonly kind: "path"; readonly path: Path }
  | { readonly kind: "literal"; readonly value: Json };

/** `base | filter(arguments) | …`, evaluated in JavaScript. */
export interface Chain {
  readonly base: Operand;
  readonly calls: readonly ChainCall[];
}

export interface ChainCall {
  readonly filter: Filter;
  readonly arguments: readonly Operand[];
}

export interface ExpressionText {
  /** For MiniJinja. */
  readonly text: string;
  readonly chain: Chain | undefined;
}

const CONSTANTS: ReadonlyMap<string, Json> = new Map<string, Json>([
  ["true", true],
  ["True", true],
  ["false", false],
  ["False", false],
  ["none", null],
  ["None", null],
]);
const OPERATOR_NAMES = new Set(["and", "or", "not", "in", "is", "if", "else", "recursive"]);
/** Of MiniJinja; `now` and `token` are ours. */
export const FUNCTIONS: ReadonlySet<string> = new Set([
  "range",
  "dict",
  "namespace",
  "cycler",
  "joiner",
]);
/** MiniJinja's own, beside {@link FILTERS}. */
export const MACHINE_FILTERS: ReadonlySet<string> = new Set(
  (
    "abs attr batch bool capitalize chain dictsort e escape filesizeformat groupby indent lines " +
    "map max min pluralize pprint reject rejectattr reverse round select selectattr slice " +
    "sort striptags sum title truncate unique"
  ).split(" "),
);
export const TESTS: ReadonlySet<string> = new Set(
  (
    "boolean defined divisibleby endingwith eq equalto escaped even false filter float ge " +
    "greaterthan gt in int integer iterable le lessthan lower lt mapping ne none None number odd " +
    "safe sameas sequence startingwith string test true undefined upper"
  ).split(" "),
);
const CLOSERS: Readonly<Record<string, string>> = { "(": ")", "[": "]", "{": "}" };
const DEPTH_MAX = 64;

/** @throws TemplateFault on what MiniJinja would not understand, as far as it is seen here. */
export function writeExpression(tokens: readonly Token[], names: Names): ExpressionText {
  const writer = new ExpressionWriter(tokens, names);
  return { text: writer.write(), chain: readChain(tokens, names) };
}

class ExpressionWriter {
  readonly #tokens: readonly Token[];
  readonly #names: Names;
  #position = 0;
  #depth = 0;

  constructor(tokens: readonly Token[], names: Names) {
    this.#tokens = tokens;
    this.#names = names;
  }

  write(): string {
    const text = this.#writeSequence(undefined);
    if (text.trim() === "") {
      throw new TemplateFault("an expression is empty");
    }
    return text;
  }

  get #next(): Token | undefined {
    return this.#tokens[this.#position];
  }

  #take(): Token {
    const token = this.#tokens[this.#position++];
    if (token === undefined) {
      throw new TemplateFault("an expression ends too early");
    }
    return token;
  }

  /** Writes up to `closer`, which it takes but does not write. */
  #writeSequence(closer: string | undefined, isCall = false, mark = ""): string {
    if (++this.#depth > DEPTH_MAX) {
      throw new TemplateFault(`an expression is nested deeper than ${DEPTH_MAX} levels`);
    }
    const parts: string[] = [];
    let isMarked = false;
    while (this.#next !== undefined && this.#next.text !== closer) {
      if (isCall && this.#isNamedArgument()) {
        parts.push(isMarked ? "" : mark, this.#take().text, this.#take().text);
        isMarked = true;
      } else {
        parts.push(this.#writePart());
      }
    }
    if (closer !== undefined) {
      this.#expect(closer);
    }
    this.#depth--;
    return parts.join(" ");
  }

  #isNamedArgument(): boolean {
    const before = this.#tokens[this.#position - 1]?.text;
    return (
      (before === "(" || before === ",") &&
      this.#next?.kind === "name" &&
      this.#tokens[this.#position + 1]?.text === "="
    );
  }

  #expect(text: string): void {
    if (this.#next?.text !== text) {
      throw new TemplateFault(
        this.#next === undefined
          ? `"${text}" is missing at the end of an expression`
          : `unexpected "${this.#next.text}", expected "${text}"`,
      );
    }
    this.#position++;
  }

  #writePart(): string {
    const token = this.#take();
    if (token.text === "|") {
      return `| ${this.#writeFilter()}`;
    }
    if (token.text === "is") {
      return `is ${this.#writeTest()}`;
    }
    if (token.kind === "operator" ? token.text in CLOSERS : !OPERATOR_NAMES.has(token.text)) {
      return this.#writePrimary(token);
    }
    if (token.text === ")" || token.text === "]" || token.text === "}" || token.text === ".") {
      throw new TemplateFault(`unexpected "${token.text}"`);
    }
    return token.text;
  }

  #writeFilter(): string {
    const token = this.#take();
    const filter = FILTERS.get(token.text);
    if (token.kind !== "name" || (filter === undefined && !MACHINE_FILTERS.has(token.text))) {
      const known = [...FILTERS.keys(), ...MACHINE_FILTERS];
      throw new TemplateFault(`unknown filter "${token.text}"${suggestion(token.text, known)}`);
    }
    const name = filter === undefined ? token.text : machineName(token.text);
    return this.#next?.text === "(" ? `${name}(${this.#writeArguments(filter)})` : name;
  }

  /** Our own filters can tell named arguments from a map by the mark among them. */
  #writeArguments(filter: Filter | undefined): string {
    this.#expect("(");
    return this.#writeSequence(")", true, filter === undefined ? "" : "named_ = true,");
  }

  #writeTest(): string {
    const negation = this.#next?.text === "not" ? `${this.#take().text} ` : "";
    const token = this.#take();
    if (token.kind !== "name" || !TESTS.has(token.text)) {
      throw new TemplateFault(`unknown test "${token.text}"${suggestion(token.text, TESTS)}`);
    }
    const name = token.text === "None" ? "none" : token.text;
    if (this.#next?.text !== "(") {
      return negation + name;
    }
    this.#expect("(");
    return `${negation}${name}(${this.#writeSequence(")", true)})`;
  }

  #writePrimary(token: Token): string {
    let text = this.#writeOperand(token);
    for (let next = this.#next?.text; ; next = this.#next?.text) {
      if (next === ".") {
        this.#position++;
        text = this.#writeAttribute(text);
      } else if (next === "[" || next === "(") {
        this.#position++;
        text += `${next}${this.#writeSequence(CLOSERS[next], next === "(")}${CLOSERS[next]}`;
      } else {
        return token.kind === "string" && next === "%" ? this.#writePercent(text) : text;
      }
    }
  }

  #writeAttribute(text: string): string {
    const token = this.#take();
    if (token.kind === "number") {
      return `${text}[${token.text}]`;
    }
    if (token.kind !== "name") {
      throw new TemplateFault(`unexpected "${token.text}" after "."`);
    }
    const filter = this.#next?.text === "(" ? METHOD_FILTERS.get(token.text) : undefined;
    if (filter === undefined) {
      return `${text}.${token.text}`;
    }
    return `(${text} | ${machineName(filter)}(${this.#writeArguments(FILTERS.get(filter))}))`;
  }

  #writePercent(text: string): string {
    this.#position++;
    return `(${text} | ${machineName("percent")}(${this.#writePrimary(this.#take())}))`;
  }

  #writeOperand(token: Token): string {
    if (token.kind === "operator") {
      const closer = CLOSERS[token.text];
      if (closer === undefined) {
        throw new TemplateFault(`unexpected "${token.text}"`);
      }
      return `${token.text}${this.#writeSequence(closer)}${closer}`;
    }
    if (token.kind !== "name" || CONSTANTS.has(token.text)) {
      return token.text;
    }
    return this.#names.isBound(token.text) ? token.text : this.#writeFree(token);
  }

  #writeFree(token: Token): string {
    if (this.#next?.text !== "(") {
      const steps = readSteps(this.#tokens, this.#position);
      this.#position = steps.end;
      const probe = readProbe(this.#tokens, steps.end);
      const path = { root: token.text, steps: steps.steps };
      return this.#names.variable(probe === undefined ? path : { ...path, probe });
    }
    if (token.text === "now") {
      this.#expect("(");
      this.#expect(")");
      return this.#names.now();
    }
    if (token.text === "token") {
      return this.#writeToken();
    }
    if (!FUNCTIONS.has(token.text)) {
      throw new TemplateFault(`unknown function "${token.text}"`);
    }
    return token.text;
  }

  /** The older `token('alias')` is `keychain.alias.token`. */
  #writeToken(): string {
    this.#expect("(");
    const alias = this.#take();
    if (alias.kind !== "string" || this.#next?.text !== ")") {
      throw new TemplateFault(
        "token() takes one name in quotes, of a keychain entry or credential; write keychain.alias.token",
      );
    }
    this.#expect(")");
    return this.#names.variable({ root: "keychain", steps: [readString(alias), "token"] });
  }
}

/** Reads `.name`, `["name"]`, `[0]`, `[-1]` from `position` on; stops before a method call. */
function readSteps(
  tokens: readonly Token[],
  position: number,
): { readonly steps: readonly (string | number)[]; readonly end: number } {
  const steps: (string | number)[] = [];
  let end = position;
  for (;;) {
    const step = readStep(tokens, end);
    if (step === undefined) {
      return { steps, end };
    }
    steps.push(step.step);
    end = step.end;
  }
}

const LENGTH_FILTERS = new Set(["count", "len", "length"]);
const PRESENCE_TESTS = new Set(["None", "defined", "none", "undefined"]);

/** What is asked of a path that ends before `position`, if that is less than its value. */
function readProbe(tokens: readonly Token[], position: number): Probe | undefined {
  const [sign, first, second] = tokens.slice(position, position + 3).map(({ text }) => text);
  if (sign === "|" && LENGTH_FILTERS.has(first ?? "") && second !== "(") {
    return "length";
  }
  const test = first === "not" ? second : first;
  return sign === "is" && PRESENCE_TESTS.has(test ?? "") ? "presence" : undefined;
}

function readStep(
  tokens: readonly Token[],
  position: number,
): { readonly step: string | number; readonly end: number } | undefined {
  const [opener, first, second, third] = tokens.slice(position, position + 4);
  if (opener?.text === "." && first !== undefined && second?.text !== "(") {
    return first.kind === "name"
      ? { step: first.text, end: position + 2 }
      : indexStep(first, "", position + 2);
  }
  if (opener?.text !== "[" || first === undefined) {
    return undefined;
  }
  if (first.text === "-" && second !== undefined && third?.text === "]") {
    return indexStep(second, "-", position + 4);
  }
  if (second?.text !== "]") {
    return undefined;
  }
  return first.kind === "string"
    ? { step: readString(first), end: position + 3 }
    : indexStep(first, "", position + 3);
}

function indexStep(
  token: Token,
  sign: string,
  end: number,
): { readonly step: number; readonly end: number } | undefined {
  const index = Number(sign + token.text);
  return token.kind === "number" && Number.isSafeInteger(index) ? { step: index, end } : undefined;
}

/** The expression as a chain, if it is nothing but operands and filters of our own. */
function readChain(tokens: readonly Token[], names: Names): Chain | undefined {
  const base = readOperand(tokens, 0, names);
  if (base === undefined) {
    return undefined;
  }
  const calls: ChainCall[] = [];
  let position = base.end;
  while (position < tokens.length) {
    const call = readCall(tokens, position, names);
    if (call === undefined) {
      return undefined;
    }
    calls.push(call.call);
    position = call.end;
  }
  return { base: base.operand, calls };
}

function readCall(
  tokens: readonly Token[],
  position: number,
  names: Names,
): { readonly call: ChainCall; readonly end: number } | undefined {
  const sign = tokens[position]?.text;
  const name = tokens[position + 1];
  const key = name?.kind === "name" ? name.text : "";
  const isMethod = sign === "." && tokens[position + 2]?.text === "(";
  const filter = FILTERS.get(sign === "|" ? key : (isMethod && METHOD_FILTERS.get(key)) || "");
  if (filter === undefined) {
    return undefined;
  }
  if (tokens[position + 2]?.text !== "(") {
    return { call: { filter, arguments: [] }, end: position + 2 };
  }
  const list = readArguments(tokens, position + 3, names);
  return list && { call: { filter, arguments: list.operands }, end: list.end };
}

function readArguments(
  tokens: readonly Token[],
  position: number,
  names: Names,
): { readonly operands: readonly Operand[]; readonly end: number } | undefined {
  const operands: Operand[] = [];
  let at = position;
  while (tokens[at]?.text !== ")") {
    const operand = readOperand(tokens, at, names);
    const after = operand && tokens[operand.end]?.text;
    if (operand === undefined || (after !== "," && after !== ")")) {
      return undefined;
    }
    operands.push(operand.operand);
    at = after === "," ? operand.end + 1 : operand.end;
  }
  return { operands, end: at + 1 };
}

function readOperand(
  tokens: readonly Token[],
  position: number,
  names: Names,
): { readonly operand: Operand; readonly end: number } | undefined {
  const token = tokens[position];
  if (token?.kind === "name") {
    return readNamed(token, tokens, position + 1, names);
  }
  const literal = readLiteral(token, tokens[position + 1]);
  return (
    literal && {
      operand: { kind: "literal", value: literal.value },
      end: position + literal.length,
    }
  );
}

function readNamed(
  token: Token,
  tokens: readonly Token[],
  position: number,
  names: Names,
): { readonly operand: Operand; readonly end: number } | undefined {
  const constant = CONSTANTS.get(token.text);
  if (constant !== undefined) {
    return { operand: { kind: "literal", value: constant }, end: position };
  }
  const isOther = OPERATOR_NAMES.has(token.text) || names.isBound(token.text);
  if (isOther || tokens[position]?.text === "(") {
    return undefined;
  }
  const { steps, end } = readSteps(tokens, position);
  return { operand: { kind: "path", path: { root: token.text, steps } }, end };
}

function readLiteral(
  token: Token | undefined,
  next: Token | undefined,
): { readonly value: Json; readonly length: number } | undefined {
  if (token?.kind === "string") {
    return { value: readString(token), length: 1 };
  }
  if (token?.kind === "number") {
    const value = Number(token.text.replaceAll("_", ""));
    const isExact = Number.isSafeInteger(value) || /[.eE]/.test(token.text);
    return isExact ? { value, length: 1 } : undefined;
  }
  if (token?.text === "[" && next?.text === "]") {
    return { value: [], length: 2 };
  }
  return token?.text === "{" && next?.text === "}" ? { value: {}, length: 2 } : undefined;
}
