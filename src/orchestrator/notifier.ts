/**
 * Rings the doorbell for committed commands. Nobody waits for it: what does not go out, or is lost
 * because the server dies here, is found by the relay in the commands' rows.
 *
 * `notified_at` is written late and in bulk, only for commands that are still open a second after
 * their notification, so that a command that runs at once never costs that write.
 */
import { errorMessage } from "../core/errors.ts";
import type { CommandId } from "../core/ids.ts";
import type { QueuedCommand } from "../store/command.ts";
import { markNotified } from "../store/command.ts";
import type { Pool } from "../store/pool.ts";
import type { CommandBus, OrchestratorOptions } from "./options.ts";

/** A command that is open for so long after its notification gets its mark. */
const MARK_AFTER_MS = 1000;
/** Marks in one statement. */
const MARK_MAX = 2000;
/** Delayed commands whose time this server remembers itself; later ones are left to the relay. */
const DELAY_MS_MAX = 300_000;
/** Clocks differ a little: a worker that comes too early is sent away. */
const DELAY_MARGIN_MS = 20;

interface Sent extends Pick<QueuedCommand, "executionId" | "commandId" | "attempt"> {
  readonly atMs: number;
}

export class Notifier {
  readonly #bus: CommandBus;
  readonly #pool: Pool;
  readonly #metrics: OrchestratorOptions["metrics"];
  readonly #log: OrchestratorOptions["log"];
  /** Notified and not known to be claimed or over, oldest first. */
  readonly #sent = new Map<CommandId, Sent>();
  readonly #delayed = new Set<Timer>();

  constructor({
    bus,
    store,
    metrics,
    log,
  }: Pick<OrchestratorOptions, "bus" | "store" | "metrics" | "log">) {
    this.#bus = bus;
    this.#pool = store.quick;
    this.#metrics = metrics;
    this.#log = log;
  }

  /** Returns at once; never throws. */
  notify(command: QueuedCommand, delayMs: number): void {
    if (delayMs > DELAY_MS_MAX) {
      return;
    }
    if (delayMs > 0) {
      const timer = setTimeout(() => {
        this.#delayed.delete(timer);
        void this.publish(command, "direct");
      }, delayMs + DELAY_MARGIN_MS);
      this.#delayed.add(timer);
      return;
    }
    void this.publish(command, "direct");
  }

  /**
   * @param round makes a message that the stream does not take for a repetition.
   * @returns false if it did not go out.
   */
  async publish(
    command: QueuedCommand,
    route: "direct" | "relay",
    round?: string,
  ): Promise<boolean> {
    const { executionId, commandId, attempt, eventSeq, step, pool, trace } = command;
    const eventId = String(eventSeq);
    const notification = { executionId, commandId, attempt, step, eventId, trace };
    const suffix = round === undefined ? "" : `:${round}`;
    const startMs = performance.now();
    try {
      await this.#bus.publishCommand(pool, notification, {
        messageId: `${commandId}:${attempt}${suffix}`,
      });
      this.#metrics.commandPublish.inc(route, pool);
      this.#metrics.commandPublishSeconds.observe((performance.now() - startMs) / 1000);
      // Anew, so that the map stays in the order of time.
      this.#sent.delete(commandId);
      this.#sent.set(commandId, { executionId, commandId, attempt, atMs: Date.now() });
      return true;
    } catch (error) {
      this.#metrics.commandPublishFailed.inc("bus");
      this.#log.debug("notification not published", { commandId, error: errorMessage(error) });
      return false;
    }
  }

  /** The command needs no mark any more: somebody has it, or it is over. */
  settle(commandId: CommandId): void {
    this.#sent.delete(commandId);
  }

  /** True if the notification of this attempt went out from here, and its mark is not yet written. */
  hasSent({ commandId, attempt }: Pick<QueuedCommand, "commandId" | "attempt">): boolean {
    return this.#sent.get(commandId)?.attempt === attempt;
  }

  /** Marks what has been waiting for a while. Called once a second. */
  async writeMarks(): Promise<void> {
    const untilMs = Date.now() - MARK_AFTER_MS;
    for (;;) {
      const due = this.#sentUntil(untilMs);
      if (due.length === 0) {
        return;
      }
      await markNotified(this.#pool, due);
      for (const { commandId, atMs } of due) {
        if (this.#sent.get(commandId)?.atMs === atMs) {
          this.#sent.delete(commandId);
        }
      }
    }
  }

  #sentUntil(untilMs: number): readonly Sent[] {
    const due: Sent[] = [];
    for (const sent of this.#sent.values()) {
      if (sent.atMs > untilMs || due.length >= MARK_MAX) {
        break;
      }
      due.push(sent);
    }
    return due;
  }

  stop(): void {
    for (const timer of this.#delayed) {
      clearTimeout(timer);
    }
    this.#delayed.clear();
  }
}
