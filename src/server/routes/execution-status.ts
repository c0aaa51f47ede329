/** Statuses as clients write them. */
import { AppError } from "../../core/errors.ts";
import type { ExecutionStatus } from "../../engine/decision.ts";

const STATUSES: Readonly<Record<string, ExecutionStatus>> = {
  pending: "pending",
  running: "running",
  in_progress: "running",
  completed: "completed",
  success: "completed",
  failed: "failed",
  error: "failed",
  cancelled: "cancelled",
  canceled: "cancelled",
};

/** @throws AppError invalid REQUEST_INVALID. */
export function readStatus(text: string): ExecutionStatus {
  const status = STATUSES[text.toLowerCase()];
  if (status === undefined) {
    throw new AppError(
      "invalid",
      "REQUEST_INVALID",
      `Unknown status ${text}: one of ${Object.keys(STATUSES).join(", ")}`,
    );
  }
  return status;
}
