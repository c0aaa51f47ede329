/**
 * What the worker and a DuckDB runner tell each other: one request or answer, as JSON text, per frame.
 * Requests of one session are answered in order; `interrupt` has no answer.
 */
import type { Json } from "../../core/json.ts";

/** What a runner finds on stdin. */
export interface RunnerStart {
  /** To say in the hello. */
  readonly id: number;
  readonly address: string;
  readonly token: string;
  /** Where relative paths in SQL lead to. */
  readonly cwd: string;
  /** DuckDB's native module; absent: that of node_modules. */
  readonly library?: string;
}

export type Request =
  | {
      readonly type: "open";
      /** Absent: a fresh database in memory. */
      readonly path?: string;
      readonly settings: Readonly<Record<string, string>>;
    }
  | {
      readonly type: "run";
      readonly sql: string;
      readonly parameters: readonly Json[] | Readonly<Record<string, Json>>;
      /** Largest result of all statements together, bytes of JSON. */
      readonly maxBytes: number;
      /** False: rows are lists of values. */
      readonly hasObjects: boolean;
    }
  | { readonly type: "select"; readonly sql: string }
  | { readonly type: "fetch"; readonly rowCountMax: number }
  | { readonly type: "append"; readonly table: string; readonly text: string }
  | { readonly type: "flush" }
  | { readonly type: "close" };

export type Envelope =
  | { readonly id: number; readonly session: number; readonly request: Request }
  | { readonly interrupt: number };

export interface StatementResult {
  readonly rows: readonly Json[];
  readonly columns: readonly string[];
  readonly row_count: number;
  /** Kind of the statement, for example `INSERT`. */
  readonly command: string;
  readonly status: "success";
}

/** Of `run`: the results of the statements before the one that failed, if one did. */
export interface RunAnswer {
  readonly results: readonly StatementResult[];
  readonly error?: RunnerError;
}

/** Of `select`. */
export interface SelectAnswer {
  readonly columns: readonly { readonly name: string; readonly type: string }[];
}

/** Of `fetch`: at most as many rows as asked for, see `src/tools/copy-text.ts`; empty at the end. */
export interface FetchAnswer {
  readonly text: string;
}

/** Of `close`. */
export interface CloseAnswer {
  /** False: DuckDB still holds files of the database. */
  readonly isReleased: boolean;
}

export interface RunnerError {
  readonly message: string;
  /** Set where the failure is the runner's, not DuckDB's. */
  readonly code?: "PARAMETER_MISSING" | "RESULT_TOO_LARGE";
}

export type Answer =
  | { readonly id: number; readonly value: Json }
  | { readonly id: number; readonly error: RunnerError };
