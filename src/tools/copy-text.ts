/**
 * Rows of text values in the text format of PostgreSQL's COPY: a line per row, tabs between values,
 * `\N` for null. Compact, and quick to write and to read; also what the DuckDB runners speak.
 */

export type TextRow = readonly (string | null)[];

const ESCAPES: Readonly<Record<string, string>> = {
  "\\": "\\\\",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
};
const CHARACTERS: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t" };

export function encodeCopy(rows: readonly TextRow[]): string {
  let text = "";
  for (const row of rows) {
    let separator = "";
    for (const value of row) {
      text += separator;
      text +=
        value === null ? "\\N" : value.replace(/[\\\n\r\t]/g, (char) => ESCAPES[char] ?? char);
      separator = "\t";
    }
    text += "\n";
  }
  return text;
}

/** Of rows with at least one column. */
export function decodeCopy(text: string): readonly TextRow[] {
  const lines = text.split("\n");
  // The last line ends with a newline too.
  lines.pop();
  return lines.map((line) => {
    const values = line.split("\t");
    return line.includes("\\") ? values.map(decodeValue) : values;
  });
}

function decodeValue(value: string): string | null {
  return value === "\\N"
    ? null
    : value.replace(/\\([\s\S])/g, (_, char: string) => CHARACTERS[char] ?? char);
}
