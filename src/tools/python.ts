/** Runs Python code in a process of its own, forked from an interpreter that is already up. */
import type { Json } from "../core/json.ts";
import type { ToolDescription } from "../dsl/tool-description.ts";
import type { Failure } from "../engine/failure.ts";
import { failure } from "../engine/failure.ts";
import { CODE_FAILURES, CODE_FIELDS, CODE_NEED, CODE_RESULT } from "./code/fields.ts";
import type { Code } from "./code/load.ts";
import { loadCode } from "./code/load.ts";
import { checkCode } from "./code/source.ts";
import { missingProgram, taskEnvironment } from "./environment.ts";
import { MemoryGuard } from "./memory-guard.ts";
import type { PythonChild, PythonHostOptions } from "./python/host.ts";
import { PythonHost, PythonMissingError } from "./python/host.ts";
import type { PythonTask } from "./python/task.ts";
import { runPythonTask } from "./python/task.ts";
import { stoppedFailure } from "./stopped.ts";
import type { Tool, ToolCall, ToolContext, ToolModule, ToolOutcome } from "./tool.ts";

export interface PythonToolOptions extends PythonHostOptions {
  /** Largest result, bytes of JSON. */
  readonly maxOutputBytes: number;
  /** Resident memory of one task; undefined: no limit. A task may limit itself by `memory_mb`. */
  readonly memoryBytes: number | undefined;
}

const DESCRIPTION: ToolDescription = {
  kind: "python",
  summary: "runs Python code: `code` or `script`; gives `result`, or what it returns",
  runsOn: "worker",
  needs: [CODE_NEED],
  fields: {
    ...CODE_FIELDS,
    memory_mb: {
      type: "number",
      about: "limit of its memory, MiB",
      default: "80 % of the machine's",
    },
    python: { type: "text", about: "the worker's interpreter runs all", isIgnored: true },
  },
  result: CODE_RESULT,
  failures: CODE_FAILURES,
  example: 'kind: python\ninput:\n  n: 3\ncode: |\n  result = {"square": n * n}\n',
  programs: ["python3"],
  check: checkCode,
};

export const pythonModule: ToolModule = {
  descriptions: [DESCRIPTION],
  create: (parts) => [createPythonTool(parts)],
};

export function createPythonTool(
  options: PythonToolOptions,
): Required<Omit<Tool, "forget" | "settled" | "stopMs">> {
  const host = new PythonHost(options);
  const guard = new MemoryGuard(options.memoryBytes);
  return {
    description: DESCRIPTION,
    run: (call, context) => runCall({ host, guard, options }, call, context),
    lacks: () => missingProgram(options.python, options.env),
    prestart: () => host.start(),
    close: () => host.close(),
  };
}

interface Parts {
  readonly host: PythonHost;
  readonly guard: MemoryGuard;
  readonly options: PythonToolOptions;
}

async function runCall(
  { host, guard, options }: Parts,
  call: ToolCall,
  context: ToolContext,
): Promise<ToolOutcome> {
  const script = await loadCode(call, `${call.label}.py`, context);
  if ("kind" in script) {
    return { ok: false, failure: script };
  }
  if (context.signal.aborted) {
    return { ok: false, failure: stoppedFailure(context.signal) };
  }
  const child = await takeChild(host);
  if ("kind" in child) {
    return { ok: false, failure: child };
  }
  const { outcome, imported } = await runPythonTask(
    child,
    taskOf(call, script, options),
    guard,
    context,
  );
  imported.forEach((module) => {
    host.preload(module);
  });
  return outcome;
}

async function takeChild(host: PythonHost): Promise<PythonChild | Failure> {
  try {
    return await host.take();
  } catch (error) {
    if (error instanceof PythonMissingError) {
      return failure("internal", error.message, { code: "PYTHON_MISSING" });
    }
    throw error;
  }
}

function taskOf(call: ToolCall, script: Code, options: PythonToolOptions): PythonTask {
  const { config } = call;
  return {
    ...script,
    libs: config["libs"] ?? {},
    input: call.input,
    context: call.context,
    names: call.names,
    execution_id: call.executionId,
    step: call.step,
    env: taskEnvironment(config["env"]),
    cwd: typeof config["cwd"] === "string" ? config["cwd"] : null,
    memory_bytes: memoryBytes(config["memory_mb"]),
    max_output_bytes: options.maxOutputBytes,
  };
}

function memoryBytes(megabytes: Json | undefined): number | null {
  const size = Number(megabytes ?? Number.NaN);
  return size > 0 ? size * 1024 * 1024 : null;
}
