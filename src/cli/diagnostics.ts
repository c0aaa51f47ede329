/** Diagnostics as compilers print them: `file:line:column: error CODE message`, and the line itself. */
import type { Diagnostic } from "../dsl/diagnostic.ts";

const LINE_CHARS_MAX = 160;

/** @param text of the file, for the line that each is about. */
export function formatDiagnostic(file: string, text: string, found: Diagnostic): string {
  const { severity, code, line, column, path, message } = found;
  const place = path === "" ? "" : ` (${path})`;
  const head = `${file}:${line}:${column}: ${severity} ${code} ${message}${place}`;
  const frame = codeFrame(text, line, column);
  return frame === undefined ? head : `${head}\n${frame}`;
}

/** The line, and a caret below the column; undefined when there is no such line. */
function codeFrame(text: string, line: number, column: number): string | undefined {
  const source = text.split("\n")[line - 1]?.trimEnd();
  if (source === undefined || source === "") {
    return undefined;
  }
  const begin = Math.max(0, column - LINE_CHARS_MAX / 2);
  const shown = source.slice(begin, begin + LINE_CHARS_MAX);
  const number = String(line).padStart(5);
  // Tabs stay tabs, so that the caret stands below its character.
  const indent = shown.slice(0, column - 1 - begin).replace(/[^\t]/g, " ");
  return `${number} | ${shown}\n      | ${indent}^`;
}

/** `2 errors, 1 warning`. */
export function countDiagnostics(found: readonly Pick<Diagnostic, "severity">[]): string {
  const count = (severity: Diagnostic["severity"]): number =>
    found.filter((each) => each.severity === severity).length;
  return `${plural(count("error"), "error")}, ${plural(count("warning"), "warning")}`;
}

export function plural(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}
