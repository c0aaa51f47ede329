/** The table of test/README.md, made from the matrix. */
import { ASPECTS, MATRIX } from "../../integration/tools/matrix.ts";

const BEGIN = "<!-- matrix: made by `bun run docs` -->";
const END = "<!-- end of matrix -->";

export function withMatrix(document: string): string {
  const [before = "", rest = ""] = document.split(BEGIN);
  return `${before}${BEGIN}\n${table()}\n${END}${rest.split(END)[1] ?? ""}`;
}

/** Titles by kind; below it each test's file once, for those that run for every kind. */
function table(): string {
  const row = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  const rows = Object.entries(MATRIX).map(([kind, evidence]) =>
    row([`\`${kind}\``, ...ASPECTS.map((aspect) => cell(evidence[aspect]))]),
  );
  return [row(["kind", ...ASPECTS]), `|${"---|".repeat(ASPECTS.length + 1)}`, ...rows].join("\n");
}

function cell(evidence: string): string {
  const [path = "", title] = evidence.split(" › ");
  const name = path.split("/").at(-1)?.replace(".test.ts", "") ?? path;
  return title === undefined ? evidence : `${name}: ${title.replaceAll("|", "\\|")}`;
}
