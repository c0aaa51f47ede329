/** Text for people: tables, times, values. */
import type { Json, JsonObject } from "../core/json.ts";

/** Columns padded to their widest cell; headings in capitals. "" when there are no rows. */
export function formatTable(
  headings: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const lines = [headings.map((heading) => heading.toUpperCase()), ...rows];
  const widths = headings.map((_, column) =>
    Math.max(...lines.map((line) => Bun.stringWidth(line[column] ?? ""))),
  );
  return lines
    .map((line) =>
      line
        .map((cell, column) => cell + " ".repeat((widths[column] ?? 0) - Bun.stringWidth(cell)))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** `12 ms`, `3.4 s`, `2 min 5 s`, `1 h 2 min`. */
export function formatDuration(ms: number): string {
  if (ms < 1000) {
    return `${Math.round(ms)} ms`;
  }
  if (ms < 60_000) {
    return `${(ms / 1000).toFixed(1)} s`;
  }
  const minutes = Math.floor(ms / 60_000);
  return minutes < 60
    ? `${minutes} min ${Math.round((ms % 60_000) / 1000)} s`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** `2026-01-31 12:00:00Z`; "" when absent. */
export function formatTime(iso: Json | undefined): string {
  return typeof iso === "string" ? iso.replace("T", " ").replace(/\.\d+Z$/, "Z") : "";
}

export function formatJson(value: Json): string {
  return JSON.stringify(value, null, 2);
}

/** A field as text; "" when it is absent or null. */
export function field(row: JsonObject, name: string): string {
  const value = row[name];
  if (value === undefined || value === null) {
    return "";
  }
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** The objects in a list that an answer holds under `name`, or in the answer itself. */
export function rowsOf(answer: Json, name?: string): readonly JsonObject[] {
  const list = name === undefined ? answer : (answer as JsonObject)[name];
  return Array.isArray(list) ? (list as readonly JsonObject[]) : [];
}
