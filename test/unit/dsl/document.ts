import type { ParseResult } from "../../../src/dsl/parse.ts";
import { parsePlaybook } from "../../../src/dsl/parse.ts";
import type { Playbook, Step } from "../../../src/dsl/playbook.ts";
import type { ToolDescriptions } from "../../../src/dsl/tool-description.ts";
import { describeTool, toolsNamed } from "../../support/tools.ts";

const CONTAINER = describeTool("container", {
  fields: {
    image: { type: "text", about: "what runs" },
    command: { type: ["text", "list"], about: "in it", holds: "commands" },
    args: { sameAs: "command" },
  },
});

export const KNOWN_TOOLS: ToolDescriptions = new Map([
  ...toolsNamed("noop", "python", "http", "postgres", "shell", "nats"),
  ["container", CONTAINER],
]);

/** A document around a workflow; its first step stands on line 5. */
export function documentOf(workflow: string): string {
  return `apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {path: tests/x}\nworkflow:\n${workflow}`;
}

export function parse(text: string): ParseResult {
  return parsePlaybook(text, { knownTools: KNOWN_TOOLS });
}

/** The playbook of a document that must be free of errors. */
export function playbookOf(text: string): Playbook {
  const { playbook, diagnostics } = parse(text);
  if (playbook === undefined) {
    throw new Error(`The document has errors: ${JSON.stringify(diagnostics)}`);
  }
  return playbook;
}

/** The named step of a document that must be free of errors; the first without a name. */
export function stepOf(workflow: string, name?: string): Step {
  const { steps } = playbookOf(documentOf(workflow));
  const step = steps.find((candidate) => name === undefined || candidate.name === name);
  if (step === undefined) {
    throw new Error(`There is no step ${name}`);
  }
  return step;
}

/** `code path line` of each diagnostic of that severity. */
export function findings(text: string, severity: "error" | "warning"): readonly string[] {
  return parse(text)
    .diagnostics.filter((diagnostic) => diagnostic.severity === severity)
    .map(({ code, path, line }) => `${code} ${path} ${line}`);
}
