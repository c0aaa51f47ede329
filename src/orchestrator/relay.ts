/**
 * Repeats notifications that may have got lost, from the commands' rows, which are the truth:
 *
 * - never marked as sent (the server died between commit and publish, or NATS was down);
 * - sent to a stream that has been deleted since: all marks go, and the first case follows;
 * - sent long ago and still waiting though a worker is free: sent again under a new message id.
 */
import { sleep } from "../core/clock.ts";
import { errorMessage } from "../core/errors.ts";
import type { Service } from "../core/service.ts";
import type { QueuedCommand } from "../store/command.ts";
import { listForgotten, noteStream } from "../store/command.ts";
import type { UnnotifiedCommand } from "../store/sweep.ts";
import type { Notifier } from "./notifier.ts";
import type { OrchestratorOptions } from "./options.ts";

/** How soon the loss of the stream is noticed. */
const STREAM_CHECK_MS = 2000;
/** Checks of the stream between two looks for forgotten commands. */
const FORGOTTEN_EVERY = 2;
/** A command that was announced so long ago should have found the free worker. */
const FORGOTTEN_MS = 8000;
const FORGOTTEN_MAX = 200;

export class Relay {
  readonly service: Service = { name: "relay", run: (signal) => this.#run(signal) };
  readonly #options: Pick<OrchestratorOptions, "bus" | "store" | "stream" | "metrics" | "log">;
  readonly #notifier: Notifier;
  readonly #workerTimeoutMs: number;
  #identity: string | undefined;
  #isRepeating = false;

  constructor(
    options: Pick<OrchestratorOptions, "bus" | "store" | "stream" | "metrics" | "log">,
    notifier: Notifier,
    workerTimeoutMs: number,
  ) {
    this.#options = options;
    this.#notifier = notifier;
    this.#workerTimeoutMs = workerTimeoutMs;
  }

  /**
   * Publishes what a sweep has found unmarked, the oldest first. Returns at once; skips while a round is
   * under way.
   */
  repeat(commands: readonly UnnotifiedCommand[]): void {
    const lost = commands.filter((command) => !this.#notifier.hasSent(command));
    this.#options.metrics.relayLagSeconds.set((lost[0]?.ageMs ?? 0) / 1000);
    if (lost.length > 0 && !this.#isRepeating) {
      this.#isRepeating = true;
      void this.#publishAll(lost, undefined).finally(() => {
        this.#isRepeating = false;
      });
    }
  }

  async #publishAll(commands: readonly QueuedCommand[], round: string | undefined): Promise<void> {
    this.#options.metrics.sweepRows.add(commands.length, "unnotified");
    const sent = await Promise.all(
      commands.map((command) => this.#notifier.publish(command, "relay", round)),
    );
    const failed = sent.filter((isSent) => !isSent).length;
    if (failed > 0) {
      this.#options.log.warn("notifications not repeated", { failed, of: commands.length });
    }
  }

  async #run(signal: AbortSignal): Promise<void> {
    for (let round = 1; !signal.aborted; round++) {
      try {
        await this.#checkStream();
        if (round % FORGOTTEN_EVERY === 0) {
          await this.#repeatForgotten(String(Date.now()));
        }
      } catch (error) {
        this.#options.log.debug("stream not checked", { error: errorMessage(error) });
      }
      await sleep(STREAM_CHECK_MS, signal);
    }
    this.#notifier.stop();
  }

  async #checkStream(): Promise<void> {
    const { bus, store, stream, log } = this.#options;
    const identity = await bus.streamIdentity();
    if (identity === this.#identity) {
      return;
    }
    const count = await noteStream(store.quick, stream, identity);
    this.#identity = identity;
    if (count > 0) {
      log.warn("command stream is new, announcing its commands again", { count });
    }
  }

  async #repeatForgotten(round: string): Promise<void> {
    const commands = await listForgotten(this.#options.store.quick, {
      olderThanMs: FORGOTTEN_MS,
      workerTimeoutMs: this.#workerTimeoutMs,
      limit: FORGOTTEN_MAX,
    });
    await this.#publishAll(commands, round);
  }
}
