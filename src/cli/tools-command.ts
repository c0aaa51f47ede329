/** `noetl tools`: what playbooks may call, and whether this machine can run it. */

import { readOptions } from "../config/read.ts";
import { toolsOptions } from "../config/tables.ts";
import { MachineContainers } from "../containers/host.ts";
import type { Json, JsonObject } from "../core/json.ts";
import { typeText } from "../dsl/tool-check.ts";
import type { ToolDescription, ToolFields } from "../dsl/tool-description.ts";
import { findField, SHARED_FAILURES } from "../dsl/tool-description.ts";
import { viewTool } from "../dsl/tool-schema.ts";
import { createLogger } from "../observability/log.ts";
import { suggestion } from "../template/nearest.ts";
import { createTools, KNOWN_TOOL_KINDS } from "../tools/registry.ts";
import type { CliContext, ExitReason } from "./context.ts";
import { UsageError } from "./context.ts";
import { formatJson, formatTable } from "./format.ts";
import { taskEnvironment } from "./task-environment.ts";
import { selfCommand } from "./version.ts";
import { detectHere } from "./worker-machine.ts";

export interface ToolsFlags {
  readonly json?: boolean | undefined;
  /** Interpreter of python tasks. */
  readonly python?: string | undefined;
}

/** @throws UsageError if there is no such kind. */
export async function showTools(
  context: CliContext,
  kind: string | undefined,
  flags: ToolsFlags,
): Promise<ExitReason> {
  const lacking = await lackingHere(context, flags);
  const chosen = kind === undefined ? allTools() : [toolNamed(kind)];
  if (flags.json === true) {
    const views = chosen.map((description) => viewHere(description, lacking));
    context.out(formatJson(kind === undefined ? views : (views[0] ?? null)));
  } else if (kind === undefined) {
    printList(context, chosen, lacking);
  } else {
    chosen.forEach((description) => {
      printTool(context, description, lacking);
    });
  }
  return "ok";
}

/** What this machine lacks, by kind. */
async function lackingHere(
  { env }: CliContext,
  flags: ToolsFlags,
): Promise<ReadonlyMap<string, string>> {
  const values = readOptions(toolsOptions, { flags: { ...flags }, env });
  const log = createLogger({
    ...{ level: "error", format: "json", component: "tools" },
    write: () => undefined,
  });
  const runtimes = new MachineContainers(() => detectHere({ values, env, log }), log);
  const { python } = values;
  const tools = createTools({
    ...{ selfCommand: selfCommand(), env: taskEnvironment(env), python, runtimes },
  });
  try {
    await runtimes.facts();
    return tools.lacking;
  } finally {
    await tools.close();
  }
}

function allTools(): readonly ToolDescription[] {
  return [...KNOWN_TOOL_KINDS.values()].sort((a, b) => a.kind.localeCompare(b.kind));
}

function toolNamed(kind: string): ToolDescription {
  const found = KNOWN_TOOL_KINDS.get(kind);
  if (found === undefined) {
    const near = suggestion(kind, KNOWN_TOOL_KINDS.keys());
    throw new UsageError(`there is no tool of kind ${kind}${near || "; `noetl tools` lists them"}`);
  }
  return found;
}

function viewHere(description: ToolDescription, lacking: ReadonlyMap<string, string>): JsonObject {
  const lack = lacking.get(description.kind);
  return { ...viewTool(description), ...(lack === undefined ? {} : { lacks_here: lack }) };
}

function printList(
  { out }: CliContext,
  tools: readonly ToolDescription[],
  lacking: ReadonlyMap<string, string>,
): void {
  const rows = tools.map(({ kind, runsOn, summary }) => [
    kind,
    lacking.has(kind) ? "not here" : runsOn,
    summary,
  ]);
  out(formatTable(["kind", "runs on", "what it does"], rows));
  for (const [kind, lack] of lacking) {
    out(`\n${kind}: this machine cannot run it: ${lack}`);
  }
}

function printTool(
  { out }: CliContext,
  description: ToolDescription,
  lacking: ReadonlyMap<string, string>,
): void {
  const { kind, summary, runsOn, needs = [], programs = [] } = description;
  const lack = lacking.get(kind);
  out(`${kind}  ${summary}`);
  out(`Runs on a ${runsOn}${programs.length > 0 ? ` with ${programs.join(" and ")}` : ""}.`);
  if (lack !== undefined) {
    out(`This machine cannot run it: ${lack}.`);
  }
  needs.forEach(({ text }) => {
    out(`It needs ${text}.`);
  });
  out(
    `\n${formatTable(["field", "takes", "default", "what it is"], fieldRows(description.fields))}`,
  );
  out("\nAnd the fields of every task: auth, input, set, timeout, spec, output_select, pool, gpu.");
  out(`\nGives\n${indent(resultLines(description))}`);
  const failures = { ...SHARED_FAILURES, ...description.failures };
  out(`\nFails as\n${indent(formatPairs(Object.entries(failures)))}`);
  out(`\nExample\n${indent(description.example.trimEnd())}`);
}

/** One for each field, its other names beside it. */
export function fieldRows(fields: ToolFields): readonly (readonly string[])[] {
  return Object.entries(fields).flatMap(([name, written]) => {
    const field = findField(fields, name);
    if (field === undefined || "sameAs" in written) {
      return [];
    }
    const others = Object.entries(fields).flatMap(([other, each]) =>
      "sameAs" in each && each.sameAs === name ? [other] : [],
    );
    const choices = field.choices === undefined ? "" : `: ${field.choices.join(", ")}`;
    const about = field.isIgnored === true ? `no effect: ${field.about}` : field.about;
    return [
      [[name, ...others].join(", "), typeText(field), textOf(field.default), about + choices],
    ];
  });
}

function resultLines({ result }: ToolDescription): string {
  return typeof result === "string" ? result : formatPairs(Object.entries(result));
}

function formatPairs(pairs: readonly (readonly [string, string])[]): string {
  const width = Math.max(...pairs.map(([name]) => name.length));
  return pairs.map(([name, text]) => `${name.padEnd(width)}  ${text}`).join("\n");
}

function indent(text: string): string {
  return text.replaceAll(/^/gm, "  ");
}

function textOf(value: Json | undefined): string {
  if (value === undefined) {
    return "";
  }
  return typeof value === "string" ? value : JSON.stringify(value);
}
