/** src/dsl/README.md's tables, made from the rows. */
import { LANGUAGE } from "../language.ts";
import { ABSENT_NAMES, MEANING_ROWS } from "./meaning-rows.ts";
import type { Row } from "./row.ts";
import { evidenceOf } from "./row.ts";
import type { TemplateRow } from "./template-rows.ts";
import { TEMPLATE_ROWS } from "./template-rows.ts";

const BEGIN = "<!-- language: made by `bun run docs` -->";
const END = "<!-- end of language -->";
const TEMPLATE_TEST = "unit/dsl/language.test.ts › templates";

/** The document with the current tables between its two marks. */
export function withLanguage(document: string): string {
  const [before = "", rest = ""] = document.split(BEGIN);
  const after = rest.split(END)[1] ?? "";
  return `${before}${BEGIN}\n\n${languageTables()}\n\n${END}${after}`;
}

/** The test that each row of the tables names, `path below test/ › title`, each once. */
export function namedTests(): readonly string[] {
  return [
    ...new Set([
      TEMPLATE_TEST,
      ...MEANING_ROWS.map(({ test }) => test),
      ...LANGUAGE.map(evidenceOf),
    ]),
  ];
}

function languageTables(): string {
  const blocks = Map.groupBy(LANGUAGE, ({ block }) => block);
  const sections = [...blocks].map(([block, rows]) => blockTable(block, rows));
  return [
    "### What documents mean",
    table(
      ["what holds", "shown by"],
      MEANING_ROWS.map(({ says, test }) => [says, code(test)]),
    ),
    ...sections,
    ...(["filter", "test", "function", "method", "statement"] as const).map(templateTable),
    "### names that the public project has too",
    table(["name", "here"], ABSENT_NAMES),
  ].join("\n\n");
}

function blockTable(block: string, rows: readonly Row[]): string {
  const lines = rows.map((row) => [
    row.block === "kind" ? kindsOf(row) : row.fields.split(" ").map(code).join(" "),
    fateOf(row),
    row.how,
    code(evidenceOf(row)),
  ]);
  return `### ${block}\n\n${table(["field", "here", "how", "shown by"], lines)}`;
}

function kindsOf({ sample }: Row): string {
  return code(`kind: ${String(sample["kind"])}`);
}

function fateOf({ fate, finds = [] }: Row): string {
  return [fate, ...finds.map(code)].join(" ");
}

function templateTable(group: TemplateRow["group"]): string {
  const lines = TEMPLATE_ROWS.filter((row) => row.group === group).map((row) => [
    code(row.name),
    code(row.template.replaceAll("\n", "\\n")),
    code(JSON.stringify(row.gives)),
    row.note ?? "",
  ]);
  const shown = `All shown by ${code(TEMPLATE_TEST)}.`;
  return `### ${group}s of templates\n\n${shown}\n\n${table(["name", "template", "gives", "note"], lines)}`;
}

function table(head: readonly string[], lines: readonly (readonly string[])[]): string {
  const row = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [row(head), `|${head.map(() => "---|").join("")}`, ...lines.map(row)].join("\n");
}

/** As code, also where the text has backticks of its own. */
function code(text: string): string {
  return text.includes("`") ? `\`\` ${text} \`\`` : `\`${text}\``;
}
