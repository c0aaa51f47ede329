/**
 * The commands that this worker holds, each in one of its slots.
 *
 * A slot is taken when a notification is about to be claimed and given back when the server has
 * accepted the report, or when there is nothing to report.
 */
import { assert } from "../core/assert.ts";
import type { CommandId } from "../core/ids.ts";
import type { HeldCommand } from "../engine/command.ts";

/**
 * Why a command is stopped from outside:
 * - `cancelled`: the server asked for it; it is reported.
 * - `lost`: another attempt may own it; nothing is reported.
 * - `shutdown`: this worker stops; it is handed back.
 */
export type StopReason = "cancelled" | "lost" | "shutdown";

export interface HeldEntry {
  readonly held: HeldCommand;
  /** `claiming` until the server gave it to this worker. */
  state: "claiming" | "running" | "reporting";
  /** Aborted with a {@link StopReason}. */
  readonly stop: AbortController;
}

export class HeldCommands {
  readonly slots: number;
  readonly #entries = new Map<CommandId, HeldEntry>();
  readonly #onFreed: () => void;
  readonly #whenEmpty: (() => void)[] = [];

  /** @param onFreed told each time a slot becomes free. */
  constructor(slots: number, onFreed: () => void) {
    assert(Number.isInteger(slots) && slots > 0, "a worker has slots");
    this.slots = slots;
    this.#onFreed = onFreed;
  }

  get freeSlots(): number {
    return Math.max(0, this.slots - this.#entries.size);
  }

  get(commandId: CommandId): HeldEntry | undefined {
    return this.#entries.get(commandId);
  }

  take(held: HeldCommand): HeldEntry {
    assert(!this.#entries.has(held.commandId), "a command is held once");
    const entry: HeldEntry = { held, state: "claiming", stop: new AbortController() };
    this.#entries.set(held.commandId, entry);
    return entry;
  }

  /**
   * Gives the entry's slot to another command. Undefined, and the slot is free, if this worker holds
   * that one already.
   */
  replace(entry: HeldEntry, held: HeldCommand): HeldEntry | undefined {
    if (this.#entries.has(held.commandId)) {
      this.release(entry);
      return undefined;
    }
    this.#entries.delete(entry.held.commandId);
    return this.take(held);
  }

  release(entry: HeldEntry): void {
    if (this.#entries.get(entry.held.commandId) !== entry) {
      return;
    }
    this.#entries.delete(entry.held.commandId);
    if (this.#entries.size === 0) {
      for (const resolve of this.#whenEmpty.splice(0)) {
        resolve();
      }
    }
    this.#onFreed();
  }

  /** Those whose leases must be renewed. */
  leased(): readonly HeldCommand[] {
    return this.#all().flatMap(({ state, held }) => (state === "claiming" ? [] : [held]));
  }

  countRunning(): number {
    let count = 0;
    for (const { state } of this.#entries.values()) {
      count += state === "running" ? 1 : 0;
    }
    return count;
  }

  /** Stops one command; true if this worker holds that very attempt. */
  stop(commandId: CommandId, attempt: number, reason: StopReason): boolean {
    const entry = this.#entries.get(commandId);
    if (entry === undefined || entry.state === "claiming" || entry.held.attempt !== attempt) {
      return false;
    }
    entry.stop.abort(reason);
    return true;
  }

  /** Stops all that the server gave to this worker. Returns how many. */
  stopAll(reason: StopReason): number {
    const entries = this.#all().filter(({ state }) => state !== "claiming");
    for (const { stop } of entries) {
      stop.abort(reason);
    }
    return entries.length;
  }

  /** Resolves when nothing is held any more. */
  async empty(): Promise<void> {
    if (this.#entries.size > 0) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#whenEmpty.push(resolve);
      await promise;
    }
  }

  #all(): readonly HeldEntry[] {
    return [...this.#entries.values()];
  }
}

/** The {@link StopReason} that `signal` was aborted with. */
export function stopReason(signal: AbortSignal): StopReason {
  const reason: unknown = signal.reason;
  return reason === "cancelled" || reason === "lost" ? reason : "shutdown";
}
