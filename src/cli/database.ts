/** Opens the platform's database, or says clearly why that cannot be. */
import { retry } from "../core/backoff.ts";
import { AppError, errorMessage } from "../core/errors.ts";
import type { Secret } from "../core/secret.ts";
import type { Logger } from "../observability/log.ts";
import { isDatabaseDown } from "../store/sqlstate.ts";

export interface DatabaseWait {
  readonly url: Secret;
  /** How long a database that is away is waited for; 0: not at all. */
  readonly patienceMs: number;
  readonly signal: AbortSignal;
  readonly log?: Logger | undefined;
}

const BACKOFF = { minMs: 200, maxMs: 3000 };

/**
 * Runs the first statements on a database, again while nobody answers there.
 *
 * @throws AppError `DATABASE_UNREACHABLE`; those of `use` as they are.
 */
export async function withDatabase<T>(use: () => Promise<T>, wait: DatabaseWait): Promise<T> {
  const host = new URL(wait.url.reveal()).host;
  const giveUp = AbortSignal.any([wait.signal, AbortSignal.timeout(Math.max(1, wait.patienceMs))]);
  try {
    return await retry(use, {
      ...BACKOFF,
      signal: giveUp,
      isRetryable: (error) => wait.patienceMs > 0 && isDatabaseDown(error),
      onRetry: (error, attempt) =>
        wait.log?.warn("PostgreSQL cannot be reached yet", {
          host,
          attempt,
          error: errorMessage(error),
        }),
    });
  } catch (error) {
    throw error instanceof AppError ? error : unreachable(host, error);
  }
}

function unreachable(host: string, cause: unknown): AppError {
  return new AppError(
    "unavailable",
    "DATABASE_UNREACHABLE",
    `Cannot use PostgreSQL at ${host}: ${errorMessage(cause)} (see DATABASE_URL and POSTGRES_*)`,
    { cause },
  );
}
