/** Pictures of playbooks, and what an execution has at workers: for pages that show executions. */
import { Elysia, t } from "elysia";
import { AppError } from "../../core/errors.ts";
import type { CatalogId } from "../../core/ids.ts";
import type { Playbook } from "../../dsl/playbook.ts";
import type { CatalogEntry, OpenCommand } from "../backend.ts";
import { docs } from "../docs.ts";
import { isoTime } from "../event-view.ts";
import { viewGrant } from "../gpu-view.ts";
import { viewGraph } from "../playbook-graph.ts";
import type { RouteContext } from "../route-context.ts";
import { findExecution } from "../route-context.ts";
import { clamp, ExecutionParams, readOptionalId } from "../schema.ts";
import { readVersion } from "./execute.ts";

const NOT_FOUND = { 404: "No such execution or playbook." };
const GRAPH = "`steps` with their tools and loops, and the `arcs` between them.";

const GraphQuery = t.Object({
  catalog_id: t.Optional(t.String()),
  path: t.Optional(t.String()),
  version: t.Optional(t.String({ description: "Default: the latest." })),
});

export function graphRoutes({ reader }: RouteContext) {
  return new Elysia({ normalize: false })
    .get(
      "/api/executions/:id/graph",
      async ({ params }) => {
        const { catalogId, path } = await findExecution(reader, params.id);
        return answerGraph(catalogId && (await reader.getCatalog({ catalogId })), path);
      },
      {
        params: ExecutionParams,
        detail: docs({
          tag: "Executions",
          summary: "Steps and arcs of its playbook",
          description: GRAPH,
          errors: NOT_FOUND,
        }),
      },
    )
    .get(
      "/api/catalog/graph",
      async ({ query }) => {
        const catalogId = readOptionalId<CatalogId>(query.catalog_id, "catalog_id");
        const version = readVersion(query.version);
        const path = query.path ?? "";
        const entry = await reader.getCatalog({
          ...(catalogId === undefined ? { path } : { catalogId }),
          ...(version === undefined ? {} : { version }),
        });
        return answerGraph(entry, catalogId ?? path);
      },
      {
        query: GraphQuery,
        detail: docs({
          tag: "Catalog",
          summary: "Steps and arcs of a playbook",
          description: GRAPH,
          errors: NOT_FOUND,
        }),
      },
    )
    .get(
      "/api/executions/:id/commands",
      async ({ params, query }) => {
        const { executionId } = await findExecution(reader, params.id);
        const commands = await reader.listOpenCommands(executionId);
        const limit = clamp(query.limit, { min: 1, max: 1000, otherwise: 200 });
        return {
          execution_id: executionId,
          total: commands.length,
          commands: commands.slice(0, limit).map(viewCommand),
        };
      },
      {
        params: ExecutionParams,
        query: t.Object({ limit: t.Optional(t.Numeric()) }),
        detail: docs({
          tag: "Executions",
          summary: "Open commands",
          description:
            "Queued or running, oldest first; the pools say why queued ones wait, `waiting_reason` why one that " +
            "wants GPUs does.",
          errors: NOT_FOUND,
        }),
      },
    );
}

/** @throws AppError not_found CATALOG_ENTRY_NOT_FOUND. */
function answerGraph(entry: CatalogEntry | undefined, name: string) {
  if (entry?.kind !== "playbook" || entry.document === undefined) {
    const message = `There is no playbook ${name} in the catalog`;
    throw new AppError("not_found", "CATALOG_ENTRY_NOT_FOUND", message);
  }
  const { catalogId, version, document } = entry;
  return {
    catalog_id: catalogId,
    version,
    ...viewGraph(document as unknown as Playbook),
  };
}

function viewCommand(command: OpenCommand) {
  const { commandId, step, index, attempt, tool, pool, status, workerId } = command;
  return {
    command_id: commandId,
    step,
    index: index ?? null,
    attempt,
    tool: tool ?? null,
    pool: pool ?? null,
    status: status ?? null,
    worker_id: workerId ?? null,
    available_at: isoOrNull(command.availableAtMs),
    claimed_at: isoOrNull(command.claimedAtMs),
    waiting_reason: command.waitsFor ?? null,
    gpus: (command.gpus ?? []).map(viewGrant),
  };
}

function isoOrNull(ms: number | null | undefined): string | null {
  return ms === undefined || ms === null ? null : isoTime(ms);
}
