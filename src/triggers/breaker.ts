/**
 * Stops dispatching while it fails: closed → open after so many failures in a row → half open after a
 * rest → closed again when one dispatch succeeds, open again when it fails.
 */
import type { BreakerOptions } from "../dsl/subscription.ts";
import type { CircuitState } from "../store/subscription.ts";

export class Breaker {
  readonly #options: BreakerOptions;
  readonly #onTransition: (state: CircuitState) => void;
  #state: CircuitState = "closed";
  #failureCount = 0;
  #openedAtMs = 0;

  constructor(options: BreakerOptions, onTransition: (state: CircuitState) => void) {
    this.#options = options;
    this.#onTransition = onTransition;
  }

  /** Milliseconds until a dispatch may be tried; 0: now. Half open, one at a time may. */
  waitMs(nowMs: number): number {
    if (this.#state === "open") {
      const restMs = this.#openedAtMs + this.#options.cooldownMs - nowMs;
      if (restMs > 0) {
        return restMs;
      }
      this.#move("half_open");
    }
    return 0;
  }

  get state(): CircuitState {
    return this.#state;
  }

  success(): void {
    this.#failureCount = 0;
    this.#move("closed");
  }

  failure(nowMs: number): void {
    this.#failureCount++;
    if (this.#state === "half_open" || this.#failureCount >= this.#options.failures) {
      this.#openedAtMs = nowMs;
      this.#move("open");
    }
  }

  #move(state: CircuitState): void {
    if (state !== this.#state) {
      this.#state = state;
      this.#onTransition(state);
    }
  }
}
