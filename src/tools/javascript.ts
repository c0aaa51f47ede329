/** Runs JavaScript and TypeScript in processes of their own that are kept warm. */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { ToolDescription } from "../dsl/tool-description.ts";
import { CODE_FAILURES, CODE_FIELDS, CODE_NEED, CODE_RESULT } from "./code/fields.ts";
import type { Code } from "./code/load.ts";
import { loadCode } from "./code/load.ts";
import { checkCode } from "./code/source.ts";
import { taskEnvironment } from "./environment.ts";
import type { RunnerPoolOptions } from "./javascript/pool.ts";
import { RunnerPool } from "./javascript/pool.ts";
import type { RunnerTask } from "./javascript/protocol.ts";
import { MemoryGuard } from "./memory-guard.ts";
import { stoppedFailure } from "./stopped.ts";
import type { Tool, ToolCall, ToolContext, ToolModule, ToolOutcome } from "./tool.ts";

type Language = "javascript" | "typescript";

const EXTENSION: Readonly<Record<Language, string>> = { javascript: "js", typescript: "ts" };

export interface JavascriptToolOptions extends RunnerPoolOptions {
  /** Largest result, bytes of JSON. */
  readonly maxOutputBytes: number;
  /** Resident memory of one task; undefined: no limit. */
  readonly memoryBytes: number | undefined;
}

const DESCRIPTIONS = {
  javascript: describeLanguage("javascript", "text.toUpperCase()"),
  typescript: describeLanguage("typescript", "(text as string).toUpperCase()"),
} as const;

function describeLanguage(kind: Language, expression: string): ToolDescription {
  return {
    kind,
    summary: `runs ${kind} code: \`code\` or \`script\`; gives \`result\`, or what it returns`,
    runsOn: "worker",
    needs: [CODE_NEED],
    fields: CODE_FIELDS,
    result: CODE_RESULT,
    failures: CODE_FAILURES,
    example: `kind: ${kind}\ninput:\n  text: hello\ncode: |\n  return { loud: ${expression} };\n`,
    check: checkCode,
  };
}

export const javascriptModule: ToolModule = {
  descriptions: [DESCRIPTIONS.javascript, DESCRIPTIONS.typescript],
  create: ({ runnerCommand, ...parts }) =>
    createJavascriptTools({ ...parts, command: runnerCommand("javascript") }),
};

/** The two tools; they share their runners, which the first one starts and ends. */
export function createJavascriptTools(options: JavascriptToolOptions): readonly Tool[] {
  const pool = new RunnerPool(options, new MemoryGuard(options.memoryBytes));
  const create = (language: Language): Tool => ({
    description: DESCRIPTIONS[language],
    run: async (call, context) => {
      const script = await loadCode(call, `${call.label}.${EXTENSION[language]}`, context);
      return "kind" in script
        ? { ok: false, failure: script }
        : await runScript(pool, taskOf(call, script, language, options), call.config, context);
    },
  });
  const javascript: Tool = {
    ...create("javascript"),
    prestart: () => pool.prestart(),
    close: () => pool.close(),
  };
  return [javascript, create("typescript")];
}

/** In a warm runner, or in one of its own for a task with `env` or `cwd`. */
async function runScript(
  pool: RunnerPool,
  task: RunnerTask,
  config: JsonObject,
  context: ToolContext,
): Promise<ToolOutcome> {
  if (context.signal.aborted) {
    return { ok: false, failure: stoppedFailure(context.signal) };
  }
  const { env, cwd } = config;
  return isJsonObject(env) || typeof cwd === "string"
    ? await pool.runSpecial(task, context, { env: taskEnvironment(env), cwd: textOf(cwd) })
    : await pool.run(task, context);
}

function taskOf(
  call: ToolCall,
  script: Code,
  language: Language,
  options: JavascriptToolOptions,
): RunnerTask {
  return {
    language,
    ...script,
    libs: call.config["libs"] ?? {},
    input: call.input,
    context: call.context,
    names: call.names,
    executionId: call.executionId,
    step: call.step,
    maxOutputBytes: options.maxOutputBytes,
  };
}

function textOf(value: Json | undefined): string | undefined {
  return typeof value === "string" ? value : undefined;
}
