/** Commands in this process, with what they print. */
import type { CliContext, ExitReason } from "../../../src/cli/context.ts";
import { runCommand } from "../../../src/cli/program.ts";
import { makeScratchDir } from "../../support/scratch.ts";

export interface Ran {
  readonly reason: ExitReason;
  readonly out: string;
  readonly notes: string;
}

/** With a configuration folder of its own, and the environment given. */
export function createCli(env: Readonly<Record<string, string>> = {}) {
  const configDir = makeScratchDir("cli-config");
  const run = async (...args: readonly string[]): Promise<Ran> => {
    const lines: string[] = [];
    const notes: string[] = [];
    const context: CliContext = {
      env: { NOETL_CONFIG_DIR: configDir, PATH: "/usr/local/bin:/usr/bin:/bin", ...env },
      signal: new AbortController().signal,
      out: (text) => void lines.push(text),
      note: (text) => void notes.push(text),
      isTerminal: false,
    };
    const reason = await runCommand(args, context);
    return { reason, out: lines.join("\n"), notes: notes.join("\n") };
  };
  return { run, configDir };
}
