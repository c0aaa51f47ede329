/** Claims of all workers, gathered into few statements. */
import type { CommandId, WorkerId } from "../core/ids.ts";
import { isId } from "../core/ids.ts";
import type { ClaimOutcome, GrantedCommand, HeldCommand } from "../engine/command.ts";
import type { ClaimRequest, ClaimRow } from "../store/claim.ts";
import { claimCommands, listTaken } from "../store/claim.ts";
import { databaseError } from "../store/sqlstate.ts";
import { createCoalescer } from "./coalescer.ts";
import type { Notifier } from "./notifier.ts";
import type { OrchestratorOptions } from "./options.ts";

const CLAIMS_MAX = 512;

type Grant = ClaimOutcome<GrantedCommand>;

export type Claim = (
  workerId: WorkerId,
  commands: readonly HeldCommand[],
  isRepeat?: boolean,
) => Promise<readonly Grant[]>;

export function createClaims({
  store,
  metrics,
  notifier,
  leaseMs,
}: Pick<OrchestratorOptions, "store" | "metrics"> & {
  readonly notifier: Notifier;
  readonly leaseMs: number;
}): Claim {
  const claim = createCoalescer<ClaimRequest, ClaimRow>(
    (requests) => claimCommands(store.quick, requests, leaseMs),
    { max: CLAIMS_MAX, concurrency: 2 },
  );
  const claimOne = async (workerId: WorkerId, command: HeldCommand): Promise<ClaimRow> => {
    const row = isClaimable(command) ? await claim({ ...command, workerId }) : GONE;
    const isOther = row.status === "claimed" && row.commandId !== command.commandId;
    metrics.claims.inc(isOther ? "urgent" : row.status);
    if (row.status === "claimed") {
      notifier.settle(row.commandId);
      metrics.queueWaitSeconds.observe(row.waitedMs / 1000, row.pool);
    }
    return row;
  };
  return async (workerId, commands, isRepeat = false) => {
    try {
      const taken = isRepeat ? await readTaken(store, workerId, commands) : NOTHING;
      return await Promise.all(
        commands.map(async (asked) => {
          const row = await claimOne(workerId, taken.get(asked.commandId) ?? asked);
          return toOutcome(asked, row);
        }),
      );
    } catch (error) {
      throw databaseError(error);
    }
  };
}

const GONE: ClaimRow = { status: "gone" };
const INT4_MAX = 2 ** 31 - 1;
const NOTHING: ReadonlyMap<CommandId, HeldCommand> = new Map();

/** What was given the first time in place of what is asked for: a worker gets its own again. */
async function readTaken(
  { quick }: OrchestratorOptions["store"],
  workerId: WorkerId,
  commands: readonly HeldCommand[],
): Promise<ReadonlyMap<CommandId, HeldCommand>> {
  const bells = commands.filter(isClaimable).map(({ commandId }) => commandId);
  const taken = bells.length === 0 ? [] : await listTaken(quick, workerId, bells);
  return new Map(taken.map(({ bellId, ...held }) => [bellId, held]));
}

/** False for what would make a statement fail that other workers share. */
function isClaimable({ executionId, commandId, attempt }: HeldCommand): boolean {
  const isFence = Number.isInteger(attempt) && attempt > 0 && attempt <= INT4_MAX;
  return isFence && isId(executionId) && isId(commandId);
}

function toOutcome({ commandId }: HeldCommand, row: ClaimRow): Grant {
  if (row.status !== "claimed") {
    return { commandId, ...row };
  }
  const { status, executionId, attempt, payload, claimedAtMs } = row;
  const command = { executionId, commandId: row.commandId, attempt, payload, claimedAtMs };
  return { commandId, status, command };
}
