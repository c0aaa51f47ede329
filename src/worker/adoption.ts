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
import type { CommandId, ExecutionId, WorkerId } from "../core/ids.ts";
import { isId } from "../core/ids.ts";
import type { AdoptionAnswer, AdoptionQuestion, ClaimedCommand } from "../engine/command.ts";
import type { GpuGrant } from "../engine/gpu.ts";
import type { WorkerOptions } from "./options.ts";

const PASS_MS = 30_000;
/** For those whose worker is dead, or may be: their leases last a few seconds more. */
const AGAIN_MS = 1000;
/** As often after that, while another worker seems to have taken them over. */
const LONG_AGAIN_MS = 3000;
const QUICK_COUNT = 15;
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
  /** Runs a command that was adopted. */
  readonly start: (command: ClaimedCommand) => void;
}

type Verdict = AdoptionAnswer["status"] | "unanswered";

export class Adoption {
  readonly #options: AdoptionOptions;
  readonly #stopped = new AbortController();
  readonly #firstPass = Promise.withResolvers<void>();
  /** Those that are not decided: how often they were asked about, and what holds their GPUs back. */
  readonly #open = new Map<string, { count: number; readonly release: () => void }>();
  /** End what holds GPUs back until the next pass is over. */
  readonly #suspects: (() => void)[] = [];
  #wake: (() => void) | undefined;
  #isWanted = false;
  #passCount = 0;
  #running: Promise<void> = Promise.resolve();

  constructor(options: AdoptionOptions) {
    this.#options = options;
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

  /** Resolves when all that is here now has been looked at: what was disowned is gone. */
  async looked(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#suspects.push(resolve);
    this.look();
    await promise;
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
    this.#suspects.push(this.#holdBack("all", "its containers were not looked at yet"));
    while (!this.#stopped.signal.aborted) {
      this.#isWanted = false;
      const suspects = this.#suspects.splice(0);
      const nextMs = await this.#pass();
      if (nextMs === undefined) {
        this.#suspects.push(...suspects);
      } else {
        for (const release of suspects) {
          release();
        }
        this.#firstPass.resolve();
      }
      await this.#wait(nextMs ?? AGAIN_MS);
    }
    this.#firstPass.resolve();
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
    await sleep(ms, woken.signal);
    this.#wake = undefined;
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
    if (answer?.status === "adopted" && !isHeld && !this.#stopped.signal.aborted) {
      this.#close(container.id);
      this.#say("Container adopted", container);
      metrics.containersFound.inc("adopted");
      start(answer.command);
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
    this.#open.set(id, { count: 1, release });
  }

  #close(id: string): void {
    this.#open.get(id)?.release();
    this.#open.delete(id);
  }

  #nextMs(strays: readonly HostContainer[]): number {
    return Math.min(PASS_MS, ...strays.map((container) => this.#againMs(container)));
  }

  /** Leases end soon, so what may be taken over must be soon; what a living worker has need not be. */
  #againMs({ id, owner, runtime }: HostContainer): number {
    const count = this.#open.get(id)?.count;
    if (count === undefined) {
      return PASS_MS;
    }
    const isOurs = owner.workerId === this.#options.workerId;
    const state = runtime.isCluster || isOurs ? "unknown" : processState(owner.process);
    const isNew = (runtime.isCluster ? this.#passCount : count) <= QUICK_COUNT;
    if (state === "alive" || (state === "unknown" && !isNew)) {
      return PASS_MS;
    }
    return isNew ? AGAIN_MS : LONG_AGAIN_MS;
  }
}

/** False for labels that somebody else has written. */
function isNamed({ executionId, commandId, attempt, workerId }: HostContainer["owner"]): boolean {
  return (
    isId(executionId) &&
    isId(commandId) &&
    Number.isInteger(attempt) &&
    attempt > 0 &&
    workerId !== ""
  );
}

function questionOf({ owner, runtime }: HostContainer): AdoptionQuestion {
  const { executionId, commandId, attempt, workerId, process } = owner;
  return {
    held: {
      executionId: executionId as ExecutionId,
      commandId: commandId as CommandId,
      attempt,
    },
    ownerId: workerId as WorkerId,
    isOwnerDead: processState(process) === "dead",
    isReusable: runtime.isCluster,
  };
}
