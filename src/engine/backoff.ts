/** How long a policy's `retry` waits. Deterministic: jitter comes from a hash, not from chance. */
import type { Rule } from "../dsl/playbook.ts";
import type { Failure } from "./failure.ts";

const JITTER = 0.25;

export interface RetryFacts {
  /** Rendered. */
  readonly delaySeconds: number;
  /** Tries so far, at least 1. */
  readonly tries: number;
  readonly error: Failure | undefined;
  /** What makes this wait differ from others: execution, task, item. */
  readonly seed: string;
}

/** Milliseconds before the next try. A `Retry-After` is waited for in full. */
export function retryDelayMs(rule: Rule, facts: RetryFacts): number {
  const grown = growth(rule.backoff, facts.tries) * facts.delaySeconds * 1000;
  const capped = Math.min(grown, rule.maxDelayMs ?? Number.POSITIVE_INFINITY);
  const jittered = rule.hasJitter ? capped * jitterFactor(`${facts.seed}:${facts.tries}`) : capped;
  return Math.round(Math.max(jittered, facts.error?.retryAfterMs ?? 0));
}

function growth(backoff: string, tries: number): number {
  switch (backoff) {
    case "none":
      return 0;
    case "linear":
      return tries;
    case "exponential":
      return 2 ** (tries - 1);
    default:
      return 1;
  }
}

/** 0.75 to 1.25. FNV-1a, see RFC draft-eastlake-fnv. */
function jitterFactor(seed: string): number {
  let hash = 0x81_1c_9d_c5;
  for (let index = 0; index < seed.length; index++) {
    hash = Math.imul(hash ^ seed.charCodeAt(index), 0x01_00_01_93) >>> 0;
  }
  return 1 - JITTER + (2 * JITTER * hash) / 2 ** 32;
}
