/**
 * Runs a command on another machine by the system's ssh client.
 *
 * A stopped task ends the client. The command on the other side notices when it next reads or writes;
 * one that does neither goes on there.
 */
import type { Json, JsonObject } from "../core/json.ts";
import type { ToolDescription } from "../dsl/tool-description.ts";
import type { Environment } from "./environment.ts";
import { missingProgram } from "./environment.ts";
import { COMMAND_RESULT } from "./shell.ts";
import { runSsh } from "./ssh/client.ts";
import { connectionFailure, exitFailure } from "./ssh/failure.ts";
import { SSH_FAILURES, SSH_FIELDS } from "./ssh/fields.ts";
import { sshTarget } from "./ssh/target.ts";
import { stoppedFailure } from "./stopped.ts";
import { thrownFailure } from "./task-error.ts";
import type { Tool, ToolContext, ToolModule, ToolOutcome } from "./tool.ts";

export interface SshToolOptions {
  readonly env: Environment;
}

const DESCRIPTION: ToolDescription = {
  kind: "ssh",
  summary: "runs `command` on another machine; gives exit_code, stdout and stderr",
  runsOn: "worker",
  needs: [{ oneOf: ["command", "cmds"], text: "a command" }],
  fields: {
    command: {
      type: ["scalar", "list"],
      about: "what to run there; a list stops at the first that fails",
      holds: "commands",
    },
    cmds: { sameAs: "command" },
    stdin: { type: "any", about: "its input: text as it is, other values as JSON" },
    ...SSH_FIELDS,
  },
  result: COMMAND_RESULT,
  failures: { ...SSH_FAILURES, exit_code: "an exit code other than 0, with the end of stderr" },
  example: "kind: ssh\nauth: backup_host\ncommand: df --output=pcent /var\n",
  programs: ["ssh"],
};

export const sshModule: ToolModule = {
  descriptions: [DESCRIPTION],
  create: (parts) => [createSshTool(parts)],
};

export function createSshTool({ env }: SshToolOptions): Tool {
  return {
    description: DESCRIPTION,
    lacks: () => missingProgram("ssh", env),
    run: (call, context) => runRemote(call.config, env, context),
  };
}

/** A list of commands stops at the first that fails. */
function commandOf(config: JsonObject): string {
  const source = config["command"] ?? config["cmds"] ?? "";
  const list: readonly Json[] = Array.isArray(source) ? source : [source];
  return list.map(String).join(" && ");
}

async function runRemote(
  config: JsonObject,
  env: Environment,
  context: ToolContext,
): Promise<ToolOutcome> {
  try {
    const target = await sshTarget(config, context);
    const { stdin } = config;
    const result = await runSsh(
      {
        program: "ssh",
        target,
        words: ["--", target.host, commandOf(config)],
        stdin: stdin === undefined || stdin === null ? undefined : textOf(stdin),
      },
      env,
      context,
    );
    if (context.signal.aborted) {
      return { ok: false, failure: stoppedFailure(context.signal), value: { ...result } };
    }
    if (result.exit_code === 0) {
      return { ok: true, value: { ...result } };
    }
    const failure = connectionFailure(result, target) ?? exitFailure("the remote command", result);
    return { ok: false, value: { ...result }, failure };
  } catch (error) {
    const failure = thrownFailure(error);
    if (failure === undefined) {
      throw error;
    }
    return { ok: false, failure };
  }
}

function textOf(value: Json): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}
