/** Fires the timers that this server has committed, on time. Sweeps fire what is far off or lost. */
import type { ExecutionId, TimerId } from "../core/ids.ts";
import type { Service } from "../core/service.ts";
import type { WakeUp } from "./wake-up.ts";

/** Later ones are left to the sweeps, which are at most two seconds late. */
const HORIZON_MS = 60_000;
/** Clocks differ a little: too late is harmless, too early is not. */
const MARGIN_MS = 20;

export interface WheelEntry {
  readonly executionId: ExecutionId;
  readonly timerId: TimerId;
  readonly wakeUp: WakeUp;
  readonly delayMs: number;
}

export class TimerWheel {
  readonly service: Service = { name: "timers", run: (signal) => this.#run(signal) };
  readonly #armed = new Map<TimerId, Timer>();
  readonly #onDue: (entry: WheelEntry) => void;

  constructor(onDue: (entry: WheelEntry) => void) {
    this.#onDue = onDue;
  }

  arm(entry: WheelEntry): void {
    if (entry.delayMs > HORIZON_MS) {
      return;
    }
    const timer = setTimeout(() => {
      this.#armed.delete(entry.timerId);
      this.#onDue(entry);
    }, entry.delayMs + MARGIN_MS);
    this.#armed.set(entry.timerId, timer);
  }

  disarm(timerId: TimerId): void {
    clearTimeout(this.#armed.get(timerId));
    this.#armed.delete(timerId);
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    signal.addEventListener("abort", () => resolve(), { once: true });
    if (!signal.aborted) {
      await promise;
    }
    for (const timerId of [...this.#armed.keys()]) {
      this.disarm(timerId);
    }
  }
}
