/**
 * What durable tasks leave on this machine: containers, which outlive commands and workers. Before a command
 * begins, nothing of others is in its way; after its end, what it has left goes, or is asked about.
 */
import { processIdentity } from "../containers/process-identity.ts";
import { errorMessage } from "../core/errors.ts";
import type { ClaimedCommand } from "../engine/command.ts";
import { Adoption } from "./adoption.ts";
import type { CommandSlot } from "./command-slot.ts";
import { within } from "./drain.ts";
import type { GpuLeases } from "./gpu-leases.ts";
import type { HeldCommands } from "./held-commands.ts";
import type { WorkerOptions } from "./options.ts";
import type { ReportEnd } from "./reporter.ts";

/** What was left on this machine gets its slots before new work, if that is found out soon. */
const FIRST_LOOK_MS = 500;
/** For a container that is in the way to be stopped and removed. */
const CLEAR_WAIT_MS = 30_000;

export interface LeftoversOptions
  extends Pick<
    WorkerOptions,
    "client" | "containers" | "gpus" | "log" | "metrics" | "tools" | "workerId"
  > {
  readonly held: HeldCommands;
  readonly gpuLeases: GpuLeases;
  /** Runs a command whose container was found; false: it cannot be taken now. */
  readonly adopt: (command: ClaimedCommand) => boolean;
}

export class Leftovers {
  readonly #options: LeftoversOptions;
  readonly #adoption: Adoption | undefined;
  #hasLeft = false;

  constructor(options: LeftoversOptions) {
    const { containers, held, adopt } = options;
    this.#options = options;
    this.#adoption =
      containers === undefined
        ? undefined
        : new Adoption({
            ...options,
            containers,
            isHeld: (command) => held.has(command),
            start: adopt,
          });
  }

  /** True: the next worker on this machine is to take some over. */
  get hasLeft(): boolean {
    return this.#hasLeft;
  }

  /** Begins to look for them. Nobody waits long for a runtime that hangs. */
  async start(platformId: string, stopped: Promise<void>): Promise<void> {
    const { containers, workerId } = this.#options;
    if (containers !== undefined && this.#adoption !== undefined) {
      containers.identify({ platformId, workerId, process: processIdentity() });
      this.#adoption.start();
      await within(FIRST_LOOK_MS, Promise.race([this.#adoption.firstPass, stopped]));
    }
  }

  async stop(): Promise<void> {
    await this.#adoption?.stop();
  }

  /**
   * Waits until nothing is in the way of a command that was claimed: the container of an earlier attempt, whose
   * worker is only frozen; with GPUs, whatever is on them without a right. Free in the database is not free here.
   *
   * @returns false when its GPUs are not proven free in time.
   */
  async clearWay(command: ClaimedCommand, stop: AbortSignal): Promise<boolean> {
    const { gpus = [] } = command;
    if (gpus.length === 0 && !this.#mayHaveLeft(command)) {
      return true;
    }
    const stopped = Promise.withResolvers<void>();
    const onStop = (): void => stopped.resolve();
    stop.addEventListener("abort", onStop, { once: true });
    const isClear = await within(
      CLEAR_WAIT_MS,
      Promise.race([this.#clear(command), stopped.promise]),
    );
    stop.removeEventListener("abort", onStop);
    if (!isClear) {
      this.#adoption?.look(gpus);
    }
    return isClear || gpus.length === 0;
  }

  async #clear(command: ClaimedCommand): Promise<void> {
    const { held, gpuLeases, log } = this.#options;
    const others = gpuLeases.othersOn(command);
    for (const { commandId, attempt } of others) {
      // A server gives GPUs only when their lease is over.
      if (held.stopRunning(commandId, attempt, "lost")) {
        log.warn("A command is stopped: its GPUs are another's now", { command_id: commandId });
      }
    }
    await held.empty((entry) =>
      others.some(
        ({ commandId, attempt }) =>
          entry.held.commandId === commandId && entry.held.attempt === attempt,
      ),
    );
    const own = (command.gpus ?? []).filter(({ isShared }) => !isShared);
    await this.#adoption?.looked(own.map(({ id }) => id));
  }

  #mayHaveLeft({ attempt, payload }: ClaimedCommand): boolean {
    const kind = payload.step.tasks[payload.pipeline.position]?.kind ?? "";
    return attempt > 1 && this.#options.tools.get(kind)?.description.isDurable === true;
  }

  /**
   * What is kept to be found again goes once nobody will look for it. A report that was refused may mean that
   * another worker has taken the command over: then a server is asked.
   */
  settle(command: ClaimedCommand, slot: CommandSlot, end: ReportEnd): void {
    const { executionId, commandId, attempt } = command;
    const isAsked = slot.wasLeft || end !== "accepted";
    for (const kind of slot.durableKinds) {
      const tool = this.#options.tools.get(kind);
      if (isAsked) {
        tool?.forget?.({ executionId, commandId, attempt });
      } else {
        tool
          ?.settled?.({ executionId, commandId, attempt })
          .catch((error: unknown) => this.#noteLeft(command, error));
      }
    }
    if (isAsked && slot.durableKinds.size > 0) {
      this.#adoption?.look(command.gpus);
    }
  }

  #noteLeft({ commandId, gpus }: ClaimedCommand, error: unknown): void {
    this.#options.log.warn("Cannot remove what a task has left", {
      command_id: commandId,
      error: errorMessage(error),
    });
    this.#adoption?.look(gpus);
  }

  /** A command is left to the next worker; false: it has no container yet, so nobody could find it. */
  async leave(command: ClaimedCommand): Promise<boolean> {
    const isThere = (await this.#adoption?.hasContainer(command)) !== false;
    this.#hasLeft ||= isThere;
    return isThere;
  }
}
