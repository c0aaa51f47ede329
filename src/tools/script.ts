/** Runs a script from wherever it is, with the tool of its language. */
import type { JsonObject } from "../core/json.ts";
import type { ToolDescription } from "../dsl/tool-description.ts";
import { failure } from "../engine/failure.ts";
import { CODE_FAILURES, CODE_FIELDS } from "./code/fields.ts";
import { loadCode } from "./code/load.ts";
import { checkCode, codeName, findCode } from "./code/source.ts";
import { onlyGiven } from "./layers.ts";
import type { Tool, ToolCall, ToolContext, ToolModule, ToolOutcome, ToolParts } from "./tool.ts";

type Language = "python" | "javascript" | "typescript" | "shell";

/** By name, and by extension of the file. */
const LANGUAGES: ReadonlyMap<string, Language> = new Map<string, Language>([
  ["python", "python"],
  ["py", "python"],
  ["javascript", "javascript"],
  ["js", "javascript"],
  ["mjs", "javascript"],
  ["typescript", "typescript"],
  ["ts", "typescript"],
  ["shell", "shell"],
  ["sh", "shell"],
  ["bash", "shell"],
]);

/** What the kernel takes as one argument of a process, with room for wider characters. */
const SHELL_LENGTH_MAX = 100_000;

const JOB_PROBLEM =
  "`job` describes a Kubernetes job, which this tool does not start: the script runs on a worker; choose that by `pool`, and write `timeout` and `env` beside `script`";

const DESCRIPTION: ToolDescription = {
  kind: "script",
  summary: "runs `script` (inline, file, http or s3) as python, javascript, typescript or shell",
  runsOn: "worker",
  needs: [{ oneOf: ["script", "code", "source"], text: "a script" }],
  fields: {
    ...CODE_FIELDS,
    script: {
      type: ["text", "map"],
      about: "a path, an http or s3 address, or {uri, source: {type}}; or the text itself",
      holds: "code",
    },
    source: { type: ["text", "map"], about: "the text, or {type, …} beside `uri`" },
    uri: { type: "text", about: "where it is, beside `source`" },
    language: {
      type: "text",
      about: "python, javascript, typescript or shell",
      default: "by the file's name, else python",
    },
    shell: { type: "text", about: "which shell", default: "that of the first line, else sh" },
    memory_mb: { type: "number", about: "limit of its memory, MiB; python only" },
    job: { type: "any", about: "of a Kubernetes job: refused" },
    credential: { type: ["text", "list", "map"], about: "older name of `auth`: who may read it" },
  },
  result: "as the tool of its language gives",
  failures: CODE_FAILURES,
  example: "kind: script\nscript: ./reports/monthly.py\ninput:\n  month: 2026-01\n",
  check: checkScriptTask,
};

export const scriptModule: ToolModule = {
  descriptions: [DESCRIPTION],
  create: ({ tool }) => [createScriptTool(tool)],
};

/** @param tool the tools of the languages, asked for when a task runs. */
export function createScriptTool(tool: ToolParts["tool"]): Tool {
  return {
    description: DESCRIPTION,
    run: async (call, context) => {
      const { language } = languageOf(call.config);
      return language === "shell"
        ? await runShell(tool("shell"), call, context)
        : await tool(language).run(call, context);
    },
  };
}

function checkScriptTask(config: JsonObject): readonly string[] {
  const { problem } = languageOf(config);
  return [
    ...checkCode(config),
    ...(problem === undefined ? [] : [problem]),
    ...(config["job"] === undefined ? [] : [JOB_PROBLEM]),
  ];
}

async function runShell(shell: Tool, call: ToolCall, context: ToolContext): Promise<ToolOutcome> {
  const script = await loadCode(call, `${call.label}.sh`, context);
  if ("kind" in script) {
    return { ok: false, failure: script };
  }
  if (script.code.length > SHELL_LENGTH_MAX) {
    const message = `a shell script has at most ${SHELL_LENGTH_MAX} characters, this one ${script.code.length}`;
    return { ok: false, failure: failure("limit", message, { code: "SCRIPT_TOO_LARGE" }) };
  }
  const { cwd, env } = call.config;
  const named = wantedLanguage(call.config)?.toLowerCase() === "bash" ? "bash" : undefined;
  const program = call.config["shell"] ?? named ?? shebang(script.code) ?? "sh";
  const config = { ...onlyGiven({ cwd, env }), shell: program, command: script.code };
  return await shell.run({ ...call, config }, context);
}

/** `language`, else the file's extension, else python. */
function languageOf(config: JsonObject): {
  readonly language: Language;
  readonly problem?: string;
} {
  const wanted = wantedLanguage(config) ?? "python";
  const language = LANGUAGES.get(wanted.toLowerCase());
  if (language !== undefined) {
    return { language };
  }
  const known = "python, javascript, typescript or shell";
  const problem = `\`language\` must be ${known}; "${wanted}" is none of them`;
  return { language: "python", problem };
}

function wantedLanguage(config: JsonObject): string | undefined {
  const { language } = config;
  if (typeof language === "string" && language !== "") {
    return language;
  }
  return /\.([a-z0-9]+)$/i.exec(codeName(findCode(config)) ?? "")?.[1];
}

/** Program of a script's first line: `#!/bin/bash`. */
function shebang(code: string): string | undefined {
  return /^#!\s*(?:\/usr\/bin\/env\s+)?(\S+)/.exec(code)?.[1];
}
