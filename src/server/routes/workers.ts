/** Pools and workers. Workers register by gRPC only. */
import { Elysia, t } from "elysia";
import { docs } from "../docs.ts";
import { viewPool, viewWorker } from "../execution-view.ts";
import type { RouteContext } from "../route-context.ts";

export function workerRoutes({ reader }: RouteContext) {
  return new Elysia({ normalize: false })
    .get(
      "/api/worker/pools",
      async ({ query }) => {
        const pools = (await reader.listPools()).map(viewPool);
        return pools.filter(
          (pool) =>
            (query.name === undefined || pool["name"] === query.name) &&
            (query.status === undefined || pool["status"] === query.status),
        );
      },
      {
        query: t.Object({ name: t.Optional(t.String()), status: t.Optional(t.String()) }),
        detail: docs({ tag: "Workers", summary: "Pools with their slots and queues" }),
      },
    )
    .get("/api/workers", async () => ({ workers: (await reader.listWorkers()).map(viewWorker) }), {
      detail: docs({ tag: "Workers", summary: "Workers" }),
    });
}
