/**
 * Containers that no command of this worker holds: taken over, ended, or left to whoever has them.
 *
 * At the start, every 30 s, and whenever this worker has let go of one, all containers of the platform are
 * listed. A server says whose command each one is: `adopted`, then it is this worker's and runs on; `disowned`,
 * then the container is stopped and removed; `later`, then another worker may have it and it is asked again.
 * Nothing is ever ended that a server has not disowned, and until that is known its GPUs are held back.
 */
import type { ContainerHost, HostContainer } from "../containers/host.ts";
import { processState } from "../containers/process-identity.ts";
import { sleep } from "../core/clock.ts";
import { errorMessage } from "../core/errors.ts";
import type { CommandId } from "../core/ids.ts";
import type { AdoptionAnswer, ClaimedCommand } from "../engine/command.ts";
import type { GpuGrant } from "../engine/gpu.ts";
import type { WorkerOptions } from "./options.ts";
import { AGAIN_MS, againMs, isNamed, LONG_AGAIN_MS, PASS_MS, questionOf } from "./stray.ts";

/** As long as a lease lasts. */
const FIRST_PASSES = 4;
/** Between two looks whether the workers of those that are left alone are alive. */
const WATCH_MS = 1000;
/** Questions of one call; see QUESTIONS_MAX of the protocol. */
const CALL_MAX = 500;

export interface AdoptionOptions
  extends Pick<WorkerOptions, "client" | "gpus" | "log" | "metrics" | "workerId"> {
  readonly containers: ContainerHost;
  /** True while this worker holds that very attempt. */
  readonly isHeld: (command: {
    readonly commandId: CommandId;
    readonly attempt: number;
  }) => boolean;
  /** Runs a command that was adopted; false: it cannot be taken now, so ask again. */
  readonly start: (command: ClaimedCommand) => boolean;
}

/** What is not decided. */
interface OpenStray {
  /** How often it was asked about. */
  count: number;
  /** Ends what holds its GPUs back. */
  readonly release: () => void;
  /** Of the worker that has it. */
  readonly process: string;
  readonly gpuIds: readonly string[];
}

type Verdict = AdoptionAnswer["status"] | "unanswered";

export class Adoption {
  readonly #options: AdoptionOptions;
  readonly #stopped = new AbortController();
  readonly #firstPass = Promise.withResolvers<void>();
  /** By the runtime's id. */
  readonly #open = new Map<string, OpenStray>();
  /** End what holds GPUs back until the next pass is over. */
  readonly #suspects: (() => void)[] = [];
  #wake: (() => void) | undefined;
  #isWanted = false;
  #passCount = 0;
  #running: Promise<void> = Promise.resolve();

  /** From here on no GPU is ready: nobody shall hear of one that a container is on. */
  constructor(options: AdoptionOptions) {
    this.#options = options;
    this.#suspects.push(this.#holdBack("all", "its containers were not looked at yet"));
  }

  /** Resolves when all that there was at the start has been looked at once. */
  get firstPass(): Promise<void> {
    return this.#firstPass.promise;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Looks at once: something was let go of, on these GPUs, which are held back until that was done. */
  look(gpus: readonly GpuGrant[] = []): void {
    const ids = gpus.map(({ id }) => id);
    const release = ids.length === 0 ? undefined : this.#holdBack(ids, "its container may be left");
    this.#suspects.push(...(release === undefined ? [] : [release]));
    this.#isWanted = true;
    this.#wake?.();
  }

  /**
   * Resolves when all that is here now has been looked at: what was disowned is gone; and when no container that
   * was found is on these GPUs. Or when the worker stops.
   */
  async looked(gpuIds: readonly string[] = []): Promise<void> {
    const { signal } = this.#stopped;
    await this.#nextPass();
    while (!signal.aborted && this.#isOn(gpuIds)) {
      await sleep(AGAIN_MS, signal);
      await this.#nextPass();
    }
  }

  async #nextPass(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    if (!this.#stopped.signal.aborted) {
      this.#suspects.push(resolve);
      this.look();
      await promise;
    }
  }

  #isOn(gpuIds: readonly string[]): boolean {
    return [...this.#open.values()].some((stray) => stray.gpuIds.some((id) => gpuIds.includes(id)));
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    this.#wake?.();
    await this.#running;
  }

  /** True unless the command certainly left none. */
  async hasContainer({ commandId, attempt }: ClaimedCommand): Promise<boolean> {
    const { containers, isComplete } = await this.#options.containers.list();
    return (
      !isComplete ||
      containers.some(({ owner }) => owner.commandId === commandId && owner.attempt === attempt)
    );
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    while (!this.#stopped.signal.aborted) {
      this.#isWanted = false;
      const suspects = this.#suspects.splice(0);
      const nextMs = await this.#pass();
      if (nextMs === undefined) {
        this.#suspects.push(...suspects);
      } else {
        this.#end(suspects);
        this.#firstPass.resolve();
      }
      await this.#wait(nextMs ?? AGAIN_MS);
    }
    // Nothing is given to a worker that stops.
    this.#end(this.#suspects);
    this.#firstPass.resolve();
  }

  #end(suspects: readonly (() => void)[]): void {
    for (const release of suspects) {
      release();
    }
  }

  #holdBack(ids: readonly string[] | "all", reason: string): () => void {
    return this.#options.gpus?.holdBack(ids, reason) ?? (() => undefined);
  }

  async #wait(ms: number): Promise<void> {
    if (this.#isWanted || this.#stopped.signal.aborted) {
      return;
    }
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    const watch = this.#watchOwners(() => woken.abort());
    await sleep(ms, woken.signal);
    clearInterval(watch);
    this.#wake = undefined;
  }

  /** What is left to a living worker is asked about as soon as that one dies, or is frozen. */
  #watchOwners(onChange: () => void): Timer | undefined {
    const alive = [...this.#open.values()]
      .map(({ process }) => process)
      .filter((process) => processState(process) === "alive");
    const check = (): void => {
      if (alive.some((process) => processState(process) !== "alive")) {
        onChange();
      }
    };
    return alive.length === 0 ? undefined : setInterval(check, WATCH_MS);
  }

  /** Milliseconds until the next one is due; undefined: not all could be listed, or no server answered. */
  async #pass(): Promise<number | undefined> {
    this.#passCount++;
    try {
      const { containers, isComplete } = await this.#options.containers.list();
      const strays = containers.filter(({ owner }) => isNamed(owner) && !this.#isHeld(owner));
      this.#forget(strays);
      const verdicts = await this.#decide(strays);
      const isSettled = isComplete && !verdicts.includes("unanswered");
      return isSettled ? this.#nextMs(strays) : undefined;
    } catch (error) {
      this.#options.log.warn("Cannot look at containers", { error: errorMessage(error) });
      return undefined;
    }
  }

  #isHeld({ commandId, attempt }: HostContainer["owner"]): boolean {
    return this.#options.isHeld({ commandId: commandId as CommandId, attempt });
  }

  /** What is gone, or held by now, holds no GPU back any more. */
  #forget(strays: readonly HostContainer[]): void {
    const left = new Set(strays.map(({ id }) => id));
    for (const id of this.#open.keys()) {
      if (!left.has(id)) {
        this.#close(id);
      }
    }
  }

  async #decide(strays: readonly HostContainer[]): Promise<readonly Verdict[]> {
    const verdicts: Verdict[] = [];
    for (let from = 0; from < strays.length; from += CALL_MAX) {
      const part = strays.slice(from, from + CALL_MAX);
      const answers = await this.#ask(part);
      verdicts.push(
        ...(await Promise.all(part.map((container, n) => this.#obey(container, answers?.[n])))),
      );
    }
    return verdicts;
  }

  /** Undefined: no server answered. */
  async #ask(strays: readonly HostContainer[]): Promise<readonly AdoptionAnswer[] | undefined> {
    const { client, log, workerId } = this.#options;
    try {
      return await client.adopt(workerId, strays.map(questionOf));
    } catch (error) {
      log.warn("Cannot ask whose containers are", {
        count: strays.length,
        error: errorMessage(error),
      });
      return undefined;
    }
  }

  async #obey(container: HostContainer, answer: AdoptionAnswer | undefined): Promise<Verdict> {
    const { metrics, start } = this.#options;
    const isHeld = this.#isHeld(container.owner);
    const mayStart = answer?.status === "adopted" && !isHeld && !this.#stopped.signal.aborted;
    if (mayStart && start(answer.command)) {
      this.#close(container.id);
      this.#say("Container adopted", container);
      metrics.containersFound.inc("adopted");
      return "adopted";
    }
    if (answer?.status === "disowned" && !isHeld) {
      return await this.#remove(container);
    }
    this.#keep(container);
    return answer?.status ?? "unanswered";
  }

  async #remove(container: HostContainer): Promise<Verdict> {
    const { containers, log, metrics } = this.#options;
    try {
      await containers.remove(container);
      this.#close(container.id);
      this.#say("Container removed: nobody's command any more", container);
      metrics.containersFound.inc("removed");
      return "disowned";
    } catch (error) {
      log.warn("Cannot remove a container", {
        container: container.name,
        error: errorMessage(error),
      });
      this.#keep(container);
      return "later";
    }
  }

  #say(message: string, { name, owner, runtime, isRunning }: HostContainer): void {
    this.#options.log.info(message, {
      container: name,
      runtime: runtime.name,
      is_running: isRunning,
      execution_id: owner.executionId,
      command_id: owner.commandId,
      attempt: owner.attempt,
      started_by: owner.workerId,
    });
  }

  #keep({ id, name, gpuIds, owner }: HostContainer): void {
    const open = this.#open.get(id);
    if (open !== undefined) {
      open.count++;
      return;
    }
    const reason = `container ${name} of worker ${owner.workerId} is on it`;
    const release = gpuIds.length === 0 ? () => undefined : this.#holdBack(gpuIds, reason);
    this.#open.set(id, { count: 1, release, process: owner.process, gpuIds });
  }

  #close(id: string): void {
    this.#open.get(id)?.release();
    this.#open.delete(id);
  }

  /** At first more may come: a program that started one goes on when its worker is killed. */
  #nextMs(strays: readonly HostContainer[]): number {
    const { workerId } = this.#options;
    const ownMs = this.#passCount <= FIRST_PASSES ? LONG_AGAIN_MS : PASS_MS;
    const { length: strayCount } = strays;
    const passCount = this.#passCount;
    return Math.min(
      ownMs,
      ...strays.map((stray) => {
        const { count } = this.#open.get(stray.id) ?? {};
        return againMs(stray, { workerId, count, passCount, strayCount });
      }),
    );
  }
}
