/**
 * What the worker and a JavaScript runner tell each other, one JSON text per frame. Tasks have
 * numbers: the first frame to a runner is task 1, and so on. An empty frame from the runner rings:
 * it says that there are results in the ledger, or that the runner has nothing left to do.
 */
import type { Json, JsonObject } from "../../core/json.ts";

/** What a runner finds on stdin. */
export interface RunnerStart {
  /** To say in the hello. */
  readonly id: number;
  readonly address: string;
  readonly token: string;
  /** Path of the shared memory, see ledger.ts. */
  readonly ledger: string;
  /** Working directory of its tasks; absent: that of the worker. */
  readonly cwd?: string;
}

export interface RunnerTask {
  readonly language: "javascript" | "typescript";
  readonly code: string;
  /** Shown in stack traces. */
  readonly file: string;
  readonly libs: Json;
  readonly input: JsonObject;
  readonly context: JsonObject;
  readonly names: JsonObject;
  readonly executionId: string;
  readonly step: string;
  readonly maxOutputBytes: number;
}

export interface RunnerLog {
  readonly type: "log";
  /** The task's. */
  readonly number: number;
  readonly stream: "stdout" | "stderr";
  /** Whole lines, joined by newlines. */
  readonly text: string;
}

/** The end of a task: in the ledger if it is short and the task has logged nothing, else a frame. */
export type RunnerEnd =
  | { readonly type: "end"; readonly ok: true; readonly value: Json }
  | {
      readonly type: "end";
      readonly ok: false;
      readonly kind: "exit_code" | "limit" | "schema";
      readonly code: string;
      readonly message: string;
      readonly stderr?: string;
    };

export type RunnerMessage = RunnerLog | (RunnerEnd & { readonly number: number });
