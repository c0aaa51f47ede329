/**
 * Inputs on their way to a decision. What arrives while batches are being committed collects and goes
 * together into the next one; an input that finds nothing under way is taken at once. Inputs of one
 * execution stay in order and are never in two batches at the same time.
 */
import { AppError } from "../core/errors.ts";
import type { ExecutionId, TimerId } from "../core/ids.ts";
import type { Service } from "../core/service.ts";
import type { Playbook } from "../dsl/playbook.ts";
import type { GrantedCommand } from "../engine/command.ts";
import type { EngineInput, ExecutionStatus, Refusal } from "../engine/decision.ts";
import type { Failure } from "../engine/failure.ts";
import type { NewExecution } from "../store/append.ts";

/** An input with its caller. `input` may be replaced by a smaller one, see decider.ts. */
export interface IntakeItem extends IntakeInput {
  readonly resolve: (outcome: Outcome) => void;
  readonly reject: (error: unknown) => void;
}

export interface IntakeInput {
  readonly executionId: ExecutionId;
  /**
   * `start_pending`: an execution whose row is there, to be started with what the row says.
   * `refuse_pending`: it will never start.
   */
  input:
    | EngineInput
    | { readonly kind: "start_pending" }
    | { readonly kind: "refuse_pending"; readonly error: Failure };
  /** Of the start of a root: its row, which does not exist yet. */
  readonly create?: { readonly row: NewExecution; readonly playbook: Playbook } | undefined;
  /** Row of `timer` that this input came from; goes in the same commit. */
  readonly consumes?: TimerId | undefined;
  /** False: a cancel that leaves children alone. */
  readonly isCascading?: boolean | undefined;
}

export interface Outcome {
  /** True: the input changed nothing. */
  readonly isStale: boolean;
  /** After the commit; undefined: there is no such execution. */
  readonly status: ExecutionStatus | undefined;
  /** Of a report: the command that its worker has now. */
  readonly granted?: GrantedCommand | undefined;
  /** Why the input was not allowed. */
  readonly refusal?: Refusal | undefined;
  /** Of a signal: waits that it has ended. */
  readonly waitCount?: number | undefined;
}

export interface IntakeOptions {
  /**
   * Decides and commits; settles every item. While the database is down it repeats,
   * until `signal` is aborted because the server stops.
   */
  readonly process: (
    batch: readonly (readonly IntakeItem[])[],
    signal: AbortSignal,
  ) => Promise<void>;
  /** Waiting inputs from outside at most. */
  readonly limit: number;
  readonly onDepth: (depth: number) => void;
}

/** Inputs in one batch at most. */
const BATCH_MAX = 256;
/**
 * Inputs that must wait for a further batch to start, by the number of batches under way. A second
 * one pays only when there is much to do, because many small commits cost more than few big ones.
 */
const BATCH_STARTS_AT: readonly number[] = [1, 32];

/** Items that have their answer: a batch that starts over must not decide them again. */
const settled = new WeakSet<IntakeItem>();

export function isSettled(item: IntakeItem): boolean {
  return settled.has(item);
}

/** Answers the item, unless it has its answer already. */
export function settle(item: IntakeItem, answer: () => void): void {
  if (!settled.has(item)) {
    settled.add(item);
    answer();
  }
}

export class Intake {
  readonly service: Service = { name: "intake", run: (signal) => this.#run(signal) };
  readonly #options: IntakeOptions;
  readonly #stop = new AbortController();
  /** Executions that may be taken, in order of their first input. */
  readonly #ready = new Map<ExecutionId, IntakeItem[]>();
  /** Inputs of executions that a batch under way has. */
  readonly #blocked = new Map<ExecutionId, IntakeItem[]>();
  #readyCount = 0;
  #depth = 0;
  #active = 0;
  #isScheduled = false;
  #isClosed = false;
  readonly #idle = new Set<() => void>();
  readonly #released = new Map<ExecutionId, (() => void)[]>();

  constructor(options: IntakeOptions) {
    this.#options = options;
  }

  /**
   * Resolves once the input's effects are durable.
   *
   * @throws AppError unavailable: INTAKE_FULL, SHUTTING_DOWN; what deciding or committing threw.
   */
  submit(input: IntakeInput): Promise<Outcome> {
    if (this.#isClosed) {
      return Promise.reject(
        new AppError("unavailable", "SHUTTING_DOWN", "This server is stopping"),
      );
    }
    if (this.#depth >= this.#options.limit) {
      return Promise.reject(
        new AppError("unavailable", "INTAKE_FULL", `Already ${this.#depth} inputs wait: try later`),
      );
    }
    return this.force(input);
  }

  /** Like {@link submit} for inputs of the platform itself, which are never refused. */
  force(input: IntakeInput): Promise<Outcome> {
    const { promise, resolve, reject } = Promise.withResolvers<Outcome>();
    this.#add({ ...input, resolve, reject });
    return promise;
  }

  /** Resolves when no batch is deciding on the execution; at once if none is. */
  async whenReleased(id: ExecutionId): Promise<void> {
    while (this.#blocked.has(id)) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const waiting = this.#released.get(id);
      if (waiting === undefined) {
        this.#released.set(id, [resolve]);
      } else {
        waiting.push(resolve);
      }
      await promise;
    }
  }

  #add(item: IntakeItem): void {
    this.#setDepth(this.#depth + 1);
    const blocked = this.#blocked.get(item.executionId);
    if (blocked !== undefined) {
      blocked.push(item);
      return;
    }
    this.#readyCount++;
    const waiting = this.#ready.get(item.executionId);
    if (waiting === undefined) {
      this.#ready.set(item.executionId, [item]);
    } else {
      waiting.push(item);
    }
    if (!this.#isScheduled) {
      this.#isScheduled = true;
      // Once all that has arrived is read: requests of many callers then share a commit.
      setImmediate(() => this.#pump());
    }
  }

  #pump(): void {
    this.#isScheduled = false;
    while (this.#readyCount >= (BATCH_STARTS_AT[this.#active] ?? Number.POSITIVE_INFINITY)) {
      void this.#process(this.#take());
    }
  }

  #take(): readonly IntakeItem[][] {
    const batch: IntakeItem[][] = [];
    let room = BATCH_MAX;
    for (const [id, items] of this.#ready) {
      if (room <= 0) {
        break;
      }
      this.#ready.delete(id);
      const taken = items.splice(0, room);
      room -= taken.length;
      batch.push(taken);
      this.#blocked.set(id, items);
      this.#readyCount -= taken.length + items.length;
    }
    return batch;
  }

  async #process(batch: readonly IntakeItem[][]): Promise<void> {
    this.#active++;
    try {
      await this.#options.process(batch, this.#stop.signal);
    } catch (error) {
      for (const item of batch.flat()) {
        settle(item, () => item.reject(error));
      }
    }
    this.#active--;
    for (const group of batch) {
      this.#setDepth(this.#depth - group.length);
      this.#release(group[0]?.executionId);
    }
    this.#pump();
    if (this.#depth === 0) {
      for (const resolve of this.#idle) {
        resolve();
      }
    }
  }

  #release(id: ExecutionId | undefined): void {
    const items = id === undefined ? undefined : this.#blocked.get(id);
    if (id === undefined || items === undefined) {
      return;
    }
    this.#blocked.delete(id);
    if (items.length > 0) {
      this.#ready.set(id, items);
      this.#readyCount += items.length;
    }
    for (const resolve of this.#released.get(id) ?? []) {
      resolve();
    }
    this.#released.delete(id);
  }

  #setDepth(depth: number): void {
    this.#depth = depth;
    this.#options.onDepth(depth);
  }

  /** On abort: takes nothing more from outside and lets what waits be committed. */
  async #run(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    signal.addEventListener("abort", () => resolve(), { once: true });
    if (!signal.aborted) {
      await promise;
    }
    this.#isClosed = true;
    this.#stop.abort();
    while (this.#depth > 0) {
      await new Promise<void>((done) => this.#idle.add(done));
    }
  }
}
