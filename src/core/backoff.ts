/** The one place that retries: exponential, jittered, bounded and abortable. */
import { sleep } from "./clock.ts";

export interface BackoffOptions {
  /** First delay. */
  readonly minMs: number;
  readonly maxMs: number;
}

/** Delay before try `attempt` (from 1): doubles from `minMs` up to `maxMs`, then ±25 % jitter. */
export function backoffMs(attempt: number, { minMs, maxMs }: BackoffOptions): number {
  const delay = Math.min(maxMs, minMs * 2 ** Math.max(0, attempt - 1));
  return delay * (0.75 + Math.random() / 2);
}

export interface RetryOptions extends BackoffOptions {
  readonly signal: AbortSignal;
  /** False for an error that no repetition can cure: it is thrown at once. */
  readonly isRetryable: (error: unknown) => boolean;
  /** Told before each wait. */
  readonly onRetry?: (error: unknown, attempt: number, delayMs: number) => void;
}

/** Calls `operation` until it succeeds, fails for good, or `signal` is aborted. */
export async function retry<T>(operation: () => Promise<T>, options: RetryOptions): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await operation();
    } catch (error) {
      if (options.signal.aborted || !options.isRetryable(error)) {
        throw error;
      }
      const delayMs = backoffMs(attempt, options);
      options.onRetry?.(error, attempt, delayMs);
      await sleep(delayMs, options.signal);
    }
  }
}
