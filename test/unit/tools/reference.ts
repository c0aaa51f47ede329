/** The example and the table of src/tools/README.md, made from what is there. */
import type { ToolDescription, ToolFields } from "../../../src/dsl/tool-description.ts";
import { findField } from "../../../src/dsl/tool-description.ts";
import { KNOWN_TOOL_KINDS } from "../../../src/tools/registry.ts";

const BEGIN = "<!-- tools: made by `bun run docs` -->";
const END = "<!-- end of tools -->";
const EXAMPLE = /```ts\n[\s\S]*?```/;

/** @param example the text of test/fixtures/tools/checksum.ts. */
export function withTools(document: string, example: string): string {
  const code = example
    .replaceAll("../../../src/tools/", "./")
    .replaceAll("../../../src/", "../")
    .replaceAll("$", "$$$$");
  const [before = "", rest = ""] = document
    .replace(EXAMPLE, `\`\`\`ts\n${code}\`\`\``)
    .split(BEGIN);
  return `${before}${BEGIN}\n${toolsTable()}\n${END}${rest.split(END)[1] ?? ""}`;
}

function toolsTable(): string {
  const tools = [...KNOWN_TOOL_KINDS.values()].sort((a, b) => a.kind.localeCompare(b.kind));
  return [
    "| kind | runs on | what it does | fields |",
    "|---|---|---|---|",
    ...tools.map(row),
  ].join("\n");
}

function row({ kind, runsOn, summary, fields, programs = [] }: ToolDescription): string {
  const where = programs.length > 0 ? `${runsOn} with ${programs.join(", ")}` : runsOn;
  const cells = [`\`${kind}\``, where, summary, fieldsOf(fields)];
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}

/** Each with its other names behind a slash. */
function fieldsOf(fields: ToolFields): string {
  const own = Object.entries(fields).filter(([, field]) => !("sameAs" in field));
  const names = own.flatMap(([name]) => {
    const others = Object.entries(fields).flatMap(([other, field]) =>
      "sameAs" in field && field.sameAs === name ? [other] : [],
    );
    const isIgnored = findField(fields, name)?.isIgnored === true;
    return isIgnored ? [] : [[name, ...others].map((each) => `\`${each}\``).join("/")];
  });
  return names.join(" ");
}
