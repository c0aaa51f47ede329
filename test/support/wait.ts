import { sleep } from "../../src/core/clock.ts";

const POLL_MS = 20;

export interface WaitOptions {
  /** Default 20,000: the limit of a hang, not of a slow machine. */
  readonly deadlineMs?: number;
}

/**
 * Polls until `probe` gives something other than undefined or false; a probe that throws is asked
 * again.
 *
 * @throws Error naming `what`, with the last error of the probe as its cause.
 */
export async function waitFor<T>(
  what: string,
  probe: () => T | undefined | false | Promise<T | undefined | false>,
  { deadlineMs = 20_000 }: WaitOptions = {},
): Promise<T> {
  const deadline = performance.now() + deadlineMs;
  let cause: unknown;
  while (performance.now() < deadline) {
    try {
      const found = await probe();
      if (found !== undefined && found !== false) {
        return found;
      }
    } catch (error) {
      cause = error;
    }
    await sleep(POLL_MS);
  }
  throw new Error(`Waited ${deadlineMs} ms in vain for ${what}`, { cause });
}
