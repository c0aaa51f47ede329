/** What is thrown on the way becomes the task's failure. */
import { ContainerError } from "../../containers/runtime.ts";
import { AppError } from "../../core/errors.ts";
import type { Failure } from "../../engine/failure.ts";
import { failure } from "../../engine/failure.ts";
import { stoppedFailure } from "../stopped.ts";
import { thrownFailure } from "../task-error.ts";

/** @throws anything that is a bug. */
export function failureOf(error: unknown, signal: AbortSignal): Failure {
  const thrown = thrownFailure(error);
  if (thrown !== undefined) {
    return thrown;
  }
  if (error instanceof ContainerError) {
    const { kind, code, isRetryable } = error;
    const more = isRetryable === undefined ? {} : { retryable: isRetryable };
    return signal.aborted && kind !== "gpu_fault"
      ? stoppedFailure(signal)
      : failure(kind, error.message, { code, ...more });
  }
  if (signal.aborted) {
    return stoppedFailure(signal);
  }
  if (error instanceof AppError) {
    return storeFailure(error);
  }
  throw error;
}

function storeFailure({ kind, code, message }: AppError): Failure {
  if (code === "RESULT_TOO_LARGE" || code === "RESULT_QUOTA") {
    return failure("limit", message, { code });
  }
  switch (kind) {
    case "not_found":
      return failure("not_found", message, { code });
    case "unavailable":
    case "timeout":
      return failure("connection", message, { code });
    default:
      return failure("client_error", message, { code });
  }
}
