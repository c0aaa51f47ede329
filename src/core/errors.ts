/**
 * Operating errors: what goes wrong in correct code, such as bad input, a missing row or a peer
 * that is down. Programmer errors are assertions instead: see assert.ts.
 */

/** What the caller can do about it. The edge maps a kind, never a class, to a status. */
export type ErrorKind =
  | "invalid"
  | "not_found"
  | "conflict"
  | "forbidden"
  | "unavailable"
  | "timeout"
  | "internal";

export interface AppErrorOptions {
  readonly cause?: unknown;
  /** What a log line or an API answer needs beyond the message. JSON-safe, free of secrets. */
  readonly details?: Readonly<Record<string, unknown>>;
}

/**
 * An operating error with a stable, documented code such as `PLAYBOOK_NOT_FOUND`.
 *
 * Most places need no class of their own: the kind decides the reaction, the code names the case.
 */
export class AppError extends Error {
  /** Literal: a minified build renames classes. */
  override readonly name: string = "AppError";
  readonly kind: ErrorKind;
  readonly code: string;
  readonly details: Readonly<Record<string, unknown>> | undefined;

  constructor(kind: ErrorKind, code: string, message: string, options: AppErrorOptions = {}) {
    super(message, { cause: options.cause });
    this.kind = kind;
    this.code = code;
    this.details = options.details;
  }

  /** True if the same call may succeed later though the caller changes nothing. */
  get isRetryable(): boolean {
    return this.kind === "unavailable" || this.kind === "timeout";
  }
}

/** Text of anything that was thrown. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
