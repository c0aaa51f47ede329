import type { ToolDescription } from "../dsl/tool-description.ts";
import type { Tool, ToolModule } from "./tool.ts";

const DESCRIPTION: ToolDescription = {
  kind: "noop",
  summary: "does nothing; gives `result`, or a status and `message`",
  runsOn: "worker",
  fields: {
    result: { type: "any", about: "what it gives" },
    message: { type: "any", about: "given as `message` where there is no result" },
  },
  result: "`result`, else {status: ok, message}",
  example: 'kind: noop\nresult: { total: "{{ ctx.total }}" }\n',
};

/** Does nothing: a place for routing, `set` and policy rules. */
export const noopTool: Tool = {
  description: DESCRIPTION,
  run: ({ config }) => {
    const { result, message } = config;
    const value = result ?? (message === undefined ? { status: "ok" } : { status: "ok", message });
    return Promise.resolve({ ok: true, value });
  },
};

export const noopModule: ToolModule = { descriptions: [DESCRIPTION], create: () => [noopTool] };
