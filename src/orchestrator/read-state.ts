/** The state of an execution for whoever wants to look at it. */
import type { ExecutionId } from "../core/ids.ts";
import type { ExecutionState } from "../engine/state.ts";
import { readPositions } from "../store/execution.ts";
import type { Pool } from "../store/pool.ts";
import { databaseError } from "../store/sqlstate.ts";
import type { Intake } from "./intake.ts";
import type { StateCache } from "./state-cache.ts";

/**
 * The fold of all committed events. It is the engine's own and goes on changing: read from it before
 * the next `await`. Undefined: no such execution, or one that never started.
 */
export async function readState(
  {
    pool,
    cache,
    intake,
  }: { readonly pool: Pool; readonly cache: StateCache; readonly intake: Intake },
  id: ExecutionId,
): Promise<ExecutionState | undefined> {
  try {
    const positions = await readPositions(pool, [id]);
    await intake.whenReleased(id);
    const known = cache.peek(id)?.state;
    if (known !== undefined && known.seq >= (positions.get(id) ?? 0)) {
      return known;
    }
    const entry = (await cache.load([id])).get(id);
    if (entry?.state?.status === "running" && cache.peek(id) === undefined) {
      cache.put(entry);
    }
    return entry?.state;
  } catch (error) {
    throw databaseError(error);
  }
}
