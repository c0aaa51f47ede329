/** Fields of the tools that run code. */
import type { ToolFields, ToolNeed } from "../../dsl/tool-description.ts";

export const CODE_NEED: ToolNeed = { oneOf: ["code", "script"], text: "code or a script" };

export const CODE_FIELDS: ToolFields = {
  code: {
    type: "text",
    about: "the program; braces are templates only where all that they read exists",
    holds: "code",
  },
  script: {
    type: ["text", "map"],
    about:
      "where it is: a path, an http or s3 address, or {uri, source: {type}}; or the text itself",
    holds: "code",
  },
  libs: {
    type: ["map", "list"],
    about: "modules by the names under which the code finds them",
  },
  env: { type: "map", about: "variables of the process" },
  cwd: { type: "text", about: "its folder" },
};

export const CODE_RESULT = "`result`, or what the code or its `main` returns";

export const CODE_FAILURES: Readonly<Record<string, string>> = {
  exit_code: "the code has failed, with its traceback as stderr, or its process has ended",
  oom_host: "more memory than a task may have",
  not_found: "a script that is not there",
  connection: "a script's address that cannot be reached",
};
