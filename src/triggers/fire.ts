/**
 * Starts the execution of a firing. The dedup key names schedule and due time, so that however often
 * and by whomever it is called, there is one execution.
 */
import { AppError, errorMessage } from "../core/errors.ts";
import type { JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { Schedule } from "../dsl/schedule.ts";
import type { FiringEnd, WaitingFiring } from "../store/schedule-firing.ts";
import { renderValue } from "../template/render.ts";
import type { TriggerOrchestrator } from "./options.ts";
import type { Timing } from "./timing.ts";

/** Far longer than a firing can stay without the mark that it was started. */
export const DEDUP_WINDOW_MS = 7 * 24 * 60 * 60_000;

/** Code of the orchestrator: the playbook's own limit lets no further execution in. */
export const CONCURRENCY_LIMIT = "CONCURRENCY_LIMIT";

export interface Firing {
  readonly scheduleId: string;
  readonly schedule: Schedule;
  readonly timing: Timing;
  readonly firing: WaitingFiring;
}

/** Undefined: not now, the same again later. */
export async function fire(
  orchestrator: Pick<TriggerOrchestrator, "start">,
  { scheduleId, schedule, timing, firing }: Firing,
): Promise<FiringEnd | undefined> {
  const { playbook, version, pool, priority } = schedule;
  try {
    const { executionId } = await orchestrator.start({
      path: playbook,
      payload: firing.payload ?? renderPayload(schedule, timing, firing),
      dedup: { key: `schedule:${scheduleId}:${firing.dueMs}`, windowMs: DEDUP_WINDOW_MS },
      ...(version === undefined ? {} : { version }),
      ...(pool === undefined ? {} : { pool }),
      ...(priority === undefined ? {} : { priority }),
    });
    return { status: "started", executionId };
  } catch (error) {
    if (error instanceof AppError && error.isRetryable) {
      return undefined;
    }
    const isFull = error instanceof AppError && error.code === CONCURRENCY_LIMIT;
    return { status: isFull ? "skipped" : "failed", reason: errorMessage(error) };
  }
}

/** Templates see `schedule`: its name, zone, and the due times of this firing and the one before. */
function renderPayload(schedule: Schedule, timing: Timing, firing: WaitingFiring): JsonObject {
  const { dueMs, kind } = firing;
  const [previousMs] = timing.last(dueMs - 1, { count: 1, sinceMs: 0 });
  const names = {
    schedule: {
      name: schedule.name,
      timezone: schedule.timezone,
      kind,
      due: isoTime(dueMs),
      due_ms: dueMs,
      previous_due: previousMs === undefined ? null : isoTime(previousMs),
    },
  };
  const payload = renderValue(schedule.payload, { names, resolved: new Map(), nowMs: dueMs });
  return isJsonObject(payload) ? payload : {};
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
