/** What NATS' own errors become on their way in. */
import { AppError } from "../core/errors.ts";

/** The same call may succeed later. */
export function busUnavailable(message: string, cause?: unknown): AppError {
  return new AppError("unavailable", "BUS_UNAVAILABLE", message, { cause });
}
