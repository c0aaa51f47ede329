/** Reading executions, and ending them from outside. */
import { Elysia, t } from "elysia";
import { AppError } from "../../core/errors.ts";
import type { ExecutionRow, ServerReader } from "../backend.ts";
import { JSON_BODY } from "../body.ts";
import { docs } from "../docs.ts";
import { readEventFilter } from "../event-name.ts";
import type { ApiEvent } from "../event-view.ts";
import { seqOfEventId, viewEvent } from "../event-view.ts";
import { clippedStep, isTerminal, viewProgress, viewStep } from "../execution-view.ts";
import { streamJson } from "../json-stream.ts";
import type { RouteContext } from "../route-context.ts";
import { findExecution } from "../route-context.ts";
import { clamp, ExecutionParams, isTrue } from "../schema.ts";
import { detailRoute } from "./execution-detail.ts";
import { listRoutes } from "./execution-list.ts";
import { readStatus } from "./execution-status.ts";
import { operateRoutes } from "./operate.ts";

const TAG = "Executions";
const NOT_FOUND = { 404: "No such execution." };
const FINISHED = { ...NOT_FOUND, 422: "The execution has ended already." };

const EventQuery = t.Object({
  after_seq: t.Optional(t.Numeric({ description: "Events behind this position." })),
  since_event_id: t.Optional(t.String()),
  limit: t.Optional(t.Numeric()),
  event_type: t.Optional(t.String({ description: "One or more, by comma, in any spelling." })),
});

export function executionRoutes(context: RouteContext) {
  const { reader } = context;
  return new Elysia({ prefix: "/api/executions", normalize: false })
    .use(endRoutes(context))
    .use(operateRoutes(context))
    .use(listRoutes(context))
    .use(detailRoute(context))
    .get(
      "/:id/status",
      async ({ params }) => {
        const row = await findExecution(reader, params.id);
        return viewProgress(row, await reader.listSteps(row.executionId));
      },
      {
        params: ExecutionParams,
        detail: docs({ tag: TAG, summary: "Status and progress", errors: NOT_FOUND }),
      },
    )
    .get(
      "/:id/steps",
      async ({ params, query }) => {
        const row = await findExecution(reader, params.id);
        const all = await reader.listSteps(row.executionId);
        const steps =
          query.step === undefined ? all : all.filter(({ step }) => step === query.step);
        const view = isTrue(query.clip) ? clippedStep(row.executionId) : viewStep;
        return streamJson({ execution_id: row.executionId }, "steps", mapEach(steps, view));
      },
      {
        params: ExecutionParams,
        query: t.Object({
          step: t.Optional(t.String({ description: "Only this one." })),
          clip: t.Optional(
            t.String({ description: "`true`: of large results the beginning, and `result_uri`." }),
          ),
        }),
        detail: docs({ tag: TAG, summary: "What happened to each step", errors: NOT_FOUND }),
      },
    )
    .get("/:id/events", async ({ params, query }) => await answerEvents(reader, params.id, query), {
      params: ExecutionParams,
      query: EventQuery,
      detail: docs({
        tag: TAG,
        summary: "A page of events",
        description: "In order. Go on with `after_seq` = `next_after_seq` while that is not null.",
        errors: NOT_FOUND,
      }),
    });
}

const CancelBody = t.Object({
  reason: t.Optional(t.Nullable(t.String())),
  cascade: t.Optional(t.Nullable(t.Boolean({ description: "Children too; default true." }))),
});

async function cancel(
  { orchestrator, reader }: RouteContext,
  id: string,
  { reason, cascade }: typeof CancelBody.static,
) {
  const { executionId } = await findOpen(reader, id);
  const options = { reason: reason ?? "cancelled by request", cascade: cascade ?? true };
  await orchestrator.cancel(executionId, options);
  return {
    execution_id: executionId,
    status: "cancelled",
    message: "Cancel accepted: the execution ends when its running commands are gone",
  };
}

function endRoutes(context: RouteContext) {
  const { orchestrator, reader } = context;
  return new Elysia({ normalize: false })
    .post("/:id/cancel", async ({ params, body }) => await cancel(context, params.id, body), {
      params: ExecutionParams,
      parse: JSON_BODY,
      body: CancelBody,
      detail: docs({ tag: TAG, summary: "Cancel", errors: FINISHED }),
    })
    .post("/:id/stop", async ({ params, body }) => await cancel(context, params.id, body), {
      params: ExecutionParams,
      parse: JSON_BODY,
      body: CancelBody,
      detail: docs({ tag: TAG, summary: "Cancel, as NoETL's GUI calls it", errors: FINISHED }),
    })
    .get(
      "/:id/cancellation-check",
      async ({ params }) => {
        const { executionId, status } = await findExecution(reader, params.id);
        const types = ["playbook.cancelling", "playbook.resumed"] as const;
        const found = await reader.listEvents(executionId, { afterSeq: 0, limit: 1000, types });
        const isCancelling = found.at(-1)?.event.type === "playbook.cancelling";
        return { execution_id: executionId, is_cancelled: status === "cancelled" || isCancelling };
      },
      {
        params: ExecutionParams,
        detail: docs({ tag: TAG, summary: "Whether it is or gets cancelled", errors: NOT_FOUND }),
      },
    )
    .post(
      "/:id/finalize",
      async ({ params, body }) => {
        const { executionId } = await findOpen(reader, params.id);
        const status = readFinalStatus(body.status);
        const reason = body.error ?? body.reason ?? "finalized by request";
        await orchestrator.finalize(executionId, { status, reason });
        return { execution_id: executionId, status, message: `Execution ended as ${status}` };
      },
      {
        params: ExecutionParams,
        parse: JSON_BODY,
        body: t.Object({
          status: t.Optional(t.Nullable(t.String({ description: "COMPLETED or FAILED." }))),
          error: t.Optional(t.Nullable(t.String())),
          reason: t.Optional(t.Nullable(t.String())),
        }),
        detail: docs({ tag: TAG, summary: "End it from outside", errors: FINISHED }),
      },
    );
}

function readFinalStatus(text: string | null | undefined): "completed" | "failed" {
  const status = readStatus(text ?? "completed");
  if (status === "completed" || status === "failed") {
    return status;
  }
  throw new AppError(
    "invalid",
    "REQUEST_INVALID",
    `Cannot finalize as ${text}: COMPLETED or FAILED`,
  );
}

/** @throws AppError invalid EXECUTION_FINISHED. */
async function findOpen(reader: ServerReader, id: string): Promise<ExecutionRow> {
  const row = await findExecution(reader, id);
  if (isTerminal(row.status)) {
    throw new AppError(
      "invalid",
      "EXECUTION_FINISHED",
      `Execution ${id} has already ended: ${row.status}`,
      {
        details: { status: row.status.toUpperCase() },
      },
    );
  }
  return row;
}

async function answerEvents(
  reader: ServerReader,
  id: string,
  query: typeof EventQuery.static,
): Promise<Response> {
  const { executionId, seq } = await findExecution(reader, id);
  const limit = clamp(query.limit, { min: 1, max: 1000, otherwise: 200 });
  const afterSeq = query.after_seq ?? seqOfEventId(query.since_event_id);
  const filter = readEventFilter(query.event_type);
  const page = await reader.listEvents(executionId, {
    afterSeq: clamp(afterSeq, { min: 0, max: Number.MAX_SAFE_INTEGER, otherwise: 0 }),
    limit,
    types: filter?.stored,
  });
  const last = page.length === limit ? page.at(-1)?.seq : undefined;
  const head = {
    execution_id: executionId,
    total_events: seq,
    next_after_seq: last === undefined || last >= seq ? null : last,
  };
  const views = mapEach(page, (recorded) => viewEvent(executionId, recorded));
  return streamJson(head, "events", pick(views, filter?.names));
}

function* mapEach<From, To>(items: Iterable<From>, view: (item: From) => To): Generator<To> {
  for (const item of items) {
    yield view(item);
  }
}

function* pick(
  groups: Iterable<readonly ApiEvent[]>,
  names: ReadonlySet<string> | undefined,
): Generator<ApiEvent> {
  for (const group of groups) {
    yield* names === undefined ? group : group.filter((event) => names.has(event.event_type));
  }
}
