/** `cleanup`: ends executions that hang. */
import type { JsonObject } from "../core/json.ts";
import type { Api } from "./api.ts";
import type { CliContext, ExitReason } from "./context.ts";
import { UsageError } from "./context.ts";
import { field, formatJson } from "./format.ts";

export interface CleanupFlags {
  readonly olderThanMinutes?: string | undefined;
  readonly dryRun?: boolean | undefined;
  readonly json?: boolean | undefined;
}

const MINUTES = "60";

/** Again and again while the server says that there are more. */
export async function cleanup(
  { out, signal }: CliContext,
  api: Api,
  flags: CleanupFlags,
): Promise<ExitReason> {
  const minutes = Number(flags.olderThanMinutes ?? MINUTES);
  if (!Number.isInteger(minutes) || minutes < 1) {
    throw new UsageError("--older-than-minutes must be a whole number from 1 on");
  }
  const dryRun = flags.dryRun === true;
  const body = { older_than_minutes: minutes, dry_run: dryRun };
  let answer: JsonObject;
  do {
    answer = await api.postObject("/api/executions/cleanup", body);
    print(out, answer, flags);
  } while (answer["has_more"] === true && !dryRun && !signal.aborted && hasDone(answer));
  return "ok";
}

function print(out: CliContext["out"], answer: JsonObject, { json }: CleanupFlags): void {
  const ids = answer["execution_ids"];
  if (json === true) {
    out(formatJson(answer));
    return;
  }
  for (const id of Array.isArray(ids) ? ids : []) {
    out(String(id));
  }
  out(field(answer, "message"));
}

/** False when none could be cancelled: asking again would not end. */
function hasDone(answer: JsonObject): boolean {
  return Number(answer["cancelled_count"]) > 0;
}
