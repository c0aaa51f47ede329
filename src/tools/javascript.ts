/** Runs JavaScript and TypeScript in processes of their own that are kept warm. */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { Code } from "./code/load.ts";
import { loadCode } from "./code/load.ts";
import { checkCode } from "./code/source.ts";
import { taskEnvironment } from "./environment.ts";
import type { RunnerPoolOptions } from "./javascript/pool.ts";
import { RunnerPool } from "./javascript/pool.ts";
import type { RunnerTask } from "./javascript/protocol.ts";
import { MemoryGuard } from "./memory-guard.ts";
import { stoppedFailure } from "./stopped.ts";
import type { Tool, ToolCall, ToolContext, ToolOutcome } from "./tool.ts";

type Language = "javascript" | "typescript";

const EXTENSION: Readonly<Record<Language, string>> = { javascript: "js", typescript: "ts" };

export interface JavascriptToolOptions extends RunnerPoolOptions {
  /** Largest result, bytes of JSON. */
  readonly maxOutputBytes: number;
  /** Resident memory of one task; undefined: no limit. */
  readonly memoryBytes: number | undefined;
}

export interface JavascriptTools {
  readonly javascript: Tool;
  readonly typescript: Tool;
  /** Starts the first runner before a task needs it. */
  prestart(): void;
  close(): Promise<void>;
}

/** The two tools; they share their runners. */
export function createJavascriptTools(options: JavascriptToolOptions): JavascriptTools {
  const pool = new RunnerPool(options, new MemoryGuard(options.memoryBytes));
  const create = (language: Language): Tool => ({
    kind: language,
    summary: `runs ${language} code: \`code\` or \`script\`; gives \`result\`, or what it returns`,
    check: checkCode,
    run: async (call, context) => {
      const script = await loadCode(call, `${call.label}.${EXTENSION[language]}`, context);
      return "kind" in script
        ? { ok: false, failure: script }
        : await runScript(pool, taskOf(call, script, language, options), call.config, context);
    },
  });
  return {
    javascript: create("javascript"),
    typescript: create("typescript"),
    prestart: () => pool.prestart(),
    close: () => pool.close(),
  };
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
