/** Pools and workers. Workers register by gRPC only. */
import { Elysia, t } from "elysia";
import type { ServerReader, WorkerRow } from "../backend.ts";
import { docs } from "../docs.ts";
import { viewPool, viewWorker } from "../execution-view.ts";
import type { GpuRow, GpuWaitRow } from "../gpu-rows.ts";
import { WAITERS_MAX } from "../gpu-rows.ts";
import { countGpus, viewGpuWait, viewPoolRuntimes } from "../gpu-view.ts";
import type { RouteContext } from "../route-context.ts";

const TAG = "Workers";

export function workerRoutes({ reader }: RouteContext) {
  return new Elysia({ normalize: false })
    .get(
      "/api/worker/pools",
      async ({ query }) => {
        const pools: readonly Readonly<Record<string, unknown>>[] = await listPools(reader);
        return pools.filter(
          (pool) =>
            (query.name === undefined || pool["name"] === query.name) &&
            (query.status === undefined || pool["status"] === query.status),
        );
      },
      {
        query: t.Object({ name: t.Optional(t.String()), status: t.Optional(t.String()) }),
        detail: docs({
          tag: TAG,
          summary: "Pools with their slots, queues, container runtimes and GPUs",
          description:
            "`runtimes` are those of live workers, each with how many have it; `gpus` are counts, of GPUs by state " +
            `and of commands that wait for some; the first ${WAITERS_MAX} of these are in \`waiting\` with their reasons.`,
        }),
      },
    )
    .get(
      "/api/workers",
      async () => {
        const [workers, gpus] = await Promise.all([reader.listWorkers(), reader.listGpus()]);
        const own = Map.groupBy(gpus, ({ workerId }) => workerId);
        return {
          workers: workers.map((row) => ({
            ...viewWorker(row),
            gpus: countGpus(own.get(row.workerId) ?? []),
          })),
        };
      },
      { detail: docs({ tag: TAG, summary: "Workers with their container runtimes and GPUs" }) },
    );
}

async function listPools(reader: ServerReader) {
  const [pools, workers, gpus, waits] = await Promise.all([
    reader.listPools(),
    reader.listWorkers(),
    reader.listGpus(),
    reader.listGpuWaits(),
  ]);
  const [workersOf, gpusOf, waitsOf] = [byPool(workers), byPool(gpus), byPool(waits)];
  return pools.map((row) => ({
    ...viewPool(row),
    ...viewEquipment({
      workers: workersOf.get(row.pool) ?? [],
      gpus: gpusOf.get(row.pool) ?? [],
      waits: waitsOf.get(row.pool) ?? [],
    }),
  }));
}

function byPool<Row extends { readonly pool: string }>(rows: readonly Row[]): Map<string, Row[]> {
  return Map.groupBy(rows, ({ pool }) => pool);
}

function viewEquipment({
  workers,
  gpus,
  waits,
}: {
  readonly workers: readonly WorkerRow[];
  readonly gpus: readonly GpuRow[];
  readonly waits: readonly GpuWaitRow[];
}) {
  return {
    runtimes: viewPoolRuntimes(workers),
    gpus: { ...countGpus(gpus), waiting: waits[0]?.poolCount ?? 0 },
    waiting: waits.map(viewGpuWait),
  };
}
