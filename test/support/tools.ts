import type { ToolDescription, ToolDescriptions } from "../../src/dsl/tool-description.ts";
import { KNOWN_TOOL_KINDS } from "../../src/tools/registry.ts";

/** For `knownTools`: the real descriptions of these kinds. */
export function toolsNamed(...kinds: readonly string[]): ToolDescriptions {
  return new Map(kinds.map((kind) => [kind, KNOWN_TOOL_KINDS.get(kind) ?? describeTool(kind)]));
}

/** A tool that takes what the test says, and otherwise nothing. */
export function describeTool(kind: string, more: Partial<ToolDescription> = {}): ToolDescription {
  return {
    kind,
    summary: "of a test",
    runsOn: "worker",
    fields: {},
    result: "whatever the test wants",
    example: `kind: ${kind}\n`,
    ...more,
  };
}
