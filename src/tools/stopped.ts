import type { Failure } from "../engine/failure.ts";
import { failure } from "../engine/failure.ts";

/** The failure of a task that was aborted: `timeout` if that is the signal's reason. */
export function stoppedFailure(signal: AbortSignal): Failure {
  const reason: unknown = signal.reason;
  const isTimeout = reason instanceof Error && reason.name === "TimeoutError";
  return isTimeout
    ? failure("timeout", "the task ran into its time limit and was stopped")
    : failure("cancelled", "the task was stopped");
}
