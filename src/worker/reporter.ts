/**
 * Brings the outcomes of commands to the server.
 *
 * What is there goes out in one call; while one is under way more gathers ({@link CALL_STARTS_AT}),
 * so that batches form under load and nothing waits when idle. A report is repeated with back-off
 * until a server answers it: servers may be away for minutes, and the fence makes repeating it
 * harmless. It ends early only when the command is lost or the worker gives up at its own end.
 *
 * A call that a server refuses for its content is split into single reports; one that is refused
 * alone is replaced by a failure that says so, and dropped if even that is refused: its lease then
 * runs out and the server decides.
 */
import { backoffMs } from "../core/backoff.ts";
import { sleep } from "../core/clock.ts";
import { AppError, errorMessage } from "../core/errors.ts";
import type { ClaimedCommand, CommandReport, ReportAnswer } from "../engine/command.ts";
import { failure } from "../engine/failure.ts";
import type { WorkerOptions } from "./options.ts";

/**
 * Outcomes that must wait for a further call to start, by the number of calls under way. Measured: a
 * second one for less makes batches and the commits behind them smaller, and nothing faster.
 */
const CALL_STARTS_AT: readonly number[] = [1, 32];
/** Outcomes are at most a few times the inline limit each: far below the limit of a message. */
const BATCH_MAX = 128;
const RETRY_BACKOFF = { minMs: 100, maxMs: 1000 };
/** Tries of a call that fails by a bug of the server. */
const REFUSALS_MAX = 5;

export type ReportEnd = ReportAnswer | "dropped";

export interface ReporterOptions
  extends Pick<WorkerOptions, "client" | "log" | "metrics" | "workerId"> {
  /** Takes a command that came with an answer, before the answer's own slot is free. */
  readonly onGrant: (command: ClaimedCommand) => void;
}

interface Waiting {
  readonly report: CommandReport;
  readonly resolve: (end: ReportEnd) => void;
  /** True when nobody wants to know any more. */
  readonly isUnwanted: () => boolean;
}

export class Reporter {
  readonly #options: ReporterOptions;
  readonly #stopped = new AbortController();
  readonly #waiting: Waiting[] = [];
  #inFlight = 0;
  #isScheduled = false;

  constructor(options: ReporterOptions) {
    this.#options = options;
  }

  /** Never rejects. `dropped`: unwanted, given up, or refused by the server. */
  report(report: CommandReport, isUnwanted: () => boolean): Promise<ReportEnd> {
    const { promise, resolve } = Promise.withResolvers<ReportEnd>();
    this.#waiting.push({ report, resolve, isUnwanted });
    if (!this.#isScheduled) {
      this.#isScheduled = true;
      // What ends in the same turn goes out together.
      setImmediate(() => {
        this.#isScheduled = false;
        this.#send();
      });
    }
    return promise;
  }

  /** Drops what the server has not accepted yet. */
  giveUp(): void {
    this.#stopped.abort();
  }

  #send(): void {
    if (this.#waiting.length >= (CALL_STARTS_AT[this.#inFlight] ?? Number.POSITIVE_INFINITY)) {
      const batch = this.#waiting.splice(0, BATCH_MAX);
      this.#inFlight++;
      void this.#deliver(batch).finally(() => {
        this.#inFlight--;
        this.#send();
      });
    }
  }

  /** Never rejects. */
  async #deliver(all: readonly Waiting[]): Promise<void> {
    let batch = all;
    for (let attempt = 1, refusals = 0; ; attempt++) {
      batch = this.#withoutDropped(batch);
      if (batch.length === 0) {
        return;
      }
      try {
        await this.#call(batch);
        return;
      } catch (error) {
        refusals += isRefusal(error) ? 1 : 0;
        if (isFinal(error) || refusals >= REFUSALS_MAX) {
          await this.#deliverApart(batch, error);
          return;
        }
        await this.#wait(attempt, batch.length, error);
      }
    }
  }

  #withoutDropped(batch: readonly Waiting[]): readonly Waiting[] {
    const isDropped = ({ isUnwanted }: Waiting): boolean =>
      this.#stopped.signal.aborted || isUnwanted();
    for (const { resolve } of batch.filter(isDropped)) {
      resolve("dropped");
    }
    return batch.filter((waiting) => !isDropped(waiting));
  }

  async #call(batch: readonly Waiting[]): Promise<void> {
    const { client, metrics, workerId, onGrant } = this.#options;
    const startMs = performance.now();
    const answers = await client.report(
      workerId,
      batch.map(({ report }) => report),
      onGrant,
    );
    metrics.reportSeconds.observe((performance.now() - startMs) / 1000);
    metrics.reportBatchSize.observe(batch.length);
    for (const [position, { resolve }] of batch.entries()) {
      const answer = answers[position] ?? "stale";
      if (answer === "stale") {
        metrics.reportStale.inc();
      }
      resolve(answer);
    }
  }

  async #wait(attempt: number, count: number, error: unknown): Promise<void> {
    const delayMs = backoffMs(attempt, RETRY_BACKOFF);
    this.#options.log.warn("Cannot report yet", {
      count,
      attempt,
      delay_ms: Math.round(delayMs),
      error: errorMessage(error),
    });
    await sleep(delayMs, this.#stopped.signal);
  }

  async #deliverApart(batch: readonly Waiting[], error: unknown): Promise<void> {
    if (batch.length > 1) {
      await Promise.all(batch.map((waiting) => this.#deliver([waiting])));
      return;
    }
    for (const { report, resolve, isUnwanted } of batch) {
      const { executionId, commandId } = report;
      const facts = { executionId, commandId, error: errorMessage(error) };
      if (isReplacement(report)) {
        this.#options.log.error("The server refuses a report", facts);
        resolve("dropped");
      } else {
        this.#options.log.warn("The server refuses a report, a failure goes instead", facts);
        await this.#deliver([{ report: replacement(report, error), resolve, isUnwanted }]);
      }
    }
  }
}

/** Nobody has to be asked twice. */
function isFinal(error: unknown): boolean {
  return error instanceof AppError && !error.isRetryable && error.kind !== "internal";
}

function isRefusal(error: unknown): boolean {
  return !(error instanceof AppError && error.isRetryable);
}

const REFUSED = "REPORT_REFUSED";

function replacement(report: CommandReport, error: unknown): CommandReport {
  const message = `The server refused the outcome: ${errorMessage(error)}`;
  const refused = failure("internal", message, { code: REFUSED });
  return { ...report, outcome: { status: "error", error: refused, value: null, ctx: {} } };
}

function isReplacement({ outcome }: CommandReport): boolean {
  return outcome.status === "error" && outcome.error.code === REFUSED;
}
