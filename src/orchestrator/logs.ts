/** Lines of running tasks, on their way to the log stream. */
import type { WorkerId } from "../core/ids.ts";
import type { LogLine } from "../engine/command.ts";
import type { OrchestratorOptions } from "./options.ts";
import type { StateCache } from "./state-cache.ts";

/**
 * Passes on what is not known to come from an attempt that has lost its command; only states in
 * memory are asked, because a stray line is no reason to read a log of events.
 *
 * @returns the number of lines that were not taken.
 */
export async function appendLogs(
  { bus, metrics, cache }: Pick<OrchestratorOptions, "bus" | "metrics"> & { cache: StateCache },
  lines: readonly LogLine[],
  workerId?: WorkerId,
): Promise<number> {
  const taken = lines.filter((line) => !isStale(cache, line, workerId));
  const refused = lines.length - taken.length;
  metrics.fenceRefusals.add(refused, "log");
  metrics.taskLogLines.add(refused, "refused");
  if (taken.length > 0) {
    try {
      await bus.publishLogs(taken);
    } catch (error) {
      metrics.taskLogLines.add(taken.length, "failed");
      throw error;
    }
    metrics.taskLogLines.add(taken.length, "stored");
  }
  return refused;
}

/** A later attempt, or another worker, owns the command. Lines may come after their command's report. */
function isStale(
  cache: StateCache,
  { executionId, commandId, attempt }: LogLine,
  workerId: WorkerId | undefined,
): boolean {
  const open = cache.peek(executionId)?.state?.commands.get(commandId);
  const { adoptedBy = workerId } = open ?? {};
  return open !== undefined && (open.attempt > attempt || adoptedBy !== workerId);
}
