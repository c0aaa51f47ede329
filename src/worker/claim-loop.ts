/**
 * From notifications to running commands.
 *
 * As many notifications are pulled as there are free slots; all that are there are claimed in one
 * call; while one is under way what arrives gathers ({@link CLAIM_STARTS_AT}), so that under load
 * batches form by themselves. Acknowledgements are sent and not waited for: one that is lost only brings the
 * notification once more, and the claim then says that the command is gone.
 *
 * A claim that nobody answers is repeated for some seconds, then its notifications are given back and
 * nothing is pulled for the time of a back-off.
 */
import type { CommandConsumer, CommandMessage } from "../bus/command-consumer.ts";
import { backoffMs, retry } from "../core/backoff.ts";
import { sleep } from "../core/clock.ts";
import { AppError, errorMessage } from "../core/errors.ts";
import type { ClaimedCommand, ClaimOutcome, HeldCommand } from "../engine/command.ts";
import type { HeldCommands, HeldEntry } from "./held-commands.ts";
import type { WorkerOptions } from "./options.ts";

/**
 * Notifications that must wait for a further call to start, by the number of calls under way.
 * Measured: a second one for less makes batches smaller and nothing faster.
 */
const CLAIM_STARTS_AT: readonly number[] = [1, 32];
const CLAIM_BACKOFF = { minMs: 100, maxMs: 1000 };
/** Tries before the notifications are left to other workers; 3 s in all. */
const CLAIM_TRIES_MAX = 6;
/** A notification that could not be claimed comes again, to any worker. */
const NAK_DELAY_MS = 1000;

export interface ClaimLoopOptions
  extends Pick<WorkerOptions, "bus" | "client" | "log" | "metrics" | "pool" | "workerId"> {
  readonly held: HeldCommands;
  /** Runs and reports a command; gives its slot back. */
  readonly start: (command: ClaimedCommand, entry: HeldEntry) => void;
}

interface Candidate {
  readonly message: CommandMessage;
  readonly entry: HeldEntry;
}

export class ClaimLoop {
  readonly #options: ClaimLoopOptions;
  readonly #stopped = new AbortController();
  #consumer: CommandConsumer | undefined;
  readonly #waiting: Candidate[] = [];
  #inFlight = 0;
  #failures = 0;
  #isPaused = false;

  constructor(options: ClaimLoopOptions) {
    this.#options = options;
  }

  /** Milliseconds since the last answer to a pull. */
  get pullAgeMs(): number {
    return this.#consumer?.silenceMs ?? 0;
  }

  start(): void {
    const { bus, pool } = this.#options;
    this.#consumer = bus.consumeCommands(pool, (messages) => this.#receive(messages));
    this.pull();
  }

  /** Pulls for the slots that are free now. */
  pull(): void {
    if (!this.#isPaused && !this.#stopped.signal.aborted) {
      this.#consumer?.want(this.#options.held.freeSlots);
    }
  }

  /** Stops pulling and gives back what was not claimed. Claims under way still end. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    for (const candidate of this.#waiting.splice(0)) {
      this.#giveBack(candidate, 0);
    }
    await this.#consumer?.close();
  }

  #receive(messages: readonly CommandMessage[]): void {
    this.#options.metrics.pulls.inc("messages");
    for (const message of messages) {
      this.#accept(message);
    }
    this.#claimWaiting();
  }

  #accept(message: CommandMessage): void {
    const { held } = this.#options;
    const { executionId, commandId, attempt } = message.notification;
    const known = held.get(commandId);
    if (known !== undefined) {
      // The same doorbell twice, or the next attempt while this worker does not know yet.
      if (known.held.attempt === attempt) {
        message.ack();
      } else {
        message.nak(NAK_DELAY_MS);
      }
    } else if (this.#stopped.signal.aborted || held.freeSlots === 0) {
      message.nak(0);
    } else {
      const entry = held.take({ executionId, commandId, attempt });
      this.#waiting.push({ message, entry });
    }
  }

  #claimWaiting(): void {
    if (this.#waiting.length >= (CLAIM_STARTS_AT[this.#inFlight] ?? Number.POSITIVE_INFINITY)) {
      const batch = this.#waiting.splice(0);
      this.#inFlight++;
      void this.#claim(batch).finally(() => {
        this.#inFlight--;
        this.#claimWaiting();
      });
    }
  }

  /** Never rejects. */
  async #claim(batch: readonly Candidate[]): Promise<void> {
    const { metrics } = this.#options;
    const startMs = performance.now();
    try {
      const outcomes = await this.#ask(batch.map(({ entry }) => entry.held));
      metrics.pullSeconds.observe((performance.now() - startMs) / 1000);
      this.#failures = 0;
      for (const [position, candidate] of batch.entries()) {
        this.#settle(candidate, outcomes[position]);
      }
    } catch (error) {
      this.#handleFailure(batch, error);
    }
  }

  /** Repeats a claim whose answer was lost: the server gives the same commands again. */
  async #ask(commands: readonly HeldCommand[]): Promise<readonly ClaimOutcome[]> {
    const { client, workerId } = this.#options;
    let tries = 0;
    return await retry(() => client.claim(workerId, commands, tries > 0), {
      ...CLAIM_BACKOFF,
      signal: this.#stopped.signal,
      isRetryable: (error) => {
        tries++;
        return tries < CLAIM_TRIES_MAX && error instanceof AppError && error.isRetryable;
      },
    });
  }

  #settle({ message, entry }: Candidate, outcome: ClaimOutcome | undefined): void {
    const { held, metrics, start } = this.#options;
    if (outcome?.status === "claimed" && isFor(outcome.command, entry.held)) {
      message.ack();
      metrics.claimSucceeded.inc();
      start(outcome.command, entry);
      return;
    }
    if (outcome?.status === "claimed" && outcome.command.commandId !== entry.held.commandId) {
      this.#takeOther({ message, entry }, outcome.command);
      return;
    }
    metrics.claimFailed.inc();
    if (outcome?.status === "later") {
      message.nak(outcome.delayMs);
    } else {
      message.ack();
    }
    held.release(entry);
  }

  /** A more urgent command runs in the slot; the notification must come again, to whoever is free. */
  #takeOther({ message, entry }: Candidate, command: ClaimedCommand): void {
    const { held, metrics, start } = this.#options;
    message.nak(0);
    const { executionId, commandId, attempt } = command;
    const other = held.replace(entry, { executionId, commandId, attempt });
    if (other !== undefined) {
      metrics.claimSucceeded.inc();
      start(command, other);
    }
  }

  #handleFailure(batch: readonly Candidate[], error: unknown): void {
    this.#failures++;
    const delayMs = backoffMs(this.#failures, CLAIM_BACKOFF);
    this.#options.metrics.pulls.inc("error");
    this.#options.log.warn("Cannot claim commands", {
      count: batch.length,
      delay_ms: Math.round(delayMs),
      error: errorMessage(error),
    });
    void this.#pause(delayMs);
    for (const candidate of batch) {
      this.#giveBack(candidate, NAK_DELAY_MS);
    }
  }

  async #pause(delayMs: number): Promise<void> {
    this.#isPaused = true;
    this.#consumer?.want(0);
    await sleep(delayMs, this.#stopped.signal);
    this.#isPaused = false;
    this.pull();
  }

  #giveBack({ message, entry }: Candidate, delayMs: number): void {
    message.nak(delayMs);
    this.#options.held.release(entry);
  }
}

/** The server may hand out a later attempt than the notification said: that is the one it gives. */
function isFor(command: ClaimedCommand, held: HeldCommand): boolean {
  return command.commandId === held.commandId && command.attempt === held.attempt;
}
