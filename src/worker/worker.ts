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
 * Nothing survives a crash of the worker but its containers: the next worker on the machine takes them over
 * (adoption.ts). Other commands need not: their leases run out and they are handed out again under a new
 * attempt, whose fence refuses whatever the old one still says.
 */
import { errorMessage } from "../core/errors.ts";
import type { Service } from "../core/service.ts";
import type { ClaimedCommand, CommandOutcome } from "../engine/command.ts";
import { failure } from "../engine/failure.ts";
import type { RegistrationAnswer } from "../rpc/handlers.ts";
import type { AdoptedCommand } from "../tools/tool.ts";
import { ClaimLoop } from "./claim-loop.ts";
import type { CommandRunOptions } from "./command-run.ts";
import { runCommand } from "./command-run.ts";
import type { CommandSlot } from "./command-slot.ts";
import { createSlot } from "./command-slot.ts";
import { drain, within } from "./drain.ts";
import { GpuLeases } from "./gpu-leases.ts";
import { HeartbeatKeeper } from "./heartbeat.ts";
import type { HeldEntry } from "./held-commands.ts";
import { HeldCommands, stopReason } from "./held-commands.ts";
import { Leftovers } from "./leftovers.ts";
import { LogShipper } from "./log-shipper.ts";
import type { WorkerOptions } from "./options.ts";
import { DEFAULT_LIMITS } from "./options.ts";
import { RefStore } from "./ref-store.ts";
import { Registration } from "./registration.ts";
import type { ReportEnd } from "./reporter.ts";
import { Reporter } from "./reporter.ts";

const GRACE_MS = 30_000;
/** What the next worker on this machine has to take over what this one leaves: an upgrade, not a repair. */
const LEAVE_MS = 120_000;
const GOODBYE_WAIT_MS = 2000;
const STOPPED: CommandOutcome = { status: "released", reason: "the worker was stopped" };
const NOT_CLEAR: CommandOutcome = {
  status: "released",
  reason: "its GPUs are not free on this machine: a container is on them that cannot be ended yet",
};

export interface WorkerStatus {
  readonly state: "registering" | "working" | "draining" | "stopped";
  readonly slots: number;
  readonly freeSlots: number;
  /** Commands in no slot, because their work goes on elsewhere. */
  readonly parked: number;
  /** False when no server has answered a heartbeat for as long as a lease lasts. */
  readonly isConnected: boolean;
  /** Milliseconds since the last answer to a heartbeat; 0 before the first. */
  readonly answerAgeMs: number;
  /** Milliseconds since the last answer to a pull; 0 while nothing is asked for. */
  readonly pullAgeMs: number;
}

export interface Worker extends Service {
  /** For probes and the health command. */
  readonly status: WorkerStatus;
  /** Tells a server at once how the worker and its machine are now. */
  announce(): void;
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
  readonly #gpuLeases: GpuLeases;
  readonly #leftovers: Leftovers;
  readonly #registration: Registration;
  #heartbeats: HeartbeatKeeper | undefined;
  #state: WorkerStatus["state"] = "registering";

  constructor(options: WorkerOptions) {
    this.name = `worker ${options.pool}`;
    this.#options = options;
    this.#registration = new Registration(options);
    this.#held = new HeldCommands(options.slots, () => this.#claims.pull(), options.parkedMax);
    this.#gpuLeases = new GpuLeases(options.gpus);
    this.#leftovers = new Leftovers({
      ...options,
      held: this.#held,
      gpuLeases: this.#gpuLeases,
      adopt: (command) => this.#adopt(command),
    });
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
      parked: this.#held.parkedCount,
      isConnected: this.#heartbeats?.isConnected ?? false,
      answerAgeMs: this.#heartbeats?.answerAgeMs ?? 0,
      pullAgeMs: this.#claims.pullAgeMs,
    };
  }

  announce(): void {
    this.#heartbeats?.send();
  }

  async run(signal: AbortSignal): Promise<void> {
    void this.#registration.learnRuntimes().then(() => this.#saySoon());
    const answer = await this.#registration.sendUntilDone(signal);
    if (answer !== undefined) {
      const stopped = Promise.race([aborted(signal), this.#drain.promise]);
      this.#work(answer);
      await this.#leftovers.start(answer.platformId, stopped);
      this.#claims.start();
      await stopped;
      await this.#end();
    }
    this.#state = "stopped";
  }

  #work(answer: RegistrationAnswer): void {
    const { metrics, log, pool, slots, client, workerId, gpus } = this.#options;
    this.#heartbeats = new HeartbeatKeeper(
      {
        client,
        log,
        metrics,
        workerId,
        gpus,
        held: this.#held,
        pullAgeMs: () => this.#claims.pullAgeMs,
        isDraining: () => this.#state === "draining",
        register: () => this.#registration.send(),
        onDrain: () => this.#drain.resolve(),
      },
      answer,
    );
    this.#state = "working";
    metrics.slots.set(slots);
    metrics.ready.set(1);
    this.#saySoon();
    log.info("Worker ready", { worker_id: workerId, pool, slots });
  }

  /** Registers again if something was known too late for the first time. */
  #saySoon(): void {
    if (this.#registration.isOutdated) {
      this.#heartbeats?.registerAgain();
    }
  }

  /** A command whose container was found; it takes a slot even when none is free. */
  #adopt(command: ClaimedCommand): boolean {
    const { executionId, commandId, attempt, loggedUntilMs } = command;
    if (this.#held.get(commandId) !== undefined) {
      return false;
    }
    const entry = this.#held.take({ executionId, commandId, attempt });
    void this.#run(command, entry, loggedUntilMs === undefined ? {} : { loggedUntilMs });
    // It may have been cancelled meanwhile: the answer says so.
    this.#heartbeats?.send();
    return true;
  }

  /** A command that came with the answer to a report: it needs neither doorbell nor claim. */
  #take(command: ClaimedCommand): void {
    const { executionId, commandId, attempt } = command;
    if (this.#held.get(commandId) === undefined) {
      void this.#run(command, this.#held.take({ executionId, commandId, attempt }));
    }
  }

  /** Runs, reports, gives the slot back. Never rejects. */
  async #run(command: ClaimedCommand, entry: HeldEntry, adopted?: AdoptedCommand): Promise<void> {
    const slot = createSlot(this.#held, entry);
    const startedAtMs = Date.now();
    entry.state = "running";
    this.#gpuLeases.add(command);
    this.#count();
    const isClear =
      adopted !== undefined || (await this.#leftovers.clearWay(command, entry.stop.signal));
    const outcome = isClear ? await this.#execute(command, slot, adopted) : NOT_CLEAR;
    entry.state = "reporting";
    this.#count();
    const end =
      outcome === undefined ? "dropped" : await this.#report(command, entry, startedAtMs, outcome);
    // First what holds its GPUs back: nobody shall hear that they are free before that.
    this.#leftovers.settle(command, slot, end);
    this.#gpuLeases.remove(command);
    this.#held.release(entry);
    this.#count();
  }

  #count(): void {
    const { metrics } = this.#options;
    metrics.concurrentDispatches.set(this.#held.countRunning());
    metrics.parked.set(this.#held.parkedCount);
  }

  async #execute(
    command: ClaimedCommand,
    slot: CommandSlot,
    adopted: AdoptedCommand | undefined,
  ): Promise<CommandOutcome | undefined> {
    if (this.#state !== "working") {
      return STOPPED;
    }
    try {
      const outcome = await runCommand(this.#runOptions, command, slot, adopted);
      return stopReason(slot.stop) === "left" && slot.stop.aborted
        ? (outcome ?? (await this.#leave(command)))
        : outcome;
    } catch (error) {
      this.#options.log.error("A command failed by a bug", {
        command_id: command.commandId,
        error,
      });
      const bug = failure("internal", `The worker failed by a bug: ${errorMessage(error)}`);
      return { status: "error", error: bug, value: null, ctx: {} };
    }
  }

  async #leave(command: ClaimedCommand): Promise<CommandOutcome | undefined> {
    return (await this.#leftovers.leave(command)) ? undefined : STOPPED;
  }

  /** What is lost in the meantime is not reported. */
  async #report(
    { executionId, commandId, attempt }: ClaimedCommand,
    entry: HeldEntry,
    startedAtMs: number,
    outcome: CommandOutcome,
  ): Promise<ReportEnd> {
    const { workerId, pool } = this.#options;
    const isIdle = this.#state === "working" && this.#held.freeSlots > 0;
    return await this.#reporter.report(
      {
        ...{ executionId, commandId, attempt, workerId, startedAtMs, outcome },
        ...(isIdle ? { nextPool: pool } : {}),
      },
      () => entry.stop.signal.reason === "lost",
    );
  }

  async #end(): Promise<void> {
    const { graceMs = GRACE_MS, drain: mode = "wait", metrics, log } = this.#options;
    this.#state = "draining";
    metrics.ready.set(0);
    log.info("Worker draining", { running: this.#held.countRunning(), grace_ms: graceMs, mode });
    this.#heartbeats?.send();
    const looked = this.#leftovers.stop();
    await this.#claims.stop();
    const onLeave = (): void => this.#heartbeats?.leave(LEAVE_MS);
    if (!(await drain({ held: this.#held, mode, graceMs, onLeave }))) {
      this.#reporter.giveUp();
    }
    await within(GOODBYE_WAIT_MS, looked);
    await within(GOODBYE_WAIT_MS, this.#shipper.close());
    this.#heartbeats?.close();
    if (this.#leftovers.hasLeft) {
      log.info("Containers run on; the next worker on this machine takes them over");
    } else {
      await within(GOODBYE_WAIT_MS, this.#deregister());
    }
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

async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) {
    const { promise, resolve } = Promise.withResolvers<void>();
    signal.addEventListener("abort", () => resolve(), { once: true });
    await promise;
  }
}
