/** How a task can fail. Data, because it crosses processes and is read by playbooks. */
import { TemplateError } from "../template/error.ts";

export const FAILURE_KINDS = [
  "connection",
  "timeout",
  "rate_limit",
  "auth",
  "not_found",
  "client_error",
  "server_error",
  "schema",
  "parse",
  "template",
  "db_connection",
  "db_constraint",
  "db_deadlock",
  "db_error",
  "exit_code",
  "oom_host",
  "oom_gpu",
  "gpu_fault",
  "image_pull",
  "worker_lost",
  "cancelled",
  "limit",
  "internal",
] as const;

export type FailureKind = (typeof FAILURE_KINDS)[number];

/** Kinds that may pass when the same task is tried again. */
const RETRYABLE: ReadonlySet<FailureKind> = new Set([
  "connection",
  "timeout",
  "rate_limit",
  "server_error",
  "db_connection",
  "db_deadlock",
  "image_pull",
  "worker_lost",
  "gpu_fault",
]);

export interface Failure {
  readonly kind: FailureKind;
  /** `HTTP_503`, a SQLSTATE, `EXIT_1`, or the kind in upper case. */
  readonly code: string;
  readonly message: string;
  readonly retryable: boolean;
  /** HTTP status, where there was one. */
  readonly status?: number;
  /** Earliest useful retry, from `Retry-After`. */
  readonly retryAfterMs?: number;
  /** Last lines the task wrote to stderr, or a traceback. */
  readonly stderr?: string;
  /** Where it happened; filled in by the engine. */
  readonly step?: string;
  readonly index?: number;
  readonly attempt?: number;
  readonly task?: string;
}

export function isRetryableKind(kind: FailureKind): boolean {
  return RETRYABLE.has(kind);
}

/** A failure whose `retryable` follows from its kind and whose code defaults to the kind. */
export function failure(
  kind: FailureKind,
  message: string,
  more: Partial<Omit<Failure, "kind" | "message">> = {},
): Failure {
  return { kind, code: kind.toUpperCase(), message, retryable: isRetryableKind(kind), ...more };
}

const BRIEF_CHARS_MAX = 500;

/** The failure without its output and with the beginning of its message: for what is past. */
export function briefFailure(full: Failure): Failure {
  const { stderr: _, message, ...rest } = full;
  const isLong = message.length > BRIEF_CHARS_MAX;
  return { ...rest, message: isLong ? `${message.slice(0, BRIEF_CHARS_MAX - 1)}…` : message };
}

/**
 * The failure that a template error is to the task or step whose template it was.
 *
 * @throws anything else that is given: a stored result that is needed, or a bug.
 */
export function templateFailure(error: unknown): Failure {
  if (error instanceof TemplateError) {
    return error.isLimit
      ? failure("limit", error.message, { code: "RESULT_TOO_LARGE_HERE" })
      : failure("template", error.message, { code: error.code });
  }
  throw error;
}
