/** The one question that a server asks every second: what is overdue? */
import type { CommandId, ExecutionId, TimerId, WorkerId } from "../core/ids.ts";
import type { Json } from "../core/json.ts";
import { parseJson } from "../core/json.ts";
import type { Failure } from "../engine/failure.ts";
import type { QueuedCommand } from "./command.ts";
import { RESERVED_MS } from "./place.ts";
import type { Sql } from "./pool.ts";

export interface Overdue {
  /** The database's clock, milliseconds since 1970. */
  readonly nowMs: number;
  readonly timers: readonly DueTimer[];
  readonly leases: readonly ExpiredLease[];
  /** Executions that were to be started by whoever made or admitted them. */
  readonly pending: readonly ExecutionId[];
  /** Concurrency keys of ended executions whose places nobody has passed on. */
  readonly freedKeys: readonly string[];
  /** Oldest first. */
  readonly unnotified: readonly UnnotifiedCommand[];
  /** Commands that may not be queued any longer. */
  readonly overdue: readonly OverdueCommand[];
  /** True: commands are queued that want GPUs. */
  readonly hasGpuWaiters: boolean;
  /** Ids of schedules that somebody must look at. */
  readonly schedules: readonly string[];
  /** Every subscription that a server works on, or must. */
  readonly subscriptions: readonly HeldSubscription[];
  readonly keychain: readonly DueKeychain[];
}

/** A value of the keychain that is renewed ahead, because it was used since it was fetched. */
export interface DueKeychain {
  readonly cacheKey: string;
  readonly name: string;
  readonly executionId: ExecutionId;
  readonly scope: string;
}

export interface HeldSubscription {
  readonly subscriptionId: string;
  readonly revision: number;
  /** Undefined: nobody, or its lease has ended. */
  readonly holder: string | undefined;
}

export interface DueTimer {
  readonly executionId: ExecutionId;
  readonly timerId: TimerId;
  readonly input: Json;
}

/** A command that nobody was told of. */
export interface UnnotifiedCommand extends QueuedCommand {
  /** Since it could run. */
  readonly ageMs: number;
}

export interface ExpiredLease {
  readonly executionId: ExecutionId;
  readonly commandId: CommandId;
  readonly attempt: number;
  readonly workerId: WorkerId | undefined;
  /** Set: nobody had it, and it is to fail with this. */
  readonly queueError?: Failure;
}

/** A command whose time in the queue is over. */
export interface OverdueCommand {
  readonly executionId: ExecutionId;
  readonly commandId: CommandId;
  readonly attempt: number;
  readonly pool: string;
  /** Why it has no GPUs yet, a sentence. */
  readonly waitsFor: string | undefined;
}

export interface SweepOptions {
  /** Leave to others what has been due for less: whoever committed it acts on it at once. */
  readonly graceMs: number;
  /** Same for commands that nobody was told of. */
  readonly notifyGraceMs: number;
  /** False right after an outage, when live workers could not renew. */
  readonly isExpiring: boolean;
  /** Rows of each kind at most, oldest first. */
  readonly limit: number;
  /** Same for commands that nobody was told of. */
  readonly notifyLimit: number;
}

interface SweepRow {
  readonly kind:
    | "now"
    | "timer"
    | "lease"
    | "pending"
    | "freed"
    | "unnotified"
    | "overdue"
    | "gpu_waiter"
    | "schedule"
    | "subscription"
    | "keychain";
  readonly executionId: ExecutionId;
  readonly id: string;
  readonly attempt: number;
  readonly eventSeq: number;
  readonly step: string;
  readonly pool: string;
  readonly data: string | null;
}

export async function sweepDue(sql: Sql, options: SweepOptions): Promise<Overdue> {
  const rows = await sql<SweepRow[]>`
    SELECT 'now' AS kind, 0::bigint AS "executionId", 0::bigint AS id, 0 AS attempt,
      0 AS "eventSeq", '' AS step, '' AS pool,
      ((extract(epoch FROM clock_timestamp()) * 1000)::float8)::text AS data
    UNION ALL
    (SELECT 'timer', execution_id, timer_id, 0, 0, '', '', input::text
    FROM noetl.timer
    WHERE due_at <= now() - ${options.graceMs} * interval '1 millisecond'
    ORDER BY due_at
    LIMIT ${options.limit})
    UNION ALL
    (SELECT 'lease', execution_id, command_id, attempt, 0, coalesce(queue_error::text, ''), '', worker_id
    FROM noetl.command
    WHERE status <> 'queued' AND lease_until <= now()
      AND (${options.isExpiring}::boolean OR worker_id IS NULL)
    LIMIT ${options.limit})
    UNION ALL
    (SELECT 'pending', execution_id, 0, 0, 0, '', '', NULL
    FROM noetl.execution
    WHERE status = 'pending' AND place IS DISTINCT FROM 'queued'
      AND coalesce(place_since, created_at)
        <= now() - ${options.graceMs} * interval '1 millisecond'
    ORDER BY execution_id
    LIMIT ${options.limit})
    UNION ALL
    (SELECT 'freed', 0, 0, 0, 0, '', '', concurrency_key
    FROM noetl.execution
    WHERE place IS NOT NULL AND ended_at IS NOT NULL
      AND ended_at <= now() - ${options.graceMs} * interval '1 millisecond'
      AND (place <> 'reserved'
        OR place_since <= now() - ${RESERVED_MS} * interval '1 millisecond')
    LIMIT ${options.limit})
    UNION ALL
    (SELECT 'unnotified', execution_id, command_id, attempt, event_seq, step, pool,
      ((extract(epoch FROM now() - available_at) * 1000)::float8)::text
    FROM noetl.command
    WHERE status = 'queued' AND notified_at IS NULL
      AND available_at <= now() - ${options.notifyGraceMs} * interval '1 millisecond'
    ORDER BY available_at
    LIMIT ${options.notifyLimit})
    UNION ALL
    (SELECT 'overdue', execution_id, command_id, attempt, 0, '', pool, waits_for
    FROM noetl.command
    WHERE status = 'queued' AND queue_until <= now()
    ORDER BY queue_until
    LIMIT ${options.limit})
    UNION ALL
    (SELECT 'gpu_waiter', 0, 0, 0, 0, '', '', NULL
    FROM noetl.command
    WHERE status = 'queued' AND gpu_demand IS NOT NULL
    LIMIT 1)
    UNION ALL
    (SELECT 'schedule', 0, schedule_id, 0, 0, '', '', NULL
    FROM noetl.schedule
    WHERE wake_at <= now()
    ORDER BY wake_at
    LIMIT ${options.limit})
    UNION ALL
    (SELECT 'subscription', 0, subscription_id, 0, revision, '', '',
      CASE WHEN lease_until > now() THEN nullif(holder, '') END
    FROM noetl.subscription
    WHERE holder IS NOT NULL OR (source = 'nats' AND state IN ('active', 'draining'))
    LIMIT ${options.notifyLimit})
    UNION ALL
    (SELECT 'keychain', execution_id, 0, 0, 0, name, scope, cache_key
    FROM noetl.keychain
    WHERE auto_renew AND renew_at <= now() AND expires_at > now() AND used_at >= updated_at
      AND execution_id IS NOT NULL AND (lease_until IS NULL OR lease_until < now())
    ORDER BY renew_at
    LIMIT ${options.limit})`;
  const of = (kind: SweepRow["kind"]): SweepRow[] => rows.filter((row) => row.kind === kind);
  return {
    nowMs: Number(of("now")[0]?.data ?? 0),
    timers: of("timer").map(({ executionId, id, data }) => ({
      executionId,
      timerId: id as TimerId,
      input: parseJson(data ?? "null"),
    })),
    leases: of("lease").map(({ executionId, id, attempt, step, data }) => ({
      executionId,
      commandId: id as CommandId,
      attempt,
      workerId: (data ?? undefined) as WorkerId | undefined,
      ...(step === "" ? {} : { queueError: parseJson(step) as unknown as Failure }),
    })),
    overdue: of("overdue").map(({ executionId, id, attempt, pool, data }) => ({
      executionId,
      commandId: id as CommandId,
      attempt,
      pool,
      waitsFor: data ?? undefined,
    })),
    hasGpuWaiters: of("gpu_waiter").length > 0,
    pending: of("pending").map((row) => row.executionId),
    freedKeys: [...new Set(of("freed").flatMap(({ data }) => data ?? []))],
    unnotified: of("unnotified").map(
      ({ executionId, id, attempt, eventSeq, step, pool, data }) => ({
        executionId,
        commandId: id as CommandId,
        attempt,
        eventSeq,
        step,
        pool,
        ageMs: Number(data ?? 0),
      }),
    ),
    schedules: of("schedule").map(({ id }) => id),
    subscriptions: of("subscription").map(({ id, eventSeq, data }) => ({
      subscriptionId: id,
      revision: eventSeq,
      holder: data ?? undefined,
    })),
    keychain: of("keychain").map(({ executionId, step, pool, data }) => ({
      cacheKey: data ?? "",
      name: step,
      executionId,
      scope: pool,
    })),
  };
}
