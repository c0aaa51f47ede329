/** Hands the platform's own inputs to the intake: once each, and without a caller that waits. */
import { AppError, errorMessage } from "../core/errors.ts";
import type { ExecutionId, TimerId, WorkerId } from "../core/ids.ts";
import type { Failure } from "../engine/failure.ts";
import type { CancellingCommand } from "../store/append.ts";
import type { QueueError } from "../store/queue-error.ts";
import type { ExpiredLease } from "../store/sweep.ts";
import type { DatabaseClock } from "./database-clock.ts";
import type { Intake, IntakeInput } from "./intake.ts";
import type { OrchestratorOptions } from "./options.ts";
import type { PutOffTimers } from "./put-off-timers.ts";
import type { WakeUp } from "./wake-up.ts";
import { toInput } from "./wake-up.ts";

/** Stands for a worker in reports that the platform makes itself. */
const PLATFORM = "platform" as WorkerId;

export interface FeedOptions {
  readonly intake: Intake;
  readonly clock: DatabaseClock;
  readonly putOff: PutOffTimers;
  readonly log: OrchestratorOptions["log"];
}

/** What failed is found again by a sweep, because its row is still there. */
export class Feed {
  readonly #intake: Intake;
  readonly #clock: DatabaseClock;
  readonly #putOff: PutOffTimers;
  readonly #log: OrchestratorOptions["log"];
  readonly #open = new Set<string>();

  constructor({ intake, clock, putOff, log }: FeedOptions) {
    this.#intake = intake;
    this.#clock = clock;
    this.#putOff = putOff;
    this.#log = log;
  }

  /** A row of `timer` that is due. */
  wakeUp(executionId: ExecutionId, timerId: TimerId, wakeUp: WakeUp): void {
    const input = toInput(wakeUp, timerId);
    this.#put(`timer:${timerId}`, { executionId, input, consumes: timerId });
  }

  /** A pending child, or an execution that was given its place. */
  start(executionId: ExecutionId, cause: "spawned" | "admitted" = "spawned"): void {
    this.#put(`${cause}:${executionId}`, { executionId, input: { kind: "start_pending" } });
  }

  /** A pending child that will never start. */
  refuse(executionId: ExecutionId, error: Failure): void {
    this.#put(`refuse:${executionId}`, { executionId, input: { kind: "refuse_pending", error } });
  }

  /** A command whose lease has run out; one that nobody had claimed confirms its own end. */
  expire({ executionId, commandId, attempt, workerId, queueError }: ExpiredLease): void {
    if (queueError !== undefined) {
      this.failQueued({ executionId, commandId, attempt, error: queueError });
      return;
    }
    if (workerId === undefined) {
      this.confirmCancelled({ executionId, commandId, attempt, workerId });
      return;
    }
    const input = { kind: "lease_expired", commandId, attempt } as const;
    this.#put(`lease:${commandId}:${attempt}`, { executionId, input });
  }

  /** A command that was taken out of its queue: no worker will have it. */
  failQueued({ executionId, commandId, attempt, error }: QueueError): void {
    const input = { kind: "unclaimed", commandId, attempt, error } as const;
    this.#put(`queue:${commandId}:${attempt}`, { executionId, input });
  }

  /** A cancelled command that no worker ever had. */
  confirmCancelled({ executionId, commandId, attempt }: CancellingCommand): void {
    const report = {
      executionId,
      commandId,
      attempt,
      workerId: PLATFORM,
      startedAtMs: this.#clock.now(),
      outcome: { status: "cancelled" },
    } as const;
    this.#put(`cancel:${commandId}:${attempt}`, { executionId, input: { kind: "report", report } });
  }

  #put(key: string, input: IntakeInput): void {
    if (this.#open.has(key)) {
      return;
    }
    this.#open.add(key);
    this.#intake
      .force(input)
      .catch((error: unknown) => {
        if (this.#isWorthALine(input, error)) {
          const { kind } = input.input;
          this.#log.warn("input not taken", { kind, error: errorMessage(error) });
        }
      })
      .finally(() => this.#open.delete(key));
  }

  /** A timer that is refused, not just untimely, would be refused each second: it steps aside. */
  #isWorthALine({ executionId, consumes }: IntakeInput, error: unknown): boolean {
    const isRefused = error instanceof AppError && !error.isRetryable;
    return consumes === undefined || !isRefused || this.#putOff.add(executionId, consumes);
  }
}
