/** Many executions at once: lists of them, and the end of those that hang. */
import { Elysia, t } from "elysia";
import { errorMessage } from "../../core/errors.ts";
import type { CatalogId, ExecutionId } from "../../core/ids.ts";
import type { ExecutionFilter } from "../backend.ts";
import { JSON_BODY } from "../body.ts";
import { docs } from "../docs.ts";
import { viewExecution } from "../execution-view.ts";
import type { RouteContext } from "../route-context.ts";
import { clamp, isTrue, PageQuery, readOptionalId, readOptionalTime, readPage } from "../schema.ts";
import { readStatus } from "./execution-status.ts";

const TAG = "Executions";
const LIMITS = { max: 100, otherwise: 50 };
/** Counting a list ends here. */
const TOTAL_MAX = 10_000;
/** Executions that one cleanup cancels, and how many at a time. */
const CLEANUP_MAX = 1000;
const CLEANUP_BATCH = 50;
const CLEANUP_MINUTES = { min: 1, max: 5_256_000, otherwise: 60 };

const ListQuery = t.Object({
  path: t.Optional(t.String({ description: "Part of the path, in any case." })),
  status: t.Optional(t.String()),
  catalog_id: t.Optional(t.String()),
  origin_id: t.Optional(t.String({ description: "Those that retry or rerun this execution." })),
  parent_id: t.Optional(t.String({ description: "Sub-playbooks of this execution." })),
  since: t.Optional(t.String({ description: "Started at this time or later." })),
  until: t.Optional(t.String({ description: "Started before this time." })),
  include_total: t.Optional(
    t.String({ description: `\`true\`: header x-total-count, ${TOTAL_MAX} at most.` }),
  ),
  page: t.Optional(t.Numeric({ description: "From 1; in place of `offset`." })),
  page_size: t.Optional(t.Numeric({ description: "In place of `limit`." })),
  ...PageQuery,
});

const CleanupBody = t.Object(
  {
    older_than_minutes: t.Optional(t.Nullable(t.Number({ description: "Default 60." }))),
    dry_run: t.Optional(t.Nullable(t.Boolean({ description: "Only say which." }))),
  },
  { additionalProperties: true },
);

export function listRoutes(context: RouteContext) {
  const { reader } = context;
  return new Elysia({ normalize: false })
    .get(
      "",
      async ({ query, set }) => {
        const filter = readFilter(query);
        if (isTrue(query.include_total)) {
          const total = await reader.countExecutions(filter, TOTAL_MAX);
          set.headers["x-total-count"] = String(total);
        }
        return (await reader.listExecutions(filter)).map(viewExecution);
      },
      {
        query: ListQuery,
        detail: docs({
          tag: TAG,
          summary: "List executions",
          description: "Newest first, 50 (≤ 100) at a time.",
        }),
      },
    )
    .post("/cleanup", async ({ body }) => await cleanUp(context, body), {
      parse: JSON_BODY,
      body: CleanupBody,
      detail: docs({
        tag: TAG,
        summary: "Cancel executions that have not ended for long",
        description:
          `Those that began more than \`older_than_minutes\` ago, with their children; ${CLEANUP_MAX} at ` +
          "a time, the oldest first: again while `has_more` is true.",
      }),
    });
}

function readFilter(query: typeof ListQuery.static): ExecutionFilter {
  const catalogId = readOptionalId<CatalogId>(query.catalog_id, "catalog_id");
  const originId = readOptionalId<ExecutionId>(query.origin_id, "origin_id");
  const parentId = readOptionalId<ExecutionId>(query.parent_id, "parent_id");
  const sinceMs = readOptionalTime(query.since, "since");
  const untilMs = readOptionalTime(query.until, "until");
  return {
    ...readPlace(query),
    ...(catalogId === undefined ? {} : { catalogId }),
    ...(originId === undefined ? {} : { originId }),
    ...(parentId === undefined ? {} : { parentId }),
    ...(sinceMs === undefined ? {} : { sinceMs }),
    ...(untilMs === undefined ? {} : { untilMs }),
    ...(query.path ? { path: query.path } : {}),
    ...(query.status ? { status: readStatus(query.status) } : {}),
  };
}

/** By limit and offset, or by pages. */
function readPlace({ page, page_size, ...query }: typeof ListQuery.static) {
  const { limit, offset } = readPage({ ...query, limit: page_size ?? query.limit }, LIMITS);
  return page === undefined
    ? { limit, offset }
    : { limit, offset: (clamp(page, { min: 1, max: 1_000_000, otherwise: 1 }) - 1) * limit };
}

async function cleanUp(
  { reader, orchestrator, log }: RouteContext,
  body: typeof CleanupBody.static,
) {
  const minutes = clamp(body.older_than_minutes ?? undefined, CLEANUP_MINUTES);
  const beforeMs = Date.now() - minutes * 60_000;
  const ids = await reader.listUnfinished({ beforeMs, limit: CLEANUP_MAX });
  const isDry = body.dry_run === true;
  const failed = new Set<ExecutionId>();
  const options = { reason: `cleanup: not ended after ${minutes} min`, cascade: true };
  for (let begin = 0; !isDry && begin < ids.length; begin += CLEANUP_BATCH) {
    const batch = ids.slice(begin, begin + CLEANUP_BATCH);
    await Promise.all(
      batch.map((id) =>
        orchestrator.cancel(id, options).catch((error: unknown) => {
          failed.add(id);
          log.warn("cleanup could not cancel", { execution_id: id, reason: errorMessage(error) });
        }),
      ),
    );
  }
  const done = ids.filter((id) => !failed.has(id));
  const did = isDry ? "Would cancel" : "Cancelled";
  return {
    cancelled_count: isDry ? 0 : done.length,
    execution_ids: done,
    message: `${did} ${done.length} execution(s) that began more than ${minutes} min ago`,
    dry_run: isDry,
    has_more: ids.length === CLEANUP_MAX,
  };
}
