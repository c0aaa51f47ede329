import type { Tool } from "./tool.ts";

/** Does nothing: a place for routing, `set` and policy rules. */
export const noopTool: Tool = {
  kind: "noop",
  summary: "does nothing; gives `result`, or a status and `message`",
  check: () => [],
  run: ({ config }) => {
    const { result, message } = config;
    const value = result ?? (message === undefined ? { status: "ok" } : { status: "ok", message });
    return Promise.resolve({ ok: true, value });
  },
};
