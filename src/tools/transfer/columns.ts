/** Which columns a transfer fills, and from where. */
import { taskError } from "../task-error.ts";
import type { Mapping } from "./endpoint.ts";

export interface Selection {
  /** Of the target. */
  readonly columns: readonly string[];
  /** Position of each in the source's rows. */
  readonly positions: readonly number[];
}

/** @throws TaskError if the mapping names a column that the source does not have. */
export function selectColumns(found: readonly string[], mapping: Mapping | undefined): Selection {
  if (mapping === undefined) {
    return { columns: found, positions: found.map((_, index) => index) };
  }
  const positions = mapping.map(([column, name]) => {
    const position = indexOf(found, name);
    if (position === -1) {
      const message = `source: there is no column "${name}" for "${column}"; it has ${listOf(found)}`;
      throw taskError("schema", "COLUMN_MISSING", message);
    }
    return position;
  });
  return { columns: mapping.map(([column]) => column), positions };
}

/**
 * The table's own spelling of each column.
 *
 * @throws TaskError naming those that the table does not have.
 */
export function matchColumns(
  table: string,
  existing: readonly string[],
  wanted: readonly string[],
): readonly string[] {
  const missing = wanted.filter((name) => indexOf(existing, name) === -1);
  if (missing.length > 0) {
    const message =
      `target: ${table} has no column ${listOf(missing)}; it has ${listOf(existing)}. ` +
      "Say with `mapping` which column takes what";
    throw taskError("schema", "COLUMN_MISSING", message);
  }
  return wanted.map((name) => existing[indexOf(existing, name)] ?? name);
}

/** Exactly, else in any case. */
function indexOf(names: readonly string[], wanted: string): number {
  const exact = names.indexOf(wanted);
  const folded = wanted.toLowerCase();
  return exact === -1 ? names.findIndex((name) => name.toLowerCase() === folded) : exact;
}

/**
 * Columns by which rows are found.
 *
 * @throws TaskError if there are none, or the transfer does not fill them.
 */
export function keysOf(
  table: string,
  {
    keys,
    primary,
    columns,
  }: {
    readonly keys: readonly string[] | undefined;
    readonly primary: readonly string[];
    readonly columns: readonly string[];
  },
): readonly string[] {
  const wanted = keys ?? primary;
  if (wanted.length === 0) {
    const message = `target: upsert needs \`keys\`: ${table} has no primary key`;
    throw taskError("schema", "KEYS_MISSING", message);
  }
  const missing = wanted.filter((name) => indexOf(columns, name) === -1);
  if (missing.length > 0) {
    const message = `target: upsert by ${listOf(wanted)} needs values for ${listOf(missing)}`;
    throw taskError("schema", "KEYS_MISSING", message);
  }
  return matchColumns(table, columns, wanted);
}

export function listOf(names: readonly string[]): string {
  return names.length === 0 ? "none" : names.map((name) => `"${name}"`).join(", ");
}
