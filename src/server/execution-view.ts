/** Executions, steps, pools and workers as the API shows them. */
import type { ExecutionId } from "../core/ids.ts";
import type { JsonObject } from "../core/json.ts";
import type { ExecutionStatus } from "../engine/decision.ts";
import { valueUri } from "../engine/result.ts";
import type { WaitView } from "../engine/view.ts";
import type { ExecutionRow, PoolRow, StepRow, WorkerRow } from "./backend.ts";
import { clipJson } from "./clip.ts";
import { failureText, isoTime } from "./event-view.ts";
import { viewRuntime } from "./gpu-view.ts";
import { viewReference, viewStored } from "./result-view.ts";

const TERMINAL: ReadonlySet<ExecutionStatus> = new Set(["completed", "failed", "cancelled"]);

export function isTerminal(status: ExecutionStatus): boolean {
  return TERMINAL.has(status);
}

export function viewExecution(row: ExecutionRow): Readonly<Record<string, unknown>> {
  const started = isoTime(row.startedAtMs);
  const ended = isoTimeOrNull(row.endedAtMs);
  const durationMs = (row.endedAtMs ?? Date.now()) - row.startedAtMs;
  return {
    execution_id: row.executionId,
    catalog_id: row.catalogId ?? null,
    path: row.path,
    version: row.version ?? null,
    status: row.status.toUpperCase(),
    started_at: started,
    completed_at: ended,
    start_time: started,
    end_time: ended,
    duration_seconds: durationMs / 1000,
    duration_human: humanDuration(durationMs),
    progress: progressOf(row, []),
    parent_execution_id: row.parentExecutionId ?? null,
    origin:
      row.origin === undefined
        ? null
        : { execution_id: row.origin.executionId, kind: row.origin.kind },
    error: row.error === undefined ? null : failureText(row.error),
    event_count: row.seq,
    concurrency: viewConcurrency(row),
    waiting_reason: waitingReason(row),
  };
}

/** Where the execution stands under its concurrency key; null without one. */
export function viewConcurrency({
  concurrency,
}: ExecutionRow): Readonly<Record<string, unknown>> | null {
  if (concurrency === undefined) {
    return null;
  }
  const { key, limit, onLimit, queue } = concurrency;
  const place = { key, limit, on_limit: onLimit, is_queued: queue !== undefined };
  return queue === undefined
    ? place
    : {
        ...place,
        position: queue.position,
        held: queue.held,
        since: isoTime(queue.sinceMs),
        cancels: queue.cancels ?? null,
      };
}

/** Why an execution does not start; null for all others. */
function waitingReason({ concurrency }: ExecutionRow): string | null {
  if (concurrency?.queue === undefined) {
    return null;
  }
  const { key, limit, queue } = concurrency;
  const places = `${queue.held} of ${limit} ${limit === 1 ? "place" : "places"} taken`;
  return `waits for concurrency key ${JSON.stringify(key)}: ${places}, position ${queue.position} in line`;
}

/** `420 ms`, `3.4 s`, `2m 5s`, `1h 2m`. */
function humanDuration(ms: number): string {
  if (ms < 60_000) {
    return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
  }
  const minutes = Math.floor(ms / 60_000);
  return minutes < 60
    ? `${minutes}m ${Math.floor((ms % 60_000) / 1000)}s`
    : `${Math.floor(minutes / 60)}h ${minutes % 60}m`;
}

/** Percent: of the steps that were reached those that have ended; null where that is not known. */
export function progressOf({ status }: ExecutionRow, steps: readonly StepRow[]): number | null {
  if (status === "completed") {
    return 100;
  }
  const ended = steps.filter(({ endedAtMs }) => endedAtMs !== undefined).length;
  return steps.length === 0 ? null : Math.round((100 * ended) / steps.length);
}

/** With everything that lists leave out, but the events. */
export function viewExecutionDetail(
  row: ExecutionRow,
  workload: JsonObject,
): Readonly<Record<string, unknown>> {
  return {
    ...viewExecution(row),
    workload,
    result: viewStored(row.result ?? null),
    error_details: row.error ?? null,
  };
}

export function viewStep(row: StepRow): Readonly<Record<string, unknown>> {
  const reference = viewReference(row.result);
  return {
    step: row.step,
    status: row.status,
    visits: row.visits,
    attempts: row.attempts,
    started_at: isoTimeOrNull(row.startedAtMs),
    finished_at: isoTimeOrNull(row.endedAtMs),
    result: viewStored(row.result ?? null),
    ...(reference === undefined ? {} : { reference }),
    error: row.error === undefined ? null : failureText(row.error),
    error_details: row.error ?? null,
    waiting: row.waiting === undefined ? null : viewWait(row.waiting),
  };
}

/** Characters of a result that is shown clipped. */
const CLIP_CHARS = 16_000;

/** As {@link viewStep}, of large results only the beginning; the whole is found by `result_uri`. */
export function clippedStep(executionId: ExecutionId) {
  return (row: StepRow): Readonly<Record<string, unknown>> => {
    const { value, isClipped } = clipJson(viewStored(row.result ?? null), CLIP_CHARS);
    return {
      ...viewStep({ ...row, result: null }),
      result: value,
      result_clipped: isClipped,
      result_uri: valueUri(executionId, row.step),
    };
  };
}

/** What a step waits for, with its name. */
export function viewWaiting(
  steps: readonly StepRow[],
): readonly Readonly<Record<string, unknown>>[] {
  return steps.flatMap(({ step, waiting }) =>
    waiting === undefined ? [] : [{ step, ...viewWait(waiting) }],
  );
}

function viewWait(wait: WaitView): Readonly<Record<string, unknown>> {
  return {
    kind: wait.kind,
    signal: wait.signal ?? null,
    until: isoTimeOrNull(wait.untilMs),
    deadline: isoTimeOrNull(wait.deadlineMs),
    since: isoTime(wait.sinceMs),
    index: wait.index ?? null,
    count: wait.count,
  };
}

/** NoETL's `/status` answer. */
export function viewProgress(
  row: ExecutionRow,
  steps: readonly StepRow[],
): Readonly<Record<string, unknown>> {
  const count = (status: string): number => steps.filter((step) => step.status === status).length;
  const running = steps.filter((step) => step.status === "running");
  return {
    execution_id: row.executionId,
    status: row.status.toUpperCase(),
    current_step: running.at(-1)?.step ?? null,
    progress: {
      total_steps: steps.length,
      completed_steps: count("completed"),
      running_steps: running.length,
      failed_steps: count("failed"),
    },
    is_cancelled: row.status === "cancelled",
    is_terminal: isTerminal(row.status),
    error: row.error === undefined ? null : failureText(row.error),
    waiting: viewWaiting(steps),
    concurrency: viewConcurrency(row),
    waiting_reason: waitingReason(row),
  };
}

/** A pool without a worker says why its commands wait. */
export function viewPool(row: PoolRow): Readonly<Record<string, unknown>> {
  return {
    name: row.pool,
    kind: "worker_pool",
    status: row.workers > 0 ? "active" : "no_workers",
    workers: row.workers,
    capacity: row.slots,
    slots: row.slots,
    free_slots: row.freeSlots,
    queued: row.queued,
    running: row.running,
    oldest_queued_seconds: row.oldestQueuedMs === undefined ? null : row.oldestQueuedMs / 1000,
    waiting_reason: row.reason === null ? null : WAITING[row.reason](row.pool),
  };
}

const WAITING: Readonly<Record<NonNullable<PoolRow["reason"]>, (pool: string) => string | null>> = {
  no_live_worker: (pool) => `pool ${pool} has no live worker`,
  gpus_busy: (pool) => `no GPUs of pool ${pool} are free for it`,
  all_slots_busy: (pool) => `all slots of pool ${pool} are busy`,
  not_due: () => null,
  starting: () => null,
};

export function viewWorker(row: WorkerRow): Readonly<Record<string, unknown>> {
  return {
    worker_id: row.workerId,
    name: row.name,
    pool: row.pool,
    status: row.status,
    slots: row.slots,
    free_slots: row.freeSlots,
    hostname: row.hostname,
    pid: row.pid,
    version: row.version,
    tools: row.tools,
    metrics_url: row.metricsUrl,
    registered_at: isoTime(row.registeredAtMs),
    last_heartbeat: isoTime(row.heartbeatAtMs),
    runtimes: (row.runtimes ?? []).map(viewRuntime),
  };
}

function isoTimeOrNull(timeMs: number | undefined): string | null {
  return timeMs === undefined ? null : isoTime(timeMs);
}
