/** Names on the bus: subjects, streams, consumers. Nothing else in the house spells them. */
import { AppError } from "../core/errors.ts";
import type { ExecutionId } from "../core/ids.ts";

/** Pool names become a token of a subject and a part of a consumer's name. */
const POOL = /^[A-Za-z0-9_-]{1,64}$/;

/** @throws AppError `invalid`, `POOL_NAME_INVALID`. */
export function checkPool(pool: string): string {
  if (!POOL.test(pool)) {
    throw new AppError(
      "invalid",
      "POOL_NAME_INVALID",
      `Pool name "${pool}" must be 1 to 64 letters, digits, "-" or "_"`,
    );
  }
  return pool;
}

export function commandSubject(prefix: string, pool: string, executionId: ExecutionId): string {
  return `${prefix}.${checkPool(pool)}.${executionId}`;
}

/** Matches the commands of one pool. */
export function poolFilter(prefix: string, pool: string): string {
  return `${prefix}.${checkPool(pool)}.>`;
}

export function consumerName(prefix: string, pool: string): string {
  return `${prefix}_${checkPool(pool)}`;
}

export function logSubject(prefix: string, executionId: ExecutionId, step: string): string {
  return `${prefix}.${executionId}.${token(step)}`;
}

/** Matches the log of an execution, or of one of its steps. */
export function logFilter(prefix: string, executionId: ExecutionId, step?: string): string {
  return step === undefined ? `${prefix}.${executionId}.>` : logSubject(prefix, executionId, step);
}

/** Any text as one token: percent-encoded, dots and wildcards included. */
function token(text: string): string {
  return encodeURIComponent(text).replace(
    /[.*!'()~]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
