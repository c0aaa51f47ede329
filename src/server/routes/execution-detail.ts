/** One execution with its events: the newest, a page of them, or none. */
import { Elysia, t } from "elysia";
import type { JsonObject } from "../../core/json.ts";
import type { EventPage, ExecutionRow, ServerReader } from "../backend.ts";
import { docs } from "../docs.ts";
import type { EventNameFilter } from "../event-name.ts";
import { readEventFilter } from "../event-name.ts";
import type { ApiEvent } from "../event-view.ts";
import { seqOfEventId, viewEvent } from "../event-view.ts";
import { progressOf, viewExecutionDetail, viewWaiting } from "../execution-view.ts";
import { streamJson } from "../json-stream.ts";
import type { RouteContext } from "../route-context.ts";
import { findExecution } from "../route-context.ts";
import { clamp, ExecutionParams } from "../schema.ts";

/** Events in an answer that no page is asked for: the newest so many of the log. */
const EVENTS_MAX = 2000;
/** Events read from the database at a time; up to one such page the answer is made in one piece. */
const EVENT_PAGE = 250;
const PAGE_SIZES = { min: 1, max: 1000, otherwise: 100 };

const DetailQuery = t.Object({
  events: t.Optional(t.String({ description: "`false`: none." })),
  page: t.Optional(t.Numeric({ description: "From 1." })),
  page_size: t.Optional(t.Numeric({ description: "100 (≤ 1000) events of the log." })),
  since_event_id: t.Optional(t.String({ description: "Only events behind this one." })),
  event_type: t.Optional(t.String({ description: "One or more, by comma, in any spelling." })),
  order: t.Optional(t.String({ description: "`asc` (default) or `desc`: newest first." })),
});
type Query = typeof DetailQuery.static;

export function detailRoute({ reader }: RouteContext) {
  return new Elysia({ normalize: false }).get(
    "/:id",
    async ({ params, query }) =>
      await answerDetail(reader, await findExecution(reader, params.id), query),
    {
      params: ExecutionParams,
      query: DetailQuery,
      detail: docs({
        tag: "Executions",
        summary: "One execution",
        description:
          `With workload, result, error and the newest ${EVENTS_MAX} events; while it runs also what ` +
          "its steps wait for (`waiting`). With `page`, `page_size`, `since_event_id` or `event_type` a " +
          "page of events and `pagination`; it counts events of the log, and the end of a command is " +
          "shown as up to four.",
        errors: { 404: "No such execution." },
      }),
    },
  );
}

async function answerDetail(
  reader: ServerReader,
  row: ExecutionRow,
  query: Query,
): Promise<unknown> {
  const steps = row.status === "running" ? await reader.listSteps(row.executionId) : [];
  const detail = {
    ...viewExecutionDetail(row, await readWorkload(reader, row)),
    progress: progressOf(row, steps),
    waiting: viewWaiting(steps),
  };
  if (query.events === "false") {
    return { ...detail, events: [] };
  }
  if (isPaged(query)) {
    const { pagination, events } = await readPage(reader, row, query);
    return streamJson({ ...detail, pagination }, "events", events);
  }
  return row.seq > EVENT_PAGE
    ? streamJson(detail, "events", newestEvents(reader, row))
    : { ...detail, events: await Array.fromAsync(newestEvents(reader, row)) };
}

/** The first event has it. */
async function readWorkload(
  reader: ServerReader,
  { executionId }: ExecutionRow,
): Promise<JsonObject> {
  const [first] = await reader.listEvents(executionId, { afterSeq: 0, limit: 1 });
  return first?.event.type === "playbook.started" ? first.event.workload : {};
}

function isPaged({ page, page_size, since_event_id, event_type }: Query): boolean {
  return [page, page_size, since_event_id, event_type].some((field) => field !== undefined);
}

interface EventsPage {
  readonly pagination: Readonly<Record<string, number | boolean>>;
  readonly events: readonly ApiEvent[];
}

async function readPage(
  reader: ServerReader,
  { executionId, seq }: ExecutionRow,
  query: Query,
): Promise<EventsPage> {
  const filter = readEventFilter(query.event_type);
  const afterSeq = seqOfEventId(query.since_event_id);
  const page = clamp(query.page, { min: 1, max: 1_000_000, otherwise: 1 });
  const size = clamp(query.page_size, PAGE_SIZES);
  const isNewestFirst = query.order?.toLowerCase() === "desc";
  const wanted = pageOf({
    afterSeq,
    offset: (page - 1) * size,
    limit: size,
    isNewestFirst,
    filter,
  });
  const [found, total] = await Promise.all([
    reader.listEvents(executionId, wanted),
    filter === undefined
      ? Math.max(0, seq - afterSeq)
      : reader.countEvents(executionId, { afterSeq, types: filter.stored }),
  ]);
  const views = found.flatMap((recorded) => {
    const group = viewEvent(executionId, recorded);
    return isNewestFirst ? group.toReversed() : group;
  });
  const pages = Math.ceil(total / size);
  return {
    pagination: {
      page,
      page_size: size,
      total_events: total,
      total_pages: pages,
      has_next: page < pages,
      has_prev: page > 1,
    },
    events: filter === undefined ? views : views.filter((e) => filter.names.has(e.event_type)),
  };
}

/** Positions have no gaps: without a filter the page's first one is known. */
function pageOf({
  filter,
  ...page
}: {
  readonly afterSeq: number;
  readonly offset: number;
  readonly limit: number;
  readonly isNewestFirst: boolean;
  readonly filter: EventNameFilter | undefined;
}): EventPage {
  return filter === undefined && !page.isNewestFirst
    ? { afterSeq: page.afterSeq + page.offset, limit: page.limit }
    : { ...page, types: filter?.stored };
}

async function* newestEvents(reader: ServerReader, row: ExecutionRow): AsyncGenerator<ApiEvent> {
  let afterSeq = Math.max(0, row.seq - EVENTS_MAX);
  for (;;) {
    const page = await reader.listEvents(row.executionId, { afterSeq, limit: EVENT_PAGE });
    for (const recorded of page) {
      yield* viewEvent(row.executionId, recorded);
    }
    afterSeq = page.at(-1)?.seq ?? row.seq;
    if (page.length < EVENT_PAGE || afterSeq >= row.seq) {
      return;
    }
  }
}
