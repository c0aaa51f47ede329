/**
 * Claims of commands that want GPUs: given together with all of them, or not at all.
 *
 * One transaction at a time, over all servers, by an advisory lock: what is free is what no open command
 * holds, and who asks next sees what was given before. The lease is the row itself (`gpus`), so the commit
 * that ends the command, or takes it from its worker, frees them.
 *
 * Unlike other claims these are waited for by the disk: one that a crash of the database undid would leave a
 * worker with GPUs that are given again. `clock_timestamp()`, because a lease must not begin, by the log,
 * before the one ended that it waited for.
 *
 * Rows that an append is busy with are skipped: waiting for it could end in a deadlock.
 */
import { unreachable } from "../core/assert.ts";
import type { CommandId, ExecutionId } from "../core/ids.ts";
import type { Failure } from "../engine/failure.ts";
import type { GpuGrant } from "../engine/gpu.ts";
import type { GpuScene, GpuVerdict, GpuWaiter } from "../engine/gpu-queue.ts";
import { afterGrant, judgeClaim } from "../engine/gpu-queue.ts";
import { unfitFailure, waitReason } from "../engine/gpu-reason.ts";
import type { ClaimRequest, ClaimRow } from "./claim.ts";
import { readScene } from "./gpu-scene.ts";
import type { Pool, Sql } from "./pool.ts";
import { takeOut } from "./queue-error.ts";
import { withTransaction } from "./transaction.ts";

/** Of all claims of GPUs. */
const LOCK = 0x6e_6f_67_70;
/** Somebody has the row locked. */
const LATER_MS = 50;
/** Another worker is to ask: the notification comes again to any of them. */
const ELSEWHERE_MS = 150;

export interface GpuClaimOptions {
  readonly leaseMs: number;
  /** A worker that has been silent for longer does not count. */
  readonly workerTimeoutMs: number;
}

export type GpuClaimRow =
  | Exclude<ClaimRow, { readonly status: "wants_gpus" }>
  /** It stays queued; whoever frees GPUs announces it again. */
  | { readonly status: "waits" }
  /** It has been taken out of the queue and is to fail with this. */
  | {
      readonly status: "unfit";
      readonly executionId: ExecutionId;
      readonly attempt: number;
      readonly error: Failure;
    };

interface AskedRow extends GpuWaiter {
  readonly n: number;
}

/** What becomes of one request. */
type Plan =
  | { readonly kind: "given"; readonly to: GpuWaiter; readonly grants: readonly GpuGrant[] }
  | { readonly kind: "unfit"; readonly to: GpuWaiter; readonly error: Failure }
  | { readonly kind: "waits"; readonly to: GpuWaiter; readonly reason: string }
  /** Nothing can be said now. */
  | { readonly kind: "later"; readonly delayMs: number }
  /** Given to another request before it. */
  | { readonly kind: "gone" };

/** One row per request, in order. */
export async function claimGpus(
  pool: Pool,
  requests: readonly ClaimRequest[],
  options: GpuClaimOptions,
): Promise<readonly GpuClaimRow[]> {
  return await withTransaction(pool, async (sql) => {
    await sql`SELECT pg_advisory_xact_lock(${LOCK}::bigint)`;
    const asked = await readAsked(sql, requests);
    const pools = [...new Set([...asked.values()].map((row) => row.pool))];
    const scene = await readScene(sql, pools, options.workerTimeoutMs);
    const plans = planAll(scene, requests, asked);
    const given = await give(sql, requests, plans, options.leaseMs);
    const [taken] = await Promise.all([takeUnfit(sql, plans), noteReasons(sql, plans)]);
    return plans.map((plan, n) => toRow(plan, given.get(n), taken));
  });
}

function planAll(
  first: GpuScene,
  requests: readonly ClaimRequest[],
  askedRows: ReadonlyMap<number, AskedRow>,
): readonly Plan[] {
  let scene = first;
  return requests.map(({ commandId, workerId }, n) => {
    const asked = askedRows.get(n);
    const worker = scene.workers.find((one) => one.workerId === workerId);
    if (scene.holders.some((holder) => holder.commandId === commandId)) {
      return { kind: "gone" };
    }
    if (asked === undefined || worker === undefined) {
      return { kind: "later", delayMs: LATER_MS };
    }
    const plan = toPlan(scene, asked, judgeClaim(scene, worker, asked));
    if (plan.kind === "given") {
      scene = afterGrant(scene, plan.to, plan.grants, Date.now());
    }
    return plan;
  });
}

function toPlan(scene: GpuScene, asked: GpuWaiter, verdict: GpuVerdict): Plan {
  switch (verdict.kind) {
    case "given":
      return verdict;
    case "elsewhere":
      return { kind: "later", delayMs: ELSEWHERE_MS };
    case "waits":
      return { kind: "waits", to: asked, reason: waitReason(scene, asked) };
    case "unfit":
      return { kind: "unfit", to: asked, error: unfitFailure(scene, asked) };
    default:
      return unreachable(verdict);
  }
}

async function readAsked(
  sql: Sql,
  requests: readonly ClaimRequest[],
): Promise<ReadonlyMap<number, AskedRow>> {
  const rows = await sql<AskedRow[]>`
    SELECT
      q.n::int - 1 AS n,
      c.execution_id AS "executionId",
      c.command_id AS "commandId",
      c.attempt,
      c.pool,
      c.gpu_demand AS demand,
      (extract(epoch FROM now() - c.available_at) * 1000)::float8 AS "waitedMs"
    FROM unnest(
      ${requests.map((request) => request.executionId)}::bigint[],
      ${requests.map((request) => request.commandId)}::bigint[],
      ${requests.map((request) => request.attempt)}::integer[]
    ) WITH ORDINALITY AS q (execution_id, command_id, attempt, n)
    CROSS JOIN LATERAL (
      SELECT execution_id, command_id, attempt, pool, gpu_demand, available_at
      FROM noetl.command
      WHERE execution_id = q.execution_id AND command_id = q.command_id
        AND attempt = q.attempt AND lease_until IS NULL AND gpu_demand IS NOT NULL
        AND available_at <= now()
      LIMIT 1
    ) AS c`;
  return new Map(rows.map((row) => [row.n, row]));
}

interface GivenRow {
  readonly n: number;
  readonly executionId: ExecutionId;
  readonly commandId: CommandId;
  readonly attempt: number;
  readonly payload: string;
  readonly pool: string;
  readonly gpus: readonly GpuGrant[] | null;
  readonly claimedAtMs: number;
  readonly waitedMs: number;
}

async function give(
  sql: Sql,
  requests: readonly ClaimRequest[],
  plans: readonly Plan[],
  leaseMs: number,
): Promise<ReadonlyMap<number, GivenRow>> {
  const grants = requests.flatMap((request, n) => {
    const plan = plans[n];
    return plan?.kind === "given" ? [{ n, request, ...plan }] : [];
  });
  if (grants.length === 0) {
    return new Map();
  }
  const rows = await sql<GivenRow[]>`
    WITH free AS (
      SELECT q.n, q.worker_id, q.bell_id, q.gpus, c.execution_id, c.command_id
      FROM unnest(
        ${grants.map(({ n }) => n)}::integer[],
        ${grants.map(({ to }) => to.executionId)}::bigint[],
        ${grants.map(({ to }) => to.commandId)}::bigint[],
        ${grants.map(({ to }) => to.attempt)}::integer[],
        ${grants.map(({ request }) => request.workerId)}::text[],
        ${grants.map(({ request, to }) => (request.commandId === to.commandId ? null : request.commandId))}::bigint[],
        ${grants.map((grant) => (grant.grants.length === 0 ? null : JSON.stringify(grant.grants)))}::text[]
      ) AS q (n, execution_id, command_id, attempt, worker_id, bell_id, gpus)
      CROSS JOIN LATERAL (
        SELECT execution_id, command_id
        FROM noetl.command
        WHERE execution_id = q.execution_id AND command_id = q.command_id
          AND attempt = q.attempt AND lease_until IS NULL
        FOR UPDATE SKIP LOCKED
      ) AS c
    )
    UPDATE noetl.command AS c
    SET status = 'running',
        worker_id = f.worker_id,
        bell_id = f.bell_id,
        gpus = f.gpus::json,
        waits_for = NULL,
        claimed_at = clock_timestamp(),
        lease_until = clock_timestamp() + ${leaseMs} * interval '1 millisecond'
    FROM free AS f
    WHERE c.execution_id = f.execution_id AND c.command_id = f.command_id
    RETURNING
      f.n,
      c.execution_id AS "executionId",
      c.command_id AS "commandId",
      c.attempt,
      c.payload::text AS payload,
      c.pool,
      c.gpus,
      (extract(epoch FROM c.claimed_at) * 1000)::float8 AS "claimedAtMs",
      (extract(epoch FROM c.claimed_at - c.available_at) * 1000)::float8 AS "waitedMs"`;
  return new Map(rows.map((row) => [row.n, row]));
}

/** Writes why they wait, where that has changed. */
async function noteReasons(sql: Sql, plans: readonly Plan[]): Promise<void> {
  const waiting = plans.flatMap((plan) => (plan.kind === "waits" ? [plan] : []));
  if (waiting.length > 0) {
    await sql`
      WITH noted AS (
        SELECT q.reason, c.execution_id, c.command_id
        FROM unnest(
          ${waiting.map(({ to }) => to.executionId)}::bigint[],
          ${waiting.map(({ to }) => to.commandId)}::bigint[],
          ${waiting.map(({ to }) => to.attempt)}::integer[],
          ${waiting.map(({ reason }) => reason)}::text[]
        ) AS q (execution_id, command_id, attempt, reason)
        CROSS JOIN LATERAL (
          SELECT execution_id, command_id
          FROM noetl.command
          WHERE execution_id = q.execution_id AND command_id = q.command_id
            AND attempt = q.attempt AND lease_until IS NULL
            AND waits_for IS DISTINCT FROM q.reason
          FOR UPDATE SKIP LOCKED
        ) AS c
      )
      UPDATE noetl.command AS c
      SET waits_for = n.reason
      FROM noted AS n
      WHERE c.execution_id = n.execution_id AND c.command_id = n.command_id`;
  }
}

async function takeUnfit(sql: Sql, plans: readonly Plan[]): Promise<ReadonlySet<CommandId>> {
  const unfit = plans.flatMap((plan) =>
    plan.kind === "unfit" ? [{ ...plan.to, error: plan.error }] : [],
  );
  const taken = await takeOut(sql, unfit);
  return new Set(taken.map(({ commandId }) => commandId));
}

function toRow(
  plan: Plan,
  given: GivenRow | undefined,
  taken: ReadonlySet<CommandId>,
): GpuClaimRow {
  if (given !== undefined) {
    const { n: _, gpus, waitedMs, claimedAtMs, ...row } = given;
    return {
      status: "claimed",
      ...row,
      claimedAtMs: Math.round(claimedAtMs),
      waitedMs: Math.max(0, waitedMs),
      ...(gpus === null ? {} : { gpus }),
    };
  }
  if (plan.kind === "unfit" && taken.has(plan.to.commandId)) {
    const { executionId, attempt } = plan.to;
    return { status: "unfit", executionId, attempt, error: plan.error };
  }
  if (plan.kind === "waits" || plan.kind === "gone") {
    return { status: plan.kind };
  }
  return { status: "later", delayMs: plan.kind === "later" ? plan.delayMs : LATER_MS };
}
