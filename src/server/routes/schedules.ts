/** Schedules: when to start which playbook. */
import { Elysia, t } from "elysia";
import { AppError } from "../../core/errors.ts";
import { parseInstant } from "../../core/instant.ts";
import type { JsonObject } from "../../core/json.ts";
import type { ScheduleRow } from "../../store/schedule.ts";
import type { FiringRow } from "../../store/schedule-firing.ts";
import type { Triggers } from "../../triggers/triggers.ts";
import { JSON_BODY } from "../body.ts";
import { docs } from "../docs.ts";
import { isoTime } from "../event-view.ts";
import type { RouteContext } from "../route-context.ts";
import { countWrite } from "../route-context.ts";
import { Any, clamp, PageQuery, readObject, readPage } from "../schema.ts";

const TAG = "Schedules";
const NOT_FOUND = { 404: "No such schedule." };
const NEXT = { min: 1, max: 100, otherwise: 5 };

const DURATION = "Seconds, or a text such as `30s`, `5m`, `2h`.";

const ScheduleBody = t.Object(
  {
    name: t.Optional(t.String({ description: "Unique. Of a PUT: taken from the path." })),
    description: t.Optional(t.Nullable(t.String())),
    playbook: t.Optional(t.String({ description: "Catalog path; also as `path`." })),
    version: t.Optional(t.Nullable(t.Union([t.Number(), t.String()]))),
    cron: t.Optional(t.String({ description: "Five or six fields, `@daily` and its like." })),
    interval: t.Optional(t.Union([t.Number(), t.String()], { description: DURATION })),
    timezone: t.Optional(t.String({ description: "IANA name; default UTC.", maxLength: 100 })),
    payload: t.Optional(Any),
    enabled: t.Optional(t.Boolean()),
    start_at: t.Optional(t.Nullable(t.String({ description: "No due times before." }))),
    end_at: t.Optional(t.Nullable(t.String({ description: "No due times from then on." }))),
    jitter: t.Optional(t.Union([t.Number(), t.String()], { description: DURATION })),
    catchup: t.Optional(t.String({ description: "`none`, `last` (default) or `all`." })),
    catchup_limit: t.Optional(t.Number()),
    overlap: t.Optional(
      t.String({ description: "`allow` (default), `skip`, `queue` or `cancel_previous`." }),
    ),
    pool: t.Optional(t.Nullable(t.String())),
    priority: t.Optional(t.Nullable(t.Number())),
  },
  { additionalProperties: true },
);

const Params = t.Object({ name: t.String({ description: "Name or id." }) });

type ScheduleContext = RouteContext & { readonly triggers: Triggers };

export function scheduleRoutes(context: ScheduleContext) {
  const { triggers, metrics } = context;
  const { schedules } = triggers;
  return new Elysia({ prefix: "/api/schedules", normalize: false })
    .get(
      "",
      async ({ query }) => {
        const rows = await schedules.list(readPage(query, { max: 1000, otherwise: 200 }));
        const newest = await schedules.newestFirings(rows.map(({ scheduleId }) => scheduleId));
        return { schedules: rows.map((row) => ({ ...view(row), ...viewLast(row, newest) })) };
      },
      {
        query: t.Object(PageQuery),
        detail: docs({
          tag: TAG,
          summary: "List schedules",
          description: "With the `last_firing` of each.",
        }),
      },
    )
    .post(
      "",
      async ({ body }) =>
        await countWrite(metrics, "schedules_create", async () =>
          view(await schedules.create(readObject(body, "body") ?? {})),
        ),
      {
        parse: JSON_BODY,
        body: ScheduleBody,
        detail: docs({
          tag: TAG,
          summary: "Create a schedule",
          description:
            "Either `cron` or `interval`. Texts in `payload` may be templates that see `schedule` " +
            "(`name`, `due`, `previous_due`, …). The same as a document of `kind: Schedule`.",
          errors: { 409: "The name is taken.", 422: "The definition is not valid." },
        }),
      },
    )
    .get("/:name", async ({ params }) => view(await schedules.get(params.name)), {
      params: Params,
      detail: docs({ tag: TAG, summary: "One schedule", errors: NOT_FOUND }),
    })
    .put(
      "/:name",
      async ({ params, body }) =>
        await countWrite(metrics, "schedules_replace", async () =>
          view(await schedules.replace(params.name, readObject(body, "body") ?? {})),
        ),
      {
        parse: JSON_BODY,
        params: Params,
        body: ScheduleBody,
        detail: docs({ tag: TAG, summary: "Replace a schedule's definition", errors: NOT_FOUND }),
      },
    )
    .delete(
      "/:name",
      async ({ params }) =>
        await countWrite(metrics, "schedules_delete", async () => {
          await schedules.remove(params.name);
          return { message: `Schedule ${params.name} deleted` };
        }),
      {
        params: Params,
        detail: docs({
          tag: TAG,
          summary: "Delete a schedule and its history",
          description: "Executions that it has started stay.",
          errors: NOT_FOUND,
        }),
      },
    )
    .use(scheduleActions(context))
    .use(scheduleViews(context));
}

function scheduleActions({ triggers: { schedules }, metrics }: ScheduleContext) {
  return new Elysia({ normalize: false })
    .post(
      "/:name/pause",
      async ({ params }) =>
        await countWrite(metrics, "schedules_pause", async () =>
          view(await schedules.pause(params.name)),
        ),
      {
        parse: "none",
        params: Params,
        detail: docs({ tag: TAG, summary: "Pause a schedule", errors: NOT_FOUND }),
      },
    )
    .post(
      "/:name/resume",
      async ({ params }) =>
        await countWrite(metrics, "schedules_resume", async () =>
          view(await schedules.resume(params.name)),
        ),
      {
        parse: "none",
        params: Params,
        detail: docs({
          tag: TAG,
          summary: "Resume a schedule",
          description: "With the next due time: those of the pause are not caught up.",
          errors: NOT_FOUND,
        }),
      },
    )
    .post(
      "/:name/run",
      async ({ params, body }) =>
        await countWrite(metrics, "schedules_run", async () => {
          const payload = readObject(body.payload, "payload");
          const { executionId, dueMs } = await schedules.run(params.name, payload);
          return { execution_id: executionId, status: "started", due: isoTime(dueMs) };
        }),
      {
        parse: JSON_BODY,
        params: Params,
        body: t.Object({ payload: t.Optional(Any) }, { additionalProperties: true }),
        detail: docs({
          tag: TAG,
          summary: "Run now",
          description: "Whatever runs, paused or not. `payload` takes the place of the schedule's.",
          errors: NOT_FOUND,
        }),
      },
    )
    .post(
      "/:name/backfill",
      async ({ params, body }) =>
        await countWrite(metrics, "schedules_backfill", async () => {
          const { due, added } = await schedules.backfill(params.name, {
            fromMs: readTime(body.from, "from"),
            toMs: readTime(body.to, "to"),
            isDryRun: body.dry_run === true,
          });
          return { due: due.map(isoTime), added: added.map(isoTime) };
        }),
      {
        parse: JSON_BODY,
        params: Params,
        body: t.Object(
          { from: t.String(), to: t.String(), dry_run: t.Optional(t.Boolean()) },
          { additionalProperties: true },
        ),
        detail: docs({
          tag: TAG,
          summary: "Meet due times of the past",
          description:
            "Those from `from` on and before `to` that nothing was started for; `overlap` decides " +
            "how many run at a time. At most 1,000 in a call.",
          errors: NOT_FOUND,
        }),
      },
    );
}

function scheduleViews({ triggers: { schedules } }: ScheduleContext) {
  return new Elysia({ normalize: false })
    .get(
      "/:name/next",
      async ({ params, query }) => ({
        next: (await schedules.next(params.name, clamp(query.count, NEXT))).map(isoTime),
      }),
      {
        params: Params,
        query: t.Object({ count: t.Optional(t.Numeric()) }),
        detail: docs({ tag: TAG, summary: "The next due times", errors: NOT_FOUND }),
      },
    )
    .get(
      "/:name/firings",
      async ({ params, query }) => ({
        firings: (
          await schedules.firings(params.name, {
            ...readPage(query, { max: 1000, otherwise: 50 }),
            ...(query.status === undefined ? {} : { status: query.status }),
          })
        ).map(viewFiring),
      }),
      {
        params: Params,
        query: t.Object({ status: t.Optional(t.String()), ...PageQuery }),
        detail: docs({
          tag: TAG,
          summary: "What became of its due times",
          description: "Newest first: `waiting`, `started`, `skipped` or `failed`, and why.",
          errors: NOT_FOUND,
        }),
      },
    );
}

/** @throws AppError invalid TIME_INVALID. */
function readTime(text: string, name: string): number {
  const ms = parseInstant(text);
  if (ms === undefined) {
    const message = `${name} must be a time such as 2026-01-31T00:00:00Z, not ${text}`;
    throw new AppError("invalid", "TIME_INVALID", message);
  }
  return ms;
}

function view({ spec, ...row }: ScheduleRow): JsonObject {
  return {
    schedule_id: row.scheduleId,
    name: row.name,
    description: spec.description ?? null,
    playbook: spec.playbook,
    version: spec.version ?? null,
    cron: spec.cron ?? null,
    interval_seconds: spec.intervalMs === undefined ? null : spec.intervalMs / 1000,
    timezone: spec.timezone,
    payload: spec.payload,
    enabled: row.isEnabled,
    start_at: spec.startMs === undefined ? null : isoTime(spec.startMs),
    end_at: spec.endMs === undefined ? null : isoTime(spec.endMs),
    jitter_seconds: spec.jitterMs / 1000,
    catchup: spec.catchup,
    catchup_limit: spec.catchupLimit,
    overlap: spec.overlap,
    pool: spec.pool ?? null,
    priority: spec.priority ?? null,
    next_run_at: row.nextRunMs === null ? null : isoTime(row.nextRunMs),
    catalog_id: row.catalogId,
    created_at: isoTime(row.createdAtMs),
    updated_at: isoTime(row.updatedAtMs),
  };
}

function viewLast(
  { scheduleId }: ScheduleRow,
  newest: ReadonlyMap<string, FiringRow>,
): { readonly last_firing: JsonObject | null } {
  const row = newest.get(scheduleId);
  return { last_firing: row === undefined ? null : viewFiring(row) };
}

function viewFiring(row: FiringRow): JsonObject {
  return {
    due: isoTime(row.dueMs),
    kind: row.kind,
    status: row.status,
    execution_id: row.executionId,
    execution_status: row.executionStatus?.toUpperCase() ?? null,
    reason: row.reason,
    acted_at: row.actedAtMs === null ? null : isoTime(row.actedAtMs),
  };
}
