/** What the worker and a JavaScript runner tell each other, one JSON text per frame. */
import type { Json, JsonObject } from "../../core/json.ts";

/** What a runner finds on stdin. */
export interface RunnerStart {
  /** To say in the hello. */
  readonly id: number;
  readonly address: string;
  readonly token: string;
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
  readonly stream: "stdout" | "stderr";
  /** Whole lines, joined by newlines. */
  readonly text: string;
}

/** The last frame of a task. */
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

export type RunnerMessage = RunnerLog | RunnerEnd;
