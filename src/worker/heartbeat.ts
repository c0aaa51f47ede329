/**
 * Keeps the leases of what this worker holds, and hears what the server has to say.
 *
 * One stream to one server. Every interval a heartbeat goes out; its answer proves that the leases
 * hold. A stream that breaks is opened again with back-off, to any server, and the tools go on. When
 * no answer came for as long as a lease lasts, somebody else may have the commands: all tools are
 * stopped, nothing is reported for them, and the worker registers anew. The clock decides that, not
 * the stream, so a process that was frozen (SIGSTOP, a suspended machine) finds out when it wakes.
 */
import { backoffMs } from "../core/backoff.ts";
import { sleep } from "../core/clock.ts";
import { errorMessage } from "../core/errors.ts";
import type { Directive, Heartbeat } from "../engine/command.ts";
import type { HeartbeatStream } from "../rpc/client.ts";
import type { RegistrationAnswer } from "../rpc/handlers.ts";
import type { HeldCommands } from "./held-commands.ts";
import { createLoadMeter } from "./load-meter.ts";
import type { WorkerOptions } from "./options.ts";

const RECONNECT_BACKOFF = { minMs: 100, maxMs: 1000 };

export interface HeartbeatOptions
  extends Pick<WorkerOptions, "client" | "gpus" | "log" | "metrics" | "workerId"> {
  readonly held: HeldCommands;
  readonly pullAgeMs: () => number;
  readonly isDraining: () => boolean;
  /** Registers with any server; rejects when that failed. */
  readonly register: () => Promise<RegistrationAnswer>;
  /** The server wants no more work done here. */
  readonly onDrain: () => void;
}

export class HeartbeatKeeper {
  readonly #options: HeartbeatOptions;
  readonly #stopped = new AbortController();
  readonly #meter = createLoadMeter();
  readonly #leaseMs: number;
  readonly #intervalMs: number;
  readonly #timer: Timer;
  #stream: HeartbeatStream | undefined;
  #lastAnswerMs = Date.now();
  #lastBeatMs = Date.now();
  #attempt = 0;
  #isRegistering = false;
  /** Some server must be told of this worker again. */
  #mustRegister = false;
  #leaveMs = 0;

  constructor(options: HeartbeatOptions, registration: RegistrationAnswer) {
    this.#options = options;
    this.#leaseMs = registration.leaseMs;
    this.#intervalMs = registration.heartbeatIntervalMs;
    this.#timer = setInterval(() => this.#beat(), this.#intervalMs);
    this.#open();
  }

  /** True while a server has answered lately: work that is claimed now will be kept. */
  get isConnected(): boolean {
    return Date.now() - this.#lastAnswerMs < this.#leaseMs;
  }

  /** Milliseconds since a server last answered. */
  get answerAgeMs(): number {
    return Date.now() - this.#lastAnswerMs;
  }

  /** Sends one at once, when something changed that the server should know. */
  send(): void {
    this.#stream?.send(this.#heartbeat(0));
  }

  /** Asks, from now on, that the leases hold for so long without this worker. */
  leave(ms: number): void {
    this.#leaveMs = ms;
    this.send();
  }

  /** Registers again, because the worker can say more of itself. */
  registerAgain(): void {
    this.#mustRegister = true;
    void this.#register();
  }

  close(): void {
    this.#stopped.abort();
    clearInterval(this.#timer);
    this.#stream?.close();
  }

  #beat(): void {
    const now = Date.now();
    const lagMs = Math.max(0, now - this.#lastBeatMs - this.#intervalMs);
    this.#lastBeatMs = now;
    if (!this.isConnected) {
      this.#loseAll();
    }
    void this.#register();
    this.#stream?.send(this.#heartbeat(lagMs));
  }

  #heartbeat(eventLoopLagMs: number): Heartbeat {
    const { held, workerId, pullAgeMs, isDraining } = this.#options;
    const gpus = this.#options.gpus?.current() ?? [];
    return {
      workerId,
      held: held.leased(),
      freeSlots: held.freeSlots,
      pullAgeMs: pullAgeMs(),
      eventLoopLagMs,
      ...this.#meter(),
      isDraining: isDraining(),
      ...(gpus.length === 0 ? {} : { gpus }),
      ...(this.#leaveMs === 0 ? {} : { leaveMs: this.#leaveMs }),
    };
  }

  #open(): void {
    const stream = this.#options.client.openHeartbeats({
      onDirectives: (directives, isAnswer) => {
        if (isAnswer) {
          this.#handleAnswer();
        }
        for (const directive of directives) {
          this.#obey(directive);
        }
      },
      onEnd: (reason) => void this.#reopen(reason),
    });
    this.#stream = stream;
    stream.send(this.#heartbeat(0));
  }

  #handleAnswer(): void {
    this.#lastAnswerMs = Date.now();
    if (this.#attempt > 0) {
      this.#options.log.info("Heartbeats are answered again", { attempts: this.#attempt });
      this.#attempt = 0;
    }
  }

  async #reopen(reason: string): Promise<void> {
    this.#stream = undefined;
    if (this.#stopped.signal.aborted) {
      return;
    }
    this.#attempt++;
    const delayMs = backoffMs(this.#attempt, RECONNECT_BACKOFF);
    this.#options.metrics.reconnects.inc("heartbeat");
    this.#options.log.warn("Heartbeat stream broken", {
      reason,
      attempt: this.#attempt,
      delay_ms: Math.round(delayMs),
    });
    await sleep(delayMs, this.#stopped.signal);
    if (!this.#stopped.signal.aborted) {
      this.#open();
    }
  }

  #obey(directive: Directive): void {
    const { held, log, metrics, onDrain } = this.#options;
    switch (directive.kind) {
      case "cancel":
        held.stop(directive.commandId, directive.attempt, "cancelled");
        break;
      case "lost":
        if (held.stop(directive.commandId, directive.attempt, "lost")) {
          metrics.leasesLost.inc();
          log.warn("Lease lost, the command is stopped", { command_id: directive.commandId });
        }
        break;
      case "drain":
        onDrain();
        break;
      case "register":
        this.#mustRegister = true;
        void this.#register();
        break;
    }
  }

  #loseAll(): void {
    const count = this.#options.held.stopAll("lost");
    if (count > 0) {
      this.#options.metrics.leasesLost.add(count);
      this.#options.log.error(
        "No server answered for as long as a lease lasts, all tools stopped",
        {
          count,
          lease_ms: this.#leaseMs,
        },
      );
    }
    this.#mustRegister = true;
  }

  /** Does what is due. Never rejects; what fails is tried again with the next beat. */
  async #register(): Promise<void> {
    if (!this.#mustRegister || this.#isRegistering || this.#stopped.signal.aborted) {
      return;
    }
    this.#isRegistering = true;
    try {
      await this.#options.register();
      this.#mustRegister = false;
      this.#options.log.info("Registered again");
      this.send();
    } catch (error) {
      this.#options.log.warn("Cannot register again yet", { error: errorMessage(error) });
    } finally {
      this.#isRegistering = false;
    }
  }
}
