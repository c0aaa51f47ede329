/** GPUs: what each is doing, for whom, since when. */
import { Elysia, t } from "elysia";
import { AppError } from "../../core/errors.ts";
import { docs } from "../docs.ts";
import type { GpuRow } from "../gpu-rows.ts";
import { GPU_STATES, gpuState, viewGpu } from "../gpu-view.ts";
import type { RouteContext } from "../route-context.ts";
import { PageQuery, readPage } from "../schema.ts";

const TAG = "Workers";
const LIMITS = { max: 1000, otherwise: 200 };

const Lease = t.Object({
  execution_id: t.String(),
  path: t.String({ description: "Of the playbook." }),
  command_id: t.String(),
  attempt: t.Number(),
  step: t.String(),
  index: t.Nullable(t.Number({ description: "Of the loop's item." })),
  status: t.String({ description: "`running` or `cancelling`." }),
  since: t.String(),
  memory_mib: t.Number({ description: "All of it, or its share." }),
  is_shared: t.Boolean(),
});

const GpuAnswer = t.Object({
  id: t.String({ description: "`GPU-…`, of a slice `MIG-…`." }),
  index: t.String({ description: "As nvidia-smi numbers it." }),
  name: t.String(),
  pool: t.String(),
  worker_id: t.String(),
  worker: t.String(),
  worker_status: t.String(),
  hostname: t.String(),
  state: t.String({
    description:
      "`ready`, `leased`, `unclean` (something is on it that must go first), `out_of_service` " +
      "(broken), `lost` (its worker is silent).",
  }),
  reason: t.Nullable(t.String({ description: "Why it is not ready." })),
  memory_mib: t.Number(),
  memory_used_mib: t.Nullable(t.Number()),
  utilization_percent: t.Nullable(t.Number()),
  temperature_c: t.Nullable(t.Number()),
  power_w: t.Nullable(t.Number()),
  ecc_errors: t.Nullable(
    t.Number({ description: "Uncorrected, since the driver was loaded; null: it has no ECC." }),
  ),
  mig_profile: t.Nullable(t.String()),
  parent_id: t.Nullable(t.String({ description: "Of a slice: the GPU that it is cut from." })),
  leases: t.Array(Lease),
  read_at: t.String(),
  age_seconds: t.Number({ description: "Of the reading." }),
});

const ListQuery = t.Object({
  pool: t.Optional(t.String()),
  state: t.Optional(t.String({ description: GPU_STATES.join(", ") })),
  worker: t.Optional(t.String({ description: "Name or id." })),
  ...PageQuery,
});

export function gpuRoutes({ reader }: RouteContext) {
  return new Elysia({ prefix: "/api/gpus", normalize: false })
    .get(
      "",
      async ({ query }) => {
        checkState(query.state);
        const rows = (await reader.listGpus()).filter((row) => isWanted(row, query));
        const { limit, offset } = readPage(query, LIMITS);
        const now = Date.now();
        return {
          total: rows.length,
          gpus: rows.slice(offset, offset + limit).map((row) => viewGpu(row, now)),
        };
      },
      {
        query: ListQuery,
        detail: docs({
          tag: TAG,
          summary: "GPUs with who holds them",
          description:
            "Of all workers, by pool and worker, as their last heartbeat had them. What waits for GPUs is in " +
            "`GET /api/worker/pools`.",
          answer: t.Object({ total: t.Number(), gpus: t.Array(GpuAnswer) }),
          errors: { 422: "There is no such state." },
        }),
      },
    )
    .get(
      "/:id",
      async ({ params }) => {
        const row = findGpu(await reader.listGpus(), params.id);
        return viewGpu(row, Date.now());
      },
      {
        params: t.Object({
          id: t.String({ description: "Its id, or the beginning of it if no other has the same." }),
        }),
        detail: docs({
          tag: TAG,
          summary: "One GPU",
          answer: GpuAnswer,
          errors: {
            404: "No worker has such a GPU.",
            409: "Ids of several GPUs begin like that.",
          },
        }),
      },
    );
}

function isWanted(row: GpuRow, { pool, state, worker }: typeof ListQuery.static): boolean {
  return (
    (pool === undefined || row.pool === pool) &&
    (state === undefined || gpuState(row) === state) &&
    (worker === undefined || row.workerName === worker || row.workerId === worker)
  );
}

/** @throws AppError invalid GPU_STATE_INVALID. */
function checkState(state: string | undefined): void {
  if (state !== undefined && !GPU_STATES.some((each) => each === state)) {
    const message = `state must be one of ${GPU_STATES.join(", ")}, not ${state}`;
    throw new AppError("invalid", "GPU_STATE_INVALID", message);
  }
}

/** One that a live worker has goes before those of its silent predecessors. @throws AppError. */
function findGpu(rows: readonly GpuRow[], id: string): GpuRow {
  const same = rows.filter((each) => each.id === id);
  const found = same.length > 0 ? same : rows.filter((each) => each.id.startsWith(id));
  const ids = new Set(found.map((each) => each.id));
  if (ids.size > 1) {
    const message = `${ids.size} GPUs begin with ${id}: ${[...ids].slice(0, 5).join(", ")}`;
    throw new AppError("conflict", "GPU_AMBIGUOUS", message);
  }
  const gpu = found.find(({ workerStatus }) => workerStatus !== "lost") ?? found[0];
  if (gpu === undefined) {
    const message = `No worker has a GPU ${id}: GET /api/gpus lists them`;
    throw new AppError("not_found", "GPU_NOT_FOUND", message);
  }
  return gpu;
}
