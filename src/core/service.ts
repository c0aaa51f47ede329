/** Things that run until told to stop, and the order in which they do. */
import { errorMessage } from "./errors.ts";

export interface Service {
  readonly name: string;
  /** Resolves once stopped and drained; rejects if it cannot go on. Aborting twice is harmless. */
  run(signal: AbortSignal): Promise<void>;
}

/**
 * Runs all services until `signal` aborts or one of them ends, then stops the rest, last one first,
 * each fully drained before the next is told, so that what others depend on stops last.
 *
 * @throws the first error of a service that could not go on.
 */
export async function runServices(
  services: readonly Service[],
  signal: AbortSignal,
): Promise<void> {
  const failures: Error[] = [];
  const ended = Promise.withResolvers<void>();
  const running = services.map((service) => {
    const stop = new AbortController();
    const done = service.run(stop.signal).then(
      () => ended.resolve(),
      (error: unknown) => {
        failures.push(new Error(`${service.name}: ${errorMessage(error)}`, { cause: error }));
        ended.resolve();
      },
    );
    return { stop, done };
  });
  signal.addEventListener("abort", () => ended.resolve(), { once: true });
  if (signal.aborted) {
    ended.resolve();
  }
  await ended.promise;
  for (const { stop, done } of running.reverse()) {
    stop.abort();
    await done;
  }
  if (failures[0] !== undefined) {
    throw failures[0];
  }
}
