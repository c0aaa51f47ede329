/** Values that are stored apart because they are large. */
import { Elysia, t } from "elysia";
import { docs } from "../docs.ts";
import type { RouteContext } from "../route-context.ts";

export function resultRoutes({ reader }: RouteContext) {
  return new Elysia({ normalize: false }).get(
    "/api/result/resolve",
    async ({ query }) =>
      new Response(await reader.getResult(query.ref), {
        headers: { "content-type": "application/json; charset=utf-8" },
      }),
    {
      query: t.Object({ ref: t.String({ description: "The `$ref` of a step's result." }) }),
      detail: docs({
        tag: "Executions",
        summary: "A large result",
        errors: { 404: "No such value." },
      }),
    },
  );
}
