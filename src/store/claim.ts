/**
 * Claims: notifications come in the order in which they were sent, commands are given by priority.
 *
 * While a more urgent command of the pool waits, the least urgent of those asked for stay queued and
 * the most urgent ones are given instead. The worker gives the notification of what stayed back, so
 * that it comes again, before those behind it; that of what was given will find it gone. So every
 * queued command has its own notification at all times, and equally urgent ones keep their order.
 *
 * Looking for more urgent ones costs as much again as claiming, so the first statement only asks
 * whether the pool has any, by an index that is empty as long as nobody uses priorities.
 *
 * That is no EXISTS, which may be turned into a hash of all urgent commands of all pools.
 *
 * Commands that want GPUs are not given here, see gpu-claim.ts; who asks for one is told so.
 *
 * On young tables a join reads all open commands to find a few, and its plan would stay. LATERAL with
 * a lock is not turned into a join. See plan.test.ts.
 */
import type { CommandId, ExecutionId, WorkerId } from "../core/ids.ts";
import type { HeldCommand } from "../engine/command.ts";
import type { GpuGrant } from "../engine/gpu.ts";
import type { Sql } from "./pool.ts";

export interface ClaimRequest extends HeldCommand {
  readonly workerId: WorkerId;
}

export type ClaimRow =
  | {
      readonly status: "claimed";
      /** Of what was given: a more urgent one than was asked for, maybe. */
      readonly executionId: ExecutionId;
      readonly commandId: CommandId;
      readonly attempt: number;
      /** JSON text. */
      readonly payload: string;
      readonly claimedAtMs: number;
      readonly pool: string;
      /** From available to claimed. */
      readonly waitedMs: number;
      /** Absent: it holds none. */
      readonly gpus?: readonly GpuGrant[];
    }
  /** It is only given together with GPUs. */
  | { readonly status: "wants_gpus" }
  | { readonly status: "gone" }
  | { readonly status: "later"; readonly delayMs: number };

interface RawClaim {
  readonly executionId: ExecutionId;
  readonly commandId: CommandId;
  readonly payload: string | null;
  readonly attempt: number | null;
  readonly claimedAtMs: number | null;
  readonly pool: string | null;
  readonly waitedMs: number | null;
  readonly gpus: readonly GpuGrant[] | null;
  readonly delayMs: number | null;
  readonly wantsGpus: boolean | null;
}

/** Shortest delay told to a worker that came too early, or while somebody else had the row locked. */
const LATER_MS_MIN = 20;

/**
 * Gives each command to the worker that asked for it, or a more urgent one of its pool, if it is
 * queued, due and of that attempt. A worker that holds the command already gets it again: its first
 * answer was lost.
 *
 * @returns one row per request, in order.
 */
export async function claimCommands(
  sql: Sql,
  requests: readonly ClaimRequest[],
  leaseMs: number,
): Promise<readonly ClaimRow[]> {
  const rows = await claimAsked(sql, requests, leaseMs);
  const passed = requests.flatMap((request, n) => (isPassedOver(rows[n]) ? { request, n } : []));
  if (passed.length === 0) {
    return rows.map(toClaimRow);
  }
  const again = await claimByPriority(
    sql,
    passed.map(({ request }) => request),
    leaseMs,
  );
  const better = new Map(passed.map(({ n }, index) => [n, again[index]]));
  return rows.map((row, n) => toClaimRow(better.get(n) ?? row));
}

/** Due, and all the same not given: more urgent ones may wait, or somebody has it locked. */
function isPassedOver(row: RawClaim | undefined): boolean {
  const isLeft = row !== undefined && row.payload === null && row.wantsGpus === false;
  return isLeft && row.delayMs !== null && row.delayMs <= 0;
}

/** 9: nothing is more urgent. 5: what playbooks say nothing about, and where command_urgent ends. */
async function claimAsked(
  sql: Sql,
  requests: readonly ClaimRequest[],
  leaseMs: number,
): Promise<readonly RawClaim[]> {
  return await sql<RawClaim[]>`
    WITH asked AS (
      ${askedPart(sql, requests)}
    ), given AS (
      SELECT c.execution_id, c.command_id, c.available_at, c.claimed_at, q.worker_id, q.n
      FROM asked AS q
      CROSS JOIN LATERAL (
        SELECT execution_id, command_id, available_at, claimed_at
        FROM noetl.command AS m
        WHERE execution_id = q.execution_id AND command_id = q.command_id
          AND attempt = q.attempt
          AND CASE status
            WHEN 'queued' THEN available_at <= now() AND gpu_demand IS NULL AND priority >= CASE
              WHEN (
                SELECT true
                FROM noetl.command
                WHERE status = 'queued' AND priority > 5 AND gpu_demand IS NULL
                  AND pool = m.pool AND available_at <= now()
                LIMIT 1
              ) THEN 9
              ELSE 5
            END
            WHEN 'running' THEN worker_id = q.worker_id
          END
        FOR UPDATE SKIP LOCKED
      ) AS c
    ), claimed AS (
      UPDATE noetl.command AS c
      SET status = 'running',
          worker_id = g.worker_id,
          claimed_at = coalesce(g.claimed_at, now()),
          lease_until = now() + ${leaseMs} * interval '1 millisecond'
      FROM given AS g
      WHERE c.execution_id = g.execution_id AND c.command_id = g.command_id
      RETURNING
        g.n, c.execution_id, c.command_id, c.attempt, c.payload, c.pool, c.claimed_at, c.gpus,
        g.available_at
    )
    ${answerPart(sql)}`;
}

/** The most urgent of those asked for and those that wait; as many as are asked for, by pool. */
async function claimByPriority(
  sql: Sql,
  requests: readonly ClaimRequest[],
  leaseMs: number,
): Promise<readonly RawClaim[]> {
  return await sql<RawClaim[]>`
    WITH asked AS (
      ${askedPart(sql, requests)}
    ), free AS (
      SELECT
        c.execution_id, c.command_id, c.available_at, c.pool, c.priority, q.worker_id, q.n,
        row_number() OVER (
          PARTITION BY c.pool ORDER BY c.priority, c.available_at DESC, q.n DESC
        ) AS rank
      FROM asked AS q
      CROSS JOIN LATERAL (
        SELECT execution_id, command_id, available_at, pool, priority
        FROM noetl.command
        WHERE execution_id = q.execution_id AND command_id = q.command_id
          AND attempt = q.attempt AND lease_until IS NULL AND gpu_demand IS NULL
          AND available_at <= now()
        FOR UPDATE SKIP LOCKED
      ) AS c
    ), urgent AS (
      SELECT
        c.execution_id, c.command_id, c.available_at, c.priority, p.pool,
        row_number() OVER (PARTITION BY p.pool ORDER BY c.priority DESC, c.available_at) AS rank
      FROM (
        SELECT pool, min(priority) AS lowest, count(*) AS count FROM free GROUP BY pool
      ) AS p
      CROSS JOIN LATERAL (
        SELECT execution_id, command_id, available_at, priority
        FROM noetl.command
        WHERE status = 'queued' AND pool = p.pool AND priority > p.lowest
          AND gpu_demand IS NULL AND available_at <= now()
          AND NOT EXISTS (SELECT 1 FROM asked WHERE asked.command_id = command.command_id)
        ORDER BY priority DESC, available_at
        LIMIT p.count
        FOR UPDATE SKIP LOCKED
      ) AS c
    ), given AS (
      SELECT
        f.n, f.worker_id,
        coalesce(u.execution_id, f.execution_id) AS execution_id,
        coalesce(u.command_id, f.command_id) AS command_id,
        coalesce(u.available_at, f.available_at) AS available_at,
        CASE WHEN u.command_id IS NOT NULL THEN f.command_id END AS bell_id
      FROM free AS f
      LEFT JOIN urgent AS u ON u.pool = f.pool AND u.rank = f.rank AND u.priority > f.priority
    ), claimed AS (
      UPDATE noetl.command AS c
      SET status = 'running',
          worker_id = g.worker_id,
          bell_id = g.bell_id,
          claimed_at = now(),
          lease_until = now() + ${leaseMs} * interval '1 millisecond'
      FROM given AS g
      WHERE c.execution_id = g.execution_id AND c.command_id = g.command_id
      RETURNING
        g.n, c.execution_id, c.command_id, c.attempt, c.payload, c.pool, c.claimed_at, c.gpus,
        g.available_at
    )
    ${answerPart(sql)}`;
}

function askedPart(sql: Sql, requests: readonly ClaimRequest[]) {
  return sql`
      SELECT q.execution_id, q.command_id, q.attempt, q.worker_id, q.n
      FROM unnest(
        ${requests.map((request) => request.executionId)}::bigint[],
        ${requests.map((request) => request.commandId)}::bigint[],
        ${requests.map((request) => request.attempt)}::integer[],
        ${requests.map((request) => request.workerId)}::text[]
      ) WITH ORDINALITY AS q (execution_id, command_id, attempt, worker_id, n)`;
}

/**
 * `lease_until IS NULL` stands for `status = 'queued'` where rows are found by key, because the latter
 * would let the planner walk all queued commands by a partial index instead.
 */
function answerPart(sql: Sql) {
  return sql`
    SELECT
      d.execution_id AS "executionId",
      d.command_id AS "commandId",
      d.payload::text AS payload,
      d.attempt,
      d.pool,
      d.gpus,
      (extract(epoch FROM d.claimed_at) * 1000)::float8 AS "claimedAtMs",
      (extract(epoch FROM d.claimed_at - d.available_at) * 1000)::float8 AS "waitedMs",
      (extract(epoch FROM c.available_at - now()) * 1000)::float8 AS "delayMs",
      c.gpu_demand IS NOT NULL AS "wantsGpus"
    FROM asked AS q
    LEFT JOIN claimed AS d ON d.n = q.n
    LEFT JOIN LATERAL (
      SELECT available_at, gpu_demand
      FROM noetl.command
      WHERE d.n IS NULL AND execution_id = q.execution_id AND command_id = q.command_id
        AND attempt = q.attempt AND lease_until IS NULL
      LIMIT 1
    ) AS c ON true
    ORDER BY q.n`;
}

function toClaimRow(row: RawClaim): ClaimRow {
  if (row.payload !== null) {
    return {
      status: "claimed",
      executionId: row.executionId,
      commandId: row.commandId,
      attempt: row.attempt ?? 1,
      payload: row.payload,
      claimedAtMs: Math.round(row.claimedAtMs ?? 0),
      pool: row.pool ?? "",
      waitedMs: Math.max(0, row.waitedMs ?? 0),
      ...(row.gpus === null ? {} : { gpus: row.gpus }),
    };
  }
  if (row.wantsGpus === true && (row.delayMs ?? 0) <= 0) {
    return { status: "wants_gpus" };
  }
  return row.delayMs === null
    ? { status: "gone" }
    : { status: "later", delayMs: Math.max(LATER_MS_MIN, Math.ceil(row.delayMs)) };
}

/** What a notification brought instead of the command that it announced. */
export interface TakenCommand extends HeldCommand {
  /** The command that it announced. */
  readonly bellId: CommandId;
}

/** What those notifications brought the worker that it may not have heard of: its answer was lost. */
export async function listTaken(
  sql: Sql,
  workerId: WorkerId,
  bells: readonly CommandId[],
): Promise<readonly TakenCommand[]> {
  return await sql<TakenCommand[]>`
    SELECT
      bell_id AS "bellId",
      execution_id AS "executionId",
      command_id AS "commandId",
      attempt
    FROM noetl.command
    WHERE worker_id = ${workerId} AND status <> 'queued' AND status = 'running'
      AND bell_id = ANY (${[...bells]}::bigint[])`;
}
