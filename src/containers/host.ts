/**
 * The container runtimes of one machine, and as whom its worker uses them.
 *
 * Looking for runtimes takes seconds where one of them hangs, so it is done once, beside everything else
 * that a start has to do; whoever needs the answer waits for it.
 */
import { assert } from "../core/assert.ts";
import { errorMessage } from "../core/errors.ts";
import type { RuntimeFacts } from "../engine/command.ts";
import type { Logger } from "../observability/log.ts";
import type { ContainerRuntime, FoundContainer } from "./runtime.ts";

/** Whose the containers of tasks are. */
export interface HostIdentity {
  readonly platformId: string;
  readonly workerId: string;
  /** See process-identity.ts. */
  readonly process: string;
}

export interface DetectedRuntime {
  readonly runtime: ContainerRuntime;
  readonly facts: RuntimeFacts;
}

/** What tools know of it. */
export interface Runtimes {
  /** Those that can be used, the preferred one first; waits for the look that is taken at the start. */
  usable(): Promise<readonly ContainerRuntime[]>;
  /** All that were looked for, the usable ones first. */
  facts(): Promise<readonly RuntimeFacts[]>;
  /** Known once the worker is registered, so whenever a task runs. */
  identity(): HostIdentity;
}

/** A container of this platform, with the runtime that has it. */
export interface HostContainer extends FoundContainer {
  readonly runtime: ContainerRuntime;
}

export interface ContainerList {
  readonly containers: readonly HostContainer[];
  /** False: a runtime did not answer, so there may be more. */
  readonly isComplete: boolean;
}

/** What a worker does with containers that none of its tasks holds. */
export interface ContainerHost {
  /** Told once the worker is registered. */
  identify(identity: HostIdentity): void;
  identity(): HostIdentity;
  /** All of this platform, whoever started them, ended ones included. */
  list(): Promise<ContainerList>;
  /** Stops and removes it; resolves when nothing of it is left. */
  remove(container: HostContainer): Promise<void>;
}

/** Containers that nobody waits for any more. */
const REMOVE_GRACE_MS = 5000;

export class MachineContainers implements Runtimes, ContainerHost {
  readonly #log: Pick<Logger, "warn">;
  readonly #detected: Promise<readonly DetectedRuntime[]>;
  #identity: HostIdentity | undefined;

  /** @param detect looks for runtimes; is called at once, and ends within some seconds. */
  constructor(detect: () => Promise<readonly DetectedRuntime[]>, log: Pick<Logger, "warn">) {
    this.#log = log;
    this.#detected = detect().catch((error: unknown) => {
      log.warn("Cannot look for container runtimes", { error: errorMessage(error) });
      return [];
    });
  }

  async usable(): Promise<readonly ContainerRuntime[]> {
    const detected = await this.#detected;
    return detected.flatMap(({ runtime, facts }) => (facts.isUsable ? [runtime] : []));
  }

  async facts(): Promise<readonly RuntimeFacts[]> {
    const facts = (await this.#detected).map((found) => found.facts);
    return [...facts.filter(({ isUsable }) => isUsable), ...facts.filter((one) => !one.isUsable)];
  }

  identity(): HostIdentity {
    assert(this.#identity !== undefined, "tasks run when the worker is registered");
    return this.#identity;
  }

  identify(identity: HostIdentity): void {
    this.#identity = identity;
  }

  async list(): Promise<ContainerList> {
    const { platformId } = this.identity();
    const lists = await Promise.all(
      (await this.usable()).map((runtime) => this.#listOf(runtime, platformId)),
    );
    return {
      containers: lists.flatMap((list) => list ?? []),
      isComplete: !lists.includes(undefined),
    };
  }

  /** Undefined: it did not answer. */
  async #listOf(
    runtime: ContainerRuntime,
    platformId: string,
  ): Promise<readonly HostContainer[] | undefined> {
    try {
      return (await runtime.list(platformId)).map((found) => ({ ...found, runtime }));
    } catch (error) {
      const { name } = runtime;
      this.#log.warn("Cannot list containers", { runtime: name, error: errorMessage(error) });
      return undefined;
    }
  }

  async remove({ runtime, ...found }: HostContainer): Promise<void> {
    if (found.isRunning) {
      await runtime.stop(found, REMOVE_GRACE_MS);
    }
    await runtime.remove(found);
  }
}

/** Of a machine where nobody looked for any. */
export const NO_RUNTIMES: Runtimes = {
  usable: () => Promise.resolve([]),
  facts: () => Promise.resolve([]),
  identity: () => ({ platformId: "", workerId: "", process: "" }),
};
