/** Watches the resident memory of processes that run tasks. */
import type { Failure } from "../engine/failure.ts";
import { failure } from "../engine/failure.ts";
import { residentBytes } from "./process-group.ts";

const LOOK_EVERY_MS = 250;

export class MemoryGuard {
  readonly #limitBytes: number | undefined;
  readonly #watched = new Map<number, (reason: Failure) => void>();
  #timer: ReturnType<typeof setInterval> | undefined;

  /** @param limitBytes of one process; undefined: no limit. */
  constructor(limitBytes: number | undefined) {
    this.#limitBytes = limitBytes;
  }

  /** Calls `onOver` when the process is found over the limit, until the returned function is called. */
  watch(pid: number, onOver: (reason: Failure) => void): () => void {
    if (this.#limitBytes === undefined) {
      return () => undefined;
    }
    this.#watched.set(pid, onOver);
    this.#timer ??= setInterval(() => this.#look(), LOOK_EVERY_MS);
    this.#timer.unref();
    return () => void this.#watched.delete(pid);
  }

  #look(): void {
    const limit = this.#limitBytes ?? Number.POSITIVE_INFINITY;
    for (const [pid, onOver] of this.#watched) {
      if (residentBytes(pid) > limit) {
        this.#watched.delete(pid);
        onOver(
          failure("oom_host", `the task used more than ${limit} bytes of memory, so it was killed`),
        );
      }
    }
    if (this.#watched.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }
}
