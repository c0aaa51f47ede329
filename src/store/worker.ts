/** Workers as they describe themselves, the leases that they renew, the pools that they form. */
import type { CommandId, ExecutionId, WorkerId } from "../core/ids.ts";
import type { Heartbeat, RuntimeFacts, WorkerRegistration } from "../engine/command.ts";
import type { Gpu } from "../engine/gpu.ts";
import type { Sql } from "./pool.ts";

/** Adds the worker or replaces what it said before. */
export async function saveWorker(sql: Sql, worker: WorkerRegistration): Promise<void> {
  await sql`
    INSERT INTO noetl.worker (
      worker_id, name, pool, slots, hostname, pid, version, tools, labels, metrics_url, free_slots,
      runtimes, gpus
    )
    VALUES (
      ${worker.workerId}, ${worker.name}, ${worker.pool}, ${worker.slots}, ${worker.hostname},
      ${worker.pid}, ${worker.version}, ${[...worker.tools]}::text[],
      ${JSON.stringify(worker.labels)}::text::jsonb, ${worker.metricsUrl ?? null}, ${worker.slots},
      ${jsonText(worker.runtimes)}::text::json, ${jsonText(worker.gpus)}::text::json
    )
    ON CONFLICT (worker_id) DO UPDATE
    SET name = excluded.name, pool = excluded.pool, slots = excluded.slots,
        hostname = excluded.hostname, pid = excluded.pid, version = excluded.version,
        tools = excluded.tools, labels = excluded.labels, metrics_url = excluded.metrics_url,
        runtimes = excluded.runtimes, gpus = excluded.gpus,
        heartbeat_at = now(), is_draining = false`;
}

/** Null for what is not there. */
function jsonText(value: readonly object[] | undefined): string | null {
  return value === undefined ? null : JSON.stringify(value);
}

export interface Renewal {
  /** False: the worker must register again. */
  readonly isKnown: boolean;
  /** Of what the heartbeat listed: told to stop. */
  readonly cancelling: ReadonlySet<CommandId>;
  /** Of what the heartbeat listed: not this worker's under this attempt. */
  readonly lost: ReadonlySet<CommandId>;
}

interface RenewalRow {
  readonly commandId: CommandId | null;
  readonly status: string | null;
}

/**
 * Renews the leases of what the worker holds and notes how it is, in one statement.
 *
 * A claim is not waited for by the disk, so a crash of the database may undo it: a row that is queued
 * again under the same attempt, and that nobody else has claimed, goes back to its worker. Not one that
 * wants GPUs, whose claim the disk has: it would come back without them.
 */
export async function renewLeases(
  sql: Sql,
  heartbeat: Heartbeat,
  leaseMs: number,
): Promise<Renewal> {
  const { held } = heartbeat;
  const rows = await sql<RenewalRow[]>`
    WITH beat AS (
      UPDATE noetl.worker
      SET heartbeat_at = now(),
          held_count = ${held.length},
          free_slots = ${heartbeat.freeSlots},
          pull_age_ms = ${Math.round(heartbeat.pullAgeMs)},
          lag_ms = ${heartbeat.eventLoopLagMs},
          rss_bytes = ${Math.round(heartbeat.rssBytes)},
          cpu_percent = ${heartbeat.cpuPercent},
          is_draining = ${heartbeat.isDraining},
          gpus = ${jsonText(heartbeat.gpus)}::text::json
      WHERE worker_id = ${heartbeat.workerId}
      RETURNING worker_id
    ), listed AS (
      SELECT q.execution_id, q.command_id, c.attempt, c.status
      FROM unnest(
        ${held.map((command) => command.executionId)}::bigint[],
        ${held.map((command) => command.commandId)}::bigint[],
        ${held.map((command) => command.attempt)}::integer[]
      ) AS q (execution_id, command_id, attempt)
      LEFT JOIN noetl.command AS c
        ON c.execution_id = q.execution_id AND c.command_id = q.command_id
        AND c.attempt = q.attempt
        AND (
          c.worker_id = ${heartbeat.workerId} OR c.status = 'queued' AND c.gpu_demand IS NULL
        )
    ), mine AS (
      SELECT c.execution_id, c.command_id
      FROM listed AS l
      JOIN noetl.command AS c
        ON c.execution_id = l.execution_id AND c.command_id = l.command_id
        AND c.attempt = l.attempt
        AND (
          c.worker_id = ${heartbeat.workerId} OR c.status = 'queued' AND c.gpu_demand IS NULL
        )
      FOR UPDATE OF c SKIP LOCKED
    ), renewed AS (
      UPDATE noetl.command AS c
      SET lease_until = now() + ${leaseMs} * interval '1 millisecond',
          status = CASE c.status WHEN 'queued' THEN 'running' ELSE c.status END,
          worker_id = ${heartbeat.workerId},
          claimed_at = coalesce(c.claimed_at, now())
      FROM mine AS m
      WHERE c.execution_id = m.execution_id AND c.command_id = m.command_id
    )
    SELECT command_id AS "commandId", status FROM listed
    UNION ALL
    SELECT NULL, 'known' FROM beat`;
  const listed = (status: string | null): ReadonlySet<CommandId> =>
    new Set(rows.flatMap((row) => (row.status === status ? (row.commandId ?? []) : [])));
  return {
    isKnown: rows.some((row) => row.commandId === null),
    cancelling: listed("cancelling"),
    lost: listed(null),
  };
}

/** A command whose worker said goodbye. */
export interface DroppedLease {
  readonly executionId: ExecutionId;
  readonly commandId: CommandId;
  readonly attempt: number;
}

/** Forgets the worker and ends its leases. */
export async function removeWorker(sql: Sql, workerId: WorkerId): Promise<readonly DroppedLease[]> {
  return await sql<DroppedLease[]>`
    WITH gone AS (
      DELETE FROM noetl.worker WHERE worker_id = ${workerId}
    ), mine AS (
      SELECT execution_id, command_id
      FROM noetl.command
      WHERE worker_id = ${workerId} AND status <> 'queued'
      FOR UPDATE SKIP LOCKED
    )
    UPDATE noetl.command AS c
    SET lease_until = now()
    FROM mine AS m
    WHERE c.execution_id = m.execution_id AND c.command_id = m.command_id
    RETURNING c.execution_id AS "executionId", c.command_id AS "commandId", c.attempt`;
}

/** Forgets workers that have been silent for so long; gives their pools. */
export async function removeSilentWorkers(
  sql: Sql,
  silentMs: number,
): Promise<readonly { readonly workerId: WorkerId; readonly pool: string }[]> {
  return await sql<{ workerId: WorkerId; pool: string }[]>`
    DELETE FROM noetl.worker
    WHERE heartbeat_at < now() - ${silentMs} * interval '1 millisecond'
    RETURNING worker_id AS "workerId", pool`;
}

export interface WorkerRow {
  readonly workerId: WorkerId;
  readonly name: string;
  readonly pool: string;
  readonly slots: number;
  readonly hostname: string;
  readonly pid: number;
  readonly version: string;
  readonly tools: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly metricsUrl: string | null;
  readonly registeredAtMs: number;
  readonly heartbeatAtMs: number;
  readonly heartbeatAgeMs: number;
  readonly heldCount: number;
  readonly freeSlots: number;
  readonly pullAgeMs: number;
  readonly lagMs: number;
  readonly rssBytes: number;
  readonly cpuPercent: number;
  readonly isDraining: boolean;
  /** As its last heartbeat had them; null: it has none. */
  readonly gpus: readonly Gpu[] | null;
  /** Null: nothing runs its containers. */
  readonly runtimes: readonly RuntimeFacts[] | null;
  /** `live` if it has sent a heartbeat within `timeoutMs`. */
  readonly status: "live" | "draining" | "lost";
}

/** By pool, then name. */
export async function listWorkers(sql: Sql, timeoutMs: number): Promise<readonly WorkerRow[]> {
  return await sql<WorkerRow[]>`
    SELECT
      worker_id AS "workerId", name, pool, slots, hostname, pid, version, array_to_json(tools) AS tools,
      labels, metrics_url AS "metricsUrl",
      (extract(epoch FROM registered_at) * 1000)::float8 AS "registeredAtMs",
      (extract(epoch FROM heartbeat_at) * 1000)::float8 AS "heartbeatAtMs",
      (extract(epoch FROM now() - heartbeat_at) * 1000)::float8 AS "heartbeatAgeMs",
      held_count AS "heldCount",
      free_slots AS "freeSlots",
      pull_age_ms AS "pullAgeMs",
      lag_ms AS "lagMs",
      rss_bytes::float8 AS "rssBytes",
      cpu_percent AS "cpuPercent",
      is_draining AS "isDraining",
      gpus,
      runtimes,
      CASE
        WHEN heartbeat_at <= now() - ${timeoutMs} * interval '1 millisecond' THEN 'lost'
        WHEN is_draining THEN 'draining'
        ELSE 'live'
      END AS status
    FROM noetl.worker
    ORDER BY pool, name, worker_id`;
}

export interface PoolRow {
  readonly pool: string;
  /** Live workers, draining ones included. */
  readonly workers: number;
  readonly slots: number;
  readonly freeSlots: number;
  readonly queued: number;
  /** Of `queued`: not due yet. */
  readonly scheduled: number;
  readonly running: number;
  readonly cancelling: number;
  /** Age of the oldest command that could run; 0 when there is none. */
  readonly oldestMs: number;
  /** GPUs that its commands hold; a shared one counts once for each of them. */
  readonly gpuLeases: number;
  /** Of `queued`: have asked for GPUs in vain. */
  readonly gpuWaiters: number;
  /** Why commands wait; null when none does. */
  readonly reason:
    | "no_live_worker"
    | "gpus_busy"
    | "all_slots_busy"
    | "not_due"
    | "starting"
    | null;
}

/** Pools that have a worker or an open command, by name. */
export async function listPools(sql: Sql, timeoutMs: number): Promise<readonly PoolRow[]> {
  return await sql<PoolRow[]>`
    WITH live AS (
      SELECT
        pool,
        count(*)::int AS workers,
        sum(slots)::int AS slots,
        coalesce(sum(free_slots) FILTER (WHERE NOT is_draining), 0)::int AS free_slots
      FROM noetl.worker
      WHERE heartbeat_at > now() - ${timeoutMs} * interval '1 millisecond'
      GROUP BY pool
    ), waiting AS (
      SELECT
        pool,
        count(*)::int AS queued,
        (count(*) FILTER (WHERE available_at > now()))::int AS scheduled,
        (count(*) FILTER (WHERE waits_for IS NOT NULL))::int AS gpu_waiters,
        min(available_at) AS oldest
      FROM noetl.command
      WHERE status = 'queued'
      GROUP BY pool
    ), held AS (
      SELECT
        pool,
        (count(*) FILTER (WHERE status = 'running'))::int AS running,
        (count(*) FILTER (WHERE status = 'cancelling'))::int AS cancelling,
        sum(json_array_length(gpus))::int AS gpu_leases
      FROM noetl.command
      WHERE status <> 'queued'
      GROUP BY pool
    ), named AS (
      SELECT
        pool,
        coalesce(workers, 0) AS workers,
        coalesce(slots, 0) AS slots,
        coalesce(free_slots, 0) AS free_slots,
        coalesce(queued, 0) AS queued,
        coalesce(scheduled, 0) AS scheduled,
        coalesce(gpu_waiters, 0) AS gpu_waiters,
        coalesce(gpu_leases, 0) AS gpu_leases,
        coalesce(running, 0) AS running,
        coalesce(cancelling, 0) AS cancelling,
        greatest(0, extract(epoch FROM now() - oldest) * 1000)::float8 AS oldest_ms
      FROM live
      FULL JOIN waiting USING (pool)
      FULL JOIN held USING (pool)
    )
    SELECT
      pool, workers, slots, free_slots AS "freeSlots", queued, scheduled, running, cancelling,
      coalesce(oldest_ms, 0) AS "oldestMs", gpu_leases AS "gpuLeases",
      gpu_waiters AS "gpuWaiters",
      CASE
        WHEN queued = 0 THEN NULL
        WHEN workers = 0 THEN 'no_live_worker'
        WHEN queued = scheduled THEN 'not_due'
        WHEN queued = scheduled + gpu_waiters THEN 'gpus_busy'
        WHEN free_slots = 0 THEN 'all_slots_busy'
        ELSE 'starting'
      END AS reason
    FROM named
    ORDER BY pool`;
}
