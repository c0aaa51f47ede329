/** Runs one task in this process: finds its names, calls it, encodes what it gave. */
import type { Json, JsonObject } from "../../core/json.ts";
import { isJsonObject } from "../../core/json.ts";
import type { Program } from "./compile.ts";
import { compile, Ending, isBindable } from "./compile.ts";
import { parseParameters } from "./parameters.ts";
import type { RunnerTask } from "./protocol.ts";

const STACK_LENGTH_MAX = 8192;

/** JSON text of the last frame. */
export type EndText = string;

/** Undefined stays undefined; synchronous as long as the task is. */
export function execute(
  task: RunnerTask,
  given: Readonly<Record<string, unknown>>,
): EndText | Promise<EndText> {
  try {
    const value = attempt(task, given);
    return isThenable(value)
      ? Promise.resolve(value).then(
          (settled) => encodeSafely(settled, task),
          (error: unknown) => describe(error, task),
        )
      : encode(value, task);
  } catch (error) {
    return describe(error, task);
  }
}

/** The end of a task that threw `error`. */
export function describe(error: unknown, task: RunnerTask): EndText {
  if (error instanceof TaskError) {
    const { kind, code, message } = error;
    return JSON.stringify({ type: "end", ok: false, kind, code, message });
  }
  const isError = error instanceof Error;
  const name = isError ? error.name : "Error";
  const message = isError ? error.message : String(error);
  const stderr = isError ? taskStack(error, task.file).slice(0, STACK_LENGTH_MAX) : message;
  const end = { type: "end", ok: false, kind: "exit_code", code: name };
  return JSON.stringify({ ...end, message: `${name}: ${message}`, stderr });
}

class TaskError extends Error {
  readonly kind: string;
  readonly code: string;

  constructor(kind: string, code: string, message: string) {
    super(message);
    this.kind = kind;
    this.code = code;
  }
}

/** Names of a task: what the runner offers, what the platform says, then the input's keys. */
function attempt(task: RunnerTask, given: Readonly<Record<string, unknown>>): unknown {
  const input = copyOf(task.input);
  const scope: Record<string, unknown> = {
    ...given,
    input,
    input_data: input,
    args: input,
    context: task.context,
    variables: task.context,
    execution_id: task.executionId,
    step: task.step,
    ...task.names,
    ...input,
  };
  return hasLibs(task.libs)
    ? importLibs(task.libs).then((libs) => call(task, { ...scope, ...libs, ...input }))
    : call(task, scope);
}

function call(task: RunnerTask, scope: Readonly<Record<string, unknown>>): unknown {
  const names = Object.keys(scope).filter((name) => name !== "result" && isBindable(name));
  const program = compile(task, names);
  const startedMs = performance.now();
  const ended = program.run(
    scope["result"],
    names.map((name) => scope[name]),
  );
  if (isThenable(ended)) {
    return Promise.resolve(ended).then((settled) => resultOf(settled, task, scope));
  }
  const value = resultOf(ended, task, scope);
  noteTime(program, value, startedMs);
  return value;
}

function noteTime(program: Program, value: unknown, startedMs: number): void {
  if (!isThenable(value)) {
    program.took(performance.now() - startedMs);
  }
}

/** What the text returned; else its `result`, if it set one; else what its `main` returns. */
function resultOf(
  ended: unknown,
  task: RunnerTask,
  scope: Readonly<Record<string, unknown>>,
): unknown {
  if (!(ended instanceof Ending)) {
    return ended;
  }
  const isSet = ended.result !== scope["result"];
  return !isSet && typeof ended.main === "function"
    ? Reflect.apply(ended.main, undefined, argumentsFor(String(ended.main), task, scope))
    : ended.result;
}

function argumentsFor(
  source: string,
  task: RunnerTask,
  scope: Readonly<Record<string, unknown>>,
): readonly unknown[] {
  const parameters = parseParameters(source).filter((parameter) => !parameter.isRest);
  const missing = parameters.filter(
    ({ name, hasDefault }) => name !== undefined && !hasDefault && !(name in scope),
  );
  if (missing.length > 0) {
    throw new TaskError("schema", "INPUT_MISSING", missingMessage(missing, task.input));
  }
  return parameters.map(({ name }) => (name === undefined ? scope["input"] : scope[name]));
}

function missingMessage(
  missing: readonly { readonly name: string | undefined }[],
  input: JsonObject,
): string {
  const wanted = missing.map(({ name }) => `"${name}"`).join(", ");
  const present = Object.keys(input).map((name) => `"${name}"`);
  return `main() needs ${wanted}, which the task's input does not have (it has: ${present.join(", ") || "none"})`;
}

function encodeSafely(value: unknown, task: RunnerTask): EndText {
  try {
    return encode(value, task);
  } catch (error) {
    return describe(error, task);
  }
}

function encode(value: unknown, task: RunnerTask): EndText {
  const text = JSON.stringify(value) ?? "null";
  if (text.length > task.maxOutputBytes) {
    throw new TaskError(
      "limit",
      "RESULT_TOO_LARGE",
      `the result has ${text.length} bytes of JSON, the limit is ${task.maxOutputBytes}`,
    );
  }
  return `{"type":"end","ok":true,"value":${text}}`;
}

function taskStack(error: Error, file: string): string {
  const url = file.replace(/\s/g, "_");
  const frames = (error.stack ?? "").split("\n").filter((line) => line.includes(`${url}:`));
  return [`${error.name}: ${error.message}`, ...frames].join("\n");
}

function hasLibs(libs: Json): boolean {
  return Array.isArray(libs) ? libs.length > 0 : isJsonObject(libs) && Object.keys(libs).length > 0;
}

/** `{alias: module}`, `{alias: {from, import}}` or a list of modules. */
async function importLibs(libs: Json): Promise<Readonly<Record<string, unknown>>> {
  const entries = Array.isArray(libs)
    ? libs.map((name) => [String(name), name] as const)
    : Object.entries(libs as JsonObject);
  const values: Record<string, unknown> = {};
  for (const [alias, source] of entries) {
    values[alias] = await importLib(alias, source);
  }
  return values;
}

async function importLib(alias: string, source: Json | undefined): Promise<unknown> {
  if (isJsonObject(source) && source["from"] !== undefined) {
    const module: object = await import(String(source["from"]));
    return Reflect.get(module, String(source["import"] ?? alias));
  }
  const name = isJsonObject(source) ? source["import"] : source;
  return await import(String(name ?? alias));
}

function copyOf(input: JsonObject): Record<string, unknown> {
  return { ...input };
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === "object" &&
    value !== null &&
    "then" in value &&
    typeof value.then === "function"
  );
}
