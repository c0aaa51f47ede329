/**
 * Executions with a concurrency key on their way to a place, and places on their way from one
 * execution to the next. src/store/admission.ts says what a place is; this file calls it for what
 * arrives together, and sees to what follows: those that were admitted start, victims are cancelled.
 * What is forgotten because the server dies here is found by a sweep.
 */
import { retry } from "../core/backoff.ts";
import { AppError, errorMessage } from "../core/errors.ts";
import type { ExecutionId, TimerId } from "../core/ids.ts";
import type { Failure } from "../engine/failure.ts";
import { failure } from "../engine/failure.ts";
import type { Admission as Admitted, Applicant } from "../store/admission.ts";
import { enterQueues, passPlacesOn } from "../store/admission.ts";
import { countHoldingAncestors } from "../store/place.ts";
import type { EndedKey } from "../store/reservation.ts";
import { giveUpReservation, readEndedKey, reservePlace } from "../store/reservation.ts";
import { isDatabaseDown } from "../store/sqlstate.ts";
import { createCoalescer } from "./coalescer.ts";
import type { Feed } from "./feed.ts";
import type { OrchestratorOptions } from "./options.ts";
import type { WakeUp } from "./wake-up.ts";
import { encodeWakeUp } from "./wake-up.ts";

/**
 * - `held`: it has its place; whoever asked starts it.
 * - `queued`: it is started when it has one.
 * - `rejected`: the key is at its limit, and it was not to wait.
 * - `stuck`: it would wait for ever, for executions that wait for it.
 * - `absent`: somebody else has its dedup key, or it has ended or is queued already.
 */
export type Entry = "held" | "queued" | "rejected" | "stuck" | "absent";

const APPLICANTS_MAX = 256;
const KEYS_MAX = 256;
/** A database that is just coming back is waited for. */
const PATIENCE_MS = 15_000;
const BACKOFF = { minMs: 50, maxMs: 1000 };
/** Requests whose statement is under way or waits for another's. */
const ENTERING_MAX = 20_000;

/** An ended execution that is to go on. */
interface Ended {
  readonly id: ExecutionId;
  readonly key: EndedKey;
}

export class Admission {
  readonly #options: Pick<OrchestratorOptions, "store" | "metrics" | "log">;
  readonly #feed: Feed;
  readonly #enter: (applicant: Applicant) => Promise<Entry>;
  readonly #reserve: (ended: Ended) => Promise<boolean>;
  readonly #freed = new Set<string>();
  #entering = 0;
  #isPassing = false;

  constructor(options: Pick<OrchestratorOptions, "store" | "metrics" | "log">, feed: Feed) {
    this.#options = options;
    this.#feed = feed;
    this.#enter = createCoalescer<Applicant, Entry>((all) => this.#enterAll(all), {
      max: APPLICANTS_MAX,
      concurrency: 1,
    });
    // One at a time: what waits for a key's lock must not take all connections.
    this.#reserve = createCoalescer<Ended, boolean>(
      (all) => Promise.all(all.map((one) => reservePlace(options.store.durable, one.id, one.key))),
      { max: 1, concurrency: 1 },
    );
  }

  /** Durable when it resolves. @throws AppError unavailable ADMISSION_FULL; what the database threw. */
  async enter(applicant: Applicant): Promise<Entry> {
    if (this.#entering >= ENTERING_MAX && applicant.create !== undefined) {
      const message = `Already ${this.#entering} executions ask for their place: try later`;
      throw new AppError("unavailable", "ADMISSION_FULL", message);
    }
    this.#entering++;
    try {
      return await this.#enterCounted(applicant);
    } finally {
      this.#entering--;
    }
  }

  async #enterCounted(applicant: Applicant): Promise<Entry> {
    const entry = (await this.#isStuck(applicant)) ? "stuck" : await this.#enter(applicant);
    const { metrics } = this.#options;
    if (entry !== "absent") {
      const outcome = entry === "held" || entry === "queued" ? entry : "rejected";
      metrics.admissions.inc(outcome === "held" ? "started" : outcome);
    }
    return entry;
  }

  /** A pending child: starts it, lets it wait or fails it. Returns at once, never throws. */
  enterChild(applicant: Applicant): void {
    const { executionId, key, limit } = applicant;
    this.enter(applicant)
      .then((entry) => {
        if (entry === "held") {
          this.#feed.start(executionId, "admitted");
        } else if (entry === "rejected" || entry === "stuck") {
          this.#feed.refuse(executionId, refusalOf(entry, key, limit));
        }
      })
      .catch((error: unknown) => {
        const fields = { executionId, error: errorMessage(error) };
        this.#options.log.warn("child not queued, a sweep repeats it", fields);
      });
  }

  /**
   * Keeps a place for an execution that has ended while `goOn` lets it go on. One without a key needs
   * none.
   *
   * @throws AppError conflict CONCURRENCY_LIMIT; what `goOn` threw: then the place is free again.
   */
  async whileReserved<T>(executionId: ExecutionId, goOn: () => Promise<T>): Promise<T> {
    const { durable } = this.#options.store;
    const ended = await readEndedKey(durable, executionId);
    if (ended === undefined) {
      return await goOn();
    }
    if (!(await this.#reserve({ id: executionId, key: ended }))) {
      const { key, limit } = ended;
      const message = `Concurrency key ${JSON.stringify(key)} is at its limit of ${limit}: retry when one of its executions has ended`;
      throw new AppError("conflict", "CONCURRENCY_LIMIT", message, { details: { key, limit } });
    }
    try {
      return await goOn();
    } catch (error) {
      await giveUpReservation(durable, executionId);
      this.release(ended.key);
      throw error;
    }
  }

  /** Passes on the place of an execution of this key that has ended. Returns at once, never throws. */
  release(key: string): void {
    this.#freed.add(key);
    if (!this.#isPassing) {
      this.#isPassing = true;
      void this.#passOn().finally(() => {
        this.#isPassing = false;
      });
    }
  }

  /** A child whose parents wait for it and have all the places that it could get. */
  async #isStuck({ create, executionId, key, limit }: Applicant): Promise<boolean> {
    return (
      create === undefined &&
      (await countHoldingAncestors(this.#options.store.durable, executionId, key)) >= limit
    );
  }

  async #enterAll(applicants: readonly Applicant[]): Promise<readonly Entry[]> {
    const { store } = this.#options;
    // Repeating is harmless: what an attempt has committed whose answer got lost is `absent` then.
    const admission = await retry(() => enterQueues(store.durable, applicants, CANCEL_INPUT), {
      ...BACKOFF,
      signal: AbortSignal.timeout(PATIENCE_MS),
      isRetryable: isDatabaseDown,
    });
    const entrants = new Set(applicants.map(({ executionId }) => executionId));
    const { absent, rejected, admitted } = admission;
    const held = new Set(admitted.map(({ executionId }) => executionId));
    this.#follow({
      ...admission,
      admitted: admitted.filter(({ executionId }) => !entrants.has(executionId)),
    });
    return applicants.map(({ executionId }) => {
      if (absent.has(executionId) || rejected.has(executionId)) {
        return absent.has(executionId) ? "absent" : "rejected";
      }
      return held.has(executionId) ? "held" : "queued";
    });
  }

  async #passOn(): Promise<void> {
    const { store, log } = this.#options;
    while (this.#freed.size > 0) {
      const keys = [...this.#freed].slice(0, KEYS_MAX);
      for (const key of keys) {
        this.#freed.delete(key);
      }
      try {
        this.#follow(await passPlacesOn(store.durable, keys, CANCEL_INPUT));
      } catch (error) {
        log.warn("places not passed on", { count: keys.length, error: errorMessage(error) });
      }
    }
  }

  #follow({ admitted, victims }: Pick<Admitted, "admitted" | "victims">): void {
    const { metrics } = this.#options;
    for (const { executionId, waitedMs } of admitted) {
      metrics.admissionWaitSeconds.observe(waitedMs / 1000);
      this.#feed.start(executionId, "admitted");
    }
    for (const { executionId, takerId } of victims) {
      metrics.admissions.inc("cancelled");
      this.#feed.wakeUp(executionId, timerIdOf(takerId), CANCEL);
    }
  }
}

/** Why an execution does not run; its code also names the error of a request that is refused. */
export function refusalOf(entry: "rejected" | "stuck", key: string, limit: number): Failure {
  const name = JSON.stringify(key);
  return entry === "rejected"
    ? failure(
        "limit",
        `Concurrency key ${name} is at its limit of ${limit}, and on_limit is reject`,
        {
          code: "CONCURRENCY_LIMIT",
        },
      )
    : failure(
        "limit",
        `Concurrency key ${name} allows ${limit} at once, and the executions that wait for this one have all these places`,
        { code: "CONCURRENCY_DEADLOCK" },
      );
}

const CANCEL: WakeUp = {
  kind: "cancel",
  reason: "a newer execution takes its place under the concurrency key",
};
const CANCEL_INPUT = encodeWakeUp(CANCEL);

/** The row has the id of the execution that it is for: both are unique. */
function timerIdOf(takerId: ExecutionId): TimerId {
  return takerId as string as TimerId;
}
