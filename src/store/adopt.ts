/**
 * Takes commands over whose workers are gone, for a worker that has found their containers.
 *
 * A row goes to the worker that asks only under the same attempt, in the same pool, and when who has it is
 * dead: known by its process, or silent for two heartbeats. That is less than a lease lasts, so the
 * command is taken over before it is handed out again. Which of two wins, the engine decides: see onAdopt.
 */
import type { CommandId, ExecutionId, WorkerId } from "../core/ids.ts";
import type { AdoptionQuestion } from "../engine/command.ts";
import type { GpuGrant } from "../engine/gpu.ts";
import type { Sql } from "./pool.ts";

export type AdoptionRow =
  | {
      readonly status: "moved";
      readonly executionId: ExecutionId;
      readonly commandId: CommandId;
      readonly attempt: number;
      readonly step: string;
      /** JSON text. */
      readonly payload: string;
      readonly claimedAtMs: number;
      readonly gpus: readonly GpuGrant[] | null;
    }
  | { readonly status: "disowned" }
  | { readonly status: "later" };

interface RawAdoption {
  readonly executionId: ExecutionId;
  readonly commandId: CommandId;
  readonly attempt: number;
  readonly step: string | null;
  readonly payload: string | null;
  readonly claimedAtMs: number;
  readonly gpus: readonly GpuGrant[] | null;
  /** There is a row that may want the container. */
  readonly isOpen: boolean;
}

export interface AdoptionOptions {
  readonly workerId: WorkerId;
  readonly leaseMs: number;
  /** Silent for so long, a worker counts as dead. */
  readonly silentMs: number;
}

/**
 * Moves what may be moved and renews its lease; what the worker has already it gets again.
 *
 * A row that is queued under the attempt that a container has belongs to a claim that a crash of the
 * database has undone; with GPUs it is not taken back, because these may be another's by now.
 *
 * @returns one row per question, in order.
 */
export async function moveCommands(
  sql: Sql,
  questions: readonly AdoptionQuestion[],
  { workerId, leaseMs, silentMs }: AdoptionOptions,
): Promise<readonly AdoptionRow[]> {
  const rows = await sql<RawAdoption[]>`
    WITH asked AS (
      SELECT q.execution_id, q.command_id, q.attempt, q.owner_id, q.is_dead, q.is_reusable, q.n
      FROM unnest(
        ${questions.map(({ held }) => held.executionId)}::bigint[],
        ${questions.map(({ held }) => held.commandId)}::bigint[],
        ${questions.map(({ held }) => held.attempt)}::integer[],
        ${questions.map(({ ownerId }) => ownerId)}::text[],
        ${questions.map(({ isOwnerDead }) => String(isOwnerDead))}::text[]::boolean[],
        ${questions.map(({ isReusable }) => String(isReusable))}::text[]::boolean[]
      ) WITH ORDINALITY AS q (
        execution_id, command_id, attempt, owner_id, is_dead, is_reusable, n
      )
    ), free AS (
      SELECT q.n, c.execution_id, c.command_id
      FROM asked AS q
      CROSS JOIN LATERAL (
        SELECT c.execution_id, c.command_id
        FROM noetl.command AS c
        WHERE c.execution_id = q.execution_id AND c.command_id = q.command_id
          AND c.attempt = q.attempt
          AND (c.worker_id = ${workerId} OR (
            c.pool = (SELECT pool FROM noetl.worker WHERE worker_id = ${workerId})
            AND CASE
              WHEN c.lease_until IS NULL THEN c.gpu_demand IS NULL
              WHEN c.worker_id = q.owner_id AND q.is_dead THEN true
              ELSE NOT EXISTS (
                SELECT 1
                FROM noetl.worker AS w
                WHERE w.worker_id = c.worker_id
                  AND w.heartbeat_at > now() - ${silentMs} * interval '1 millisecond'
              )
            END
          ))
        FOR UPDATE OF c SKIP LOCKED
      ) AS c
    ), moved AS (
      UPDATE noetl.command AS c
      SET worker_id = ${workerId},
          status = CASE c.status WHEN 'queued' THEN 'running' ELSE c.status END,
          claimed_at = coalesce(c.claimed_at, now()),
          lease_until = now() + ${leaseMs} * interval '1 millisecond'
      FROM free AS f
      WHERE c.execution_id = f.execution_id AND c.command_id = f.command_id
      RETURNING f.n, c.step, c.payload, c.claimed_at, c.gpus
    )
    SELECT
      q.execution_id AS "executionId",
      q.command_id AS "commandId",
      q.attempt,
      m.step,
      m.payload::text AS payload,
      (extract(epoch FROM m.claimed_at) * 1000)::float8 AS "claimedAtMs",
      m.gpus,
      o.n IS NOT NULL AS "isOpen"
    FROM asked AS q
    LEFT JOIN moved AS m ON m.n = q.n
    LEFT JOIN LATERAL (
      SELECT q.n
      FROM noetl.command AS c
      WHERE m.n IS NULL AND c.execution_id = q.execution_id AND c.command_id = q.command_id
        AND CASE
          WHEN q.is_reusable THEN c.attempt >= q.attempt
          ELSE c.attempt = q.attempt AND (c.lease_until IS NOT NULL OR c.gpu_demand IS NULL)
        END
      LIMIT 1
    ) AS o ON true
    ORDER BY q.n`;
  return rows.map(toAdoption);
}

function toAdoption({ step, payload, isOpen, claimedAtMs, ...row }: RawAdoption): AdoptionRow {
  if (step === null || payload === null) {
    return { status: isOpen ? "later" : "disowned" };
  }
  return { status: "moved", ...row, step, payload, claimedAtMs: Math.round(claimedAtMs) };
}
