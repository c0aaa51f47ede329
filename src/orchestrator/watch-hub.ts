/**
 * Live events of executions. Commits of this server arrive directly; for those of others the heads of
 * the watched executions are read four times a second, all in one statement, and only while
 * somebody watches. (NOTIFY in the commit would serialise all commits of the database.)
 */
import { sleep } from "../core/clock.ts";
import { AppError, errorMessage } from "../core/errors.ts";
import type { ExecutionId } from "../core/ids.ts";
import { isId } from "../core/ids.ts";
import type { RecordedEvent } from "../engine/event.ts";
import { TERMINAL_EVENTS } from "../engine/event.ts";
import { listEvents } from "../store/event.ts";
import { readPositions } from "../store/execution.ts";
import type { Pool } from "../store/pool.ts";
import { databaseError } from "../store/sqlstate.ts";
import type { OrchestratorOptions } from "./options.ts";

const POLL_MS = 250;
const PAGE = 500;
/** Events kept for a slow watcher before it is sent back to the database. */
const BUFFER_MAX = 5000;

export interface WatchOptions {
  /** 0: from the first. */
  readonly afterSeq: number;
  readonly signal: AbortSignal;
}

class Watcher {
  seq: number;
  readonly buffer: RecordedEvent[] = [];
  /** True: the database has events that the buffer lacks. */
  isBehind = true;
  #wake: (() => void) | undefined;

  constructor(seq: number) {
    this.seq = seq;
  }

  push(events: readonly RecordedEvent[]): void {
    if (this.buffer.length + events.length > BUFFER_MAX) {
      this.isBehind = true;
    } else {
      this.buffer.push(...events);
    }
    this.#wake?.();
  }

  noteHead(seq: number): void {
    const known = this.buffer.at(-1)?.seq ?? this.seq;
    if (seq > known) {
      this.isBehind = true;
      this.#wake?.();
    }
  }

  /** Resolves when there is something to read, or on abort. */
  async wait(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    signal.addEventListener("abort", () => resolve(), { once: true });
    if (!signal.aborted) {
      await promise;
    }
    this.#wake = undefined;
  }
}

export class WatchHub {
  readonly #pool: Pool;
  readonly #log: OrchestratorOptions["log"];
  readonly #watchers = new Map<ExecutionId, Set<Watcher>>();
  #isPolling = false;

  constructor({ store, log }: Pick<OrchestratorOptions, "store" | "log">) {
    this.#pool = store.durable;
    this.#log = log;
  }

  /** A commit of this server. */
  publish(id: ExecutionId, events: readonly RecordedEvent[]): void {
    for (const watcher of this.#watchers.get(id) ?? []) {
      watcher.push(events);
    }
  }

  /**
   * Events after `afterSeq` in order, each once, live until the execution ends or `signal` aborts. An
   * end that a retry has undone is an event like others.
   *
   * @throws AppError not_found EXECUTION_NOT_FOUND
   */
  async *watch(id: ExecutionId, { afterSeq, signal }: WatchOptions): AsyncIterable<RecordedEvent> {
    const ids = isId(id) ? [id] : [];
    const positions = await this.#read(() => readPositions(this.#pool, ids));
    if (!positions.has(id)) {
      throw new AppError("not_found", "EXECUTION_NOT_FOUND", `There is no execution ${id}`);
    }
    if ((positions.get(id) ?? 0) <= afterSeq && (await this.#hasEnded(id, afterSeq))) {
      return;
    }
    const watcher = new Watcher(afterSeq);
    this.#add(id, watcher);
    try {
      while (!signal.aborted) {
        const events = await this.#next(id, watcher);
        for (const event of events) {
          watcher.seq = event.seq;
          yield event;
          if (TERMINAL_EVENTS.has(event.event.type) && (await this.#isLast(id, watcher))) {
            return;
          }
        }
        if (events.length === 0) {
          await watcher.wait(signal);
        }
      }
    } finally {
      this.#remove(id, watcher);
    }
  }

  /** True if there is nothing to wait for behind the position. */
  async #hasEnded(id: ExecutionId, afterSeq: number): Promise<boolean> {
    const page = { afterSeq: afterSeq - 1, limit: 1 };
    const [last] = await this.#read(() => listEvents(this.#pool, id, page));
    return last !== undefined && TERMINAL_EVENTS.has(last.event.type);
  }

  /** False: a retry has opened the execution again. */
  async #isLast(id: ExecutionId, watcher: Watcher): Promise<boolean> {
    const positions = await this.#read(() => readPositions(this.#pool, [id]));
    const isLast = (positions.get(id) ?? 0) <= watcher.seq;
    watcher.isBehind ||= !isLast;
    return isLast;
  }

  /** What follows the watcher's position, from the buffer if that has no gap. */
  async #next(id: ExecutionId, watcher: Watcher): Promise<readonly RecordedEvent[]> {
    const buffered = watcher.buffer.filter((event) => event.seq > watcher.seq);
    watcher.buffer.length = 0;
    if (!watcher.isBehind && (buffered.length === 0 || isNext(buffered, watcher.seq))) {
      return buffered;
    }
    const page = { afterSeq: watcher.seq, limit: PAGE };
    watcher.isBehind = false;
    const read = await this.#read(() => listEvents(this.#pool, id, page));
    watcher.isBehind ||= read.length === PAGE;
    return read.map(({ seq, timeMs, event }) => ({ seq, timeMs, event }));
  }

  #add(id: ExecutionId, watcher: Watcher): void {
    const watchers = this.#watchers.get(id) ?? new Set();
    this.#watchers.set(id, watchers.add(watcher));
    if (!this.#isPolling) {
      this.#isPolling = true;
      void this.#poll();
    }
  }

  #remove(id: ExecutionId, watcher: Watcher): void {
    const watchers = this.#watchers.get(id);
    watchers?.delete(watcher);
    if (watchers?.size === 0) {
      this.#watchers.delete(id);
    }
  }

  async #poll(): Promise<void> {
    while (this.#watchers.size > 0) {
      await sleep(POLL_MS);
      try {
        const heads = await readPositions(this.#pool, [...this.#watchers.keys()]);
        for (const [id, seq] of heads) {
          for (const watcher of this.#watchers.get(id) ?? []) {
            watcher.noteHead(seq);
          }
        }
      } catch (error) {
        this.#log.debug("watched executions not read", { error: errorMessage(error) });
      }
    }
    this.#isPolling = false;
  }

  async #read<T>(question: () => Promise<T>): Promise<T> {
    try {
      return await question();
    } catch (error) {
      throw databaseError(error);
    }
  }
}

/** True if the events follow the position and each other. */
function isNext(events: readonly RecordedEvent[], seq: number): boolean {
  return events.every((event, index) => event.seq === seq + 1 + index);
}
