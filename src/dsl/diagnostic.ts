/** What the parser has to say about a document. */

export interface Diagnostic {
  readonly severity: "error" | "warning";
  /** Stable, for example `STEP_UNKNOWN`. */
  readonly code: string;
  /** Says what is wrong and, where one is likely, the fix ("did you mean …"). */
  readonly message: string;
  /** For example `workflow[3].next.arcs[0].step`; empty for the whole document. */
  readonly path: string;
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;
}
