/**
 * The one interface that every tool implements. Adding a tool is one file that exports a
 * {@link ToolModule} and one line in registry.ts; README.md has an example.
 *
 * A tool's failure is an outcome, not an exception: `run` returns `{ ok: false, failure }` for
 * everything that a playbook's author or the outside world can cause, and throws only on a bug of
 * its own (the executor turns that into an `internal` failure).
 */

import type { Runtimes } from "../containers/host.ts";
import type { ExecutionId } from "../core/ids.ts";
import type { Json, JsonObject } from "../core/json.ts";
import type { ToolDescription } from "../dsl/tool-description.ts";
import type { LogLine } from "../engine/command.ts";
import type { Failure } from "../engine/failure.ts";
import type { Gpu, GpuGrant } from "../engine/gpu.ts";
import type { NewResult, ResultInfo } from "../engine/result.ts";
import type { DuckdbDatabases } from "./duckdb/databases.ts";
import type { Environment } from "./environment.ts";

export interface Tool {
  readonly description: ToolDescription;
  /** Called with fields that {@link checkRendered} has found right. */
  run(call: ToolCall, context: ToolContext): Promise<ToolOutcome>;
  /** What this machine lacks for it, in a sentence; undefined, or absent: nothing. */
  lacks?(): string | undefined;
  /** Starts what the first task would have to wait for. */
  prestart?(): void;
  /** How long a task of it may take to end after it was told to; absent: 5 s. */
  stopMs?(config: JsonObject): number;
  /** The outcome of a command that ran it has arrived: what was kept to find it again may go. */
  settled?(command: ToolCommand): Promise<void>;
  /** In place of `settled`: somebody else may have the command, and looks after what was kept. */
  forget?(command: ToolCommand): void;
  /** Ends its processes and connections; no task runs any more. */
  close?(): Promise<void>;
}

/** For whom a task runs: a try under that attempt's fence. */
export interface ToolCommand {
  readonly executionId: string;
  readonly commandId: string;
  readonly attempt: number;
  /** Set: a worker that is gone held it under this very attempt, so what that one started may be there. */
  readonly adopted?: AdoptedCommand;
}

export interface AdoptedCommand {
  /** Time of its last log line that reached a server; absent: none did, or nobody knows. */
  readonly loggedUntilMs?: number;
}

/** What the file of a tool exports, and registry.ts lists. */
export interface ToolModule {
  /** One for each kind; known to servers, which create no tools. */
  readonly descriptions: readonly ToolDescription[];
  /** One tool for each description, in their order. */
  readonly create: (parts: ToolParts) => readonly Tool[];
}

/** What tools are made of. */
export interface ToolParts {
  /** Environment of the processes that run tasks. */
  readonly env: Environment;
  /** Largest result of one task, bytes. */
  readonly maxOutputBytes: number;
  /** Resident memory of one task, bytes. */
  readonly memoryBytes: number;
  /** Where tasks' relative paths lead to. */
  readonly filesDir: string;
  /** Interpreter for `python`. */
  readonly python: string;
  /** Processes of one kind at once. */
  readonly runnerCountMax: number;
  /** Starts this program as the runner of that name. */
  readonly runnerCommand: (name: string) => readonly string[];
  readonly databases: DuckdbDatabases;
  /** Absent: nothing here knows what runs on GPUs. */
  readonly gpus?: GpuWatch;
  /** Image of `kind: cuda`, with nvcc. */
  readonly cudaImage: string;
  /** Folders of this machine that container tasks may mount, with all below them. */
  readonly mountDirs: readonly string[];
  /** What runs containers on this machine, and as whom; to be asked when a task runs, not before. */
  readonly runtimes: Runtimes;
  /** Another tool, by kind; to be asked for when a task runs, not before. */
  readonly tool: (kind: string) => Tool;
}

/** What tools may ask of the machine's GPUs; see src/gpu/inventory.ts. */
export interface GpuWatch {
  /** As of the last reading. */
  current(): readonly Gpu[];
  /** Errors of these GPUs in the kernel's log, as half sentences; reads what is new. */
  xidsSince(ids: readonly string[], sinceMs: number): readonly string[];
  /** Waits until nobody computes on them, whose container has ended; never rejects. */
  awaitFree(
    ids: readonly string[],
    options: { readonly commandId: string; readonly timeoutMs: number },
  ): Promise<{ readonly isFree: true } | { readonly isFree: false; readonly reason: string }>;
}

/** One task, rendered: no templates are left. */
export interface ToolCall {
  readonly label: string;
  /** The tool's own fields. */
  readonly config: JsonObject;
  /** Step input and task input merged. */
  readonly input: JsonObject;
  /** Workload, ctx and earlier results by name; whole only for code that mentions `context`. */
  readonly context: JsonObject;
  /** Loop names such as `item`, `loop_index`; empty outside loops. */
  readonly names: JsonObject;
  readonly executionId: string;
  readonly step: string;
  /** Which try of the task this is, from 1. */
  readonly attempt: number;
}

export interface ToolContext {
  /**
   * Aborted on cancel, lost lease, timeout and shutdown; the tool stops at once and for sure. With {@link LEAVE}
   * as its reason, which only durable tools see, what outlives the worker is left as it is, and the tool ends.
   */
  readonly signal: AbortSignal;
  /** Milliseconds left for this try; undefined: no limit. The executor enforces it by `signal`. */
  readonly timeoutMs: number | undefined;
  /**
   * Takes lines of output, without their newline, in order. Never blocks. `system`: what the platform says about
   * the task.
   *
   * @param timeMs when it was written, where that is known; absent: now.
   */
  readonly log: (stream: LogLine["stream"], line: string, timeMs?: number) => void;
  /** A credential that this task names, decrypted; a `Failure` of kind `auth` when there is none. */
  readonly credential: (name: string) => Promise<Credential>;
  /** Loads a value stored by reference. */
  readonly resolve: (ref: string) => Promise<Json>;
  /** Stored values; all calls are repeated while servers are away, and reject with AppError. */
  readonly artifacts: Artifacts;
  readonly command: ToolCommand;
  /** W3C header for whom the task calls; absent: nobody follows the execution. */
  readonly traceparent?: string | undefined;
  /** Leased to the command, with its end. */
  readonly gpus: readonly GpuGrant[];
  /** The work goes on outside this machine: gives the slot to others until the task has ended. */
  readonly park: () => void;
}

/** Reason of a stop after which another worker, or this one, finds what goes on. */
export const LEAVE = "leave";

/**
 * Names a stored value: reference, canonical URI or URN; or the newest of a name. `reader`: the address
 * was found in that execution's data, nobody named it; only what is its family's is given.
 */
export type ResultQuery =
  | { readonly address: string; readonly reader?: ExecutionId }
  | { readonly executionId: ExecutionId; readonly name: string };

export interface Artifacts {
  describe(key: ResultQuery): Promise<ResultInfo>;
  /** @param begin called at the start, and again when reading starts over; gets the bytes in order. */
  read(key: ResultQuery, begin: () => (bytes: Uint8Array) => void): Promise<ResultInfo>;
  /** @param open gives the bytes, from the first on each time. */
  put(
    result: NewResult,
    open: () => AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  ): Promise<ResultInfo>;
  list(
    executionId: ExecutionId,
    page: { readonly limit: number; readonly offset: number; readonly name?: string | undefined },
  ): Promise<readonly ResultInfo[]>;
  /** False if there was none. */
  remove(ref: string): Promise<boolean>;
}

export interface Credential {
  readonly name: string;
  /** `postgres`, `bearer`, `basic`, `api_key`, … */
  readonly type: string;
  readonly data: JsonObject;
}

export type ToolOutcome =
  | {
      readonly ok: true;
      readonly value: Json;
      /** Of http calls: what rules see as `output.http`. */
      readonly http?: HttpMeta;
    }
  | {
      readonly ok: false;
      readonly failure: Failure;
      /** What the call gave all the same, for example the body of an HTTP 404. */
      readonly value?: Json;
      readonly http?: HttpMeta;
    };

export interface HttpMeta {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
}

/** Thrown by `ToolContext.credential`. Its failure is the task's. */
export class CredentialError extends Error {
  override readonly name = "CredentialError";
  readonly failure: Failure;

  constructor(failure: Failure) {
    super(failure.message);
    this.failure = failure;
  }
}
