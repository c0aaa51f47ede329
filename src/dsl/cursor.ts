/**
 * `loop.cursor` and `loop.spec.frame`: rows that are claimed from a source, a frame at a time.
 *
 * A cursor runs as tools of its kind. The tasks are made here, so that nobody behind the parser knows
 * kinds of cursors: SQL ones run the author's statements, NATS ones pull messages of a durable
 * consumer and acknowledge those that are done.
 */
import type { JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { suggestion } from "../template/nearest.ts";
import { checkTemplates } from "./expression.ts";
import type { Cursor, Policy, Rule, Task } from "./playbook.ts";
import type { Fields } from "./report.ts";
import type { ToolDescriptions } from "./tool-description.ts";

const CURSOR_KEYS = ["kind", "auth", "claim", "options", "heartbeat", "pool"];
const SQL_KINDS: readonly string[] = ["postgres", "duckdb", "snowflake"];
/** Spellings of the public project. */
const KIND_NAMES: Readonly<Record<string, string>> = {
  nats_stream: "nats",
  nats_jetstream: "nats",
  postgresql: "postgres",
};
const FRAME_KEYS = [
  "max_rows",
  "max_seconds",
  "max_bytes",
  "lease_seconds",
  "heartbeat_seconds",
  "row_concurrency",
  "process",
  "max_attempts",
  "retry_mode",
];
const FRAME_IGNORED_KEYS = ["verify_ipc"];
/** How long a pull waits for a first message before the stream counts as empty. */
const DRAINED_MS = 1000;
const MAX_SECONDS = 30;
const MAX_BYTES = 64 * 1024 * 1024;
const LEASE_SECONDS = 120;
const HEARTBEAT_SECONDS = 30;
const MAX_ATTEMPTS = 3;
/** Seconds before a claim that failed, but may work, is tried again; doubling. */
const CLAIM_RETRY_SECONDS = 1;

type CursorTasks = Pick<Cursor, "claim" | "renew" | "acknowledge">;

/** What tasks of a cursor have in common. */
interface TaskParts {
  readonly kind: string;
  readonly pool: string | undefined;
  readonly timeoutMs: number;
  readonly attempts: number;
}

/** @param knownTools kinds of tools that workers may have. */
export function readCursor(loop: Fields, knownTools: ToolDescriptions): Cursor {
  const cursor = loop.fields("cursor");
  cursor.checkKeys(CURSOR_KEYS);
  checkTemplates(cursor.report, cursor.map, cursor.path);
  const kind = readKind(cursor, knownTools);
  const frame = loop.fields("spec").fields("frame");
  frame.checkKeys(FRAME_KEYS, FRAME_IGNORED_KEYS);
  const limits = readLimits(frame, kind === "nats" ? cursor.fields("options") : frame);
  const parts: TaskParts = {
    kind,
    pool: cursor.text("pool"),
    timeoutMs: (frame.integer("max_seconds", 1) ?? MAX_SECONDS) * 1000,
    attempts: limits.maxAttempts,
  };
  const tasks = kind === "nats" ? natsTasks(cursor, parts) : sqlTasks(cursor, parts);
  checkFrame(frame, { ...limits, kind, isRenewed: tasks.renew !== undefined });
  return { kind, ...tasks, ...limits };
}

function readKind(cursor: Fields, knownTools: ToolDescriptions): string {
  const name = cursor.text("kind") ?? "postgres";
  const kind = KIND_NAMES[name] ?? name;
  const kinds = [...SQL_KINDS, "nats"].filter((known) => knownTools.has(known));
  if (!kinds.includes(kind)) {
    const message = `there is no cursor of kind "${name}"; there are ${kinds.join(", ")}`;
    cursor.error("CURSOR_KIND_UNKNOWN", "kind", message + suggestion(name, kinds));
  }
  return kind;
}

function readLimits(frame: Fields, batch: Fields): Omit<Cursor, "kind" | keyof CursorTasks> {
  const rows = frame.has("max_rows") ? frame.integer("max_rows", 1) : batch.integer("batch", 1);
  return {
    maxRows: rows ?? 1,
    maxBytes: frame.integer("max_bytes", 1) ?? MAX_BYTES,
    rowConcurrency: frame.integer("row_concurrency", 1) ?? 1,
    process: frame.choice("process", ["row", "frame"], "CURSOR_INVALID") ?? "row",
    leaseMs: (frame.integer("lease_seconds", 1) ?? LEASE_SECONDS) * 1000,
    heartbeatMs: (frame.integer("heartbeat_seconds", 1) ?? HEARTBEAT_SECONDS) * 1000,
    maxAttempts: frame.integer("max_attempts", 1) ?? MAX_ATTEMPTS,
  };
}

/** Says which settings mean nothing here. What every playbook writes, the defaults, pass in silence. */
function checkFrame(
  frame: Fields,
  cursor: Pick<Cursor, "kind" | "process" | "rowConcurrency" | "leaseMs" | "heartbeatMs"> & {
    readonly isRenewed: boolean;
  },
): void {
  const { kind, process, isRenewed, leaseMs, heartbeatMs } = cursor;
  if (process === "frame" && cursor.rowConcurrency > 1) {
    frame.warn("FIELD_IGNORED", "row_concurrency", "a frame that is processed whole is one item");
  }
  if (!isRenewed && heartbeatMs !== HEARTBEAT_SECONDS * 1000) {
    const message = `a ${kind} cursor without a "heartbeat" statement has none`;
    frame.warn("FIELD_IGNORED", "heartbeat_seconds", message);
  }
  if (isRenewed && heartbeatMs >= leaseMs) {
    const message = "heartbeat_seconds must be less than lease_seconds";
    frame.error("CURSOR_INVALID", "heartbeat_seconds", message);
  }
  const mode = frame.choice("retry_mode", ["row", "whole_frame"], "CURSOR_INVALID");
  if (mode !== undefined && (mode === "row") !== (process === "row")) {
    const what = process === "row" ? "each row by itself" : "the whole frame";
    const message = `process: ${process} tries ${what} again`;
    frame.warn("FIELD_IGNORED", "retry_mode", message);
  }
}

function sqlTasks(cursor: Fields, parts: TaskParts): CursorTasks {
  const claim = cursor.text("claim") ?? "";
  if (claim.trim() === "") {
    cursor.report.error(
      "CURSOR_INVALID",
      cursor.path,
      'a cursor needs "claim", the statement that takes rows',
    );
  }
  const heartbeat = cursor.text("heartbeat");
  const config = { ...cursor.fields("options").map, ...authOf(cursor) };
  return {
    claim: makeTask("claim", { ...config, command: claim }, parts),
    ...(heartbeat === undefined
      ? {}
      : { renew: makeTask("renew", { ...config, command: heartbeat }, parts) }),
  };
}

/** `options`, or `claim` as a map, say which stream and consumer. */
function natsTasks(cursor: Fields, parts: TaskParts): CursorTasks {
  const claim = cursor.get("claim");
  const owner = isJsonObject(claim) ? cursor.fields("claim") : cursor.fields("options");
  for (const name of ["stream", "consumer"]) {
    if (!owner.has(name)) {
      const message = `a nats cursor needs options.${name}: it pulls from a durable consumer`;
      cursor.report.error("CURSOR_INVALID", cursor.path, message);
    }
  }
  const config = { ...cursor.fields("options").map, ...owner.map, ...authOf(cursor) };
  const consume = {
    timeout_ms: DRAINED_MS,
    ack_wait: "{{ __frame_lease_seconds }}",
    max_deliver: parts.attempts,
    ...config,
    operation: "js_consume",
    batch: "{{ __frame_max_rows }}",
    ack: "explicit",
  };
  const answer = { ...config, operation: "js_ack", ack_ids: "{{ __frame_acks }}" };
  const acknowledge = makeTask("acknowledge", { ...answer, ack: "ack" }, parts);
  return {
    claim: makeTask("claim", consume, parts),
    renew: makeTask("renew", { ...answer, ack: "progress" }, parts),
    acknowledge: { ...acknowledge, policy: passingPolicy() },
  };
}

function authOf(cursor: Fields): JsonObject {
  const auth = cursor.get("auth");
  return auth === undefined ? {} : { auth };
}

/** May run again: a claim whose worker died has given its rows to nobody. */
function makeTask(label: string, config: JsonObject, parts: TaskParts): Task {
  const { kind, pool, timeoutMs, attempts } = parts;
  return {
    label,
    kind,
    config,
    input: {},
    set: [],
    timeoutMs,
    isIdempotent: true,
    policy: { mode: "exclusive", rules: [retryRule(attempts)] },
    ...(pool === undefined ? {} : { pool }),
  };
}

function retryRule(attempts: number): Rule {
  return {
    when: "{{ output.status == 'error' and output.error.retryable }}",
    action: "retry",
    set: [],
    attempts,
    backoff: "exponential",
    delay: CLAIM_RETRY_SECONDS,
    hasJitter: true,
  };
}

/** Goes on when it fails: what was not acknowledged comes again. */
function passingPolicy(): Policy {
  return { mode: "exclusive", rules: [], onUnmatched: "continue" };
}
