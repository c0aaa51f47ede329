/**
 * Runs shell commands in a process group of their own.
 *
 * When the shell ends the task ends: whatever it left running in the background is ended too and
 * cannot keep the task open. On abort the group gets SIGTERM, and SIGKILL two seconds later.
 */
import type { Subprocess } from "bun";
import type { Json, JsonObject } from "../core/json.ts";
import type { ToolDescription } from "../dsl/tool-description.ts";
import type { Failure } from "../engine/failure.ts";
import { failure } from "../engine/failure.ts";
import type { CommandResult } from "./child-process.ts";
import { followChild } from "./child-process.ts";
import type { Environment } from "./environment.ts";
import { missingProgram, taskEnvironment } from "./environment.ts";
import { preferAsOomVictim } from "./process-group.ts";
import { stoppedFailure } from "./stopped.ts";
import type { Tool, ToolCall, ToolContext, ToolModule, ToolOutcome } from "./tool.ts";

const STDERR_LENGTH_MAX = 8192;

export interface ShellToolOptions {
  readonly env: Environment;
}

export const COMMAND_RESULT: Readonly<Record<string, string>> = {
  exit_code: "0 after a success",
  stdout: "all output",
  stderr: "all output for errors",
};

const DESCRIPTION: ToolDescription = {
  kind: "shell",
  summary: "runs `command`, or `cmds` in order; gives exit_code, stdout and stderr",
  runsOn: "worker",
  needs: [{ oneOf: ["command", "cmds", "script"], text: "a command or cmds" }],
  fields: {
    command: {
      type: ["scalar", "list"],
      about: "what to run; a list stops at the first that fails",
      holds: "commands",
    },
    cmds: { sameAs: "command" },
    script: { sameAs: "command" },
    shell: { type: "text", about: "program that runs it, as SHELL -c COMMAND", default: "sh" },
    cwd: { type: "text", about: "its folder" },
    env: { type: "map", about: "variables, beside NOETL_INPUT: the task's input as JSON" },
    capture: { type: "any", about: "output is always kept", isIgnored: true },
  },
  result: COMMAND_RESULT,
  failures: { exit_code: "an exit code other than 0, with the end of stderr" },
  example: 'kind: shell\ncommand: wc -l "$FILE"\nenv: { FILE: "{{ workload.file }}" }\n',
  programs: ["sh"],
};

export const shellModule: ToolModule = {
  descriptions: [DESCRIPTION],
  create: (parts) => [createShellTool(parts)],
};

export function createShellTool(options: ShellToolOptions): Tool {
  return {
    description: DESCRIPTION,
    lacks: () => missingProgram("sh", options.env),
    run: (call, context) => runCommands(options, call, context),
  };
}

/** One after another; the first that fails ends the task. The result holds all output. */
async function runCommands(
  options: ShellToolOptions,
  call: ToolCall,
  context: ToolContext,
): Promise<ToolOutcome> {
  let result: CommandResult = { exit_code: 0, stdout: "", stderr: "" };
  for (const command of commandsOf(call.config)) {
    if (context.signal.aborted) {
      break;
    }
    const next = await runCommand(command, options, call, context);
    if ("kind" in next) {
      return { ok: false, failure: next };
    }
    result = {
      exit_code: next.exit_code,
      stdout: result.stdout + next.stdout,
      stderr: result.stderr + next.stderr,
    };
    if (next.exit_code !== 0) {
      break;
    }
  }
  return outcomeOf(result, context.signal);
}

function commandsOf({ command, cmds, script }: JsonObject): readonly string[] {
  const source = command ?? cmds ?? script ?? "";
  const list: readonly Json[] = Array.isArray(source) ? source : [source];
  return list.map(String).filter((text) => text.trim() !== "");
}

async function runCommand(
  command: string,
  options: ShellToolOptions,
  { config, input }: ToolCall,
  context: ToolContext,
): Promise<CommandResult | Failure> {
  const shell = typeof config["shell"] === "string" ? config["shell"] : "sh";
  let child: Subprocess<"ignore", "pipe", "pipe">;
  try {
    child = Bun.spawn([shell, "-c", command], {
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
      ...(typeof config["cwd"] === "string" ? { cwd: config["cwd"] } : {}),
      env: {
        ...options.env,
        NOETL_INPUT: JSON.stringify(input),
        ...taskEnvironment(config["env"]),
      },
    });
  } catch (error) {
    return startFailure(error, shell, config);
  }
  preferAsOomVictim(child.pid);
  return await followChild(child, context);
}

function outcomeOf(result: CommandResult, signal: AbortSignal): ToolOutcome {
  if (signal.aborted) {
    return { ok: false, failure: stoppedFailure(signal), value: { ...result } };
  }
  if (result.exit_code === 0) {
    return { ok: true, value: { ...result } };
  }
  const last = result.stderr.trimEnd().split("\n").at(-1) ?? "";
  const message = `the command exited with code ${result.exit_code}${last === "" ? "" : `: ${last}`}`;
  return {
    ok: false,
    value: { ...result },
    failure: failure("exit_code", message, {
      code: `EXIT_${result.exit_code}`,
      stderr: result.stderr.slice(-STDERR_LENGTH_MAX),
    }),
  };
}

function startFailure(error: unknown, shell: string, config: JsonObject): Failure {
  const where = typeof config["cwd"] === "string" ? ` in "${config["cwd"]}"` : "";
  const reason = error instanceof Error ? error.message : String(error);
  return failure("internal", `cannot start "${shell}"${where}: ${reason}`, {
    code: "SHELL_MISSING",
  });
}
