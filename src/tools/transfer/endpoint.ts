/**
 * What a transfer reads from and writes to. A new kind of either is a file and a line in
 * ends.ts.
 *
 * Values travel as text: numbers in decimal, truth values as `true` and `false`, times in ISO 8601,
 * bytes as `\x` and hexadecimal, lists and maps as JSON. The target gives them its columns' types.
 */
import type { Json, JsonObject } from "../../core/json.ts";
import type { TextRow } from "../copy-text.ts";
import type { DuckdbDatabases } from "../duckdb/databases.ts";
import type { ToolContext } from "../tool.ts";

/** `json`: the column takes JSON, so that also a plain string has to be written as JSON. */
export type ColumnForm = "text" | "json";

export const MODES = ["append", "replace", "upsert"] as const;
export type Mode = (typeof MODES)[number];

export interface EndpointOptions {
  /** The `source` or `target` of the task. */
  readonly config: JsonObject;
  readonly context: ToolContext;
  readonly databases: DuckdbDatabases;
  /** Rows that are read at once, at most. */
  readonly rowCountMax: number;
}

export interface SourceOptions extends EndpointOptions {
  /** Columns of the target and where their values are in the source; undefined: all, by their names. */
  readonly mapping: Mapping | undefined;
}

export type Mapping = readonly (readonly [column: string, source: string])[];

export interface TransferSource {
  /** Of the target, in the order of the rows' values; none when there are no rows to tell. */
  readonly columns: readonly string[];
  /** The next rows, none at the end. */
  read(forms: readonly ColumnForm[]): Promise<readonly TextRow[]>;
  /** Gives everything back. Never throws. */
  close(): Promise<void>;
}

export interface TargetOptions extends EndpointOptions {
  readonly mode: Mode;
  /** Columns by which an upsert finds rows; undefined: the table's primary key. */
  readonly keys: readonly string[] | undefined;
}

/** Nothing that it does is seen by others before {@link TransferTarget.commit}. */
export interface TransferTarget {
  /** Once, before everything else. */
  begin(columns: readonly string[]): Promise<readonly ColumnForm[]>;
  /** Resolves when it can take more. */
  write(rows: readonly TextRow[]): Promise<void>;
  /** All or nothing. */
  commit(): Promise<void>;
  /** Undoes what was not committed and gives everything back. Never throws. */
  close(): Promise<void>;
}

/** @throws TaskError, as all of the above. */
export type OpenSource = (options: SourceOptions) => Promise<TransferSource>;
export type OpenTarget = (options: TargetOptions) => Promise<TransferTarget>;

export interface SourceKind {
  /** What its configuration lacks, in sentences; empty when it is fine. */
  readonly check: (config: JsonObject) => readonly string[];
  readonly open: OpenSource;
}

export interface TargetKind {
  readonly check: (config: JsonObject, mode: Mode) => readonly string[];
  readonly open: OpenTarget;
}

/** A field's text if it has one. */
export function textAt(config: JsonObject, name: string): string | undefined {
  const value: Json | undefined = config[name];
  return typeof value === "string" && value.trim() !== "" ? value : undefined;
}
