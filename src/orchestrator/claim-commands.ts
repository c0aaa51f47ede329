/** Claims of all workers, gathered into few statements. */
import type { CommandId, WorkerId } from "../core/ids.ts";
import { isId } from "../core/ids.ts";
import type { ClaimOutcome, GrantedCommand, HeldCommand } from "../engine/command.ts";
import type { ClaimRequest, ClaimRow } from "../store/claim.ts";
import { claimCommands, listTaken } from "../store/claim.ts";
import type { GpuClaimRow } from "../store/gpu-claim.ts";
import { claimGpus } from "../store/gpu-claim.ts";
import { databaseError } from "../store/sqlstate.ts";
import { createCoalescer } from "./coalescer.ts";
import type { Feed } from "./feed.ts";
import type { Notifier } from "./notifier.ts";
import type { OrchestratorOptions } from "./options.ts";

const CLAIMS_MAX = 512;
/** Claims of GPUs in one transaction; all servers take turns. */
const GPU_CLAIMS_MAX = 64;

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
  feed,
  leaseMs,
}: Pick<OrchestratorOptions, "store" | "metrics"> & {
  readonly notifier: Notifier;
  readonly feed: Feed;
  readonly leaseMs: number;
}): Claim {
  const claim = createCoalescer<ClaimRequest, ClaimRow>(
    (requests) => claimCommands(store.quick, requests, leaseMs),
    { max: CLAIMS_MAX, concurrency: 2 },
  );
  // A worker counts as long as its leases would: with a heartbeat within that time.
  const claimWithGpus = createCoalescer<ClaimRequest, GpuClaimRow>(
    (requests) => claimGpus(store.durable, requests, { leaseMs, workerTimeoutMs: leaseMs }),
    { max: GPU_CLAIMS_MAX, concurrency: 1 },
  );
  const claimOne = async (workerId: WorkerId, command: HeldCommand): Promise<GpuClaimRow> => {
    const request = { ...command, workerId };
    const first = isClaimable(command) ? await claim(request) : GONE;
    const row = first.status === "wants_gpus" ? await claimWithGpus(request) : first;
    const isOther = row.status === "claimed" && row.commandId !== command.commandId;
    metrics.claims.inc(isOther ? "urgent" : (OUTCOMES[row.status] ?? row.status));
    if (row.status === "unfit") {
      feed.failQueued({ ...row, commandId: command.commandId });
    }
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
const OUTCOMES: Readonly<Record<string, string>> = { waits: "waits_gpu", unfit: "gpu_unfit" };
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

/** Who waits for GPUs is forgotten by the worker and announced again, see gpu-bell.ts. */
function toOutcome({ commandId }: HeldCommand, row: GpuClaimRow): Grant {
  if (row.status === "later") {
    return { commandId, ...row };
  }
  if (row.status !== "claimed") {
    return { commandId, status: "gone" };
  }
  const { status, waitedMs: _, pool: __, ...command } = row;
  return { commandId, status, command };
}
