/**
 * From inputs to durable facts: loads states, asks the engine, writes all groups of a batch in one
 * statement, decides again what lost the race for an execution's head.
 *
 * A batch ends when each of its items is settled. Groups that did not move are read again and decided
 * again, together with nothing else, up to {@link TRIES_MAX} times. While the database is down the
 * batch waits and starts over from what it then reads: an outcome that nobody knows (the connection
 * broke while committing) shows in the events, and the engine takes repeated inputs for stale.
 */
import { retry } from "../core/backoff.ts";
import { AppError, errorMessage } from "../core/errors.ts";
import type { ExecutionId } from "../core/ids.ts";
import type { AppendGroup, AppendResult } from "../store/append.ts";
import { appendBatch } from "../store/append.ts";
import { readPositions } from "../store/execution.ts";
import type { Pool } from "../store/pool.ts";
import { databaseError, isDatabaseDown } from "../store/sqlstate.ts";
import type { DecidedGroup, Decider } from "./decider.ts";
import type { IntakeItem } from "./intake.ts";
import { isSettled, settle } from "./intake.ts";
import type { NodeIds } from "./node-ids.ts";
import type { OrchestratorOptions } from "./options.ts";
import type { CacheEntry, StateCache } from "./state-cache.ts";

type Group = readonly IntakeItem[];

export interface BatcherOptions {
  readonly pool: Pool;
  readonly cache: StateCache;
  readonly decider: Decider;
  readonly ids: NodeIds;
  readonly metrics: OrchestratorOptions["metrics"];
  readonly log: OrchestratorOptions["log"];
  /** Told of each durable group, before its items are resolved. */
  readonly onCommitted: (groups: readonly DecidedGroup[], result: AppendResult) => void;
}

/** Lost races for one execution's head before its callers get an error. */
const TRIES_MAX = 20;
const BACKOFF = { minMs: 50, maxMs: 2000 };
/** After a lost race the tail is read before each decision for so long, to lose fewer. */
const CONTENDED_MS = 5000;

export class Batcher {
  readonly #options: BatcherOptions;
  /** Executions that another server has been writing to, until when. */
  readonly #contended = new Map<ExecutionId, number>();

  constructor(options: BatcherOptions) {
    this.#options = options;
  }

  /** Settles every item; never rejects. */
  async process(groups: readonly Group[], signal: AbortSignal): Promise<void> {
    this.#options.metrics.batchInputs.observe(groups.reduce((sum, group) => sum + group.length, 0));
    let open = groups;
    for (let attempt = 1; open.length > 0; attempt++) {
      open = await this.#round(open, signal, attempt);
    }
  }

  /** @returns the groups that must be decided again. */
  async #round(
    groups: readonly Group[],
    signal: AbortSignal,
    attempt: number,
  ): Promise<readonly Group[]> {
    if (attempt > TRIES_MAX) {
      this.#reject(groups, conflict());
      return [];
    }
    try {
      return await retry(() => this.#tryRound(groups), {
        ...BACKOFF,
        signal,
        isRetryable: isPassing,
        onRetry: (error, tries, delayMs) => {
          const fields = { error: errorMessage(error), attempt: tries, delayMs };
          this.#options.log.warn("batch not committed, trying again", fields);
        },
      });
    } catch (error) {
      return await this.#isolate(groups, signal, error);
    }
  }

  async #tryRound(groups: readonly Group[]): Promise<readonly Group[]> {
    const open = groups.map((group) => group.filter((item) => !isSettled(item)));
    const left = open.filter((group) => group.length > 0);
    try {
      return await this.#decideAndCommit(left);
    } catch (error) {
      for (const [item] of left) {
        this.#options.cache.drop(item?.executionId ?? ("" as ExecutionId));
      }
      throw error;
    }
  }

  async #decideAndCommit(groups: readonly Group[]): Promise<readonly Group[]> {
    await this.#options.ids.acquire();
    const entries = await this.#loadEntries(groups);
    const answers = await Promise.all(
      groups.map((items) => this.#options.decider.decide(items, entries)),
    );
    const decided = answers.flatMap((group) => group ?? []);
    const [empty, full] = partition(decided, (group) => group.draft.isEmpty);
    const [moved, lost] = await Promise.all([this.#commit(full), this.#verify(empty)]);
    return [...moved, ...lost].map((group) => {
      this.#lose(group);
      return group.items;
    });
  }

  /** From memory or the database; caught up where another server is writing too. */
  async #loadEntries(groups: readonly Group[]): Promise<Map<ExecutionId, CacheEntry>> {
    const { cache, metrics } = this.#options;
    const entries = new Map<ExecutionId, CacheEntry>();
    const missing: ExecutionId[] = [];
    const behind: CacheEntry[] = [];
    for (const [item] of groups) {
      if (item === undefined || item.create !== undefined) {
        continue;
      }
      const entry = cache.peek(item.executionId);
      if (entry === undefined) {
        missing.push(item.executionId);
        continue;
      }
      entry.isFresh = false;
      entries.set(item.executionId, entry);
      if ((this.#contended.get(item.executionId) ?? 0) > Date.now()) {
        behind.push(entry);
      }
    }
    if (missing.length > 0) {
      for (const [id, entry] of await cache.load(missing)) {
        entries.set(id, entry);
      }
      metrics.stateBuild.add(missing.length, "replay");
    }
    if (behind.length > 0) {
      await cache.catchUp(behind);
    }
    metrics.stateBuild.add(groups.length - missing.length, "live");
    return entries;
  }

  /** @returns the groups whose execution was not where it should be. */
  async #commit(groups: readonly DecidedGroup[]): Promise<readonly DecidedGroup[]> {
    if (groups.length === 0) {
      return [];
    }
    const startMs = performance.now();
    // Sorted, so that two servers never wait for each other's executions.
    const rows = groups.map(({ draft }): AppendGroup => draft.build()).sort(byId);
    const result = await appendBatch(this.#options.pool, rows);
    this.#options.metrics.commitSeconds.observe((performance.now() - startMs) / 1000);
    const [moved, lost] = partition(groups, ({ id }) => result.moved.has(id));
    this.#options.onCommitted(moved, result);
    for (const group of moved) {
      this.#resolve(group);
    }
    return lost.filter((group) => !this.#wasTaken(group));
  }

  /** The start of a root that did not happen: its dedup key is taken, or it has been started. */
  #wasTaken({ items }: DecidedGroup): boolean {
    const [first] = items;
    if (first?.create === undefined) {
      return false;
    }
    settle(first, () => first.resolve({ isStale: true, status: undefined }));
    return items.every((item) => isSettled(item));
  }

  /**
   * Inputs that change nothing are answered only if the state was the latest: an old one may take
   * a report of a new attempt for stale.
   */
  async #verify(groups: readonly DecidedGroup[]): Promise<readonly DecidedGroup[]> {
    const doubtful = groups.filter(({ entry }) => !entry.isFresh);
    const ids = doubtful.map(({ id }) => id);
    const positions =
      ids.length === 0
        ? new Map<ExecutionId, number>()
        : await readPositions(this.#options.pool, ids);
    const lost = doubtful.filter(({ id, entry }) => positions.get(id) !== entry.state?.seq);
    const isLost = new Set(lost);
    for (const group of groups) {
      if (!isLost.has(group)) {
        this.#resolve(group);
      }
    }
    return lost;
  }

  #resolve({ answers, draft }: DecidedGroup): void {
    const { status } = draft;
    for (const { item, granted: next, isStale, refusal, waitCount } of answers) {
      const granted = next && draft.granted(next);
      settle(item, () => item.resolve({ isStale, status, granted, refusal, waitCount }));
    }
  }

  #lose({ id }: DecidedGroup): void {
    const nowMs = Date.now();
    this.#options.cache.drop(id);
    this.#options.metrics.commitConflicts.inc();
    for (const [known, untilMs] of this.#contended) {
      if (untilMs > nowMs) {
        break;
      }
      this.#contended.delete(known);
    }
    this.#contended.delete(id);
    this.#contended.set(id, nowMs + CONTENDED_MS);
  }

  /** One group may have poisoned the statement: the others must not suffer from it. */
  async #isolate(
    groups: readonly Group[],
    signal: AbortSignal,
    error: unknown,
  ): Promise<readonly Group[]> {
    if (groups.length === 1 || isPassing(error)) {
      this.#options.log.error("batch refused", { error: errorMessage(error) });
      this.#reject(groups, databaseError(error));
      return [];
    }
    const lost: Group[] = [];
    for (const group of groups) {
      lost.push(...(await this.#round([group], signal, 1)));
    }
    return lost;
  }

  #reject(groups: readonly Group[], error: unknown): void {
    for (const item of groups.flat()) {
      settle(item, () => item.reject(error));
    }
  }
}

function byId({ executionId: a }: AppendGroup, { executionId: b }: AppendGroup): number {
  return a.length - b.length || (a < b ? -1 : 1);
}

/** True if the batch may go through later though nothing in it changes. */
function isPassing(error: unknown): boolean {
  return error instanceof AppError ? error.isRetryable : isDatabaseDown(error);
}

function conflict(): AppError {
  return new AppError(
    "unavailable",
    "EXECUTION_CONTENDED",
    `Other servers changed the execution ${TRIES_MAX} times in a row: try later`,
  );
}

function partition<T>(
  values: readonly T[],
  matches: (value: T) => boolean,
): readonly [readonly T[], readonly T[]] {
  const yes: T[] = [];
  const no: T[] = [];
  for (const value of values) {
    (matches(value) ? yes : no).push(value);
  }
  return [yes, no];
}
