/** Executions that are over take no more inputs: a look at the row tells. */
import type { ExecutionId } from "../core/ids.ts";
import { isId } from "../core/ids.ts";
import { isTerminal } from "../engine/state.ts";
import { readHeads } from "../store/execution.ts";
import type { Pool } from "../store/pool.ts";
import { databaseError } from "../store/sqlstate.ts";
import type { Outcome } from "./intake.ts";

/**
 * What an input to the execution comes to if it has ended; else undefined. Spares the server the
 * whole log.
 */
export async function findEnded(pool: Pool, id: ExecutionId): Promise<Outcome | undefined> {
  try {
    const [head] = isId(id) ? await readHeads(pool, [id]) : [];
    return head !== undefined && isTerminal(head)
      ? { isStale: true, status: head.status }
      : undefined;
  } catch (error) {
    throw databaseError(error);
  }
}
