/** Groups what an iteration gives, for receivers that take many at once as easily as one. */
import { sleep } from "../core/clock.ts";

export interface BatchOptions {
  readonly sizeMax: number;
  /** How long a batch that has begun waits for more. */
  readonly waitMs: number;
}

/** Batches in order, none empty. Ends with the source; what has come until then is given first. */
export async function* inBatches<T>(
  source: AsyncIterable<T>,
  { sizeMax, waitMs }: BatchOptions,
): AsyncGenerator<readonly T[]> {
  const iterator = source[Symbol.asyncIterator]();
  const pull = (): Promise<IteratorResult<T>> => {
    const result = iterator.next();
    // One that fails while a batch is with the receiver is thrown after that, not unhandled before.
    result.catch(() => undefined);
    return result;
  };
  let next = pull();
  try {
    for (;;) {
      const first = await next;
      if (first.done === true) {
        return;
      }
      const batch = [first.value];
      const full = new AbortController();
      const late = sleep(waitMs, full.signal).then(() => undefined);
      next = pull();
      while (batch.length < sizeMax) {
        const result = await Promise.race([next, late]);
        if (result === undefined || result.done === true) {
          break;
        }
        batch.push(result.value);
        next = pull();
      }
      full.abort();
      yield batch;
    }
  } finally {
    void iterator.return?.();
  }
}
