/**
 * The commands that this worker holds, each in one of its slots unless it is parked.
 *
 * A slot is taken when a notification is about to be claimed and given back when the server has
 * accepted the report, or when there is nothing to report. A command whose work goes on elsewhere, such as a
 * Job of a cluster, is parked meanwhile: held and leased, but in no slot.
 */
import { assert } from "../core/assert.ts";
import type { CommandId } from "../core/ids.ts";
import type { HeldCommand } from "../engine/command.ts";

/**
 * Why a command is stopped from outside:
 * - `cancelled`: the server asked for it; it is reported.
 * - `lost`: another attempt may own it; nothing is reported.
 * - `shutdown`: this worker stops; it is handed back.
 * - `left`: this worker stops and leaves what it has started to the next one; nothing is reported.
 */
export type StopReason = "cancelled" | "lost" | "shutdown" | "left";

const STOP_REASONS: readonly StopReason[] = ["cancelled", "lost", "shutdown", "left"];

export interface HeldEntry {
  readonly held: HeldCommand;
  /** `claiming` until the server gave it to this worker. */
  state: "claiming" | "running" | "reporting";
  /** In no slot. */
  isParked: boolean;
  /** What it runs now outlives this worker, if that wants it to. */
  isDurable: boolean;
  /** How long what it runs now may take to end after it was told to. */
  stopMs: number;
  /** Aborted with a {@link StopReason}. */
  readonly stop: AbortController;
}

/** Parked at once if not said otherwise: each costs a lease and some memory. */
const PARKED_MAX = 1000;

export class HeldCommands {
  readonly slots: number;
  readonly #entries = new Map<CommandId, HeldEntry>();
  readonly #onFreed: () => void;
  readonly #parkedMax: number;
  readonly #whenFewer = new Set<() => void>();
  #parkedCount = 0;

  /** @param onFreed told each time a slot becomes free. */
  constructor(slots: number, onFreed: () => void, parkedMax = PARKED_MAX) {
    assert(Number.isInteger(slots) && slots > 0, "a worker has slots");
    this.slots = slots;
    this.#onFreed = onFreed;
    this.#parkedMax = parkedMax;
  }

  /** What was adopted may take more slots than there are. */
  get freeSlots(): number {
    return Math.max(0, this.slots - this.#entries.size + this.#parkedCount);
  }

  get parkedCount(): number {
    return this.#parkedCount;
  }

  get(commandId: CommandId): HeldEntry | undefined {
    return this.#entries.get(commandId);
  }

  /** True if this worker holds that very attempt. */
  has({ commandId, attempt }: Pick<HeldCommand, "commandId" | "attempt">): boolean {
    return this.#entries.get(commandId)?.held.attempt === attempt;
  }

  take(held: HeldCommand): HeldEntry {
    assert(!this.#entries.has(held.commandId), "a command is held once");
    const entry: HeldEntry = {
      held,
      state: "claiming",
      isParked: false,
      isDurable: false,
      stopMs: 0,
      stop: new AbortController(),
    };
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

  /** Gives the slot to others. Without effect when too many are parked already: then it keeps its slot. */
  park(entry: HeldEntry): void {
    if (!entry.isParked && this.#holds(entry) && this.#parkedCount < this.#parkedMax) {
      entry.isParked = true;
      this.#parkedCount++;
      this.#onFreed();
    }
  }

  /** Takes a slot again. False when none is free: the entry stays parked, and is to end soon. */
  unpark(entry: HeldEntry): boolean {
    if (entry.isParked && this.freeSlots > 0) {
      entry.isParked = false;
      this.#parkedCount--;
    }
    return !entry.isParked;
  }

  release(entry: HeldEntry): void {
    if (!this.#holds(entry)) {
      return;
    }
    this.#entries.delete(entry.held.commandId);
    this.#parkedCount -= entry.isParked ? 1 : 0;
    this.check();
    this.#onFreed();
  }

  /** Tells those that wait for something to end that an entry has changed. */
  check(): void {
    for (const check of this.#whenFewer) {
      check();
    }
  }

  /** Those whose leases must be renewed. */
  leased(): readonly HeldCommand[] {
    return this.#all().flatMap(({ state, held }) => (state === "claiming" ? [] : [held]));
  }

  /** In slots. */
  countRunning(): number {
    let count = 0;
    for (const { state, isParked } of this.#entries.values()) {
      count += state === "running" && !isParked ? 1 : 0;
    }
    return count;
  }

  /** The longest time that what runs may take to end. */
  get stopMs(): number {
    return Math.max(0, ...this.#all().map(({ stopMs }) => stopMs));
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

  /** Same, unless its outcome is being reported already. */
  stopRunning(commandId: CommandId, attempt: number, reason: StopReason): boolean {
    const isRunning = this.#entries.get(commandId)?.state === "running";
    return isRunning && this.stop(commandId, attempt, reason);
  }

  /** Stops those that the server gave to this worker; all of them if not said otherwise. Returns how many. */
  stopAll(reason: StopReason, isMeant: (entry: HeldEntry) => boolean = () => true): number {
    const entries = this.#all().filter((entry) => entry.state !== "claiming" && isMeant(entry));
    for (const { stop } of entries) {
      stop.abort(reason);
    }
    return entries.length;
  }

  /** Resolves when nothing is held any more, or nothing that is meant. */
  async empty(isMeant: (entry: HeldEntry) => boolean = () => true): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const check = (): void => {
      if (!this.#all().some(isMeant)) {
        this.#whenFewer.delete(check);
        resolve();
      }
    };
    this.#whenFewer.add(check);
    check();
    await promise;
  }

  #holds(entry: HeldEntry): boolean {
    return this.#entries.get(entry.held.commandId) === entry;
  }

  #all(): readonly HeldEntry[] {
    return [...this.#entries.values()];
  }
}

/** The {@link StopReason} that `signal` was aborted with. */
export function stopReason(signal: AbortSignal): StopReason {
  const reason: unknown = signal.reason;
  return STOP_REASONS.find((one) => one === reason) ?? "shutdown";
}
