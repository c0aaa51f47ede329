/** What a command that runs and the worker that holds it must know of each other. */
import type { HeldCommands, HeldEntry } from "./held-commands.ts";
import { stopReason } from "./held-commands.ts";

export interface CommandSlot {
  /** Aborted with a `StopReason`. */
  readonly stop: AbortSignal;
  /** Kinds of tools that have run and whose work outlives the worker. */
  readonly durableKinds: ReadonlySet<string>;
  /** True: what its tool has started was left as it is. */
  readonly wasLeft: boolean;
  /** True while it has no slot. */
  readonly isParked: boolean;
  begin(tool: RunningTool): void;
  /** Its tool has ended. */
  end(): void;
  park(): void;
  /** What is running is to be left as it is if it is stopped now. */
  leave(): boolean;
}

export interface RunningTool {
  readonly kind: string;
  readonly isDurable: boolean;
  /** How long it may take to end after it was told to. */
  readonly stopMs: number;
}

export function createSlot(held: HeldCommands, entry: HeldEntry): CommandSlot {
  return new HeldSlot(held, entry);
}

class HeldSlot implements CommandSlot {
  readonly durableKinds = new Set<string>();
  readonly #held: HeldCommands;
  readonly #entry: HeldEntry;
  #wasLeft = false;

  constructor(held: HeldCommands, entry: HeldEntry) {
    this.#held = held;
    this.#entry = entry;
  }

  get stop(): AbortSignal {
    return this.#entry.stop.signal;
  }

  get wasLeft(): boolean {
    return this.#wasLeft;
  }

  get isParked(): boolean {
    return this.#entry.isParked;
  }

  begin({ kind, isDurable, stopMs }: RunningTool): void {
    this.#entry.isDurable = isDurable;
    this.#entry.stopMs = stopMs;
    if (isDurable) {
      this.durableKinds.add(kind);
      this.#held.check();
    }
  }

  end(): void {
    this.#entry.isDurable = false;
    this.#entry.stopMs = 0;
    this.#held.unpark(this.#entry);
  }

  park(): void {
    this.#held.park(this.#entry);
  }

  /** Lost: whose it is, is asked. Parked: it is elsewhere, and whoever gets the command next attaches to it. */
  leave(): boolean {
    const reason = stopReason(this.stop);
    this.#wasLeft =
      this.stop.aborted &&
      (reason === "lost" || reason === "left" || (reason === "shutdown" && this.isParked));
    return this.#wasLeft;
  }
}
