/**
 * Turns the text of a task into a function, and keeps what it compiled.
 *
 * The text becomes the body of a strict function whose parameters are the names that the task may
 * use, so nothing of it is global. A short task is cheapest when its function is kept. A long one
 * is not always: a function that is made again and again for the same closure is optimised less
 * (measured, Bun 1.4.5: recursive `fib(33)` takes 29 ms from the second run on, 20 ms when compiled
 * anew), while code with long loops wins by being kept. So long tasks are mostly compiled anew,
 * kept now and then to compare, and run whichever way has been faster.
 */

/** Functions kept at once. */
const CACHE_COUNT_MAX = 256;
/** A run shorter than this is not worth a second thought. */
const SHORT_MS = 3;
/** One in so many long runs uses the kept function, to learn what it costs. */
const EXPLORE_EVERY = 16;

const BODY_START = "export async function task() {";

const RESERVED = new Set(
  (
    "arguments await break case catch class const continue debugger default delete do else enum " +
    "eval export extends false finally for function if implements import in instanceof interface " +
    "let new null package private protected public return static super switch this throw true " +
    "try typeof var void while with yield"
  ).split(" "),
);

/** What a task's text left behind: see `attempt` in execute.ts. */
export class Ending {
  readonly result: unknown;
  readonly main: unknown;

  constructor(result: unknown, main: unknown) {
    this.result = result;
    this.main = main;
  }
}

export interface Program {
  /** Calls the text with a value per name; gives an {@link Ending}, or what it returned. */
  readonly run: (result: unknown, values: readonly unknown[]) => unknown;
  /** Says how long the call took, so that the next one can be compiled the better way. */
  readonly took: (ms: number) => void;
}

export interface ProgramText {
  readonly language: "javascript" | "typescript";
  readonly code: string;
  readonly file: string;
}

type TaskFunction = (
  end: (result: unknown, main: unknown) => Ending,
  result: unknown,
  ...values: readonly unknown[]
) => unknown;

interface Entry {
  readonly text: string;
  readonly kept: TaskFunction;
  runCount: number;
  lastMs: number;
  /** Of long runs; infinite while there was none. */
  keptBestMs: number;
  freshBestMs: number;
}

const cache = new Map<string, Entry>();
let freshCount = 0;

/** True for a name that can be a parameter in strict code. */
export function isBindable(name: string): boolean {
  return /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(name) && !RESERVED.has(name);
}

/** @throws SyntaxError, with line and column where the parser tells. */
export function compile(program: ProgramText, names: readonly string[]): Program {
  const key = `${program.language}\n${program.file}\n${names.join()}\n${program.code}`;
  const entry = cache.get(key) ?? remember(key, program, names);
  if (cache.size > 1) {
    cache.delete(key);
    cache.set(key, entry);
  }
  const isFresh = entry.runCount === 0 || shouldCompileAnew(entry);
  const call =
    isFresh && entry.runCount > 0 ? evaluate(`/*${++freshCount}*/${entry.text}`) : entry.kept;
  return {
    run: (result, values) => call(end, result, ...values),
    took: (ms) => learn(entry, ms, isFresh),
  };
}

function remember(key: string, program: ProgramText, names: readonly string[]): Entry {
  const code = program.language === "typescript" ? stripTypes(program) : program.code;
  const text = wrap(code, program.file, names);
  const entry: Entry = {
    text,
    kept: checked(program, () => evaluate(text)),
    runCount: 0,
    lastMs: 0,
    keptBestMs: Number.POSITIVE_INFINITY,
    freshBestMs: Number.POSITIVE_INFINITY,
  };
  cache.set(key, entry);
  const oldest = cache.keys().next().value;
  if (cache.size > CACHE_COUNT_MAX && oldest !== undefined) {
    cache.delete(oldest);
  }
  return entry;
}

function shouldCompileAnew(entry: Entry): boolean {
  if (entry.lastMs < SHORT_MS) {
    return false;
  }
  const isKnown = Number.isFinite(entry.freshBestMs);
  const isExploring = entry.runCount % EXPLORE_EVERY === EXPLORE_EVERY / 2;
  return !isKnown || (!isExploring && entry.freshBestMs <= entry.keptBestMs * 1.1);
}

function learn(entry: Entry, ms: number, isFresh: boolean): void {
  entry.runCount++;
  entry.lastMs = ms;
  if (ms < SHORT_MS) {
    return;
  }
  if (isFresh) {
    entry.freshBestMs = Math.min(entry.freshBestMs, ms);
  } else {
    entry.keptBestMs = Math.min(entry.keptBestMs, ms);
  }
}

function end(result: unknown, main: unknown): Ending {
  return new Ending(result, main);
}

/** The task's first line is the first line of the text, so that stack traces are right. */
function wrap(code: string, file: string, names: readonly string[]): string {
  const isAsync = /\bawait\b/.test(code) ? "async " : "";
  const parameters = ["__end", "result", ...names].join();
  const last = 'return __end(result,typeof main==="undefined"?undefined:main)';
  const body = `(${isAsync}function(){${code}\n;${last}})`;
  const url = file.replace(/\s/g, "_");
  return `(function(${parameters}){"use strict";return ${body}.call(undefined)})\n//# sourceURL=${url}`;
}

/** Indirect, so that the text sees globals only. */
function evaluate(text: string): TaskFunction {
  // biome-ignore lint/security/noGlobalEval: running the text of tasks is what this process is for.
  const run: unknown = globalThis.eval(text);
  return run as TaskFunction;
}

function stripTypes({ code }: ProgramText): string {
  return checkedBy(code, "ts");
}

/** Adds the position to a syntax error, which the engine does not tell. */
function checked<T>(program: ProgramText, evaluateText: () => T): T {
  try {
    return evaluateText();
  } catch (error) {
    checkedBy(program.code, program.language === "typescript" ? "ts" : "js");
    throw error;
  }
}

/** As the body of an async function, as which it will run; gives JavaScript. */
function checkedBy(code: string, loader: "js" | "ts"): string {
  try {
    const text = new Bun.Transpiler({ loader }).transformSync(`${BODY_START}${code}\n}`);
    return text.slice(text.indexOf("{") + 1, text.lastIndexOf("}"));
  } catch (error) {
    const first: unknown = error instanceof AggregateError ? error.errors[0] : error;
    if (first instanceof BuildMessage && first.position !== null) {
      const { line, column } = first.position;
      const place = `line ${line}, column ${line === 1 ? column - BODY_START.length : column}`;
      throw new SyntaxError(`${first.message} (${place})`, { cause: error });
    }
    throw error;
  }
}
