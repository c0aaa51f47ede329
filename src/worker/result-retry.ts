/** How calls about stored values are repeated. */
import type { RetryOptions } from "../core/backoff.ts";
import { AppError } from "../core/errors.ts";

const BACKOFF = { minMs: 200, maxMs: 3000 };
/** A store that does not work is a matter for operators: then the task fails and says so. */
const STORE_TRIES = 6;
const STORE_CODES = new Set(["RESULT_STORE_UNAVAILABLE", "RESULT_STORE_UNCONFIGURED"]);

/** Servers that are away are waited for; a store behind them gets {@link STORE_TRIES}. */
export function resultRetry(signal: AbortSignal): RetryOptions {
  let storeFaults = 0;
  return {
    ...BACKOFF,
    signal,
    isRetryable: (error) => {
      if (!(error instanceof AppError && error.isRetryable)) {
        return false;
      }
      storeFaults += STORE_CODES.has(error.code) ? 1 : 0;
      return storeFaults < STORE_TRIES;
    },
  };
}
