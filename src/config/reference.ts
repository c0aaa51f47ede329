/** The table of options for README.md, made from the options themselves. */
import type { Option, OptionTable } from "./option.ts";
import { envName, flagName } from "./read.ts";

interface Row {
  readonly env: string;
  readonly flag: string;
  readonly option: Option<unknown>;
  readonly roles: string[];
}

const BEGIN = "<!-- options: made by `bun run docs` -->";
const END = "<!-- end of options -->";

/** The document with the current table between its two marks. */
export function withReference(
  document: string,
  roles: Readonly<Record<string, OptionTable>>,
): string {
  const [before = "", rest = ""] = document.split(BEGIN);
  const after = rest.split(END)[1] ?? "";
  return `${before}${BEGIN}\n${referenceTable(roles)}\n${END}${after}`;
}

/** Markdown: one row for each environment variable, in the order in which the roles name them. */
export function referenceTable(roles: Readonly<Record<string, OptionTable>>): string {
  const rows: Row[] = [];
  for (const [role, table] of Object.entries(roles)) {
    for (const [key, option] of Object.entries(table)) {
      addRow(rows, role, key, option);
    }
  }
  return [
    "| environment | flag | of | default | what it is |",
    "|---|---|---|---|---|",
    ...rows.map(rowText),
  ].join("\n");
}

function addRow(rows: Row[], role: string, key: string, option: Option<unknown>): void {
  const env = envName(key, option);
  const known = rows.find((row) => row.env === env);
  if (known === undefined) {
    rows.push({ env, flag: option.hasFlag ? flagName(key) : "", option, roles: [role] });
  } else {
    known.roles.push(role);
  }
}

function rowText({ env, flag, option, roles }: Row): string {
  const cells = [
    `\`${env}\``,
    flag === "" ? "" : `\`${flag}\``,
    roles.join(", "),
    option.default === undefined || option.default === "" ? "" : `\`${option.default}\``,
    `${option.description}${option.isSecret ? " (secret)" : ""}`,
  ];
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}
