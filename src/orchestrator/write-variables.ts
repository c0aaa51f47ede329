/** Writes to the ctx of running executions, from outside. */
import { AppError } from "../core/errors.ts";
import type { ExecutionId } from "../core/ids.ts";
import type { JsonObject } from "../core/json.ts";
import { isTerminal } from "../engine/state.ts";
import type { Pool } from "../store/pool.ts";
import { findEnded } from "./find-ended.ts";
import type { IntakeInput, Outcome } from "./intake.ts";

export const VARIABLE_NAME_CHARS_MAX = 200;

export interface VariableChange {
  /** By name; each replaces what was there. */
  readonly values: JsonObject;
  /** Names that are to go; those that do not exist are gone already. */
  readonly removed: readonly string[];
}

/**
 * Durable when it resolves. Tasks that run already keep the ctx that they were given.
 *
 * @throws AppError invalid VARIABLE_INVALID, CTX_TOO_LARGE, not_found EXECUTION_NOT_FOUND,
 * conflict EXECUTION_FINISHED, EXECUTION_NOT_STARTED.
 */
export async function writeVariables(
  pool: Pool,
  submit: (input: IntakeInput) => Promise<Outcome>,
  executionId: ExecutionId,
  change: VariableChange,
): Promise<void> {
  for (const name of [...Object.keys(change.values), ...change.removed]) {
    checkName(name);
  }
  const ended = await findEnded(pool, executionId);
  const outcome = ended ?? (await submit({ executionId, input: { kind: "variables", ...change } }));
  checkOutcome(executionId, outcome);
}

function checkName(name: string): void {
  if (name === "" || name.length > VARIABLE_NAME_CHARS_MAX || name.includes("\0")) {
    const message = `A variable's name has 1 to ${VARIABLE_NAME_CHARS_MAX} characters and no NUL`;
    throw new AppError("invalid", "VARIABLE_INVALID", message);
  }
}

function checkOutcome(id: ExecutionId, { status, isStale }: Outcome): void {
  if (status === undefined) {
    throw new AppError("not_found", "EXECUTION_NOT_FOUND", `There is no execution ${id}`);
  }
  if (isStale && isTerminal({ status })) {
    const message = `Execution ${id} has ended (${status}): its variables stay as they are. \`retry\` or \`rerun\` it, or give values as payload when starting`;
    throw new AppError("conflict", "EXECUTION_FINISHED", message);
  }
  if (isStale) {
    const message = `Execution ${id} has not started yet: write its variables again later`;
    throw new AppError("conflict", "EXECUTION_NOT_STARTED", message);
  }
}
