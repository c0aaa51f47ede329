/** Claims of all workers, gathered into few statements. */
import type { WorkerId } from "../core/ids.ts";
import { isId } from "../core/ids.ts";
import type { ClaimOutcome, GrantedCommand, HeldCommand } from "../engine/command.ts";
import type { ClaimRequest, ClaimRow } from "../store/command.ts";
import { claimCommands } from "../store/command.ts";
import { databaseError } from "../store/sqlstate.ts";
import { createCoalescer } from "./coalescer.ts";
import type { Notifier } from "./notifier.ts";
import type { OrchestratorOptions } from "./options.ts";

const CLAIMS_MAX = 512;

type Grant = ClaimOutcome<GrantedCommand>;

export function createClaims({
  store,
  metrics,
  notifier,
  leaseMs,
}: Pick<OrchestratorOptions, "store" | "metrics"> & {
  readonly notifier: Notifier;
  readonly leaseMs: number;
}): (workerId: WorkerId, commands: readonly HeldCommand[]) => Promise<readonly Grant[]> {
  const claim = createCoalescer<ClaimRequest, ClaimRow>(
    (requests) => claimCommands(store.quick, requests, leaseMs),
    { max: CLAIMS_MAX, concurrency: 2 },
  );
  const claimOne = async (workerId: WorkerId, command: HeldCommand): Promise<Grant> => {
    const row = isClaimable(command) ? await claim({ ...command, workerId }) : GONE;
    metrics.claims.inc(row.status);
    if (row.status === "claimed") {
      notifier.settle(command.commandId);
      metrics.queueWaitSeconds.observe(row.waitedMs / 1000, row.pool);
    }
    return toOutcome(command, row);
  };
  return async (workerId, commands) => {
    try {
      return await Promise.all(commands.map((command) => claimOne(workerId, command)));
    } catch (error) {
      throw databaseError(error);
    }
  };
}

const GONE: ClaimRow = { status: "gone" };
const INT4_MAX = 2 ** 31 - 1;

/** False for what would make a statement fail that other workers share. */
function isClaimable({ executionId, commandId, attempt }: HeldCommand): boolean {
  const isFence = Number.isInteger(attempt) && attempt > 0 && attempt <= INT4_MAX;
  return isFence && isId(executionId) && isId(commandId);
}

function toOutcome({ executionId, commandId }: HeldCommand, row: ClaimRow): Grant {
  if (row.status !== "claimed") {
    return { commandId, ...row };
  }
  const { attempt, claimedAtMs, payload } = row;
  return {
    commandId,
    status: "claimed",
    command: { executionId, commandId, attempt, payload, claimedAtMs },
  };
}
