/**
 * A playbook after parsing: every accepted spelling turned into one form, workbook entries inlined,
 * implicit arcs made explicit. Plain JSON, so that the catalog stores it and workers receive parts
 * of it. Texts may hold templates unless a field says otherwise; nothing is rendered yet.
 */
import type { Json, JsonObject } from "../core/json.ts";

export interface Playbook {
  readonly name: string;
  /** Catalog path. */
  readonly path: string;
  readonly description?: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Name of an existing step. */
  readonly entryStep: string;
  /** Default inputs; a request's payload is merged over them. */
  readonly workload: JsonObject;
  readonly executor: ExecutorOptions;
  readonly keychain: readonly JsonObject[];
  /** In document order, names unique, at least one. */
  readonly steps: readonly Step[];
}

export interface ExecutorOptions {
  readonly pool?: string;
  /** 0 (last) to 9 (first); 5 when the document says nothing. */
  readonly priority: number;
  /** Limit for the whole execution. */
  readonly timeoutMs?: number;
  /** Runs once more when all has come to rest, however the execution went. */
  readonly finalStep?: string;
  /** A step whose arcs all fail to match fails the execution (`no_next_is_error`). */
  readonly isNoMatchError: boolean;
  /** Absent: any number of executions run at once. */
  readonly concurrency?: Concurrency;
}

/** At most `limit` executions whose key is the same run at once, of whatever playbooks. */
export interface Concurrency {
  /** Rendered when an execution is to start, with its workload. Absent: the playbook's path. */
  readonly key?: string;
  /** 1 to 10,000; a template is rendered with the key. */
  readonly limit: number | string;
  /** What happens to one more: it waits, is refused, or takes the place of the oldest. */
  readonly onLimit: "queue" | "reject" | "cancel_oldest";
}

export interface Step {
  readonly name: string;
  readonly description?: string;
  /** At least one. A step without a tool has one `noop`. */
  readonly tasks: readonly Task[];
  /** True for the list form of `tool`: the value merges the tasks' fields and keeps their labels. */
  readonly isPipeline: boolean;
  /** Merged under each task's own input. */
  readonly input: JsonObject;
  readonly loop?: Loop;
  /** Written when the step is done, in order. */
  readonly set: readonly Assignment[];
  readonly next: Next;
  /** How tokens of several arcs meet; see src/engine/README.md. */
  readonly join: "auto" | "all" | "any";
  readonly failure: "drain" | "fail_fast" | "best_effort";
  /** Empty: always admitted. */
  readonly admit: readonly AdmitRule[];
  /** From entry to exit, retries and loop items included. */
  readonly timeoutMs?: number;
  readonly pool?: string;
  /** Fields to keep beside the reference when the result is stored apart (`output_select`). */
  readonly outputSelect: readonly string[];
}

/** `kind` is one of the tool kinds; the registry in src/tools says which exist. */
export interface Task {
  /** Unique in its step. The step's name for the single form. */
  readonly label: string;
  readonly kind: string;
  /** The tool's own fields, `tool.spec.*` lifted; without input, set, policy and the fields below. */
  readonly config: JsonObject;
  readonly input: JsonObject;
  /** Task-level `set`: bare names, visible to later tasks of the pipeline. */
  readonly set: readonly Assignment[];
  readonly policy?: Policy;
  /** Limit of one try. */
  readonly timeoutMs?: number;
  readonly pool?: string;
  /** False: never run again after its worker was lost. */
  readonly isIdempotent: boolean;
  /** Each try waits for a permit. */
  readonly rateLimit?: RateLimit;
  /** What it wants of GPUs, as written: see gpu.ts. Decides the default pool too. Absent: none. */
  readonly gpu?: Json;
  /** Longest time that a command for it may wait in the queue of its pool. */
  readonly queueTimeoutMs?: number;
}

/** Permits that all tasks with the same key share, in all executions and workers. */
export interface RateLimit {
  /** Rendered before each try. Absent: a key of the task's own, see src/worker/rate-limit.ts. */
  readonly key?: string;
  readonly perSecond: number;
  /** Permits that an unused key gives at once; at least 1. */
  readonly burst: number;
}

/** `target` keeps its scope: `ctx.name`, `iter.name`, `step.name` or a bare name. */
export interface Assignment {
  readonly target: string;
  readonly value: Json;
}

export interface Policy {
  readonly mode: "exclusive" | "inclusive";
  /** What happens when no rule matches; undefined: continue on success, fail on error. */
  readonly onUnmatched?: "continue" | "fail";
  readonly rules: readonly Rule[];
}

export interface Rule {
  /** Absent: `else`, matches always. */
  readonly when?: Json;
  readonly action: "continue" | "retry" | "break" | "jump" | "fail";
  readonly set: readonly Assignment[];
  /** Of `retry`: all tries, the first included. Default 3. */
  readonly attempts: number;
  /** How `delay` grows: no wait, always the same (the default), times the tries, doubling. */
  readonly backoff: "none" | "fixed" | "linear" | "exponential";
  /** Of `retry`: seconds, may be a template. Default 1. */
  readonly delay: number | string;
  readonly maxDelayMs?: number;
  readonly hasJitter: boolean;
  /** Of `jump`: a label of the same pipeline. */
  readonly to?: string;
}

export interface AdmitRule {
  /** Absent: matches always. */
  readonly when?: Json;
  readonly isAllowed: boolean;
}

export interface Loop {
  /** Template or literal. Absent only in cursor mode. */
  readonly in?: Json;
  readonly iterator: string;
  readonly mode: "sequential" | "parallel" | "cursor";
  /** At least 1; a template is rendered when the loop starts. 1 when sequential, default 16. */
  readonly maxInFlight: number | string;
  readonly failure: LoopFailure;
  readonly cursor?: Cursor;
}

/** `fail_fast`: stop at the first failed item. `continue`: never. A number: stop past that many. */
export type LoopFailure = "fail_fast" | "continue" | { readonly maxFailures: number };

/** A source of rows that are claimed, a frame at a time, until there are none. */
export interface Cursor {
  /** Of the tool that claims. */
  readonly kind: string;
  /** Gives the next rows. Its templates read `__frame_max_rows`, `__frame_lease_seconds`, `__claim_id`. */
  readonly claim: Task;
  /** Keeps a frame's rows ours, every `heartbeatMs` while they are processed; reads `__frame_acks` too. */
  readonly renew?: Task;
  /** Tells the source which rows are done: `__frame_acks`, what the claim gave for them. */
  readonly acknowledge?: Task;
  /** What a claim is asked for. */
  readonly maxRows: number;
  /** Of the rows that are one item, bytes of JSON; see `process`. */
  readonly maxBytes: number;
  /** Rows of one frame that run at a time. */
  readonly rowConcurrency: number;
  /** `row`: each row is an item. `frame`: the list of a frame's rows is one. */
  readonly process: "row" | "frame";
  readonly leaseMs: number;
  readonly heartbeatMs: number;
  /** Times that a claim or an item is handed out when workers are lost, the first included. */
  readonly maxAttempts: number;
}

export interface Next {
  readonly mode: "exclusive" | "inclusive";
  readonly onNoMatch: "complete" | "fail" | "quiet";
  /** In document order. Empty: a token ends here. */
  readonly arcs: readonly Arc[];
}

export interface Arc {
  readonly step: string;
  /** Absent: always true. */
  readonly when?: Json;
  readonly set: readonly Assignment[];
}
