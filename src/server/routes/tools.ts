/** The kinds of tools that playbooks may use: what they take, give and how they fail. */
import { Elysia, t } from "elysia";
import { AppError } from "../../core/errors.ts";
import { viewTool } from "../../dsl/tool-schema.ts";
import { suggestion } from "../../template/nearest.ts";
import { docs } from "../docs.ts";
import type { RouteContext } from "../route-context.ts";

const TAG = "Tools";

export function toolRoutes({ knownTools = new Map() }: RouteContext) {
  return new Elysia({ normalize: false })
    .get(
      "/api/tools",
      () => {
        const kinds = [...knownTools.keys()].sort();
        return { tools: kinds.flatMap((kind) => viewOf(knownTools, kind)) };
      },
      {
        detail: docs({
          tag: TAG,
          summary: "Kinds of tools",
          description:
            "What a task of each kind takes (`fields`, `needs`, and as a JSON Schema `schema`), gives (`result`) and " +
            "fails with (`failures`). Which of them a worker can run is in `GET /api/workers`.",
        }),
      },
    )
    .get(
      "/api/tools/:kind",
      ({ params: { kind } }) => {
        const [view] = viewOf(knownTools, kind);
        if (view === undefined) {
          const message = `There is no tool of kind ${kind}${suggestion(kind, knownTools.keys())}`;
          throw new AppError("not_found", "TOOL_NOT_FOUND", message);
        }
        return view;
      },
      {
        params: t.Object({ kind: t.String() }),
        detail: docs({ tag: TAG, summary: "One kind of tool", errors: { 404: "No such kind." } }),
      },
    );
}

function viewOf(knownTools: NonNullable<RouteContext["knownTools"]>, kind: string) {
  const description = knownTools.get(kind);
  return description === undefined ? [] : [viewTool(description)];
}
