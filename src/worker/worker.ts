/**
 * A worker: takes commands of one pool and runs their tools.
 *
 * States: registering → working → draining → stopped.
 *
 * - registering: until a server answers, with back-off. Nothing is pulled.
 * - working: notifications are pulled for free slots (claim-loop.ts), claimed commands run
 *   (command-run.ts) and their outcomes are reported (reporter.ts). A slot is free again once the
 *   report is accepted.
 * - draining, by a signal or by the server: nothing is pulled; what runs may end within the grace
 *   period and is then stopped and handed back. Leases are kept meanwhile.
 * - stopped: the server is told, so that nobody has to wait for a lease.
 *
 * Nothing survives a crash of the worker, and nothing needs to: its leases run out and its commands
 * are handed out again under a new attempt, whose fence refuses whatever the old one still says.
 */
import { retry } from "../core/backoff.ts";
import { sleep } from "../core/clock.ts";
import { errorMessage } from "../core/errors.ts";
import type { Service } from "../core/service.ts";
import type { ClaimedCommand, CommandOutcome, WorkerRegistration } from "../engine/command.ts";
import { failure } from "../engine/failure.ts";
import type { RegistrationAnswer } from "../rpc/handlers.ts";
import { ClaimLoop } from "./claim-loop.ts";
import type { CommandRunOptions } from "./command-run.ts";
import { runCommand } from "./command-run.ts";
import { HeartbeatKeeper } from "./heartbeat.ts";
import type { HeldEntry } from "./held-commands.ts";
import { HeldCommands } from "./held-commands.ts";
import { LogShipper } from "./log-shipper.ts";
import type { WorkerOptions } from "./options.ts";
import { DEFAULT_LIMITS } from "./options.ts";
import { RefStore } from "./ref-store.ts";
import { Reporter } from "./reporter.ts";

const GRACE_MS = 30_000;
const REGISTER_BACKOFF = { minMs: 200, maxMs: 1000 };
/** How long stopped tools and last reports may take after the grace period. */
const ABORT_WAIT_MS = 8000;
const GOODBYE_WAIT_MS = 2000;

export interface WorkerStatus {
  readonly state: "registering" | "working" | "draining" | "stopped";
  readonly slots: number;
  readonly freeSlots: number;
  /** False when no server has answered a heartbeat for as long as a lease lasts. */
  readonly isConnected: boolean;
  /** Milliseconds since the last answer to a pull; 0 while nothing is asked for. */
  readonly pullAgeMs: number;
}

export interface Worker extends Service {
  /** For probes and the health command. */
  readonly status: WorkerStatus;
}

export function createWorker(options: WorkerOptions): Worker {
  return new PoolWorker(options);
}

class PoolWorker implements Worker {
  readonly name: string;
  readonly #options: WorkerOptions;
  readonly #held: HeldCommands;
  readonly #claims: ClaimLoop;
  readonly #reporter: Reporter;
  readonly #shipper: LogShipper;
  readonly #runOptions: CommandRunOptions;
  readonly #drain = Promise.withResolvers<void>();
  #heartbeats: HeartbeatKeeper | undefined;
  #state: WorkerStatus["state"] = "registering";

  constructor(options: WorkerOptions) {
    this.name = `worker ${options.pool}`;
    this.#options = options;
    this.#held = new HeldCommands(options.slots, () => this.#claims.pull());
    this.#claims = new ClaimLoop({
      ...options,
      held: this.#held,
      start: (command, entry) => void this.#run(command, entry),
    });
    this.#reporter = new Reporter({ ...options, onGrant: (command) => this.#take(command) });
    this.#shipper = new LogShipper(options);
    const { refCacheBytes = DEFAULT_LIMITS.refCacheBytes } = options.limits ?? {};
    const refStore = new RefStore(options.client, refCacheBytes);
    this.#runOptions = { ...options, refStore, shipper: this.#shipper };
  }

  get status(): WorkerStatus {
    return {
      state: this.#state,
      slots: this.#held.slots,
      freeSlots: this.#held.freeSlots,
      isConnected: this.#heartbeats?.isConnected ?? false,
      pullAgeMs: this.#claims.pullAgeMs,
    };
  }

  async run(signal: AbortSignal): Promise<void> {
    const registration = await this.#registerUntilDone(signal);
    if (registration !== undefined) {
      this.#work(registration);
      await Promise.race([aborted(signal), this.#drain.promise]);
      await this.#end();
    }
    this.#state = "stopped";
  }

  #work(registration: RegistrationAnswer): void {
    const { metrics, log, pool, slots, client, workerId } = this.#options;
    this.#heartbeats = new HeartbeatKeeper(
      {
        client,
        log,
        metrics,
        workerId,
        held: this.#held,
        pullAgeMs: () => this.#claims.pullAgeMs,
        isDraining: () => this.#state === "draining",
        register: () => client.register(this.#registration),
        onDrain: () => this.#drain.resolve(),
      },
      registration,
    );
    this.#claims.start();
    this.#state = "working";
    metrics.slots.set(slots);
    metrics.ready.set(1);
    log.info("Worker ready", { worker_id: workerId, pool, slots });
  }

  /** Undefined when the worker was stopped before a server answered. */
  async #registerUntilDone(signal: AbortSignal): Promise<RegistrationAnswer | undefined> {
    const { client, log } = this.#options;
    try {
      return await retry(() => client.register(this.#registration), {
        ...REGISTER_BACKOFF,
        signal,
        isRetryable: () => true,
        onRetry: (error, attempt, delayMs) =>
          log.warn("Cannot register yet", {
            attempt,
            delay_ms: Math.round(delayMs),
            error: errorMessage(error),
          }),
      });
    } catch (error) {
      if (signal.aborted) {
        return undefined;
      }
      throw error;
    }
  }

  get #registration(): WorkerRegistration {
    const { workerId, name, pool, slots, hostname, pid, version, labels } = this.#options;
    const { metricsUrl, tools } = this.#options;
    return {
      ...{ workerId, name, pool, slots, hostname, pid, version, labels, tools: tools.kinds },
      ...(metricsUrl === undefined ? {} : { metricsUrl }),
    };
  }

  /** A command that came with the answer to a report: it needs neither doorbell nor claim. */
  #take(command: ClaimedCommand): void {
    const { executionId, commandId, attempt } = command;
    if (this.#held.get(commandId) === undefined) {
      void this.#run(command, this.#held.take({ executionId, commandId, attempt }));
    }
  }

  /** Runs, reports, gives the slot back. Never rejects. */
  async #run(command: ClaimedCommand, entry: HeldEntry): Promise<void> {
    const { metrics } = this.#options;
    const startedAtMs = Date.now();
    entry.state = "running";
    metrics.concurrentDispatches.set(this.#held.countRunning());
    const outcome = await this.#execute(command, entry);
    entry.state = "reporting";
    metrics.concurrentDispatches.set(this.#held.countRunning());
    if (outcome !== undefined) {
      await this.#report(command, entry, startedAtMs, outcome);
    }
    this.#held.release(entry);
  }

  async #execute(command: ClaimedCommand, entry: HeldEntry): Promise<CommandOutcome | undefined> {
    if (this.#state !== "working") {
      return { status: "released", reason: "the worker was stopped" };
    }
    try {
      return await runCommand(this.#runOptions, command, entry.stop.signal);
    } catch (error) {
      this.#options.log.error("A command failed by a bug", {
        command_id: command.commandId,
        error,
      });
      const bug = failure("internal", `The worker failed by a bug: ${errorMessage(error)}`);
      return { status: "error", error: bug, value: null, ctx: {} };
    }
  }

  /** What is lost in the meantime is not reported. */
  async #report(
    { executionId, commandId, attempt }: ClaimedCommand,
    entry: HeldEntry,
    startedAtMs: number,
    outcome: CommandOutcome,
  ): Promise<void> {
    const { workerId, pool } = this.#options;
    const isIdle = this.#state === "working" && this.#held.freeSlots > 0;
    await this.#reporter.report(
      {
        ...{ executionId, commandId, attempt, workerId, startedAtMs, outcome },
        ...(isIdle ? { nextPool: pool } : {}),
      },
      () => entry.stop.signal.reason === "lost",
    );
  }

  async #end(): Promise<void> {
    const { graceMs = GRACE_MS, metrics, log } = this.#options;
    this.#state = "draining";
    metrics.ready.set(0);
    log.info("Worker draining", { running: this.#held.countRunning(), grace_ms: graceMs });
    this.#heartbeats?.send();
    await this.#claims.stop();
    if (!(await within(graceMs, this.#held.empty()))) {
      this.#held.stopAll("shutdown");
      if (!(await within(ABORT_WAIT_MS, this.#held.empty()))) {
        this.#reporter.giveUp();
      }
    }
    await within(GOODBYE_WAIT_MS, this.#shipper.close());
    this.#heartbeats?.close();
    await within(GOODBYE_WAIT_MS, this.#deregister());
    log.info("Worker stopped");
  }

  async #deregister(): Promise<void> {
    try {
      await this.#options.client.deregister(this.#options.workerId);
    } catch (error) {
      this.#options.log.warn("Cannot say goodbye to a server", { error: errorMessage(error) });
    }
  }
}

/** True if `done` resolved in time. */
async function within(ms: number, done: Promise<void>): Promise<boolean> {
  const timer = new AbortController();
  const isDone = await Promise.race([
    done.then(() => true),
    sleep(ms, timer.signal).then(() => false),
  ]);
  timer.abort();
  return isDone;
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) {
    const { promise, resolve } = Promise.withResolvers<void>();
    signal.addEventListener("abort", () => resolve(), { once: true });
    await promise;
  }
}
