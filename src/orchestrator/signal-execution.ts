/** Signals to running executions. */
import { AppError } from "../core/errors.ts";
import type { ExecutionId } from "../core/ids.ts";
import type { Signal } from "../engine/decision.ts";
import { isTerminal } from "../engine/state.ts";
import { isSignalName, SIGNAL_NAME_CHARS_MAX } from "../engine/wait.ts";
import type { Pool } from "../store/pool.ts";
import { findEnded } from "./find-ended.ts";
import type { IntakeInput, Outcome } from "./intake.ts";
import type { OrchestratorOptions } from "./options.ts";

/** JSON text of one payload, in characters, at most. */
export const SIGNAL_PAYLOAD_CHARS_MAX = 256 * 1024;
const KEY_CHARS_MAX = 1000;

interface Parts {
  readonly pool: Pool;
  readonly submit: (input: IntakeInput) => Promise<Outcome>;
  readonly metrics: Pick<OrchestratorOptions["metrics"], "signals">;
}

export interface SignalAnswer {
  readonly executionId: ExecutionId;
  /** `kept`: nobody waits for it yet. `duplicate`: its dedup key has come before. */
  readonly status: "delivered" | "kept" | "duplicate";
  /** Waits that it has ended. */
  readonly waitCount: number;
}

/**
 * Durable when it resolves.
 *
 * @throws AppError invalid SIGNAL_INVALID or SIGNAL_TOO_LARGE, not_found EXECUTION_NOT_FOUND,
 * conflict EXECUTION_NOT_STARTED, EXECUTION_FINISHED, EXECUTION_ENDING or SIGNALS_FULL.
 */
export async function signalExecution(
  { pool, submit, metrics }: Parts,
  executionId: ExecutionId,
  signal: Signal,
): Promise<SignalAnswer> {
  try {
    checkSignal(signal);
    const ended = await findEnded(pool, executionId);
    const input = { kind: "signal", signal } as const;
    const outcome = ended ?? (await submit({ executionId, input }));
    const answer = answerOf(executionId, outcome);
    metrics.signals.inc(answer.status);
    return answer;
  } catch (error) {
    metrics.signals.inc("refused");
    throw error;
  }
}

function answerOf(executionId: ExecutionId, outcome: Outcome): SignalAnswer {
  const { status, refusal, isStale, waitCount = 0 } = outcome;
  if (status === undefined) {
    throw new AppError("not_found", "EXECUTION_NOT_FOUND", `There is no execution ${executionId}`);
  }
  if (refusal !== undefined) {
    throw new AppError("conflict", refusal.code, `Execution ${executionId}: ${refusal.message}`);
  }
  if (isStale && isTerminal({ status })) {
    const message = `Execution ${executionId} has ended (${status}): no step of it waits any more`;
    throw new AppError("conflict", "EXECUTION_FINISHED", message);
  }
  if (isStale && status === "pending") {
    const message = `Execution ${executionId} has not started yet: send the signal again later`;
    throw new AppError("conflict", "EXECUTION_NOT_STARTED", message);
  }
  if (isStale) {
    return { executionId, status: "duplicate", waitCount: 0 };
  }
  return { executionId, status: waitCount > 0 ? "delivered" : "kept", waitCount };
}

function checkSignal({ name, payload, sender, dedupKey }: Signal): void {
  if (!isSignalName(name)) {
    const message = `A signal's name has 1 to ${SIGNAL_NAME_CHARS_MAX} characters`;
    throw new AppError("invalid", "SIGNAL_INVALID", message);
  }
  for (const [what, text = ""] of [["sender", sender] as const, ["dedup key", dedupKey] as const]) {
    if (text.length > KEY_CHARS_MAX || text.includes("\0")) {
      const message = `The ${what} of a signal has at most ${KEY_CHARS_MAX} characters and no NUL`;
      throw new AppError("invalid", "SIGNAL_INVALID", message);
    }
  }
  const chars = JSON.stringify(payload).length;
  if (chars > SIGNAL_PAYLOAD_CHARS_MAX) {
    const message =
      `The payload of signal ${name} has ${chars} characters of JSON, the limit is ` +
      `${SIGNAL_PAYLOAD_CHARS_MAX}: store it elsewhere and send its address`;
    throw new AppError("invalid", "SIGNAL_TOO_LARGE", message);
  }
}
