/**
 * Housekeeping of stored values and finished executions, a batch at a time: values whose time is over,
 * bytes that nobody may read, and what the settings say is old enough to go. Idempotent, so any server
 * may do it, or several at once; a crash leaves the rest for the next round.
 */

import { errorMessage } from "../core/errors.ts";
import type { ExecutionId } from "../core/ids.ts";
import { idFloor } from "../core/ids.ts";
import type { Logger } from "../observability/log.ts";
import type { Store } from "../store/pool.ts";
import {
  forgetLoose,
  removeExpired,
  removeOfExecutions,
  removeStepScoped,
  takeLoose,
} from "../store/result-removal.ts";
import type { ResultStore, StoreKind } from "../store/result-store.ts";
import type { FinishedPage, Holder } from "../store/retention.ts";
import {
  listEventHolders,
  listFinished,
  listResultHolders,
  removeEvents,
  removeExecutions,
} from "../store/retention.ts";
import type { OrchestratorMetrics } from "./options.ts";

/** How long what is kept of a finished execution; undefined: for ever. Milliseconds. */
export interface Retention {
  /** Everything, the row included. */
  readonly executionsMs?: number | undefined;
  /** The log; status, result and error stay. */
  readonly eventsMs?: number | undefined;
  /** Stored values, permanent ones excepted. */
  readonly resultsMs?: number | undefined;
}

export interface HousekeeperOptions {
  readonly store: Store;
  readonly sources: Readonly<Partial<Record<StoreKind, ResultStore>>>;
  readonly retention: Retention;
  /** The database's clock. */
  readonly now: () => number;
  readonly metrics: Pick<OrchestratorMetrics, "retentionRemoved">;
  readonly log: Logger;
}

const BODIES_MAX = 100;
const NAMES_MAX = 500;
const EXECUTIONS_MAX = 100;
/** Executions that are looked at in a round, most of which may not be done with yet. */
const HOLDERS_MAX = 500;
const EVENTS_MAX = 5000;

type Duty = "executions" | "events" | "results";

interface Removal {
  /** Executions that there may be something of, in order of ids. */
  readonly list: (page: FinishedPage) => Promise<readonly Holder[]>;
  /** Gives true when nothing is left of these. */
  readonly remove: (ids: readonly ExecutionId[]) => Promise<boolean>;
}

export class Housekeeper {
  readonly #options: HousekeeperOptions;
  /** Last execution that a duty is done with, until it has come to the end and begins anew. */
  readonly #cursors = new Map<Duty, string>();

  constructor(options: HousekeeperOptions) {
    this.#options = options;
  }

  /** One round; true if there is more to do at once. */
  async keep(): Promise<boolean> {
    const { store, retention } = this.#options;
    const { executionsMs, eventsMs, resultsMs } = retention;
    const rounds = [
      this.#count("result", await removeExpired(store.durable, NAMES_MAX)) >= NAMES_MAX,
      this.#count("result", await removeStepScoped(store.durable, NAMES_MAX)) >= NAMES_MAX,
      await this.#each("results", resultsMs, {
        list: (page) => listResultHolders(store.quick, page),
        remove: (ids) => this.#removeResults(ids),
      }),
      await this.#each("events", eventsMs, {
        list: (page) => listEventHolders(store.quick, page),
        remove: (ids) => this.#removeEvents(ids),
      }),
      await this.#each("executions", executionsMs, {
        list: (page) => this.#listFinished(page),
        remove: (ids) => this.#removeExecutions(ids),
      }),
      await this.#removeLoose(),
    ];
    return rounds.some(Boolean);
  }

  async #each(duty: Duty, ageMs: number | undefined, { list, remove }: Removal): Promise<boolean> {
    if (ageMs === undefined) {
      return false;
    }
    const afterId = this.#cursors.get(duty) ?? "0";
    const beforeId = idFloor(this.#options.now() - ageMs);
    const found = await list({ ageMs, afterId, beforeId, limit: HOLDERS_MAX });
    const due = found.filter(({ isDue }) => isDue).map(({ executionId }) => executionId);
    const last = found.at(-1)?.executionId;
    if (last === undefined) {
      this.#cursors.delete(duty);
      return false;
    }
    if (due.length === 0 || (await remove(due))) {
      this.#cursors.set(duty, last);
    }
    return true;
  }

  async #listFinished(page: FinishedPage): Promise<readonly Holder[]> {
    const { quick } = this.#options.store;
    const ids = await listFinished(quick, { ...page, limit: EXECUTIONS_MAX });
    return ids.map((executionId) => ({ executionId, isDue: true }));
  }

  async #removeExecutions(ids: readonly ExecutionId[]): Promise<boolean> {
    const isDone = (await this.#removeResults(ids)) && (await this.#removeEvents(ids));
    if (isDone) {
      this.#count("execution", await removeExecutions(this.#options.store.quick, ids));
    }
    return isDone;
  }

  async #removeResults(ids: readonly ExecutionId[]): Promise<boolean> {
    const removed = await removeOfExecutions(this.#options.store.durable, ids, NAMES_MAX);
    return this.#count("result", removed) < NAMES_MAX;
  }

  async #removeEvents(ids: readonly ExecutionId[]): Promise<boolean> {
    const removed = await removeEvents(this.#options.store.quick, ids, EVENTS_MAX);
    return this.#count("event", removed) < EVENTS_MAX;
  }

  /** Gives the number back. */
  #count(kind: "result" | "body" | "event" | "execution", rows: number): number {
    this.#options.metrics.retentionRemoved.add(rows, kind);
    return rows;
  }

  /** A store that is away keeps its bytes until it is back: they stay listed. */
  async #removeLoose(): Promise<boolean> {
    const { store, sources, log } = this.#options;
    const loose = await takeLoose(store.quick, BODIES_MAX);
    for (const [kind, bodies] of Map.groupBy(loose, (body) => body.store)) {
      try {
        await sources[kind]?.removeBodies(bodies);
        if (sources[kind] !== undefined) {
          await forgetLoose(
            store.quick,
            bodies.map(({ bodyId }) => bodyId),
          );
          this.#count("body", bodies.length);
        }
      } catch (error) {
        log.warn("bytes of stored values not removed yet", {
          store: kind,
          count: bodies.length,
          error: errorMessage(error),
        });
      }
    }
    return loose.length >= BODIES_MAX;
  }
}
