/** Failures inside a tool, thrown to its edge, where they become the task's outcome. */
import type { ToolProblem } from "../dsl/tool-check.ts";
import type { Failure, FailureKind } from "../engine/failure.ts";
import { failure } from "../engine/failure.ts";
import { stoppedFailure } from "./stopped.ts";
import { CredentialError } from "./tool.ts";

export class TaskError extends Error {
  override readonly name = "TaskError";
  readonly failure: Failure;

  constructor(cause: Failure) {
    super(cause.message);
    this.failure = cause;
  }
}

export function taskError(kind: FailureKind, code: string, message: string): TaskError {
  return new TaskError(failure(kind, message, { code }));
}

/** The failure of a task whose fields are not what its tool takes. */
export function configFailure(problems: readonly ToolProblem[]): Failure {
  const text = problems.map(({ message }) => message).join("; ");
  return failure("schema", text, { code: "CONFIG_INVALID" });
}

/** The failure that was thrown on purpose; undefined: something else. */
export function thrownFailure(error: unknown): Failure | undefined {
  return error instanceof TaskError || error instanceof CredentialError ? error.failure : undefined;
}

/**
 * The promise, or the failure of a stopped task as soon as `signal` is aborted; what was under way
 * goes on unobserved.
 *
 * @throws TaskError when stopped.
 */
export async function unlessStopped<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const stopped = Promise.withResolvers<never>();
  const stop = (): void => stopped.reject(new TaskError(stoppedFailure(signal)));
  signal.addEventListener("abort", stop, { once: true });
  if (signal.aborted) {
    stop();
  }
  try {
    return await Promise.race([promise, stopped.promise]);
  } finally {
    signal.removeEventListener("abort", stop);
    promise.catch(() => undefined);
  }
}
